"""Mail for several addressees that was taken for some of them and not for all: what its second try need not do again.

SMTP has one answer to a mail's content, so a mail that could not be kept for one addressee is refused for all, and its
peer sends it again for all. Before it: `session`, with a mail. After it: the desk, which gets it for who is left.
Invariants: only mail that was partly taken is remembered, by a digest, for as long as peers try (RFC 5321 section
4.5.4.1: four to five days) and within a number; a restart forgets it, and the mail is then on record twice.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Final

from lane_relay.feedback.addresses import Addressee

__all__ = ["PartlyTaken"]

KEPT_S: Final = 5 * 24 * 3600.0
MOST: Final = 10_000


class PartlyTaken:
    """Of one listener."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._known: dict[bytes, tuple[float, frozenset[Addressee]]] = {}
        """By digest, the oldest first."""

    def left(self, content: bytes, addressees: Iterable[Addressee]) -> tuple[Addressee, ...]:
        """Those for whom this mail has not been taken, each once."""
        each = tuple(dict.fromkeys(addressees))
        now = self._monotonic()
        while self._known and next(iter(self._known.values()))[0] <= now:
            del self._known[next(iter(self._known))]
        if not self._known:
            return each
        _, taken = self._known.get(_digest(content), (0.0, frozenset()))
        return tuple(one for one in each if one not in taken)

    def refused(self, content: bytes, taken: Iterable[Addressee]) -> None:
        """The mail was refused after it had been taken for these."""
        new = frozenset(taken)
        if not new:
            return
        digest = _digest(content)
        _, before = self._known.pop(digest, (0.0, frozenset()))
        self._known[digest] = (self._monotonic() + KEPT_S, before | new)
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]

    def done(self, content: bytes) -> None:
        """The mail was taken for all."""
        if self._known:
            self._known.pop(_digest(content), None)


def _digest(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
