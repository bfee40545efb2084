"""A running HTTP listener over a spool that is a list."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from lane_api.relayconfig import Delivery
from lane_relay.accept.http.ledger import Ledger
from lane_relay.accept.http.server import HttpServer
from lane_relay.clock import SYSTEM_CLOCK, Clock
from tests.lane_relay.accept.conftest import Spool, Start, make_config
from tests.lane_relay.accept.http.client import Answered, post

HEADERS = {"Content-Type": "application/json"}


def message(*recipients: Any, **more: Any) -> dict[str, Any]:
    plain = {"from": "app@notify.example.com", "recipients": list(recipients) or ["ann@isp.example"], "text": "hello"}
    return {key: value for key, value in {**plain, **more}.items() if value is not None}


class Http:
    """A running server, and a client of it."""

    def __init__(self, server: HttpServer, spool: Spool, kept: "Kept") -> None:
        self.server = server
        self.spool = spool
        self.kept = kept

    async def post(self, body: Any = None, **more: Any) -> Answered:
        more.setdefault("headers", HEADERS)
        return await asyncio.to_thread(post, self.server.ports[0], message() if body is None else body, **more)


class Kept:
    """Counts who asked the spool to keep what it stores, and who let go."""

    def __init__(self) -> None:
        self.asked = self.released = 0

    def keep(self) -> Callable[[], None]:
        self.asked += 1
        return self._release

    def _release(self) -> None:
        self.released += 1


StartHttp = Callable[..., Awaitable[Http]]


@pytest.fixture
async def http(start: Start, spool: Spool, tmp_path: Path) -> AsyncIterator[StartHttp]:
    made: list[tuple[HttpServer, Ledger]] = []

    async def start_one(
        *,
        clock: Clock = SYSTEM_CLOCK,
        http: dict[str, Any] | None = None,
        delivery: Any = None,
        body_within_s: float = 120.0,
        **intake: Any,
    ) -> Http:
        listen = {"host": "127.0.0.1", "port": 0, "plain": True, **(http or {})}
        intake = {"clients": ["127.0.0.0/8"], "senders": ["@notify.example.com"], "http": listen, **intake}
        config = make_config(**intake).model_copy(update={"delivery": delivery or Delivery()})
        listener = await start(config, clock=clock)
        ledger = Ledger(tmp_path / "keys", spool_bytes=2**30, now=clock.now)
        ledger.resolve(lambda _: False)
        kept = Kept()
        server = HttpServer(config, listener, ledger, kept.keep, body_within_s=body_within_s)
        running = Http(server, spool, kept)
        await server.start()
        made.append((server, ledger))
        return running

    yield start_one
    for server, ledger in made:
        await server.stop(1.0)
        ledger.close()
