"""What DNS says, as values: five outcomes that are never mixed.

Before it: `dns` (the wire). After it: `cache`, `mx`, `selectors`. NXDOMAIN and NODATA are facts about the name;
SERVFAIL and TIMEOUT are facts about the way to it, and never a reason to bounce.
"""

from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from msgspec import Struct

__all__ = ["Answer", "Family", "Lookups", "MxRecord", "Status"]

R = TypeVar("R")


class Status(StrEnum):
    """How a lookup ended."""

    FOUND = "found"
    NODATA = "nodata"
    """The name exists, without records of this type."""
    NXDOMAIN = "nxdomain"
    SERVFAIL = "servfail"
    """Also REFUSED, broken answers and a resolver that is not there."""
    TIMEOUT = "timeout"


class Family(StrEnum):
    """The two types of address record."""

    V4 = "A"
    V6 = "AAAA"


class MxRecord(Struct, frozen=True, gc=False):
    """One MX record (RFC 1035 section 3.3.9); a null MX (RFC 7505) has an empty host."""

    preference: int
    host: str
    """Lower case, without the final dot."""


class Answer(Struct, Generic[R], frozen=True):
    """The outcome of one lookup; `records` is empty unless found."""

    status: Status
    records: tuple[R, ...] = ()
    ttl: float = 0.0
    """Seconds for which it may be believed."""

    @property
    def is_definite(self) -> bool:
        """The name's own servers have spoken: found, NODATA or NXDOMAIN."""
        return self.status is not Status.SERVFAIL and self.status is not Status.TIMEOUT


class Lookups(Protocol):
    """Whoever answers questions about names: the wire, or the cache before it."""

    async def mx(self, name: str) -> Answer[MxRecord]:
        """The MX records of a domain."""

    async def addresses(self, name: str, family: Family) -> Answer[str]:
        """The addresses of a host."""

    async def txt(self, name: str) -> Answer[str]:
        """The TXT records of a name, each with its strings joined."""
