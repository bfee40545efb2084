"""TLS sessions of earlier connections, offered again: no certificate is sent, and none has to be verified anew.

asyncio and uvloop have no argument for a session; both make the TLS object by `SSLContext.wrap_bio`, which has one, in
the context of the task that began the handshake. So a context variable of that task carries the session.
What it saves a connection: `bench/tls_resumption.py`. Before it: `opening`. After it: `session`.
Invariant: a session is offered only where the same would be asked of the same peer, and for an hour at most, so that a
certificate that has ended or changed is seen by then.
"""

import ssl
from contextvars import ContextVar
from typing import Any, Final, cast

from msgspec import Struct

from lane_relay.records import TlsResult

__all__ = ["Kept", "ResumingContext", "Resumption", "offer"]

_KEEP_S: Final = 3600.0
"""As Postfix keeps them (smtp_tls_session_cache_timeout); servers' own tickets live from an hour to a week."""
_MAX_KEPT: Final = 1000
"""Some 5 kB each, the peer's certificates included; the one kept first is the first to go."""


class Kept(Struct, frozen=True):
    """A session, and what its first handshake came to."""

    session: ssl.SSLSession
    result: TlsResult


_offered: ContextVar[ssl.SSLSession | None] = ContextVar("offered", default=None)


def offer(kept: Kept | None) -> None:
    """What the next handshake of this task goes on with; None: a full one."""
    _offered.set(kept.session if kept is not None else None)


class ResumingContext(ssl.SSLContext):
    """A context whose connections go on with the session that their task offers."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See SSLContext."""
        return super().wrap_bio(incoming, outgoing, server_side, server_hostname, session or _offered.get())


class Resumption:
    """The sessions of one slot, by address and by all that is asked of the peer (`TlsPlan.same_for`)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], tuple[Kept | None, float]] = {}
        """Key -> session, and until when; None: the peer breaks off when one is offered."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: tuple[object, ...], now: float) -> Kept | None:
        """The session to be offered; `now` is monotonic."""
        found = self._kept.get(key)
        return found[0] if found is not None and now < found[1] else None

    def keep(self, key: tuple[object, ...], ssl_object: Any, result: TlsResult, now: float) -> None:
        """Takes down the session of a connection that is good for use; a resumed one lives no longer than its first."""
        session = cast("ssl.SSLSession | None", ssl_object.session)
        if session is None or not (session.has_ticket or session.id):
            return
        before = self._kept.get(key)
        if before is not None and before[0] is None and now < before[1]:
            return
        self._keep(key, Kept(session, result), before[1] if before is not None and result.resumed else now + _KEEP_S)

    def give_up(self, key: tuple[object, ...], now: float) -> None:
        """The handshake that offered it has failed: this peer gets full ones for as long as a session would live."""
        self._keep(key, None, now + _KEEP_S)

    def _keep(self, key: tuple[object, ...], kept: Kept | None, until: float) -> None:
        if key not in self._kept and len(self._kept) >= _MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[key] = kept, until
