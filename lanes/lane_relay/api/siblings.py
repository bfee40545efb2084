"""`GET /v1/handover/suppressions`: a sibling slot reads on in this slot's suppression list.

Invariant: as for hand-over, nothing is answered but to a sibling with its own certificate. Before it: a sibling's
`feedback.siblings`. After it: `feedback.suppression_list`, whose rows go out as they are, digests and no addresses.
"""

from typing import Protocol

from aiohttp import web

from lane_relay.api.handover import PREFIX, names_of
from lane_relay.api.refusals import refusal
from lane_relay.feedback.siblings import CURSOR_FIELD, MORE_FIELD, PAGE_NAME
from lane_relay.feedback.suppression_list import SuppressionList

__all__ = ["sibling_routes"]


class Partner(Protocol):
    """Who knows the siblings; `exchange`."""

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        """The giver is a sibling, and its certificate is for one of these names."""


def sibling_routes(partner: Partner, suppressions: SuppressionList | None) -> list[web.RouteDef]:
    """The request; it must stand before those of hand-over, which take any name."""

    async def read_on(request: web.Request) -> web.Response:
        if not partner.knows(request.query.get("giver", ""), names_of(request)):
            return refusal(403, "only a slot of this lane, with its own certificate, reads on here")
        if suppressions is None:
            return refusal(404, "this slot keeps no suppression list: give suppression.path and suppression.keyFile")
        rows, cursor, more = suppressions.rows_after(request.query.get("after", ""))
        header = {CURSOR_FIELD: cursor, MORE_FIELD: "true" if more else "false"}
        return web.Response(body=b"".join(rows), content_type="application/octet-stream", headers=header)

    return [web.get(PREFIX + PAGE_NAME, read_on)]
