"""`/v1/handover/claim` and `/v1/handover/request`: slots of a lane settle who answers for an idempotency key.

Invariant: as for hand-over, nothing is answered but to a sibling with its own certificate. Before it: a sibling's
`accept.http.witnesses`. After it: this slot's, and its HTTP intake.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Final, Protocol

from aiohttp import web
from msgspec.json import Encoder
from pydantic import StringConstraints

from lane_relay.accept.http.witnesses import ANSWER_NAME, CLAIM_NAME, Claimed, PassedAnswer
from lane_relay.api.handover import PREFIX, Giver, Knows, sibling_check
from lane_relay.api.operation import AnswerModel, Body, Operation
from lane_relay.api.refusals import refusal
from lane_relay.errors import SpoolError

__all__ = ["Keeper", "operations"]

_NONE_HERE: Final = "this slot takes no mail by HTTP and keeps no keys"
_encode: Final = Encoder().encode


class _Witness(Protocol):
    async def claimed(self, key: bytes, asker: str, owner: str) -> str:
        """See Witnesses.claimed."""


class Keeper(Protocol):
    """The slot's HTTP intake."""

    @property
    def witnesses(self) -> _Witness:
        """Of the keys."""

    async def pass_in(self, parts: AsyncIterator[bytes]) -> PassedAnswer | str:
        """See HttpServer.pass_in."""


class _Claim(Giver):
    """Who claims which key for whom."""

    key: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    """Digest of user and idempotency key."""
    owner: Annotated[str, StringConstraints(max_length=253)] = ""
    """The slot that is to own it; empty: nobody. Done if the key is free, or the asker's own."""


class _Owner(AnswerModel):
    """Who owns a key."""

    owner: str
    """Name of the slot; empty: nobody."""


class _Answered(AnswerModel):
    """What the slot's HTTP intake answers."""

    status: int
    headers: dict[str, str]
    answer: str
    """The body; JSON."""


def operations(partner: Knows, keeper: Keeper | None) -> list[Operation]:
    """The requests; they must stand before those of hand-over, which take any name."""

    async def claim(_request: web.Request, query: _Claim) -> web.Response:
        if keeper is None:
            return refusal(404, _NONE_HERE)
        try:
            owner = await keeper.witnesses.claimed(bytes.fromhex(query.key), query.giver, query.owner)
        except SpoolError as failed:
            return refusal(503, f"ask another slot: {failed}")
        return _said(Claimed(owner))

    async def pass_in(request: web.Request, _query: Giver) -> web.Response:
        if keeper is None:
            return refusal(404, _NONE_HERE)
        answer = await keeper.pass_in(request.content.iter_any())
        return refusal(422, answer) if isinstance(answer, str) else _said(answer)

    admit = sibling_check(partner, "settles keys here")
    body = Body("application/octet-stream", description="In MessagePack; see accept.http.witnesses.")
    none = {404: "This slot takes no mail by HTTP."}
    return [
        Operation(
            "PUT", PREFIX + CLAIM_NAME, "claimKey", "Who owns an idempotency key, once the asker has claimed it.",
            claim, _Owner, _Claim, refusals={**none, 503: "Nothing can be written down."}, admit=admit,
        ),
        Operation(
            "PUT", PREFIX + ANSWER_NAME, "passRequest", "A request by HTTP whose key this slot owns.", pass_in,
            _Answered, Giver, body, refusals=none, admit=admit,
        ),
    ]  # fmt: skip


def _said(answer: Any) -> web.Response:
    return web.Response(body=_encode(answer), content_type="application/json")
