"""What `smtp.client` tells its driver: one frozen record for each thing that may happen in a session."""

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.records import Reply
from lane_relay.smtp.extensions import Extensions

__all__ = [
    "AuthDone",
    "AuthRefused",
    "Closed",
    "Event",
    "Ready",
    "RecipientReply",
    "TlsReady",
    "TlsRefused",
    "TransactionDone",
    "Write",
]


class RecipientReply(Struct, frozen=True, gc=False):
    """What the peer said about one recipient."""

    index: int
    """In the envelope."""
    stage: Stage
    reply: Reply


class Write(Struct, frozen=True, gc=False):
    """Bytes that the machine itself has to send now."""

    chunks: tuple[bytes, ...]


class Ready(Struct, frozen=True, gc=False):
    """The greeting is over (again, after TLS): the driver chooses what comes next."""

    extensions: Extensions


class TlsReady(Struct, frozen=True, gc=False):
    """The peer is ready for the handshake; after it the driver calls `greet` and writes what it returns."""


class TlsRefused(Struct, frozen=True, gc=False):
    """STARTTLS was refused; the session goes on in plain text if the driver wants it to."""

    reply: Reply


class AuthDone(Struct, frozen=True, gc=False):
    """Authenticated."""


class AuthRefused(Struct, frozen=True, gc=False):
    """Not authenticated; the session goes on."""

    reply: Reply


class TransactionDone(Struct, frozen=True, gc=False):
    """One reply for each recipient of the transaction, in the order they were given."""

    results: tuple[RecipientReply, ...]


class Closed(Struct, frozen=True, gc=False):
    """The session is over: the driver closes the connection; a transaction without a TransactionDone was not sent.

    It failed at `stage`: its recipients in `refused` have their own reply, the others none.
    """

    stage: Stage
    reply: Reply | None = None
    """The peer's last word; None: it broke off, or broke the protocol."""
    after_dot: bool = False
    """The whole body was sent and the reply to it never came: the peer may have the message. The machine says it once
    it has given the body out; the driver takes it back where it has not written all of it (`unsent`)."""
    refused: tuple[RecipientReply, ...] = ()
    problem: str = ""
    """What the peer broke, if it did."""
    unsent: bool = False
    """The peer was to have the body, and the end of it has not left."""


Event = Write | Ready | TlsReady | TlsRefused | AuthDone | AuthRefused | TransactionDone | Closed
