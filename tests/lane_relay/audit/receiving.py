"""A receiver of the webhook: a real one, that answers as a test says, and the books that it should keep."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Receiver:
    """Answers as the test says, and keeps what it took."""

    def __init__(self) -> None:
        self.status = 200
        self.headers: dict[str, str] = {}
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.batches: list[dict[str, Any]] = []
        self.stalled: asyncio.Event | None = None
        self.asked = asyncio.Event()
        """A request has come, taken or not."""
        self.largest = 2**30
        self.port = 0

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests.append((dict(request.headers), body))
        self.asked.set()
        if self.stalled is not None:
            await self.stalled.wait()
        if len(body) > self.largest:
            return web.Response(status=413, text="smaller, please")
        if self.status == 200:
            self.batches.append(json.loads(body))
        return web.Response(status=self.status, headers=self.headers, text="" if self.status == 200 else "not now")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/records"

    @property
    def numbers(self) -> list[int]:
        """Of all records that were taken, as they came."""
        return [record["seq"] for batch in self.batches for record in batch["records"]]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """One that listens."""
    made = Receiver()
    application = web.Application(client_max_size=2**26)
    application.router.add_post("/records", made.take)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.port = runner.addresses[0][1]
    yield made
    if made.stalled is not None:
        made.stalled.set()
    await runner.cleanup()


class Books:
    """As docs/records.md says: what comes up to the last number of its slot and journal is old."""

    def __init__(self) -> None:
        self.last: dict[tuple[str, str, str], int] = {}

    def read(self, batches: list[dict[str, Any]]) -> list[int]:
        """Numbers of the records that it takes for new, of these batches."""
        taken = []
        for batch in batches:
            book = (batch["lane"], batch["slot"], batch["journal"])
            taken += [one["seq"] for one in batch["records"] if one["seq"] > self.last.get(book, 0)]
            self.last[book] = max(self.last.get(book, 0), batch["last_seq"])
        return taken
