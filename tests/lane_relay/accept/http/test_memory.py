"""What several large requests may hold at once, while they are parsed and composed and while the disk is slow."""

import asyncio
from base64 import b64encode
from typing import Any

from lane_relay.accept.http.room import Room
from tests.lane_relay.accept.http.conftest import Http, StartHttp, message
from tests.lane_relay.spool.making import until

LARGE = message("ann@isp.example", attachments=[{"name": "a", "content": b64encode(bytes(2**20)).decode()}])


def _answer(running: Http) -> None:
    waiting, running.spool.waiting = running.spool.waiting, []
    for one in waiting:
        one(None)


async def test_large_requests_take_turns_for_memory_and_a_small_one_does_not_wait_for_them(http: StartHttp) -> None:
    running = await http()
    listener = running.server._listener
    listener.memory_budget = 8 * 2**20
    running.spool.hold = True
    large = [asyncio.create_task(running.post(LARGE)) for _ in range(4)]
    await until(lambda: len(running.spool.waiting) == 1)
    small = asyncio.create_task(running.post())
    await until(lambda: len(running.spool.waiting) == 2)
    seen = []
    while not all(one.done() for one in (*large, small)):
        seen.append(len(running.spool.waiting))
        _answer(running)
        await asyncio.sleep(0.01)
    assert [(await one).status for one in (*large, small)] == [200] * 5
    assert seen[0] == 2
    assert max(seen[1:]) == 1, "two large ones were in work at once"
    assert listener.held_bytes == 0


async def test_a_large_request_that_others_leave_no_room_for_in_time_is_503_with_retry_after(http: StartHttp) -> None:
    running = await http()
    running.server._injector._room = Room(lambda: 4 * 2**20, wait_s=0.05)
    running.spool.hold = True
    first = asyncio.create_task(running.post(LARGE))
    await until(lambda: bool(running.spool.waiting))
    second = await running.post(LARGE)
    assert (second.status, second.body["code"], second.headers["Retry-After"]) == (503, "452 4.3.1", "5")
    _answer(running)
    assert (await first).status == 200


async def test_what_waits_for_a_slow_disk_is_bounded_and_the_first_is_always_taken(http: StartHttp) -> None:
    running = await http()
    listener = running.server._listener
    listener.memory_budget = 2**20
    running.spool.hold = True
    text: dict[str, Any] = {"text": "{{ t }}" * 10, "substitutions": {"t": "some text " * 3000}}
    sent = [asyncio.create_task(running.post(message(f"u{at}@isp.example", **text))) for at in range(10)]
    await until(lambda: len(running.spool.waiting) + sum(one.done() for one in sent) == len(sent))
    assert 1 <= len(running.spool.waiting) <= 3
    assert listener.held_bytes <= listener.memory_budget
    _answer(running)
    answers = [await one for one in sent]
    assert {one.status for one in answers} == {200, 503}
    assert all(one.body["code"] == "452 4.3.1" for one in answers if one.status == 503)
    assert (listener.held_bytes, running.server._injector._storing) == (0, 0)


async def test_a_request_larger_than_the_bound_is_taken_when_it_is_alone(http: StartHttp) -> None:
    running = await http()
    running.server._listener.memory_budget = 2 * 2**20
    assert (await running.post(LARGE)).status == 200
