"""Bounces on their way to a webhook: kept over a kill, told in their order, bounded."""

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lane_relay.clock import Clock
from lane_relay.feedback.outbox import Outbox, OutboxError


class Hook:
    """An endpoint that answers as the test says and tells when so many have come."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.posts: list[tuple[Any, bytes]] = []
        self.status = 204
        self.refused: dict[int, int] = {}
        """Answers by the event's number, instead of `status`."""
        self.wanted = 1
        self.came = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.posts.append((request.headers.copy(), await request.read()))
        event = await request.json()
        self.seen.append(event)
        if len(self.seen) >= self.wanted:
            self.came.set()
        return web.Response(status=self.refused.get(event.get("number", -1), self.status))


@pytest.fixture
async def hook() -> AsyncIterator[tuple[Hook, str]]:
    made = Hook()
    application = web.Application()
    application.router.add_post("/bounces", made.take)
    server = TestServer(application)
    await server.start_server()
    yield made, str(server.make_url("/bounces"))
    await server.close()


async def told(box: Outbox, hook: Hook, wanted: int) -> None:
    """Runs the courier until so many have come, nothing waits, and nothing is said of what waited."""
    hook.wanted = wanted
    courier = asyncio.create_task(box.run())
    async with asyncio.timeout(60):
        await hook.came.wait()
        while box.waiting or box.failure:  # noqa: ASYNC110 -- the courier tells nobody that it is done
            await asyncio.sleep(0.01)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


async def test_what_was_put_before_a_kill_is_told_in_its_order_after_it(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    endpoint, url = hook
    before = Outbox(tmp_path)
    for number in range(3):
        await before.put(url, {"number": number})
    after = Outbox(tmp_path)
    await told(after, endpoint, 3)
    assert [event["number"] for event in endpoint.seen] == [0, 1, 2]
    assert list(tmp_path.glob("*.json")) == []
    await after.put(url, {"number": 3})
    endpoint.came.clear()
    await told(after, endpoint, 4)
    assert after.told == 4


@pytest.mark.parametrize("damaged", [b"{", b'{"url":"\xff"}', b'{"x":' + b"[" * 99_999])
async def test_a_damaged_file_stops_nobody_else(tmp_path: Path, hook: tuple[Hook, str], damaged: bytes) -> None:
    endpoint, url = hook
    box = Outbox(tmp_path)
    await box.put(url, {"number": 0})
    await box.put(url, {"number": 1})
    (tmp_path / f"{1:016d}.json").write_bytes(damaged)
    await told(Outbox(tmp_path), endpoint, 1)
    assert [event["number"] for event in endpoint.seen] == [1]


async def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    box = Outbox(tmp_path, most=2)
    for number in range(4):
        await box.put("http://unused.test", {"number": number})
    assert (box.waiting, box.dropped) == (2, 2)
    assert [path.stem for path in sorted(tmp_path.glob("*.json"))] == [f"{3:016d}", f"{4:016d}"]


async def test_a_volume_that_takes_nothing_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutboxError, match="cannot be kept"):
        await Outbox(tmp_path / "file").put("http://unused.test", {})


async def test_bounces_that_come_side_by_side_are_all_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, real = threading.Barrier(2), Path.glob

    def glob(folder: Path, pattern: str) -> list[Path]:
        """Lets another thread look as well before either goes on, if there is one that may."""
        found = list(real(folder, pattern))
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return found

    monkeypatch.setattr(Path, "glob", glob)
    box = Outbox(tmp_path)
    await asyncio.gather(*[box.put("http://unused.test", {"number": number}) for number in range(2)])
    monkeypatch.undo()
    kept = [json.loads(path.read_bytes())["event"]["number"] for path in tmp_path.glob("*.json")]
    assert sorted(kept) == [0, 1]
    assert box.waiting == 2


