"""`/metrics`, `/livez`, `/readyz` over plain HTTP, for Prometheus and the kubelet.

Ready means: can accept durably. The egress proof is no part of it: a slot that may not send still takes mail in.
Invariant: answers come from figures in memory; no request waits for a disk or a peer.
Before it: `pipeline`, which says what is so. After it: nothing of ours.
"""

from typing import Final, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from lane_api.relayconfig import Endpoint
from lane_relay.accept.small_server import SmallServer

__all__ = ["Vitals", "serve"]

_MOST: Final = 128
"""Connections: the kubelet's probes and a few Prometheus servers need a handful."""


class Vitals(Protocol):
    """What the pipeline tells about itself."""

    def metrics_text(self) -> bytes:
        """The Prometheus exposition."""

    def unready(self) -> str:
        """Why the relay cannot accept durably, or an empty string."""

    def unwell(self) -> str:
        """Why the process should be restarted, or an empty string."""


def _application(vitals: Vitals) -> web.Application:
    """The three answers."""

    async def metrics(_request: web.Request) -> web.Response:
        return web.Response(body=vitals.metrics_text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def livez(_request: web.Request) -> web.Response:
        return _verdict(vitals.unwell())

    async def readyz(_request: web.Request) -> web.Response:
        return _verdict(vitals.unready())

    application = web.Application()
    application.router.add_get("/metrics", metrics)
    application.router.add_get("/livez", livez)
    application.router.add_get("/readyz", readyz)
    return application


def _verdict(trouble: str) -> web.Response:
    """200 ok, or 503 with the reason."""
    return web.Response(text=f"{trouble or 'ok'}\n", status=503 if trouble else 200)


async def serve(endpoint: Endpoint, vitals: Vitals) -> SmallServer:
    """A running server, ended by its `stop()`; raises OSError if the port is taken."""
    server = SmallServer(_application(vitals), endpoint, most=_MOST)
    await server.start()
    return server
