"""`/v1/slot`, `/v1/intake`, `/v1/config`, `/v1/sites`, `/v1/replies`: what a slot is, and the two things it is told.

Before: `server` has checked the token. After: the slot, over its stages.
"""

from typing import Any, Final, Literal, Protocol

from aiohttp import web

from lane_relay.api.operation import MOST, AnswerModel, Body, Operation, Page, Query, read_body
from lane_relay.api.refusals import refusal
from lane_relay.api.report import ConfigInForce, IntakeOrder, IntakeState, Replies, Sites, SlotReport
from lane_relay.errors import ConfigError, SpoolError

__all__ = ["Slot", "operations"]

_EXAMPLE: Final = '{"state": "Open", "owner": "jane", "reason": "..."}, or "Closed"'


class Slot(Protocol):
    """What can be asked of a slot and done to it."""

    async def report(self) -> dict[str, Any]:
        """The answer to GET /v1/slot."""

    async def set_intake(self, state: Literal["Open", "Closed"], owner: str, reason: str) -> str:
        """Opens or closes intake, on record and kept over a restart; gives the state in force (the configuration may
        keep it closed). Raises SpoolError if the order could not be kept."""

    def push(self, text: str) -> int:
        """Puts a configuration in force and gives its generation; raises ConfigError."""

    def config_in_force(self) -> dict[str, Any]:
        """The answer to GET /v1/config."""

    def replies(self) -> dict[str, Any]:
        """Samples of the replies that no rule of a policy was for, each with a rule to begin with."""

    def sites(self, first: int, most: int) -> dict[str, Any]:
        """A page of the sites, with queue, connections and the limit that holds each now."""


class SitesWanted(Page):
    """A page of sites."""

    fix = f"give ?first= how many to skip, &limit= at most {MOST}"


class Pushed(AnswerModel):
    """A configuration has taken force."""

    generation: int


def operations(slot: Slot) -> list[Operation]:
    """The requests."""

    async def show(_request: web.Request, _query: Query) -> web.Response:
        return web.json_response(await slot.report())

    async def sites(_request: web.Request, query: SitesWanted) -> web.Response:
        return web.json_response(slot.sites(query.first, query.limit))

    async def replies(_request: web.Request, _query: Query) -> web.Response:
        return web.json_response(slot.replies())

    async def intake(request: web.Request, _query: Query) -> web.Response:
        wanted = await read_body(request, IntakeOrder, _EXAMPLE)
        if isinstance(wanted, web.Response):
            return wanted
        try:
            return web.json_response({"state": await slot.set_intake(wanted.state, wanted.owner, wanted.reason)})
        except SpoolError as failed:
            return refusal(503, f"the order could not be kept: {failed}; replace the slot's volume")

    async def in_force(_request: web.Request, _query: Query) -> web.Response:
        return web.json_response(slot.config_in_force())

    async def push(request: web.Request, _query: Query) -> web.Response:
        try:
            return web.json_response({"generation": slot.push((await request.read()).decode())})
        except UnicodeDecodeError:
            return refusal(422, "the body is not UTF-8: send relay.yaml as it is")
        except ConfigError as refused:
            return refusal(422, str(refused))

    too_large = {413: "The body is too large."}
    return [
        Operation("GET", "/v1/slot", "showSlot", "What the slot is and does.", show, SlotReport),
        Operation("GET", "/v1/sites", "listSites", "Every site that is known now.", sites, Sites, SitesWanted),
        Operation("GET", "/v1/replies", "listReplies", "Replies that no rule is for.", replies, Replies),
        Operation(
            "PUT", "/v1/intake", "setIntake", "Opens or closes intake, kept over a restart.", intake, IntakeState,
            body=Body(model=IntakeOrder), refusals=too_large | {503: "The order could not be kept."},
        ),
        Operation("GET", "/v1/config", "showConfig", "Which configuration is in force.", in_force, ConfigInForce),
        Operation(
            "PUT", "/v1/config", "putConfig", "Puts a configuration in force.", push, Pushed,
            body=Body("application/yaml", description="relay.yaml as it is mounted."), refusals=too_large,
        ),
    ]  # fmt: skip
