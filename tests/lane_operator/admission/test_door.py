"""The webhook as the API server meets it: an AdmissionReview in, one out; what goes wrong there is in nobody's way."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp.test_utils import TestClient, TestServer

from lane_operator.admission import Door, Identity
from lane_operator.reconcile import World
from tests.lane_operator import made
from tests.lane_operator.admission.test_review import ADDRESS, asked, lane
from tests.lane_operator.made import NOW
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_pool_pass import body


async def at_once() -> None:
    """Nothing arrives."""


async def answer(world: World, review: Any, settle: Callable[[], Awaitable[None]] = at_once) -> tuple[int, Any]:
    door = Door(world, Identity(world.kube, ("lw", "hook"), "hook", lambda: NOW), settle)
    async with TestClient(TestServer(door.application())) as client:
        response = await client.post("/review", json=review)
        return response.status, await response.json() if response.status == 200 else await response.text()


async def test_a_warning_passes_and_a_refusal_names_the_field(rig: tuple[SmallApi, World]) -> None:
    broken = lane()
    broken["spec"]["replicas"] = "two"

    _, warned = await answer(rig[1], {"request": asked("SendingLane", lane())})
    _, refused = await answer(rig[1], {"request": asked("SendingLane", broken)})

    assert warned["kind"] == "AdmissionReview"
    assert warned["response"] | {"warnings": ()} == {"uid": "u", "allowed": True, "warnings": ()}
    assert any("IPPool mail/pool does not exist" in one for one in warned["response"]["warnings"])
    assert refused["response"]["allowed"] is False
    assert refused["response"]["status"]["code"] == 422
    assert "spec.replicas" in refused["response"]["status"]["message"]


async def test_what_is_applied_together_is_not_missed(rig: tuple[SmallApi, World]) -> None:
    world = dataclasses.replace(rig[1], served=frozenset({"mail"}))

    async def arrives() -> None:
        world.cache.put("IPPool", body("IPPool", "pool", made.pool(addresses=[ADDRESS]).spec, resourceVersion="9"))

    _, said = await answer(world, {"request": asked("SendingLane", lane())}, arrives)

    assert said["response"] == {"uid": "u", "allowed": True}


class Turns(Identity):
    """A certificate that is shown already; who looked, and as what."""

    def __init__(self, world: World) -> None:
        super().__init__(world.kube, ("lw", "hook"), "hook", lambda: NOW)
        self.seen: asyncio.Queue[bool] = asyncio.Queue()
        self.is_shown = True

    async def turn(self, *, leads: bool) -> None:
        self.seen.put_nowait(leads)


async def test_who_comes_to_lead_looks_after_the_certificate_at_once(rig: tuple[SmallApi, World]) -> None:
    identity, leading = Turns(rig[1]), asyncio.Event()
    serving = asyncio.create_task(Door(rig[1], identity).serve("127.0.0.1", 0, leading))
    async with asyncio.timeout(60):
        assert not await identity.seen.get()
        leading.set()
        assert await identity.seen.get()
    serving.cancel()


async def test_what_cannot_be_judged_is_let_through(rig: tuple[SmallApi, World]) -> None:
    status, said = await answer(
        rig[1], {"request": {"uid": "u", "kind": {"kind": "Pod"}, "object": {"metadata": {}, "spec": 1}}}
    )

    assert (status, said["response"]) == (200, {"uid": "u", "allowed": True})


async def test_what_is_no_review_is_refused(rig: tuple[SmallApi, World]) -> None:
    assert (await answer(rig[1], {"hello": 1}))[0] == 400
    assert (await answer(rig[1], [1]))[0] == 400
