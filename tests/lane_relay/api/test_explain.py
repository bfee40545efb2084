"""`/v1/explain` and `/v1/queues` over the real server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest

from lane_relay.api import explain
from tests.lane_relay.api.test_server import Client, RecordedSlot, served

MESSAGE: dict[str, Any] = {"id": "0" * 24, "receivedAt": "2026-11-28T10:00:00Z", "queued": [], "last": None}
DOMAIN: dict[str, Any] = {"domain": "isp.test", "queued": {}, "entries": [], "lookingUp": True}
SITE: dict[str, Any] = {"site": "gmail", "policy": "gmail", "limits": []}


class RecordedExplainer:
    """One message, one domain, one site; it notes the pages that were asked for."""

    def __init__(self) -> None:
        self.broken = False
        self.pages: list[tuple[str, int, int]] = []

    async def message(self, name: str) -> list[dict[str, Any]]:
        if self.broken:
            raise OSError(5, "Input/output error")
        return [MESSAGE] if name == "<1@brand.test>" else []

    async def domain(self, name: str) -> dict[str, Any] | None:
        return DOMAIN if name == "isp.test" else None

    def site(self, name: str) -> dict[str, Any] | None:
        return SITE if name == "gmail" else None

    async def queues(self, by: Literal["domain", "campaign"], first: int, most: int) -> dict[str, Any]:
        self.pages.append((by, first, most))
        return {"by": by, "total": 0, "queues": [], "next": None}


@pytest.fixture
def known() -> RecordedExplainer:
    return RecordedExplainer()


@pytest.fixture
async def client(known: RecordedExplainer, tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path, RecordedSlot(), explain.operations(known)) as made:
        yield made


async def test_one_thing_is_explained_at_a_time(client: Client) -> None:
    assert await client.ask("GET", "/v1/explain?message=%3C1@brand.test%3E") == (
        200,
        {"messages": [MESSAGE]},
    )
    assert await client.ask("GET", "/v1/explain?domain=isp.test") == (200, DOMAIN)
    assert await client.ask("GET", "/v1/explain?site=gmail") == (200, SITE)
    for query in ("", "?message=", "?domain=isp.test&site=gmail"):
        status, said = await client.ask("GET", f"/v1/explain{query}")
        assert (status, "give one of" in said["error"]) == (422, True)


async def test_what_is_not_known_says_where_to_look(client: Client, known: RecordedExplainer) -> None:
    for query, where in (("message=x", "its archive"), ("domain=x.test", "no mail domain"), ("site=x", "/v1/sites")):
        status, said = await client.ask("GET", f"/v1/explain?{query}")
        assert (status, where in said["error"]) == (404, True)
    known.broken = True
    assert (await client.ask("GET", "/v1/explain?message=x"))[0] == 503


async def test_queues_come_in_pages_of_a_bounded_size(client: Client, known: RecordedExplainer) -> None:
    for query in ("", "?by=campaign&first=200&limit=5", "?limit=1000"):
        assert (await client.ask("GET", f"/v1/queues{query}"))[0] == 200
    assert known.pages == [("domain", 0, 100), ("campaign", 200, 5), ("domain", 0, 1000)]
    for query in ("?by=size", "?first=-1", "?limit=x", "?limit=0", "?limit=1001", "?page=2", "?limit=1&limit=2"):
        assert (await client.ask("GET", f"/v1/queues{query}"))[0] == 422
