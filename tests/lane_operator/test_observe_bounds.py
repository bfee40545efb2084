"""What a slot can cost whoever asks it: whoever runs in a lane's pod may answer anything."""

import asyncio
import datetime as dt
import gzip
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from lane_operator import credentials
from lane_operator.inputs import SlotObservation
from lane_operator.observe import Observer, Target
from lane_operator.packed import Packed
from lane_operator.slot_answers import LONGEST, MOST_PARTS, answered
from tests.lane_operator.test_observe import LANE, SERVER_NAME, Rig, Slot
from tests.lane_operator.test_observe import rig as rig

MIB = 1 << 20
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def visited(folder: Path, handler: Handler) -> AsyncIterator[SlotObservation]:
    """What was seen of a slot that answers so, after its first visit."""
    now = dt.datetime.now(dt.UTC)
    ca = credentials.make_ca("mail/otp", now)
    leaf = credentials.make_leaf(ca, (SERVER_NAME,), now)
    (folder / "pair.pem").write_bytes(leaf.certificate + leaf.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pair.pem")
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    woken = asyncio.Event()
    observer = Observer(lambda _: woken.set())
    async with asyncio.timeout(60):
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        target = Target(
            lane=LANE,
            slot="otp-0",
            host="127.0.0.1",
            port=runner.addresses[0][1],
            server_name=SERVER_NAME,
            authority=ca.certificate.decode(),
            token="sesame",
            config="7",
            config_digest="d7",
            serial=70,
            generation=1,
            intake="Open",
            interval_s=60.0,
        )
        observer.aim(LANE, (target,))
        await woken.wait()
        seen = observer.seen(LANE, "otp-0")
        assert seen is not None
        yield seen
        await observer.close()
        await runner.cleanup()


async def test_an_answer_is_no_larger_here_than_on_the_wire(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * (256 * MIB), 1)
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.headers["Accept-Encoding"])
        return web.Response(body=bomb, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})

    tracemalloc.start()
    try:
        async with visited(tmp_path, answer) as seen:
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert not seen.reachable
    assert asked == ["identity"]
    assert peak < 32 * MIB


async def test_an_answer_without_end_is_left_at_the_length_that_no_slots_has(tmp_path: Path) -> None:
    sent = 0

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b" " * 65_536)
                sent += 65_536
        return response

    async with visited(tmp_path, answer) as seen:
        assert not seen.reachable
    assert sent < 32 * MIB, "what was on its way"


async def test_a_slot_sends_nobody_to_another_place(tmp_path: Path) -> None:
    asked = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if request.path == "/v1/slot":
            return web.Response(status=307, headers={"Location": "/elsewhere"})
        return web.json_response(await Slot().report())

    async with visited(tmp_path, answer) as seen:
        assert not seen.reachable
    assert asked == ["/v1/slot"]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"7", b"\xff", b'{"a":"\xff"}', b"[" * LONGEST, b"{" + b'"a":[],' * (MOST_PARTS + 1) + b'"b":1}'],
    ids=["nothing", "list", "number", "no text", "no text within", "deep", "many"],
)
def test_what_is_no_answer_of_a_slot_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="an answer"):
        answered(body)


async def test_a_slot_that_says_what_is_no_answer_falls_silent_as_one_that_says_nothing(rig: Rig) -> None:
    rig.slot.generation = 7
    rig.observer.aim(LANE, (rig.target,))
    await rig.woken.again()
    assert rig.seen().reachable

    rig.slot.live = float("inf")  # JSON that Python reads, and that is no count
    await rig.woken.again()

    assert not rig.seen().reachable


class _Damaged(Packed):
    """One that cannot be read any more."""

    def __str__(self) -> str:
        raise RuntimeError("damaged in memory")


async def test_a_visit_that_fails_as_nobody_foresaw_is_none_and_the_visits_go_on(rig: Rig) -> None:
    rig.slot.serial = 1
    with capture_logs() as logged:
        rig.observer.aim(LANE, (replace(rig.target, config=_Damaged("7")),))
        await rig.woken.again()
        assert not rig.seen().reachable
        async with asyncio.timeout(60):
            for _ in range(6):
                await rig.slot.asked.get()

        rig.slot.live, rig.slot.generation, rig.slot.serial = 5, 7, 70
        await rig.woken.again()

    assert (rig.seen().reachable, rig.seen().queued) == (True, 5)
    assert [one["event"] for one in logged].count("visit failed") == 1


async def test_why_a_configuration_was_refused_is_one_line_that_can_be_stored(tmp_path: Path) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.method == "PUT":
            return web.json_response({"error": "\ud800\x1b[2J" + "x" * 9000}, status=422)
        return web.json_response(await Slot().report() | {"serial": 1})

    async with visited(tmp_path, answer) as seen:
        assert seen.reachable
        assert seen.config_refused.isprintable()
        assert (len(seen.config_refused), seen.config_refused.encode()[-2:]) == (1024, b"xx")
