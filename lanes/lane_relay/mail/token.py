"""The token in return paths and unsubscribe links: which message, which recipient, and proof that we wrote it.

Nothing is kept for it: a token that checks says all that a report needs, also months later and in another slot. It
carries no address but a keyed digest of one, the same that the suppression list knows the address by, so a recipient is
suppressed by a report that names nobody, and nobody is by a report that names somebody else.
Invariants: 60 characters of lower-case base32 (RFC 4648 section 6), so `b-TOKEN` is 62 of the 64 octets that a local
part may have (RFC 5321 section 4.5.3.1.1); servers that fold case do no harm; one bit changed makes it nobody's.

Layout, 37 octets: kind and scope (1), spool id (12), recipient's index (2), digest of the address (12), the first
80 bits of HMAC-SHA256 over all that (10): to guess one of these takes 2^79 mails on the average.
"""

import hmac
from base64 import b32decode, b32encode
from binascii import Error
from enum import IntEnum
from typing import Final

from msgspec import Struct

from lane_relay.smtp.address import normalise_domain

__all__ = ["DIGEST_SIZE", "SEVERAL", "Token", "TokenKind", "address_digest", "read_token", "write_token"]

DIGEST_SIZE: Final = 12
"""Octets: among 5 million addresses two have the same digest once in 10^15 lists."""
SEVERAL: Final = 0xFFFF
"""The index where one token stands for all recipients of a message; its digest is nobody's."""
_MAC_SIZE: Final = 10
_BODY_SIZE: Final = 1 + 12 + 2 + DIGEST_SIZE
_LENGTH: Final = 60
_PADDING: Final = "===="
_DOMAIN_SCOPED: Final = 0x10
_NOBODY: Final = bytes(DIGEST_SIZE)


class TokenKind(IntEnum):
    """What it is good for; values are in mail for ever."""

    BOUNCE = 1
    """A return path: takes reports."""
    PERSON = 2
    """A link or address for the recipient: unsubscribes, and names the message in feedback loops."""


class Token(Struct, frozen=True, gc=False):
    """What a token says."""

    kind: TokenKind
    id: int
    """Spool id of the message."""
    index: int
    """Of the recipient in the envelope, or SEVERAL."""
    digest: bytes = _NOBODY
    """Of the recipient's address, as the suppression list has it."""
    domain_scoped: bool = False
    """The digest is that of the address together with the From domain."""

    @property
    def names_recipient(self) -> bool:
        """It is about one recipient whose digest it has."""
        return self.digest != _NOBODY


def address_digest(key: bytes, address: str, from_domain: str = "") -> bytes:
    """What stands for an address where no address may stand; with a From domain: for the address under that domain.

    Case makes no difference: no large provider tells mailboxes apart by it (RFC 5321 section 2.4 would let them).
    """
    local, _, domain = address.rpartition("@")
    lower = domain.lower() if domain.isascii() else normalise_domain(domain) or domain.lower()
    return hmac.digest(key, f"{local.lower()}@{lower}\0{from_domain}".encode("utf-8", "surrogatepass"), "sha256")[
        :DIGEST_SIZE
    ]


def write_token(key: bytes, token: Token) -> str:
    """The token's text."""
    flags = token.kind | (_DOMAIN_SCOPED if token.domain_scoped else 0)
    body = b"%c%b%b%b" % (flags, token.id.to_bytes(12, "big"), token.index.to_bytes(2, "big"), token.digest)
    mac = hmac.digest(key, body, "sha256")[:_MAC_SIZE]
    return b32encode(body + mac)[:_LENGTH].decode("ascii").lower()


def read_token(key: bytes, text: str) -> Token | None:
    """What a text says that should be one of our tokens, or None if we did not write it."""
    if len(text) != _LENGTH or not text.isascii():
        return None
    try:
        raw = b32decode(text.upper() + _PADDING)
    except Error:
        return None
    if b32encode(raw)[:_LENGTH].decode() != text.upper():  # the last character has bits to spare
        return None
    body, mac = raw[:_BODY_SIZE], raw[_BODY_SIZE:]
    if not hmac.compare_digest(hmac.digest(key, body, "sha256")[:_MAC_SIZE], mac):
        return None
    kind = body[0] & ~_DOMAIN_SCOPED
    if kind not in (TokenKind.BOUNCE, TokenKind.PERSON):
        return None
    return Token(
        TokenKind(kind),
        int.from_bytes(body[1:13], "big"),
        int.from_bytes(body[13:15], "big"),
        body[15:],
        bool(body[0] & _DOMAIN_SCOPED),
    )
