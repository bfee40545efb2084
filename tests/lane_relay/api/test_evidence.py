"""`/v1/trace` and `/v1/heads` over the real server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from lane_relay.api import evidence
from tests.lane_relay.api.test_server import Client, RecordedSlot, served


class RecordedEvidence:
    """One message and three heads."""

    broken = False

    async def trace(self, name: str, recipient: str) -> list[dict[str, Any]]:
        if self.broken:
            raise OSError(5, "Input/output error")
        return [{"type": "Delivery", "message_id": name}] if name == "<1@brand.test>" else []

    async def heads(self, after: int, most: int) -> list[str]:
        if self.broken:
            raise OSError(5, "Input/output error")
        return [f"head {number}" for number in range(after + 1, 4)]


@pytest.fixture
def kept() -> RecordedEvidence:
    return RecordedEvidence()


@pytest.fixture
async def client(kept: RecordedEvidence, tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path, RecordedSlot(), evidence.operations(kept)) as made:
        yield made


async def test_a_messages_life_is_told_by_its_names_or_its_recipient(client: Client, kept: RecordedEvidence) -> None:
    found = {"records": [{"type": "Delivery", "message_id": "<1@brand.test>"}]}
    assert await client.ask("GET", "/v1/trace?id=%3C1@brand.test%3E") == (200, found)
    assert await client.ask("GET", "/v1/trace?id=other") == (
        404,
        {"error": "no record of it on this slot's volume: look in the lane's other slots and its archive"},
    )
    assert (await client.ask("GET", "/v1/trace"))[0] == 422
    kept.broken = True
    assert (await client.ask("GET", "/v1/trace?recipient=ann@isp.test"))[0] == 503


async def test_heads_are_given_from_the_last_one_that_was_kept(client: Client, kept: RecordedEvidence) -> None:
    assert await client.ask("GET", "/v1/heads?after=1") == (200, {"heads": ["head 2", "head 3"]})
    assert (await client.ask("GET", "/v1/heads?after=x"))[0] == 422
    kept.broken = True
    assert (await client.ask("GET", "/v1/heads"))[0] == 503
