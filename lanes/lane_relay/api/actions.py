"""`/v1/actions`: orders about queued mail, given, listed and revoked.

Invariant: what is answered with an order is on disk. Before: the operator and `kubectl lane`. After: `orders`.
"""

from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from lane_relay.api.refusals import refusal
from lane_relay.errors import RelayError, SpoolError

__all__ = ["Actions", "routes"]

_EXAMPLE = '{"action": "suspend", "queue": "example.com", "owner": "jane", "reason": "...", "expiresIn": "2h"}'


class Actions(Protocol):
    """Who keeps the orders."""

    async def place(self, body: bytes) -> list[dict[str, Any]]:
        """Gives an order as JSON; raises ValidationError for a bad one, RelayError with the fix, SpoolError."""

    async def revoke(self, order_id: str, owner: str, reason: str) -> dict[str, Any]:
        """Ends an order; raises RelayError if there is none, SpoolError."""

    def standing(self) -> list[dict[str, Any]]:
        """Every order that stands."""


def routes(actions: Actions) -> list[web.RouteDef]:
    """The requests."""

    async def show(_request: web.Request) -> web.Response:
        return web.json_response({"actions": actions.standing()})

    async def place(request: web.Request) -> web.Response:
        try:
            return web.json_response({"actions": await actions.place(await request.read())}, status=201)
        except ValidationError as wrong:
            said = "; ".join(_said(error) for error in wrong.errors(include_url=False))
            return refusal(422, f"{said}; an order looks like {_EXAMPLE}")
        except SpoolError as failed:
            return refusal(503, f"the order could not be kept: {failed}")
        except RelayError as refused:
            return refusal(409, str(refused))

    async def revoke(request: web.Request) -> web.Response:
        owner, reason = request.query.get("owner", ""), request.query.get("reason", "")
        if not owner or not reason:
            return refusal(422, "say who revokes it and why: DELETE /v1/actions/ID?owner=...&reason=...")
        try:
            return web.json_response(await actions.revoke(request.match_info["order"], owner[:500], reason[:500]))
        except SpoolError as failed:
            return refusal(503, f"that the order is over could not be kept: {failed}")
        except RelayError as refused:
            return refusal(404, str(refused))

    return [
        web.get("/v1/actions", show),
        web.post("/v1/actions", place),
        web.delete("/v1/actions/{order}", revoke),
    ]


def _said(error: Any) -> str:
    field = ".".join(map(str, error["loc"]))
    return f"{field}: {error['msg']}" if field else str(error["msg"]).removeprefix("Value error, ")