async def test_an_endpoint_that_fails_holds_up_no_other(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    endpoint, url = hook
    box = Outbox(tmp_path)
    for number in range(2):
        await box.put("http://127.0.0.1:1/", {"number": number})
        await box.put(url, {"number": number})
    async with aiohttp.ClientSession() as client:
        assert not await box.tell_all(client)
    assert [event["number"] for event in endpoint.seen] == [0, 1]
    assert (box.failures, box.told, box.waiting) == (1, 2, 2)


async def test_what_a_former_life_left_is_known_before_it_is_told(tmp_path: Path) -> None:
    before = Outbox(tmp_path / "outbox")
    await before.put("http://127.0.0.1:1/", {"id": "1"})
    assert Outbox(tmp_path / "outbox").waiting == 1
    assert Outbox(tmp_path / "none").waiting == 0


async def test_why_bounces_wait_is_said_until_they_are_told(tmp_path: Path) -> None:
    kept = Outbox(tmp_path / "outbox")
    await kept.put("http://127.0.0.1:1/", {"id": "1"})
    courier = asyncio.create_task(kept.run())
    async with asyncio.timeout(60):
        while not kept.failure:  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    assert kept.failure == "127.0.0.1 does not answer: ClientConnectorError"
    assert kept.waiting == 1


async def test_a_reason_why_bounces_wait_goes_with_them(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    endpoint, url = hook
    kept = Outbox(tmp_path / "outbox")
    await kept.put(url, {"id": "1"})
    kept.failure = "127.0.0.1 answers 503"
    await told(kept, endpoint, 1)
    assert kept.failure == ""


class Time:
    """A clock that the test moves on."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 -- as above
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422])
async def test_a_bounce_that_is_refused_holds_up_none_behind_it(
    tmp_path: Path, hook: tuple[Hook, str], status: int
) -> None:
    endpoint, url = hook
    endpoint.refused = {0: status}
    box = Outbox(tmp_path)
    for number in range(3):
        await box.put(url, {"number": number})
    courier = asyncio.create_task(box.run())
    await until(lambda: box.told == 2)
    await box.put(url, {"number": 3})
    await until(lambda: (box.told, box.waiting) == (3, 1))
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)
    assert [event["number"] for event in endpoint.seen] == [0, 1, 2, 3]
    assert (box.failures, box.refused) == (1, 0)
    assert box.failure == f"127.0.0.1 refuses 1 of them: answers {status}"


async def test_what_was_refused_by_mistake_is_told_later(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    endpoint, url = hook
    endpoint.refused, time = {0: 404}, Time()
    box = Outbox(tmp_path, clock=time.clock)
    await box.put(url, {"number": 0})
    courier = asyncio.create_task(box.run())
    await until(lambda: "refuses" in box.failure)
    endpoint.refused = {}
    time.now += 61
    await box.put(url, {"number": 1})
    await until(lambda: (box.told, box.waiting, box.failure) == (2, 0, ""))  # told before its file goes
    courier.cancel()
    await asyncio.gather(courier, return_exceptions=True)


async def test_what_is_refused_for_a_day_is_given_up_and_counted(tmp_path: Path, hook: tuple[Hook, str]) -> None:
    endpoint, url = hook
    endpoint.refused, time = {0: 400}, Time()
    await Outbox(tmp_path, clock=time.clock).put(url, {"number": 0})
    box = Outbox(tmp_path, clock=time.clock)
    tries = 0
    async with aiohttp.ClientSession() as client:
        while box.waiting:
            await box.tell_all(client)
            tries += 1
            assert len(endpoint.seen) == tries
            time.now += 6 * 3600
    assert (box.refused, box.told, tries) == (1, 0, 5)
    assert time.now - 1_790_000_000.0 > 24 * 3600
    assert list(tmp_path.glob("*.json")) == []
    assert box.failure == ""


async def test_a_bounce_that_is_old_after_a_restart_is_refused_five_times_before_it_is_given_up(
    tmp_path: Path, hook: tuple[Hook, str]
) -> None:
    endpoint, url = hook
    endpoint.refused, time = {0: 400}, Time()
    await Outbox(tmp_path, clock=time.clock).put(url, {"number": 0})
    time.now += 3 * 24 * 3600
    box, counts = Outbox(tmp_path, clock=time.clock), []
    async with aiohttp.ClientSession() as client:
        for _ in range(5):
            await box.tell_all(client)
            counts.append((len(endpoint.seen), box.waiting, box.refused))
            time.now += 6 * 3600
    assert counts == [(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 1, 0), (5, 0, 1)]


@pytest.mark.parametrize("status", [302, 401, 403, 408, 429, 500, 503])
async def test_an_answer_that_is_about_no_single_bounce_has_all_of_them_wait(
    tmp_path: Path, hook: tuple[Hook, str], status: int
) -> None:
    endpoint, url = hook
    endpoint.status = status
    box = Outbox(tmp_path)
    for number in range(2):
        await box.put(url, {"number": number})
    async with aiohttp.ClientSession() as client:
        await box.tell_all(client)
    assert [event["number"] for event in endpoint.seen] == [0]
    assert (box.waiting, box.failure) == (2, f"127.0.0.1 answers {status}")


def signed_by(key: bytes, post: tuple[Any, bytes]) -> bool:
    """As a receiver checks it, by what docs/records.md says."""
    header, body = post
    stamp = header["Lanewright-Timestamp"]
    expected = hmac.new(key, f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return (stamp, header["Lanewright-Signature"]) == ("1790000000", f"sha256={expected}")


async def test_a_bounce_is_signed_with_the_key_that_is_there_and_told_to_nobody_without(
    tmp_path: Path, hook: tuple[Hook, str]
) -> None:
    endpoint, url = hook
    box, key = Outbox(tmp_path / "outbox", clock=Time().clock), tmp_path / "webhook.key"
    box.key_file = str(key)
    await box.put(url, {"number": 0, "recipient": "ann@isp.test"})
    async with aiohttp.ClientSession() as client:
        for content in (None, b"\n"):
            if content is not None:
                key.write_bytes(content)
            assert not await box.tell_all(client)
            assert (endpoint.posts, box.waiting, box.refused) == ([], 1, 0)
            assert box.failure == f"127.0.0.1 is told nothing: {key} has no key"
        for content in (b"first" * 8, b"second" * 8 + b"\n"):
            key.write_bytes(content)
            await box.tell_all(client)
            assert signed_by(content.strip(), endpoint.posts[-1])
            assert endpoint.posts[-1][0]["Content-Type"] == "application/json"
            await box.put(url, {"number": 1})
    assert not signed_by(b"first" * 8, endpoint.posts[-1])
    assert endpoint.seen[0] == {"number": 0, "recipient": "ann@isp.test"}
