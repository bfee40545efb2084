"""`python -m bench.slots KUBECONFIG PORT`: answers `/v1` for every pod that kwok pretends to run.

kwok stands in for kubelets, this for the idle relays behind them: an operator of 1,000 lanes is to be measured with
slots that answer, and 1,000 relays are more than one machine has room for. Every address of the pods' network is local
where it runs, so one listener has them all; a slot is told by the address that was called, its certificate by the name
that was asked for. The configuration that a slot is given is in force at once; nothing is queued, everything is proved.
"""

import asyncio
import base64
import re
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_kube_config

from lane_operator.kube import SECRET, Kube

_GENERATION = re.compile(r"^generation: (\d+)$", re.MULTILINE)
_SERIAL = re.compile(r"^serial: (\d+)$", re.MULTILINE)
_DOMAINS = re.compile(r"^domains:\n((?:[ -].*\n)+)", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAMES_EVERY_S = 2.0


class Slots:
    """What each slot was told last, by its address."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, Any]] = {}

    def application(self) -> web.Application:
        """The part of `/v1` that an operator asks for."""
        made = web.Application(client_max_size=4 << 20)
        made.add_routes(
            [
                web.get("/v1/slot", self._report),
                web.put("/v1/config", self._configure),
                web.put("/v1/intake", self._order),
            ]
        )
        return made

    def _of(self, request: web.Request) -> dict[str, Any]:
        assert request.transport is not None
        address = request.transport.get_extra_info("sockname")[0]
        new = {"generation": 0, "serial": 0, "intake": "Open", "domains": []}
        return self._told.setdefault(address, {"address": address, **new})

    async def _report(self, request: web.Request) -> web.Response:
        slot = self._of(request)
        answer = {
            "slot": "",
            "spoolId": slot["address"],
            "generation": slot["generation"],
            "serial": slot["serial"],
            "refused": "",
            "intake": {"state": slot["intake"], "ready": True, "sessions": 0, "ordered": slot["intake"]},
            "delivery": {"state": "Running", "proof": {"state": "Proved", "message": "", "at": None}},
            "queue": {"live": 0, "inFlight": 0, "oldestSince": None, "bytes": 0},
            "domains": [{"name": name, "selector": "s", "published": True, "message": ""} for name in slot["domains"]],
            "certificate": {"selfSigned": True, "notAfter": None},
            "handover": {},
            "records": {},
        }
        return web.json_response(answer)

    async def _configure(self, request: web.Request) -> web.Response:
        slot, text = self._of(request), await request.text()
        for name, pattern in (("generation", _GENERATION), ("serial", _SERIAL)):
            found = pattern.search(text)
            slot[name] = int(found[1]) if found else slot[name]
        block = _DOMAINS.search(text)
        rows = yaml.load(block[1], Loader=_LOADER) if block else []  # a safe one
        slot["domains"] = [row["name"] for row in rows]
        return web.json_response({"generation": slot["generation"]})

    async def _order(self, request: web.Request) -> web.Response:
        slot = self._of(request)
        slot["intake"] = (await request.json())["state"]
        return web.json_response({"state": slot["intake"]})


class Names:
    """The certificates of all slots, by the names in them; one is read when it is asked for."""

    def __init__(self, kube: Kube, folder: Path) -> None:
        self._kube = kube
        self._folder = folder
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._wanted: set[str] = set()

    def context(self) -> ssl.SSLContext:
        """What a handshake begins with; the name that is asked for gives it the slot's certificate."""
        first = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def choose(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> int | None:
            found = self._contexts.get(name or "")
            if found is None:
                self._wanted.add(name or "")
                return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
            connection.context = found
            return None

        first.sni_callback = choose
        return first

    async def keep_reading(self) -> None:
        """Reads the certificates of the names that were asked for in vain."""
        while True:
            wanted, self._wanted = self._wanted, set()
            for name in sorted(wanted):
                slot, _, namespace = name.partition(".")
                namespace = namespace.split(".")[1]
                secret = await self._kube.get(SECRET, namespace, f"{slot}-admin")
                if secret is not None:
                    self._contexts[name] = self._made(secret["data"])
            await asyncio.sleep(0.05)

    def _made(self, data: dict[str, str]) -> ssl.SSLContext:
        pair = self._folder / "pair.pem"
        pair.write_bytes(base64.b64decode(data["tls.key"]) + base64.b64decode(data["tls.crt"]))
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.load_cert_chain(pair)
        return made


async def main(kubeconfig: str, port: int) -> None:
    """Answers until it is ended."""
    configuration = Configuration()
    await load_kube_config(kubeconfig, client_configuration=configuration)
    with tempfile.TemporaryDirectory() as folder:
        async with Kube(configuration) as kube:
            names = Names(kube, Path(folder))
            runner = web.AppRunner(Slots().application(), access_log=None, keepalive_timeout=60)
            await runner.setup()
            await web.TCPSite(runner, "0.0.0.0", port, ssl_context=names.context(), backlog=2048).start()
            await names.keep_reading()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
