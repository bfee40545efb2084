"""`/v1/handover/TRANSFER`: siblings hand mail over, ask what became of it, and say that they know.

Invariant: nothing is answered but to a sibling whose certificate the lane's authority signed for its own name; the
admin token opens nothing here. Before it: a sibling's `handover.carrier`. After it: `exchange`.
"""

import re
from collections.abc import Awaitable
from typing import Final, Protocol

import structlog
from aiohttp import web
from msgspec.json import Encoder

from lane_relay.handover.consignment import Answer, Consignment, decode
from lane_relay.handover.receiver import InDoubtError

__all__ = ["PREFIX", "Partner", "handover_routes", "names_of"]

PREFIX: Final = "/v1/handover/"
_TRANSFER: Final = re.compile(r"[0-9a-f]{32}")
_OVERHEAD: Final = 32 * 2**20
"""Beside the largest message: the rest of a bundle, and the envelopes."""
_encode: Final = Encoder().encode

_log = structlog.get_logger("api")


class Partner(Protocol):
    """What siblings may do."""

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        """The giver is a sibling, and its certificate is for one of these names."""

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        """See Receiver.take."""

    async def ask(self, transfer: str, giver: str) -> Answer:
        """See Receiver.ask."""

    def forget(self, transfer: str) -> Awaitable[None]:
        """See Receiver.forget."""


def handover_routes(partner: Partner, largest: int) -> list[web.RouteDef]:
    """The requests; `largest` is the size of the largest message in bytes."""

    async def handle(request: web.Request) -> web.Response:
        transfer, giver = request.match_info["transfer"], request.query.get("giver", "")
        if not partner.knows(giver, names_of(request)):
            return _refusal(403, "only a slot of this lane, with its own certificate, hands over here")
        if not _TRANSFER.fullmatch(transfer):
            return _refusal(404, "a transfer is named by 32 hexadecimal digits")
        try:
            return await _act(partner, request, transfer, giver, largest + _OVERHEAD)
        except (InDoubtError, OSError) as error:
            _log.exception("hand-over", transfer=transfer, giver=giver)
            return _refusal(503, f"ask again: {error}")

    return [web.route("*", PREFIX + "{transfer}", handle)]


async def _act(partner: Partner, request: web.Request, transfer: str, giver: str, limit: int) -> web.Response:
    if request.method == "GET":
        return _said(await partner.ask(transfer, giver))
    if request.method == "DELETE":
        await partner.forget(transfer)
        return _said(Answer())
    if request.method != "POST":
        return _refusal(405, "use POST, GET or DELETE here")
    body = await _read(request, limit)
    consignment = decode(body) if body is not None else f"more than {limit} octets"
    if isinstance(consignment, str) or consignment.giver != giver:
        await partner.ask(transfer, giver)  # refused for ever: what the sibling hears now must stay true
        return _refusal(422, consignment if isinstance(consignment, str) else "the giver is another slot")
    return _said(await partner.take(transfer, consignment))


async def _read(request: web.Request, limit: int) -> bytes | None:
    """The body, or None if it is longer; aiohttp's own limit is for small requests."""
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def names_of(request: web.Request) -> tuple[str, ...]:
    """The names in the client's certificate, which TLS has checked against the lane's authority; none without one."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    return tuple(value for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "DNS")


def _said(answer: Answer) -> web.Response:
    return web.Response(body=_encode(answer), content_type="application/json")


def _refusal(status: int, error: str) -> web.Response:
    return web.json_response({"error": error}, status=status)
