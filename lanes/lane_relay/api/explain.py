"""`/v1/explain` and `/v1/queues`: why mail has not gone yet, and how much waits for whom.

Before: `server` has checked the token. After: the slot's explainer.
"""

from typing import Any, Final, Literal, Protocol

from aiohttp import web

from lane_relay.api.refusals import refusal

__all__ = ["Explains", "routes"]

_MOST: Final = 1000
_USUAL: Final = 100


class Explains(Protocol):
    """Who knows."""

    async def message(self, name: str) -> list[dict[str, Any]]:
        """Messages of this spool id, Message-ID or correlation id; empty if there is none. Raises OSError."""

    async def domain(self, name: str) -> dict[str, Any] | None:
        """A recipient domain; None if nothing is known of it."""

    def site(self, name: str) -> dict[str, Any] | None:
        """A site, by its name; None if nothing is known of it."""

    async def queues(self, by: Literal["domain", "campaign"], first: int, most: int) -> dict[str, Any]:
        """A page of all queues, the longest first."""


def routes(explains: Explains) -> list[web.RouteDef]:
    """The requests."""

    async def explain(request: web.Request) -> web.Response:
        asked = [(key, request.query[key]) for key in ("message", "domain", "site") if request.query.get(key)]
        if len(asked) != 1:
            return refusal(
                422,
                "give one of ?message= (spool id, Message-ID or correlation id), ?domain= or ?site=",
            )
        (kind, name), said = asked[0], None
        if kind == "message":
            try:
                found = await explains.message(name)
            except OSError as failed:
                return refusal(503, f"the records cannot be read: {failed}; a spool id of a queued message needs none")
            said = {"messages": found} if found else None
        else:
            said = await explains.domain(name) if kind == "domain" else explains.site(name)
        if said is None:
            return refusal(404, _NOTHING[kind])
        return web.json_response(said)

    async def queues(request: web.Request) -> web.Response:
        by = request.query.get("by", "domain")
        first, most = request.query.get("first", "0"), request.query.get("limit", str(_USUAL))
        if by not in ("domain", "campaign") or not (first.isdecimal() and most.isdecimal()):
            return refusal(422, f"give ?by=domain or campaign, &first= how many to skip, &limit= at most {_MOST}")
        wanted: Literal["domain", "campaign"] = "domain" if by == "domain" else "campaign"
        return web.json_response(await explains.queues(wanted, int(first), min(int(most), _MOST)))

    return [web.get("/v1/explain", explain), web.get("/v1/queues", queues)]


_NOTHING: Final = {
    "message": "neither this slot's queue nor its records know it: look in the lane's other slots and its archive",
    "domain": "nothing waits for this domain here, and none went there lately",
    "site": "no such site is known here now; GET /v1/sites has those that are",
}
