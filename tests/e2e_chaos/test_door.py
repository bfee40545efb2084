"""The door passes what it is not told to break, counts all, and breaks and kills as it is told."""

import asyncio
import contextlib
import json
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from e2e.chaos.door import Door, DoorConfig, Fault, asked, chosen, is_pass_write
from e2e.chaos.door_control import DoorControl
from e2e.cluster.pki import Authority
from e2e.eventually import eventually
from tests.ports import free_port

PATH = "/api/v1/namespaces/a/secrets?fieldManager=me&fieldSelector=metadata.name%3Db"


class Server:
    """An API server that answers what it was asked, as late as it is told to, and streams to who watches."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.late = False
        self.more = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.raw_path} {request.headers.get('Authorization')}")
        if "watch" in request.query:
            stream = web.StreamResponse()
            await stream.prepare(request)
            await stream.write(b"first\n")
            await self.more.wait()
            await stream.write(b"second\n")
            return stream
        if self.late:
            await self.more.wait()
        return web.Response(body=await request.read() or b"nothing", status=201)


class House:
    """The door before a server, and a client before the door."""

    def __init__(self, server: Server, control: DoorControl, http: aiohttp.ClientSession, url: str) -> None:
        self.server, self.control, self.http, self.url = server, control, http, url

    async def told(self, faults: list[Fault]) -> None:
        await asyncio.to_thread(self.control.breaks, faults)

    async def post(self, path: str = PATH) -> tuple[int, bytes]:
        headers = {"Authorization": "Bearer mine"}
        url = URL(f"{self.url}{path}", encoded=True)
        async with self.http.post(url, data=b"body", headers=headers) as answer:
            return answer.status, await answer.read()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    pki = tmp_path / "pki"
    Authority(pki).ensure(("n1",))
    identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    server, behind, port = Server(), free_port(), free_port()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", behind, ssl_context=identity).start()
    config = DoorConfig(
        listen="127.0.0.1", port=port, server=f"https://127.0.0.1:{behind}", certificate=pki / "apiserver.crt",
        key=pki / "apiserver.key", authority=pki / "ca.crt", control=tmp_path / "c", seed=1,
    )  # fmt: skip
    stop = asyncio.Event()
    serving = asyncio.create_task(Door(config).serve(stop))
    trust = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust)) as http:
        found = House(server, DoorControl(tmp_path / "c"), http, f"https://127.0.0.1:{port}")
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                await http.get(found.url)
                break
            await asyncio.sleep(0.01)
        server.asked.clear()
        yield found
        server.more.set()
    stop.set()
    await serving
    await runner.cleanup()


@pytest.mark.parametrize("kind", ["429", "500", "503", "cut", "slow", "silent", "swallowed"])
def test_a_share_of_the_requests_is_hit(kind: str) -> None:
    faults = (Fault.model_validate({"kind": kind, "share": 0.5}),)

    assert chosen(faults, "PATCH", is_watch=False, roll=0.49) == kind
    assert chosen(faults, "PATCH", is_watch=False, roll=0.5) is None


def test_shares_stand_side_by_side() -> None:
    faults = (Fault(kind="500", share=0.3), Fault(kind="cut", share=0.3))

    assert [chosen(faults, "GET", is_watch=False, roll=roll) for roll in (0.2, 0.4, 0.7)] == ["500", "cut", None]


def test_a_read_is_no_conflict_and_a_watch_is_not_silent() -> None:
    assert chosen((Fault(kind="409", share=1.0),), "GET", is_watch=False, roll=0.0) is None
    assert chosen((Fault(kind="silent", share=1.0),), "GET", is_watch=True, roll=0.0) is None


def test_the_lease_is_no_write_of_a_pass() -> None:
    assert is_pass_write("PATCH", "/api/v1/namespaces/a/secrets/b")
    assert not is_pass_write("GET", "/api/v1/namespaces/a/secrets/b")
    assert not is_pass_write("PATCH", "/apis/coordination.k8s.io/v1/namespaces/a/leases/lanewright")


async def test_what_is_not_to_break_passes_as_it_is(house: House) -> None:
    assert await house.post() == (201, b"body")
    assert house.server.asked == [f"POST {PATH} Bearer mine"]
    assert len(await asyncio.to_thread(house.control.seen)) == 2


async def test_an_answer_in_the_servers_place_never_reaches_it(house: House) -> None:
    await house.told([Fault(kind="409", share=1.0)])

    status, body = await house.post()

    assert (status, json.loads(body)["reason"]) == (409, "Conflict")
    assert house.server.asked == []


async def test_a_connection_is_cut_and_mended(house: House) -> None:
    await house.told([Fault(kind="cut", share=1.0)])
    with pytest.raises(aiohttp.ClientError):
        await house.post()
    await house.told([])

    assert await house.post() == (201, b"body")


async def test_watches_come_as_they_are_said_and_end_when_they_are_cut(house: House) -> None:
    async with house.http.get(f"{house.url}/api/v1/pods?watch=true") as stream:
        assert await stream.content.readline() == b"first\n"
        assert await asyncio.to_thread(house.control.cut_watches) == 1
        with pytest.raises(aiohttp.ClientError):
            await stream.content.readline()


async def test_a_stream_that_is_opened_again_since_it_was_cut_is_no_request_of_a_storm(house: House) -> None:
    for _ in range(2):
        async with house.http.get(f"{house.url}/api/v1/pods?watch=true") as stream:
            assert await stream.content.readline() == b"first\n"
            before = len(await asyncio.to_thread(house.control.seen))
            assert await asyncio.to_thread(house.control.cut_watches) == 1
    assert len(await asyncio.to_thread(house.control.seen)) == before
    await house.post()
    assert len(await asyncio.to_thread(house.control.seen)) == before + 1


@pytest.mark.parametrize(("how", "reached"), [("before", 1), ("after", 2)])
async def test_a_process_dies_at_the_write_that_was_named(house: House, how: str, reached: int) -> None:
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    await asyncio.to_thread(house.control.kills, victim.pid, 1, how)  # type: ignore[arg-type] # of the two words
    assert (await house.post())[0] == 201
    assert victim.returncode is None
    with pytest.raises(aiohttp.ClientError):
        await house.post()

    assert await victim.wait() == -9
    assert len(house.server.asked) == reached
    assert not await asyncio.to_thread(house.control.spares)


async def test_one_of_two_writes_at_once_is_the_one(house: House) -> None:
    victim = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    await asyncio.to_thread(house.control.kills, victim.pid, 0, "after")
    house.server.late = True
    both = [asyncio.create_task(house.post()) for _ in range(2)]
    await asyncio.to_thread(eventually, lambda: len(house.server.asked) == 2, "both are on their way", 10)
    spared = asyncio.create_task(asyncio.to_thread(house.control.spares))
    house.server.more.set()

    assert not await spared
    assert await victim.wait() == -9
    answered = await asyncio.gather(*both, return_exceptions=True)
    assert (201, b"body") in answered
    assert (await asyncio.to_thread(house.control.counts))["killed"] == 1


async def test_a_watch_whose_client_has_gone_is_no_longer_one(house: House) -> None:
    async with house.http.get(f"{house.url}/api/v1/pods?watch=true") as stream:
        assert await stream.content.readline() == b"first\n"
        stream.close()

    assert await asyncio.to_thread(eventually, lambda: house.control.cut_watches() == 0, "it is forgotten", 10)


def test_what_was_asked_is_told_by_who_asks_what_is_done_and_the_kind() -> None:
    assert asked("GET", "/api/v1/namespaces/a/secrets/b", "192.0.2.1", is_watch=False) == "192.0.2.1 GET secrets"
    assert asked("GET", "/api/v1/nodes", "192.0.2.1", is_watch=True) == "192.0.2.1 watch nodes"
    assert asked("GET", "/api/v1/namespaces/a", "192.0.2.1", is_watch=False) == "192.0.2.1 GET namespaces"
    leases = "/apis/coordination.k8s.io/v1/namespaces/a/leases/b"
    assert asked("PATCH", leases, "192.0.2.1", is_watch=False) == "192.0.2.1 PATCH leases"
    assert asked("GET", "/apis/apps/v1", "192.0.2.1", is_watch=False) == "192.0.2.1 GET /apis/apps/v1"
    assert asked("GET", "/livez", None, is_watch=False) == "None GET /livez"


async def test_each_request_is_kept_with_what_became_of_it(house: House) -> None:
    await house.post()
    await house.told([Fault(kind="500", share=1.0)])
    await house.post()

    seen = await asyncio.to_thread(house.control.seen)

    assert [what for _, what in seen][-2:] == ["127.0.0.1 POST secrets 201", "127.0.0.1 POST secrets broken"]
