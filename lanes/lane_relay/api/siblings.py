"""`GET /v1/handover/suppressions`, `/complaint`: a sibling reads on in this slot's suppression list, or says that
somebody complained of mail that may have left from here.

Invariant: as for hand-over, nothing is answered but to a sibling with its own certificate. Before it: a sibling's
`feedback.siblings`. After it: `feedback.suppression_list`, whose rows go out as they are, digests and no addresses.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from msgspec import to_builtins
from pydantic import Field

from lane_relay.api.handover import PREFIX, Giver, Knows, names_of, sibling_check
from lane_relay.api.operation import AnswerModel, Operation
from lane_relay.api.refusals import refusal
from lane_relay.api.suppressions import NO_LIST
from lane_relay.feedback.siblings import COMPLAINT_NAME, CURSOR_FIELD, MORE_FIELD, PAGE_NAME
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.handover.ability import ABILITY_NAME, Ability
from lane_relay.mail.token import SEVERAL

__all__ = ["operations"]

_BINARY: Final = "application/octet-stream"


class _ReadOn(Giver):
    """Who asks, and how far it has the list."""

    after: str = ""
    """The cursor that came with the rows before."""


class _Complaint(Giver):
    """Of which mail."""

    message: str = Field(pattern="^[0-9a-f]{24}$")
    """Spool id."""
    index: int = Field(ge=0, le=SEVERAL)
    """Of the recipient in the envelope; 65535: not known."""
    reporter: str = ""
    """Mailbox that was proved to have reported it, empty: none; only one that the policy names counts to a rate."""


class CountedComplaint(AnswerModel):
    """Where the mail went; the complaint is counted here then."""

    site: str
    """Empty: it did not leave from here."""


class SiblingAbility(AnswerModel):
    """What this slot can send now."""

    sends: bool
    stopped: list[str]
    """Sites to which a reply rule or a person's order has stopped it or slows it down; an empty one: all."""
    room: dict[str, int]
    """Recipients for whom its warm-up and its day have room, by ISP (`other`: without a policy); none said: no end."""


class Neighbourly(Knows, Protocol):
    """Who knows the siblings, and slots of other lanes that share the list."""

    def shares_list(self, giver: str, names: tuple[str, ...]) -> bool:
        """As `knows`, for slots of other lanes."""


def operations(
    partner: Neighbourly,
    suppressions: SuppressionList | None,
    count: Callable[[int, int, str], Awaitable[str]],
    ability: Callable[[], Ability],
) -> list[Operation]:
    """The requests; they must stand before those of hand-over, which take any name. `count(id, index, reporter)`
    counts a complaint and says where its mail went; `ability()`: what can be sent from here now."""

    async def tell_ability(_request: web.Request, _query: Giver) -> web.Response:
        return web.json_response(to_builtins(ability()))

    async def complained(_request: web.Request, query: _Complaint) -> web.Response:
        return web.json_response({"site": await count(int(query.message, 16), query.index, query.reporter)})

    def admit(request: web.Request) -> web.Response | None:
        giver, names = request.query.get("giver", ""), names_of(request)
        if partner.knows(giver, names) or partner.shares_list(giver, names):
            return None
        return refusal(
            403, "only a slot of this lane, or of one that shares its list, reads on here, with its certificate"
        )

    async def read_on(request: web.Request, query: _ReadOn) -> web.Response:
        if suppressions is None:
            return refusal(404, NO_LIST)
        of_lane = partner.knows(query.giver, names_of(request))
        if of_lane:
            suppressions.read_by(query.giver, query.after)
        rows, cursor, more = suppressions.rows_after(query.after, shared=not of_lane)
        header = {CURSOR_FIELD: cursor, MORE_FIELD: "true" if more else "false"}
        return web.Response(body=b"".join(rows), content_type=_BINARY, headers=header)

    return [
        Operation(
            "GET", PREFIX + ABILITY_NAME, "askAbility", "What can be sent from here now.", tell_ability, SiblingAbility,
            Giver, admit=sibling_check(partner, "asks here"),
        ),
        Operation(
            "GET", PREFIX + PAGE_NAME, "readSuppressions", "Rows of the list behind a cursor, as digests.", read_on,
            None, _ReadOn, also=_BINARY, refusals={404: "This slot keeps no list."},
            admit=admit,
        ),
        Operation(
            "GET", PREFIX + COMPLAINT_NAME, "countComplaint", "Counts a complaint once, where its mail left from.",
            complained, CountedComplaint, _Complaint, admit=sibling_check(partner, "tells of complaints"),
        ),
    ]  # fmt: skip
