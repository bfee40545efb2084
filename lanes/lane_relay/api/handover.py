"""`/v1/handover/TRANSFER`: siblings hand mail over, ask what became of it, and say that they know; `given` in its place
tells a receiver which transfers to it are not over.

Invariants: nothing is answered but to a sibling whose certificate the lane's authority signed for its own name; the
admin token opens nothing here; what comes in counts as mail of clients does, into one bound of memory.
Before it: a sibling's `handover.carrier`. After it: `exchange`.
"""

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import structlog
from aiohttp import web
from msgspec import Struct
from msgspec.json import Encoder

from lane_relay.api.operation import AnswerModel, Body, Operation, Query, Text
from lane_relay.api.refusals import refusal
from lane_relay.handover.consignment import GIVEN_NAME, Answer, Consignment, StillOpen, decode
from lane_relay.handover.receiver import InDoubtError

__all__ = ["PREFIX", "Giver", "Knows", "Partner", "Room", "names_of", "operations", "sibling_check"]

PREFIX: Final = "/v1/handover/"
_TRANSFER: Final = re.compile(r"[0-9a-f]{32}")
_OVERHEAD: Final = 32 * 2**20
"""Beside the largest message: the rest of a bundle, and the envelopes."""
_encode: Final = Encoder().encode

_log = structlog.get_logger("api")


class Room(Protocol):
    """The memory for mail that is coming in, by whatever way; the listener's."""

    held_bytes: int
    memory_budget: int


class Knows(Protocol):
    """Who knows the siblings."""

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        """The giver is a sibling, and its certificate is for one of these names."""


class Partner(Knows, Protocol):
    """What siblings may do."""

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        """See Receiver.take."""

    async def ask(self, transfer: str, giver: str) -> Answer:
        """See Receiver.ask."""

    def forget(self, transfer: str, giver: str) -> Awaitable[None]:
        """See Receiver.forget."""

    def open_with(self, slot: str) -> tuple[str, ...]:
        """See Giver.open_with."""


class Giver(Query):
    """Who asks."""

    fix = "give ?giver= the name of your own slot"

    giver: Text
    """Name of the slot that asks; its certificate must be for it."""


class Taken(AnswerModel):
    """What became of a transfer; it never changes once it was given."""

    taken: list[int]
    """Positions of the parcels that the receiver has on its disk and owns."""
    ids: list[str]
    """Its spool ids of these."""
    reason: str
    """Why the others were not taken."""


class OpenTransfers(AnswerModel):
    """Transfers to the slot that asks of which its answer may still be needed; it forgets the others that it has."""

    transfers: list[str]
    """Their names."""


def sibling_check(partner: Knows, wording: str) -> Callable[[web.Request], web.Response | None]:
    """Refuses, in these words, whoever is no sibling or shows another one's certificate."""

    def admit(request: web.Request) -> web.Response | None:
        known = partner.knows(request.query.get("giver", ""), names_of(request))
        return None if known else refusal(403, f"only a slot of this lane, with its own certificate, {wording}")

    return admit


