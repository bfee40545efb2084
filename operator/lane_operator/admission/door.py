"""Where the API server asks: `POST /review` over TLS, an AdmissionReview (admission.k8s.io/v1) in and out.

Invariant: an answer is allowed with warnings, or a refusal in words that name the fields; what goes wrong here is
allowed, since reconcile says it all anyway.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any, Never

import structlog
from aiohttp import web

from lane_operator import metrics
from lane_operator.admission.identity import EVERY_S, Identity
from lane_operator.admission.review import Verdict, review
from lane_operator.errors import KubeError
from lane_operator.reconcile import World

__all__ = ["Door"]

LARGEST = 4 << 20  # two objects of at most 1.5 MiB each (etcd's limit), and what is around them
LATE_S = 0.5
"""What is applied in one go comes to the API server before our watch tells of it."""
log = structlog.get_logger(__name__)


async def _until(event: asyncio.Event, at_most_s: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(at_most_s):
            await event.wait()


async def _settle() -> None:
    await asyncio.sleep(LATE_S)


class Door:
    """The webhook of one replica."""

    def __init__(
        self,
        world: World,
        identity: Identity,
        settle: Callable[[], Awaitable[None]] = _settle,
    ) -> None:
        """`settle` waits until the watch has told of what was applied just before."""
        self._world = world
        self._identity = identity
        self._settle = settle

    async def serve(self, host: str | None, port: int, leading: asyncio.Event) -> Never:
        """Listens once there is a certificate to show; runs until cancelled."""
        runner = web.AppRunner(self.application(), access_log=None)
        await runner.setup()
        listens = False
        try:
            while True:
                leads, pause = leading.is_set(), 1.0
                try:
                    await self._identity.turn(leads=leads)
                    pause = EVERY_S
                except KubeError as error:
                    log.warning("webhook's certificate not looked at", error=str(error))
                if self._identity.is_shown and not listens:
                    await web.TCPSite(runner, host, port, ssl_context=self._identity.context).start()
                    listens = True
                if leads:
                    await asyncio.sleep(pause)
                else:  # who comes to lead has a certificate to look after, at once
                    await _until(leading, pause if listens else 1.0)
        finally:
            await runner.cleanup()

    def application(self) -> web.Application:
        """The one resource."""
        made = web.Application(client_max_size=LARGEST)
        made.add_routes([web.post("/review", self._review)])
        return made

    async def _review(self, request: web.Request) -> web.Response:
        try:
            asked: dict[str, Any] = (await request.json())["request"]
            uid = str(asked["uid"])
        except (json.JSONDecodeError, KeyError, TypeError):
            return web.Response(status=400, text="not an AdmissionReview\n")
        try:
            verdict = review(self._world, asked)
            if verdict.warnings:  # the pool that is missed may stand in the same file
                await self._settle()
                verdict = review(self._world, asked)
            result = "refused" if verdict.refusal else "warned" if verdict.warnings else "silent"
        except Exception:  # the door's edge: what we cannot judge is not in anybody's way
            log.exception("review failed", kind=str(asked.get("kind")))
            verdict, result = Verdict(), "failed"
        metrics.reviews.labels(result=result).inc()
        return web.json_response(_answer(uid, verdict))


def _answer(uid: str, verdict: Verdict) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": uid, "allowed": not verdict.refusal}
    if verdict.refusal:
        response["status"] = {"code": 422, "reason": "Invalid", "message": verdict.refusal}
    if verdict.warnings:
        response["warnings"] = list(verdict.warnings)
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
