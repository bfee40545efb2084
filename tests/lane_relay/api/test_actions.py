"""Orders over the admin API: given, listed, revoked, and refused in words that name the fix."""

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lane_relay.api import actions
from tests.lane_relay.api.test_server import Client, RecordedSlot, served
from tests.lane_relay.orders.keeping import Rig

ORDER = {
    "action": "suspend",
    "queue": "example.com",
    "owner": "jane",
    "reason": "their postmaster asks",
    "expiresIn": "2h",
}


@pytest.fixture
async def rig() -> Rig:
    return Rig()


@pytest.fixture
async def client(tmp_path: Path, rig: Rig) -> AsyncIterator[Client]:
    async with served(tmp_path, RecordedSlot(), actions.operations(rig.keeper, rig.waiting)) as made:
        yield made


def _body(**said: Any) -> bytes:
    return json.dumps(ORDER | said).encode()


async def test_an_order_is_given_listed_and_revoked(client: Client) -> None:
    status, given = await client.ask("POST", "/v1/actions", _body())
    (order,) = given["actions"]
    assert status == 201
    created, expires = (datetime.fromisoformat(order[name]) for name in ("created", "expires"))
    assert expires - created == timedelta(hours=2)
    assert order | {"action": "suspend", "queue": "example.com", "owner": "jane", "state": "standing"} == order
    assert order["note"].startswith("nothing that waits here is chosen by this queue")
    assert await client.ask("GET", "/v1/actions") == (200, {"actions": [order | {"note": ""}]})

    status, revoked = await client.ask("DELETE", f"/v1/actions/{order['id']}?owner=joe&reason=done")
    assert (status, revoked["id"]) == (200, order["id"])
    assert await client.ask("GET", "/v1/actions") == (200, {"actions": []})


@pytest.mark.parametrize(
    ("body", "fix"),
    [
        (b"{", "an order looks like"),
        (b"[]", "an order looks like"),
        (_body(reason=""), "reason"),
        (_body(campaign="x"), "exactly one of queue"),
    ],
)
async def test_a_bad_order_is_refused(client: Client, body: bytes, fix: str) -> None:
    status, said = await client.ask("POST", "/v1/actions", body)
    assert status == 422
    assert fix in said["error"]


async def test_what_does_not_stand_cannot_be_ended(client: Client) -> None:
    assert (await client.ask("POST", "/v1/actions", _body(action="resume")))[0] == 409
    assert (await client.ask("DELETE", "/v1/actions/nope?owner=joe&reason=done"))[0] == 404
    status, said = await client.ask("DELETE", "/v1/actions/nope")
    assert (status, "owner=" in said["error"]) == (422, True)


async def test_an_order_that_cannot_be_kept_is_not_said_to_stand(client: Client, rig: Rig) -> None:
    rig.spool.fail("fsync failed")
    status, said = await client.ask("POST", "/v1/actions", _body())
    assert (status, "could not be kept" in said["error"]) == (503, True)


async def test_the_requests_are_named_where_there_is_none(client: Client) -> None:
    status, said = await client.ask("GET", "/v1/nothing")
    assert (status, "DELETE /v1/actions/{order}" in said["error"]) == (404, True)
