"""Our own watches: what is listed once is followed from there, and what is no news wakes nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from lane_operator.errors import WentBackError
from lane_operator.handlers import Intake
from lane_operator.kube import POD_MONITOR, SERVICE, Kube, watch_kind
from lane_operator.reconcile import QueueKey
from tests.lane_operator.small_api import kube_of
from tests.lane_operator.test_broken_objects import world

LANE = QueueKey("SendingLane", "mail", "otp")


def service(version: int, **spec: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/managed-by": "lanewright", "lanewright.dev/lane": "otp"}
    metadata = {"name": "otp", "namespace": "mail", "uid": "u", "resourceVersion": str(version), "labels": labels}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


class Server:
    """Answers lists with a body and a status, and watches with the events that a test puts in."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, bool, str]] = []
        """Path, whether it was a watch, and from which version."""
        self.items: list[dict[str, Any]] = []
        self.pages: list[list[dict[str, Any]]] = []
        """Of a list of Services, where it has several."""
        self.resources: list[dict[str, Any]] = []
        self.status = 200
        self.is_away, self.came = False, asyncio.Event()
        """Nobody answers; a request has come."""
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.streams: asyncio.Queue[web.Request] = asyncio.Queue()
        """That were opened, in their order."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        watched = "watch" in request.query
        self.asked.append((request.path, watched, request.query.get("resourceVersion", "")))
        self.came.set()
        if self.is_away and request.transport is not None:
            request.transport.abort()
        if self.status != 200:
            return web.json_response({}, status=self.status)
        if not watched:
            return web.json_response(self._page(request))
        response = web.StreamResponse()
        await response.prepare(request)
        self.streams.put_nowait(request)
        while True:
            await response.write(await self.events.get())

    def _page(self, request: web.Request) -> dict[str, Any]:
        items = self.items if request.path.endswith(("/services", "/podmonitors")) else []
        metadata = {"resourceVersion": "50"}
        if self.pages:
            number = int(request.query.get("continue", 0))
            items = self.pages[number]
            metadata |= {"continue": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"metadata": metadata, "items": items, "resources": self.resources}

    async def cut(self) -> None:
        """The stream that was opened next breaks off."""
        transport = (await self.streams.get()).transport
        assert isinstance(transport, asyncio.Transport)
        transport.abort()

    def tell(self, change: str, body: dict[str, Any]) -> None:
        self.events.put_nowait(json.dumps({"type": change, "object": body}).encode() + b"\n")


@asynccontextmanager
async def served() -> AsyncIterator[tuple[Server, Kube]]:
    api, application = Server(), web.Application()
    application.router.add_route("*", "/{path:.*}", api.serve)
    async with TestServer(application, shutdown_timeout=0) as server, kube_of(server) as kube:
        yield api, kube


async def _nothing() -> str:
    raise AssertionError("it was listed already")


async def test_what_was_listed_is_followed_from_there() -> None:
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    async with served() as (api, kube), asyncio.timeout(30):
        watched = watch_kind(kube, SERVICE, None, "a=b", _nothing, lambda *event: seen.put_nowait(event), "40")
        task = asyncio.create_task(watched)
        api.tell("MODIFIED", service(41))
        assert (await seen.get())[:2] == (SERVICE, "MODIFIED")
        task.cancel()

    assert api.asked == [("/api/v1/services", True, "40")]


async def test_a_stream_that_breaks_off_goes_on_where_it_was_without_another_list() -> None:
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    async with served() as (api, kube), asyncio.timeout(60):
        watched = watch_kind(
            kube,
            SERVICE,
            None,
            "a=b",
            _nothing,
            lambda *event: seen.put_nowait(event),
            "40",
            reconnect_s=0.01,
            resumes=True,
        )
        task = asyncio.create_task(watched)
        for version in (41, 42, 43):
            api.tell("MODIFIED", service(version))
            await seen.get()
            await api.cut()
        await api.streams.get()
        task.cancel()

    assert [one[2] for one in api.asked] == ["40", "41", "42", "43"]


@pytest.mark.parametrize(
    "line", [b'{"type":"MODIFIED","obj\n', b'{"type":"MODIFIED","object":{}}\n', b"upstream timed out\n"]
)
async def test_a_stream_in_which_something_is_damaged_is_opened_again_where_it_was(line: bytes) -> None:
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    async with served() as (api, kube), asyncio.timeout(60):
        tell = partial(watch_kind, kube, SERVICE, None, "a=b", _nothing, lambda *event: seen.put_nowait(event))
        watched = tell("40", reconnect_s=0.01, resumes=True)
        task = asyncio.create_task(watched)
        api.tell("MODIFIED", service(41))
        await seen.get()
        api.events.put_nowait(line)
        await api.streams.get()
        await api.streams.get()
        api.tell("MODIFIED", service(42))
        assert (await seen.get())[2]["metadata"]["resourceVersion"] == "42"
        task.cancel()

    assert [one[2] for one in api.asked] == ["40", "41"]


async def test_without_anybody_who_sees_that_the_store_went_back_each_stream_is_listed_anew() -> None:
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    async with served() as (api, kube), asyncio.timeout(60):

        async def relist() -> str:
            return "50"

        watched = watch_kind(
            kube, SERVICE, None, "a=b", relist, lambda *event: seen.put_nowait(event), "40", reconnect_s=0.01
        )
        task = asyncio.create_task(watched)
        api.tell("MODIFIED", service(41))
        await seen.get()
        await api.cut()
        await api.streams.get()
        task.cancel()

    assert [one[2] for one in api.asked] == ["40", "50"]


async def test_a_stream_that_cannot_be_opened_again_is_listed_anew() -> None:
    seen: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
    listed = list[str]()
    async with served() as (api, kube), asyncio.timeout(60):

        async def relist() -> str:
            listed.append("60")
            api.status = 200
            return "60"

        task = asyncio.create_task(
            watch_kind(
                kube,
                SERVICE,
                None,
                "a=b",
                relist,
                lambda *event: seen.put_nowait(event),
                "40",
                reconnect_s=0.01,
                resumes=True,
            )
        )
        api.tell("MODIFIED", service(41))
        await seen.get()
        api.status = 500
        await api.cut()
        await api.streams.get()
        task.cancel()

    assert listed == ["60"]
    assert api.asked[-1][2] == "60"


async def test_of_all_that_wait_for_an_api_server_that_is_away_one_asks() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        api.is_away = True
        waiting = [asyncio.create_task(kube.until_it_answers(every_s=0.001)) for _ in range(20)]
        for _ in range(3):
            api.came.clear()
            await api.came.wait()
        first_answered = len(api.asked)
        api.is_away = False
        await asyncio.gather(*waiting)

        assert {path for path, _, _ in api.asked} == {"/version"}
        assert len(api.asked) <= first_answered + 3, "nineteen hear what one has heard"
        await kube.until_it_answers()
        assert len(api.asked) <= first_answered + 4


async def test_streams_are_listed_anew_once_the_api_server_answers_again() -> None:
    async with served() as (api, kube), asyncio.timeout(60):
        here = world(kube)
        intake = Intake(here, lambda _: None)
        api.is_away = True
        relist = partial(intake.take_in, SERVICE, None)
        tasks = [
            asyncio.create_task(watch_kind(kube, SERVICE, None, "a=b", relist, lambda *_: None, reconnect_s=0.01))
            for _ in range(5)
        ]
        while ("/version", False, "") not in api.asked:
            api.came.clear()
            await api.came.wait()
        api.is_away = False
        for _ in tasks:
            await api.streams.get()
        for task in tasks:
            task.cancel()

    lists = [path for path, watched, _ in api.asked if path.endswith("/services") and not watched]
    assert len(lists) <= 3 * len(tasks), (
        "each once while it was away, as often as the client tries, and once afterwards"
    )


async def test_a_kind_that_is_not_served_is_an_empty_collection_and_looked_for_again() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        here, left = world(kube), asyncio.Queue[bool]()
        here.cache.put("PodMonitor", service(7))
        intake = Intake(here, lambda _: None)
        api.status = 404

        async def relist() -> str:
            try:
                return await intake.take_in(POD_MONITOR, None)
            finally:
                left.put_nowait(here.cache.get("PodMonitor", "mail", "otp") is not None)

        watched = watch_kind(kube, POD_MONITOR, None, "a=b", relist, lambda *_: None, absent_s=0.01)
        task = asyncio.create_task(watched)
        assert not await left.get()
        api.status, api.items = 200, [service(60)]
        while not await left.get():
            continue
        task.cancel()


async def test_a_list_that_is_older_than_what_was_seen_before_it_is_of_a_store_that_went_back() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        here = world(kube)
        here.cache.put("Service", service(51))

        with pytest.raises(WentBackError, match=r"50.* 51"):
            await Intake(here, lambda _: None).take_in(SERVICE, None)

        api.items = [service(50)]
        other = world(kube)
        other.cache.put("Service", service(50))
        assert await Intake(other, lambda _: None).take_in(SERVICE, None) == "50"


async def test_a_list_of_many_pages_forgets_nothing_that_any_of_them_shows() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        here = world(kube)
        for name in ("one", "two", "gone"):
            body = service(7)
            body["metadata"]["name"] = name
            here.cache.put("Service", body)
            api.pages += [[body]] if name != "gone" else []

        assert await Intake(here, lambda _: None).take_in(SERVICE, None) == "50"

        assert [body["metadata"]["name"] for body in here.cache.all("Service")] == ["one", "two"]


async def test_the_event_of_our_own_write_wakes_nobody_though_it_comes_before_the_answer() -> None:
    async with served() as (_, kube), asyncio.timeout(30):
        woken: asyncio.Queue[QueueKey] = asyncio.Queue()
        here = world(kube)
        intake = Intake(here, woken.put_nowait)
        intake.gathered(SERVICE, "MODIFIED", service(60, of="our own write"))
        here.cache.put("Service", service(60, of="our own write"))  # the answer, a moment later
        intake.gathered(SERVICE, "MODIFIED", service(61, of="a hand"))

        assert await woken.get() == LANE
        assert woken.empty()
        held = here.cache.get("Service", "mail", "otp")
        assert held is not None
        assert held["spec"] == {"of": "a hand"}


async def test_each_collection_of_what_we_make_is_watched_from_its_first_list_on() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        api.items = [service(7)]
        here, woken = world(kube), list[QueueKey]()
        intake = Intake(here, woken.append)
        await intake.resync()
        api.asked.clear()

        assert (SERVICE, None) in intake.own_collections()
        task = asyncio.create_task(intake.watch(SERVICE, None))
        api.tell("DELETED", service(51))
        while here.cache.get("Service", "mail", "otp") is not None:  # noqa: ASYNC110  # another task drops it
            await asyncio.sleep(0.01)
        task.cancel()

    assert api.asked == [("/api/v1/services", True, "50")]


async def test_a_kind_that_comes_later_is_listed_before_lanes_are_looked_at_for_it() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        here, found = world(kube), list[bool]()
        lane = {"metadata": {"name": "otp", "namespace": "mail", "resourceVersion": "5"}, "spec": {}}
        here.cache.put("SendingLane", lane)
        intake = Intake(here, lambda _: found.append(here.cache.get("PodMonitor", "mail", "otp") is not None))
        await intake.look_for_kinds()
        assert not found

        api.resources, api.items = [{"name": POD_MONITOR.plural}], [service(7)]
        await intake.look_for_kinds()

        assert found
        assert all(found)


async def test_who_leads_from_now_on_lists_anew_what_was_listed_before() -> None:
    async with served() as (api, kube), asyncio.timeout(30):
        here, now = world(kube), 10.0
        here.monotonic = lambda: now
        intake = Intake(here, lambda _: None)
        await intake.resync()
        api.asked.clear()

        await intake.relist_slots(since=10.0)
        assert api.asked == []
        await intake.relist_slots(since=11.0)
        listed = {path.rpartition("/")[2] for path, watched, _ in api.asked if not watched}
        assert listed == {"sendinglanes", "ippools", "statefulsets", "persistentvolumeclaims"}