def operations(partner: Partner, largest: Callable[[], int], room: Room) -> list[Operation]:
    """The requests; `largest()` is the size of the largest message in bytes, as of now."""

    async def take(request: web.Request, query: Giver) -> web.Response:
        transfer, limit = request.match_info["transfer"], largest() + _OVERHEAD
        with _memory(room) as hold:
            body = await _read(request, limit, hold)
            consignment = decode(body) if isinstance(body, bytes) else body.why
            if isinstance(body, bytes) and not isinstance(consignment, str) and consignment.giver == query.giver:
                hold(len(body))  # on its way to the disk it is there twice
                return _said(await partner.take(transfer, consignment))
        # refused for ever, or known: what the sibling hears now must stay true
        known = await partner.ask(transfer, query.giver)
        if known.taken:
            return _said(known)
        status = body.status if isinstance(body, _NotRead) else 422
        return refusal(status, consignment if isinstance(consignment, str) else "the giver is another slot")

    async def ask(request: web.Request, query: Giver) -> web.Response:
        return _said(await partner.ask(request.match_info["transfer"], query.giver))

    async def forget(request: web.Request, query: Giver) -> web.Response:
        await partner.forget(request.match_info["transfer"], query.giver)
        return _said(Answer())

    async def still_open(_request: web.Request, query: Giver) -> web.Response:
        return _said(StillOpen(partner.open_with(query.giver)))

    body = Body("application/octet-stream", description="A consignment in MessagePack; see handover.consignment.")
    admit = sibling_check(partner, "hands over here")
    rows: list[tuple[str, str, str, Callable[[web.Request, Giver], Awaitable[web.Response]], Body | None]] = [
        ("POST", "handOver", "Hands mail over; again and again the same answer.", take, body),
        ("GET", "askHandover", "What became of a transfer.", ask, None),
        ("DELETE", "forgetHandover", "The giver knows, and asks no more.", forget, None),
    ]
    told = Operation(
        "GET", PREFIX + GIVEN_NAME, "askOpenTransfers", "Which transfers to you are not over here.", still_open,
        OpenTransfers, Giver, admit=admit,
    )  # fmt: skip
    of_transfers = [
        Operation(
            method, PREFIX + "{transfer}", name, summary, _named(handle), Taken, Giver, carried, admit=admit,
            refusals={
                404: "A transfer is named by 32 hexadecimal digits.",
                429: "No memory for it now; this transfer never will be taken, another one may.",
                503: "Not known now: ask again.",
            },
        )
        for method, name, summary, handle, carried in rows
    ]  # fmt: skip
    return [told, *of_transfers]  # in this order: a path that is no transfer's name before those that take any


def _named(
    handle: Callable[[web.Request, Giver], Awaitable[web.Response]],
) -> Callable[[web.Request, Giver], Awaitable[web.Response]]:
    """Of a transfer that has a name; what the disk says no to is to be asked again."""

    async def run(request: web.Request, query: Giver) -> web.Response:
        transfer = request.match_info["transfer"]
        if not _TRANSFER.fullmatch(transfer):
            return refusal(404, "a transfer is named by 32 hexadecimal digits")
        try:
            return await handle(request, query)
        except (InDoubtError, OSError) as error:
            _log.exception("hand-over", transfer=transfer, giver=query.giver)
            return refusal(503, f"ask again: {error}")

    return run


class _NotRead(Struct, frozen=True):
    """Why a body is not read to its end."""

    status: int
    why: str


@contextmanager
def _memory(room: Room) -> Iterator[Callable[[int], bool]]:
    """Counts what a request holds, meanwhile; what it yields takes so many bytes more, and says if they fit.

    What is there alone fits, or the largest message never would.
    """
    held = 0

    def hold(more: int) -> bool:
        nonlocal held
        held += more
        room.held_bytes += more
        return room.held_bytes <= max(held, room.memory_budget)

    try:
        yield hold
    finally:
        room.held_bytes -= held


async def _read(request: web.Request, limit: int, hold: Callable[[int], bool]) -> bytes | _NotRead:
    """The body, or why not; aiohttp's own limit is for small requests."""
    parts = bytearray()
    async for part in request.content.iter_any():
        parts += part
        if len(parts) > limit:
            return _NotRead(422, f"more than {limit} octets")
        if not hold(len(part)):
            return _NotRead(429, "the memory for mail that is coming in is full")
    return bytes(parts)


def names_of(request: web.Request) -> tuple[str, ...]:
    """The names in the client's certificate, which TLS has checked against the lane's authority; none without one."""
    certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
    return tuple(value for kind, value in (certificate or {}).get("subjectAltName", ()) if kind == "DNS")


def _said(answer: Answer | StillOpen) -> web.Response:
    return web.Response(body=_encode(answer), content_type="application/json")
