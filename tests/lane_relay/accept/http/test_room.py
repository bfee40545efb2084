"""What large requests take of memory beside their bodies, and that they take turns for it."""

import asyncio
import json
import time
import tracemalloc
from base64 import b64encode, encodebytes

import pytest

from lane_relay.accept.http.letters import Letters
from lane_relay.accept.http.reading import Read, read_request
from lane_relay.accept.http.room import Room, cost_of
from lane_relay.accept.message import Origin
from lane_relay.accept.policy import Policy
from lane_relay.records import Message
from lane_relay.smtp.address import Mailbox, parse_mailbox
from tests.lane_relay.accept.conftest import make_config
from tests.lane_relay.spool.making import until

SIZE = 2**20
PLAIN = {"from": "app@notify.example.com", "recipients": ["ann@isp.example"]}
FILE = bytes(range(256)) * (SIZE * 3 // 4 // 256)


def _body(*, escaped: bool = True, **more: object) -> bytes:
    plain = {"recipients": ["ann@isp.example"]} if "raw" in more else PLAIN
    return json.dumps(plain | more, ensure_ascii=escaped).encode()


BODIES = {
    "attachment": _body(text="x", attachments=[{"name": "a", "content": b64encode(FILE).decode()}]),
    "attachment in lines": _body(text="x", attachments=[{"name": "a", "content": encodebytes(FILE).decode()}]),
    "raw": _body(raw=b64encode(b"From: app@notify.example.com\n\n" + b"hello\n" * (SIZE // 8)).decode()),
    "one wide character": _body(escaped=False, text="\U0001f600" + "hello world\n" * (SIZE // 12)),
    "many of two bytes": _body(escaped=False, text="éa" * (SIZE // 3)),
    "escaped": _body(text="\U0001f600" * (SIZE // 12)),
    "quotes": _body(html='"a,b" ' * (SIZE // 8)),
    "empty lines": _body(text="\n" * (SIZE // 2)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_what_is_made_of_a_request_stays_within_its_cost(kind: str) -> None:
    body = BODIES[kind]
    policy = Policy(make_config(senders=["@notify.example.com"]))
    recipient = parse_mailbox("ann@isp.example")
    assert isinstance(recipient, Mailbox)
    tracemalloc.start()
    try:
        found = read_request(body, 10)
        assert isinstance(found, Read)
        origin = Origin("out1.example.com", "192.0.2.1", "", "", "HTTP")
        letters = Letters(found.request, policy, origin, max_size=4 * SIZE, boundary="b")
        assert letters.refusal(time.time()) is None
        assert isinstance(letters.make(0, recipient, 7, time.time()), Message)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= cost_of(body), f"{peak / len(body):.1f} times the body"


def test_a_small_body_needs_no_share() -> None:
    assert cost_of(b"x" * 2**16) == 0
    assert cost_of(b"x" * (2**16 + 1)) > 2**16


async def test_who_does_not_fit_waits_and_who_fits_does_not() -> None:
    room = Room(lambda: 100)
    order: list[str] = []
    done = {name: asyncio.Event() for name in ("large", "another", "little")}

    async def one(name: str, cost: int) -> None:
        async with room.share(cost) as has_room:
            assert has_room
            order.append(name)
            await done[name].wait()

    async with asyncio.TaskGroup() as tasks:
        for name, cost in (("large", 500), ("another", 500), ("little", 25)):
            tasks.create_task(one(name, cost))
        await until(lambda: len(order) == 2)
        assert order == ["large", "little"]
        assert room.taken == 100
        done["large"].set()
        await until(lambda: len(order) == 3)
        for event in done.values():
            event.set()
    assert room.taken == 0


async def test_who_waits_for_too_long_is_told_and_leaves_nothing_behind() -> None:
    room = Room(lambda: 100, wait_s=0.01)
    async with room.share(75):
        async with room.share(75) as has_room:
            assert not has_room
        waits = asyncio.create_task(room.share(75).__aenter__())
        await asyncio.sleep(0)
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)
    assert room.taken == 0
    async with room.share(75) as has_room:
        assert has_room
