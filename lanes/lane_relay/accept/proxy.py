"""The PROXY protocol, version 2: what a load balancer says of the client before the client's own first byte.

Source: the HAProxy project's "The PROXY protocol", section 2.2. Version 1 is not read: it is text of unknown length,
and who can speak it can speak 2. Pure: bytes in, an address or None out.
Invariant: no more than the header is asked for, so that what follows it stays in the socket for TLS or SMTP.
"""

from ipaddress import IPv4Address, IPv6Address
from typing import Final

from msgspec import Struct

__all__ = ["HEAD_SIZE", "Preface", "parse_preface", "parse_source"]

HEAD_SIZE: Final = 16
_SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
_ADDRESS_SIZES: Final = {_TCP4: 12, _TCP6: 36}
_MAX_LENGTH: Final = 2048
"""Of addresses and what is said beside them; balancers of clouds send some 100 octets."""


class Preface(Struct, frozen=True, gc=False):
    """The first sixteen octets."""

    length: int
    """Octets that follow."""
    family: int
    """0: the balancer speaks for itself (a health check)."""


def parse_preface(head: bytes) -> Preface | None:
    """What the first octets announce; None: this is no header, or none that we take."""
    if len(head) != HEAD_SIZE or head[:12] != _SIGNATURE:
        return None
    command, family, length = head[12], head[13], int.from_bytes(head[14:16], "big")
    if length > _MAX_LENGTH:
        return None
    if command == _LOCAL:
        return Preface(length, 0)
    if command != _PROXY or length < _ADDRESS_SIZES.get(family, _MAX_LENGTH + 1):
        return None
    return Preface(length, family)


def parse_source(preface: Preface, body: bytes) -> IPv4Address | IPv6Address | None:
    """The client's address out of what follows; None: the balancer speaks for itself."""
    if preface.family == _TCP4:
        return IPv4Address(body[:4])
    return IPv6Address(body[:16]) if preface.family == _TCP6 else None
