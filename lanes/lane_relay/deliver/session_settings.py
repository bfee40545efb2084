"""What a session needs to know besides where to go: values that `opening` gives it.

Before it: configuration, routes. After it: `session`.
"""

from collections.abc import Mapping

from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_relay.deliver.tls import TlsContexts, TlsPlan
from lane_relay.smtp.client import REPLY_TIMEOUTS

__all__ = ["SessionSettings", "Timeouts"]


class Timeouts(Struct, frozen=True):
    """Seconds."""

    connect: float = 30.0
    """RFC 5321 names none; Postfix takes 30 s, and a host that needs longer has lost its SYNs."""
    tls: float = 60.0
    stages: Mapping[Stage, float] = REPLY_TIMEOUTS
    """RFC 5321 section 4.5.3.2."""
    idle: float = 25.0
    """An idle connection is kept so long for the next entry, which would pay four round trips for a new one; peers wait
    5 minutes for a command (RFC 5321 section 4.5.3.2.7), and Comcast 30 s."""
    quit: float = 5.0
    """For the answer to QUIT, and again for the peer to close."""


class SessionSettings(Struct, frozen=True):
    """What a session needs to know besides where to go."""

    hostname: str
    source: str
    """Empty: not bound."""
    tls: TlsPlan
    credentials: tuple[str, str] | None
    contexts: TlsContexts
    timeouts: Timeouts
