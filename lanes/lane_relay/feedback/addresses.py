"""Whom the feedback listener takes mail for; everybody else is unknown here, in one and the same words.

Invariant: a token that is not ours, a mailbox that never was, and a domain that is nobody's get the same answer after
the same work, so the listener tells nobody what it knows.
"""

from enum import Enum
from typing import Final

from msgspec import Struct

from lane_api.relayconfig import RelayConfig
from lane_relay.feedback.return_path import BOUNCE_PREFIX, FBL_LOCAL, PERSON_PREFIX
from lane_relay.mail.token import Token, TokenKind, read_token
from lane_relay.smtp.address import Mailbox

__all__ = ["Addressee", "Addresses", "Desk"]

_PEOPLE: Final = ("postmaster", "abuse")
"""RFC 5321 section 4.5.1 and RFC 2142: every domain with mail has them."""


class Desk(Enum):
    """Which kind of mail comes to an address."""

    BOUNCES = "bounces"
    UNSUBSCRIBES = "unsubscribes"
    COMPLAINTS = "complaints"
    PEOPLE = "people"


class Addressee(Struct, frozen=True, gc=False):
    """One that mail is taken for."""

    desk: Desk
    domain: str
    token: Token | None = None


class Addresses:
    """The addresses of one configuration."""

    def __init__(self, config: RelayConfig, key: bytes) -> None:
        self._key = key
        self._domains = frozenset(domain.return_path.domain for domain in config.domains if domain.return_path)
        self._loops = frozenset(config.feedback.addresses if config.feedback is not None else ())

    def find(self, recipient: Mailbox) -> Addressee | None:
        """Who that is, or None: nobody."""
        local, domain = recipient.local.lower(), recipient.domain
        prefix, text = local[:2], local[2:]
        token = read_token(self._key, text)
        if f"{local}@{domain}" in self._loops:
            return Addressee(Desk.COMPLAINTS, domain)
        if domain not in self._domains:
            return None
        if token is not None and prefix == BOUNCE_PREFIX and token.kind is TokenKind.BOUNCE:
            return Addressee(Desk.BOUNCES, domain, token)
        if token is not None and prefix == PERSON_PREFIX and token.kind is TokenKind.PERSON:
            return Addressee(Desk.UNSUBSCRIBES, domain, token)
        if local == FBL_LOCAL:
            return Addressee(Desk.COMPLAINTS, domain)
        return Addressee(Desk.PEOPLE, domain) if local in _PEOPLE else None
