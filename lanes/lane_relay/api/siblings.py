"""`GET /v1/handover/suppressions`: a sibling slot reads on in this slot's suppression list.

Invariant: as for hand-over, nothing is answered but to a sibling with its own certificate. Before it: a sibling's
`feedback.siblings`. After it: `feedback.suppression_list`, whose rows go out as they are, digests and no addresses.
"""

from typing import Final

from aiohttp import web

from lane_relay.api.handover import PREFIX, Giver, Knows, sibling_check
from lane_relay.api.operation import Operation
from lane_relay.api.refusals import refusal
from lane_relay.feedback.siblings import CURSOR_FIELD, MORE_FIELD, PAGE_NAME
from lane_relay.feedback.suppression_list import SuppressionList

__all__ = ["operations"]

_BINARY: Final = "application/octet-stream"


class _ReadOn(Giver):
    """Who asks, and how far it has the list."""

    after: str = ""
    """The cursor that came with the rows before."""


def operations(partner: Knows, suppressions: SuppressionList | None) -> list[Operation]:
    """The request; it must stand before those of hand-over, which take any name."""

    async def read_on(_request: web.Request, query: _ReadOn) -> web.Response:
        if suppressions is None:
            return refusal(404, "this slot keeps no suppression list: give suppression.path and suppression.keyFile")
        rows, cursor, more = suppressions.rows_after(query.after)
        header = {CURSOR_FIELD: cursor, MORE_FIELD: "true" if more else "false"}
        return web.Response(body=b"".join(rows), content_type=_BINARY, headers=header)

    return [
        Operation(
            "GET", PREFIX + PAGE_NAME, "readSuppressions", "Rows of the list behind a cursor, as digests.", read_on,
            None, _ReadOn, also=_BINARY, refusals={404: "This slot keeps no list."},
            admit=sibling_check(partner, "reads on here"),
        ),
    ]  # fmt: skip
