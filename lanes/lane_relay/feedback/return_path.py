"""Return paths (VERP) and the fields that make a message's complaints and unsubscribes known again.

One recipient a transaction where the return path is rewritten: a report about a mailbox often names nobody, or an
address that the recipient's server made up, so an address that several recipients share is worth little. Bulk and
transactional mail has one recipient a message in any case, so that costs nothing; mail for several costs a transaction
on the same connection for each. Peers count recipients, and see the same number.
Before it: `deliver` has an entry to send, intake a message to store. After it: `smtp`. Invariants: the null sender
stays the null sender; what is added by `marked` is covered by the DKIM signature, which is made later.
"""

from typing import Final

from msgspec import Struct, structs

from lane_api.classes import TrafficClass
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import SuppressionScope, Unsubscribe
from lane_relay.mail.token import SEVERAL, Token, TokenKind, address_digest, write_token
from lane_relay.records import Message

__all__ = ["BOUNCE_PREFIX", "FBL_LOCAL", "PERSON_PREFIX", "Keys", "ReturnPaths"]

BOUNCE_PREFIX: Final = "b-"
PERSON_PREFIX: Final = "u-"
FBL_LOCAL: Final = "fbl"
"""Local part of CFBL-Address (RFC 9477)."""
_UNSUBSCRIBES: Final = (TrafficClass.BULK, TrafficClass.COLD)
"""Classes whose mail gets List-Unsubscribe where it has none."""


class Keys(Struct, frozen=True):
    """The two keys, read from their files."""

    feedback: bytes
    suppression: bytes
    """Of the scope in force; the feedback key where there is no list: tokens carry a digest that nobody asks for."""
    earlier: bytes = b""
    """Of the other scope, Namespace or not, under which tokens and words from before the change have their digests."""


class ReturnPaths:
    """The return paths of one configuration."""

    def __init__(self, config: RelayConfig, keys: Keys) -> None:
        self._keys = keys
        self._rewrites: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        for domain in config.domains:
            path = domain.return_path
            if path is not None:
                self._addresses[domain.name] = path.domain
                if path.mode == "Rewrite":
                    self._rewrites[domain.name] = path.domain
        self._by_domain = config.suppression is not None and config.suppression.scope is SuppressionScope.DOMAIN
        unsubscribe = config.feedback.unsubscribe if config.feedback is not None else None
        self._unsubscribe = unsubscribe if config.lane.traffic_class in _UNSUBSCRIBES else None

    @property
    def rewrites(self) -> bool:
        """Some domain's return path is rewritten, so every recipient goes in a transaction of its own."""
        return bool(self._rewrites)

    def sender(self, message: Message, recipients: tuple[int, ...]) -> str | None:
        """The envelope sender of a transaction for these recipients, or None for the message's own."""
        domain = self._rewrites.get(message.from_domain)
        if domain is None or not message.envelope.sender:
            return None
        token = self._token(TokenKind.BOUNCE, message, recipients[0] if len(recipients) == 1 else SEVERAL)
        return f"{BOUNCE_PREFIX}{write_token(self._keys.feedback, token)}@{domain}"

    def marked(self, message: Message) -> Message:
        """The message with CFBL fields, and List-Unsubscribe where it is wanted and missing; before it is stored.

        Mail to several recipients says which message it is, and has no link: whose would it be.
        """
        domain = self._addresses.get(message.from_domain)
        if domain is None or not message.envelope.sender:
            return message
        alone = len(message.envelope.recipients) == 1
        token = write_token(self._keys.feedback, self._token(TokenKind.PERSON, message, 0 if alone else SEVERAL))
        end = message.body.find(b"\r\n\r\n")
        head = b"\n" + (message.body[: end + 2] if end >= 0 else message.body).lower()
        fields = ""
        if b"\ncfbl-address:" not in head:
            fields = f"CFBL-Address: {FBL_LOCAL}@{domain}; report=arf\r\nCFBL-Feedback-ID: {token}\r\n"
        if self._unsubscribe is not None and alone and b"\nlist-unsubscribe:" not in head:
            has_post = b"\nlist-unsubscribe-post:" in head
            fields += _unsubscribe_fields(self._unsubscribe, token, domain, has_post=has_post)
        if not fields:
            return message
        return structs.replace(message, body=fields.encode("ascii") + message.body)

    def _token(self, kind: TokenKind, message: Message, index: int) -> Token:
        if index == SEVERAL:
            return Token(kind, message.id, index)
        scope = message.from_domain if self._by_domain else ""
        digest = address_digest(self._keys.suppression, message.envelope.recipients[index], scope)
        return Token(kind, message.id, index, digest, self._by_domain)


def _unsubscribe_fields(wanted: Unsubscribe, token: str, domain: str, *, has_post: bool) -> str:
    """RFC 2369 and, for one click, RFC 8058, which has one field of its own: two would be none."""
    mailto = f",\r\n\t<mailto:{PERSON_PREFIX}{token}@{domain}?subject=unsubscribe>" if wanted.mailto else ""
    post = "" if has_post else "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    return f"List-Unsubscribe: <{wanted.url}/u/{token}>{mailto}\r\n{post}"
