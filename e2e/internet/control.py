"""The control port of the scripted ISPs: JSON over HTTP on a Unix socket, for whoever runs the test.

Invariant: a policy is swapped as a whole between two events of the loop; figures are computed from records at the
moment of the question. Before: `control_client`. After: `listener.Isp`, `recording`, `wire`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from aiohttp import web
from pydantic import ValidationError

from e2e.internet import records
from e2e.internet.listener import Isp
from e2e.internet.policy import Policy
from e2e.internet.wire import WireWatch


class Control:
    """Handlers over the ISPs of one process."""

    def __init__(self, isps: Mapping[str, Isp], wire: WireWatch | None) -> None:
        self._isps = isps
        self._wire = wire

    def application(self) -> web.Application:
        """The routes."""
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/isps", self.all_counters),
                web.get("/counts", self.counts),
                web.get("/senders", self.senders),
                web.get("/isps/{name}", self.counters),
                web.get("/isps/{name}/policy", self.get_policy),
                web.put("/isps/{name}/policy", self.put_policy),
                web.get("/isps/{name}/records", self.dump),
                web.post("/isps/{name}/reset", self.reset),
                web.post("/isps/{name}/disconnect", self.disconnect),
                web.post("/isps/{name}/release", self.release),
                web.get("/wire", self.wire),
                web.post("/wire/reset", self.reset_wire),
            ]
        )
        return app

    def _isp(self, request: web.Request) -> Isp:
        isp = self._isps.get(request.match_info["name"])
        if isp is None:
            raise web.HTTPNotFound(text=f"no such ISP; there are {', '.join(self._isps)}")
        return isp

    def _figures(self, isp: Isp, window_s: float | None) -> dict[str, Any]:
        rate = isp.enforcer.policy.message_rate
        window = window_s or (rate.seconds if rate else 1.0)
        figures: dict[str, dict[str, Any]] = isp.recording.per_source_ip(window)
        if self._wire is not None:
            self._wire.drain()
            for ip, seen in self._wire.tracker.per_source_ip(isp.name).items():
                figures.setdefault(ip, {}).update(seen)
        return {"name": isp.name, "messages": isp.recording.messages_taken(), "source_ips": figures}

    async def all_counters(self, request: web.Request) -> web.Response:
        """GET /isps: the counters of all."""
        window = _window(request)
        return web.json_response({name: self._figures(isp, window) for name, isp in self._isps.items()})

    async def counts(self, request: web.Request) -> web.Response:
        """GET /counts: {isp: {source IP: {messages, connections_now}}}, without the dear figures."""
        return web.json_response({name: isp.recording.counts() for name, isp in self._isps.items()})

    async def senders(self, request: web.Request) -> web.Response:
        """GET /senders: {envelope sender: messages taken by all}."""
        taken: Counter[str] = Counter()
        for isp in self._isps.values():
            taken.update(isp.recording.senders())
        return web.json_response(taken)

    async def counters(self, request: web.Request) -> web.Response:
        """GET /isps/NAME?window=SECONDS: the counters of one."""
        return web.json_response(self._figures(self._isp(request), _window(request)))

    async def get_policy(self, request: web.Request) -> web.Response:
        """GET /isps/NAME/policy: the policy in force."""
        return web.json_response(text=self._isp(request).enforcer.policy.model_dump_json())

    async def put_policy(self, request: web.Request) -> web.Response:
        """PUT /isps/NAME/policy: another policy from now on; 400 says what is wrong with it."""
        isp = self._isp(request)
        try:
            policy = Policy.model_validate_json(await request.read())
        except ValidationError as error:
            raise web.HTTPBadRequest(text=_in_words(error)) from error
        isp.enforcer.change(policy)
        return web.json_response({"since": time.time()})

    async def dump(self, request: web.Request) -> web.Response:
        """GET /isps/NAME/records: everything as JSON lines, open connections included."""
        isp = self._isp(request)
        isp.recording.flush()
        still_open = b"".join(records.encode(one.as_record()) + b"\n" for one in isp.connections)
        body = isp.recording.file.read_bytes() + still_open
        return web.Response(body=body, content_type="application/x-ndjson")

    async def disconnect(self, request: web.Request) -> web.Response:
        """POST /isps/NAME/disconnect: end every open connection without a word."""
        ended = self._isp(request).disconnect()
        return web.json_response({"ended": ended})

    async def release(self, request: web.Request) -> web.Response:
        """POST /isps/NAME/release: answer every connection that stalls."""
        return web.json_response({"released": self._isp(request).release()})

    async def reset(self, request: web.Request) -> web.Response:
        """POST /isps/NAME/reset: begin a new recording."""
        isp = self._isp(request)
        isp.recording.reset()
        if self._wire is not None:
            self._wire.drain()
            self._wire.tracker.reset(isp.name)
        return web.json_response({"since": time.time()})

    async def wire(self, request: web.Request) -> web.Response:
        """GET /wire: every connection attempt seen in packets, and how many packets were lost."""
        if self._wire is None:
            raise web.HTTPNotFound(text="this process does not watch the wire")
        self._wire.drain()
        spans = [asdict(span) for span in self._wire.tracker.spans]
        return web.json_response({"packets_lost": self._wire.lost(), "connections": spans})

    async def reset_wire(self, request: web.Request) -> web.Response:
        """POST /wire/reset: forget every connection attempt that has ended."""
        if self._wire is not None:
            self._wire.drain()
            self._wire.tracker.reset()
        return web.json_response({"since": time.time()})


def _in_words(error: ValidationError) -> str:
    """What is wrong with a policy, field by field."""
    faults = (f"{'.'.join(map(str, one['loc'])) or 'policy'}: {one['msg']}" for one in error.errors(include_url=False))
    return f"{'; '.join(faults)} (e2e/internet/policy.py has the fields)"


def _window(request: web.Request) -> float | None:
    value = request.query.get("window")
    return float(value) if value else None
