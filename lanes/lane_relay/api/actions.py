"""`/v1/actions`: orders about queued mail, given, listed and revoked.

Invariant: what is answered with an order is on disk. Before: the operator and `kubectl lane`. After: `orders`.
"""

from typing import Any, Final, Literal, Protocol

from aiohttp import web
from pydantic import ValidationError

from lane_relay.api.operation import AnswerModel, Body, Name, Operation, Query
from lane_relay.api.refusals import refusal, words_of
from lane_relay.errors import RelayError, SpoolError
from lane_relay.orders.keeper import Look
from lane_relay.orders.order import OrderRequest, Verb

__all__ = ["Actions", "operations"]

_PATH: Final = "/v1/actions"
_EXAMPLE: Final = '{"action": "suspend", "queue": "example.com", "owner": "jane", "reason": "...", "expiresIn": "2h"}'


class Actions(Protocol):
    """Who keeps the orders."""

    async def place(self, body: bytes, waiting: Look) -> list[dict[str, Any]]:
        """Gives an order as JSON, told of all that waits; raises ValidationError, RelayError with the fix,
        SpoolError."""

    async def revoke(self, order_id: str, owner: str, reason: str) -> dict[str, Any]:
        """Ends an order; raises RelayError if there is none, SpoolError."""

    def standing(self) -> list[dict[str, Any]]:
        """Every order that stands."""


class Action(AnswerModel):
    """One order, with the one selector that it has."""

    id: str
    action: Verb
    queue: str | None = None
    site: str | None = None
    policy: str | None = None
    campaign: str | None = None
    sender: str | None = None
    sibling: str | None = None
    message: str | None = None
    all: Literal[True] | None = None
    owner: str
    reason: str
    created: str
    expires: str | None
    """null: it stands until it is revoked."""
    state: Literal["standing", "working", "done", "ended"]
    entries: int
    """How many it holds, or has acted upon."""
    unreadable: int = 0
    """How many more it was to end since the slot started, whose bytes on the disk are damaged: they stay there."""
    note: str = ""
    """In the answer to whoever gives it: nothing falls under it now, another order says the same already, or, where it
    ended orders about all mail, which others still stand."""


class ActionList(AnswerModel):
    """Orders."""

    actions: list[Action]


class _Revoked(Query):
    """Who takes an order back."""

    fix = "say who revokes it and why: DELETE /v1/actions/ID?owner=...&reason=..."

    owner: Name
    reason: Name


def operations(actions: Actions, waiting: Look) -> list[Operation]:
    """The requests; `waiting()` meets every entry."""

    async def show(_request: web.Request, _query: Query) -> web.Response:
        return web.json_response({"actions": actions.standing()})

    async def place(request: web.Request, _query: Query) -> web.Response:
        try:
            return web.json_response({"actions": await actions.place(await request.read(), waiting)}, status=201)
        except ValidationError as wrong:
            return refusal(422, f"{words_of(wrong)}; an order looks like {_EXAMPLE}")
        except SpoolError as failed:
            return refusal(503, f"the order could not be kept: {failed}")
        except RelayError as refused:
            return refusal(409, str(refused))

    async def revoke(request: web.Request, query: _Revoked) -> web.Response:
        try:
            return web.json_response(await actions.revoke(request.match_info["order"], query.owner, query.reason))
        except SpoolError as failed:
            return refusal(503, f"that the order is over could not be kept: {failed}")
        except RelayError as refused:
            return refusal(404, str(refused))

    kept = {503: "It could not be kept; nothing is said to be done."}
    return [
        Operation("GET", _PATH, "listActions", "Every order that stands.", show, ActionList),
        Operation(
            "POST", _PATH, "giveAction", "Gives an order, or ends those with a selector.", place, ActionList,
            body=Body(model=OrderRequest), status=201,
            refusals=kept | {409: "None to end, too many, or the sibling answers.", 413: "The body is too large."},
        ),
        Operation(
            "DELETE", _PATH + "/{order}", "revokeAction", "Ends an order.", revoke, Action, _Revoked,
            refusals=kept | {404: "No such order stands."},
        ),
    ]  # fmt: skip
