"""What a session needs to know besides where to go, and what follows from it; `opening` makes it.

Before it: configuration, routes. After it: `session`.
"""

import ssl
from collections.abc import Mapping
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from lane_api.isppolicy import Stage
from lane_relay.deliver.resumption import Kept, Resumption
from lane_relay.deliver.tls import Check, TlsContexts, TlsPlan, examine
from lane_relay.records import Message, TlsResult
from lane_relay.smtp.client import REPLY_TIMEOUTS
from lane_relay.socks.tunnel import Door

__all__ = ["ReturnPaths", "SessionSettings", "Timeouts"]


class Timeouts(Struct, frozen=True):
    """Seconds."""

    connect: float = 30.0
    """RFC 5321 names none; Postfix takes 30 s, and a host that needs longer has lost its SYNs."""
    tls: float = 60.0
    stages: Mapping[Stage, float] = REPLY_TIMEOUTS
    """RFC 5321 section 4.5.3.2; for the answer to a message from when the last of it has left."""
    write: float = 180.0
    """For the peer to take some more of a message (`uptake`), the same section's item 5."""
    idle: float = 25.0
    """An idle connection is kept so long for the next entry, which would pay four round trips for a new one; peers wait
    5 minutes for a command (RFC 5321 section 4.5.3.2.7), and Comcast 30 s."""
    pressed: float = 20.0
    """For opening, or for the answers before a message's end, while others wait for a place: their mail must not wait
    for hosts that say nothing. Most servers greet within 10 s, also those that delay it against spam."""
    quit: float = 5.0
    """For the answer to QUIT, and again for the peer to close."""


class ReturnPaths(Protocol):
    """Who makes the envelope senders that mail leaves with; `feedback`."""

    @property
    def rewrites(self) -> bool:
        """Each recipient goes in a transaction of its own."""

    def sender(self, message: Message, recipients: tuple[int, ...]) -> str | None:
        """The envelope sender of a transaction for these recipients; None: the message's own."""


class SessionSettings(Struct, frozen=True):
    """What a session needs to know besides where to go."""

    hostname: str
    source: str
    """Empty: not bound."""
    tls: TlsPlan
    credentials: tuple[str, str] | None
    contexts: TlsContexts
    timeouts: Timeouts
    resumption: Resumption
    same_for: tuple[object, ...]
    """Under which a TLS session is kept."""
    kept: Kept | None
    """The session to be offered."""
    return_paths: ReturnPaths | None = None
    """Absent: the message's own envelope sender goes out."""
    door: Door | None = None
    """The proxy that the connection leaves through; absent: none."""
    way: str = ""
    """What the connection leaves by, to be compared: the address that is bound, or the proxy; empty: neither."""

    @property
    def context(self) -> ssl.SSLContext:
        """Whose rules the handshake follows."""
        if self.tls.check is not Check.PKIX:
            return self.contexts.unchecked
        return self.contexts.checked if self.tls.demand is None else self.contexts.named

    def examine(self, ssl_object: Any, host: str, now: float) -> tuple[TlsResult, str]:
        """What was negotiated, and why it may not be used, if so; `now` is Unix time."""
        if self.kept is not None and ssl_object.session_reused:
            return replace(self.kept.result, resumed=True), ""
        return examine(ssl_object, self.tls, self.contexts.authorities, host, now)
