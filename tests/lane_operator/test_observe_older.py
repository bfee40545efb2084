"""A relay of the release before, in a slot that is not rolled yet."""

import asyncio
import datetime as dt
import ssl
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from lane_operator import credentials
from lane_operator.observe import Observer, Target
from tests.lane_operator.test_observe import LANE, SERVER_NAME, Slot


async def test_a_relay_that_knows_no_names_of_who_closes_its_intake_is_asked_as_before(tmp_path: Path) -> None:
    now = dt.datetime.now(dt.UTC)
    ca = credentials.make_ca("mail/otp", now)
    leaf = credentials.make_leaf(ca, (SERVER_NAME,), now)
    (tmp_path / "pair").write_bytes(leaf.certificate + leaf.key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "pair")
    slot, closed = Slot(generation=7, serial=70), asyncio.Event()

    async def show(_request: web.Request) -> web.Response:
        return web.json_response(await slot.report())

    async def intake(request: web.Request) -> web.Response:
        asked: dict[str, Any] = await request.json()
        if set(asked) != {"state"}:
            return web.json_response({"error": "no field owner"}, status=422)
        slot.intake = slot.ordered = asked["state"]
        closed.set()
        return web.json_response(asked)

    application = web.Application()
    application.router.add_get("/v1/slot", show)
    application.router.add_put("/v1/intake", intake)
    observer = Observer(lambda _: None, silent_after_s=0.0)
    server = TestServer(application, scheme="https")
    await server.start_server(ssl=context)
    target = Target(
        lane=LANE, slot="otp-0", host="127.0.0.1", port=server.port or 0, server_name=SERVER_NAME,
        authority=ca.certificate.decode(), token="sesame", config="7", config_digest="d7", serial=70, generation=7,
        intake="Closed", interval_s=0.02, process="p1/0",
    )  # fmt: skip
    observer.aim(LANE, (target,))
    async with asyncio.timeout(60):
        await closed.wait()
    assert slot.intake == "Closed"
    await observer.close()
    await server.close()
