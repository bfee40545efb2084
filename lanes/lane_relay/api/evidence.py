"""`/v1/trace` and `/v1/heads`: what happened to a message, and the signed heads that are to be kept outside of the pod.

Before: `server` has checked the token. After: the slot's records; what blocks runs on a thread.
"""

from typing import Any, Final, Protocol

from aiohttp import web

from lane_relay.api.refusals import refusal

__all__ = ["Evidence", "routes"]

MOST_HEADS: Final = 1000


class Evidence(Protocol):
    """What can be asked of a slot's records."""

    async def trace(self, name: str, recipient: str) -> list[dict[str, Any]]:
        """The records of a message, in order; empty if there is none. Raises OSError."""

    async def heads(self, after: int, most: int) -> list[str]:
        """The chain's heads after this number, each as it is kept. Raises OSError."""


def routes(evidence: Evidence) -> list[web.RouteDef]:
    """The requests."""

    async def trace(request: web.Request) -> web.Response:
        name, recipient = request.query.get("id", ""), request.query.get("recipient", "")
        if not name and not recipient:
            return refusal(422, "give ?id= a Message-ID, correlation id or spool id, or ?recipient= an address")
        try:
            records = await evidence.trace(name, recipient)
        except OSError as failed:
            return refusal(503, f"the records cannot be read: {failed}")
        if not records:
            return refusal(404, "no record of it on this slot's volume: look in the lane's other slots and its archive")
        return web.json_response({"records": records})

    async def heads(request: web.Request) -> web.Response:
        after = request.query.get("after", "0")
        if not after.isdecimal():
            return refusal(422, "give ?after= the number of the last head that you have, 0 for none")
        try:
            return web.json_response({"heads": await evidence.heads(int(after), MOST_HEADS)})
        except OSError as failed:
            return refusal(503, f"the heads cannot be read: {failed}")

    return [web.get("/v1/trace", trace), web.get("/v1/heads", heads)]
