"""`/v1/acts`: what reply rules stop or slow down is ended by a person, who knows that its cause is gone.

Invariant: who ends what, and why, is on record before it is ended. Before: `kubectl lane` and persons. After: the
judgement of `deliver`.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web

from lane_relay.api.operation import AnswerModel, Name, Operation, Query, Text
from lane_relay.api.refusals import refusal
from lane_relay.api.report import Act
from lane_relay.deliver import acts as in_force
from lane_relay.deliver.told import act_as_json
from lane_relay.errors import SpoolError
from lane_relay.smtp.address import normalise_domain

__all__ = ["Judge", "operations"]

_PATH: Final = "/v1/acts"
_EVERY: Final = "*"
Keep = Callable[[str, str, str], Awaitable[None]]
"""(what is done, by whom, why), on disk when it returns; raises SpoolError."""


class Judge(Protocol):
    """Who keeps the acts."""

    def acts_about(self, site: str, domain: str) -> list[in_force.Act]:
        """Those about just this, the site's back-off among them; an empty site is every site."""

    def end(self, site: str, domain: str) -> list[in_force.Act]:
        """Ends them, and gives what was ended."""


class Ended(AnswerModel):
    """What was ended."""

    acts: list[Act]


class _Which(Query):
    """Which acts, who ends them, and why."""

    fix = "say which, who ends it and why: DELETE /v1/acts?site=gmail&owner=jane&reason=..., as GET /v1/slot names it"

    site: Text
    """`*`: what is about every site."""
    domain: Text = ""
    """The From domain of what is about its mail; none: what is about all mail."""
    owner: Name
    reason: Name


def operations(judge: Judge, keep: Keep) -> list[Operation]:
    """The requests."""

    async def end(_request: web.Request, query: _Which) -> web.Response:
        site = "" if query.site == _EVERY else query.site
        domain = normalise_domain(query.domain)
        if query.domain and not domain:
            return refusal(422, f"domain: {query.domain!r:.80} is none; {query.fix}")
        found = judge.acts_about(site, domain)
        if not found:
            about = f"mail from {domain} to {query.site}" if domain else query.site
            return refusal(404, f"nothing stops or slows {about:.200}: GET /v1/slot lists all (delivery.acts, slowed)")
        said = ", ".join(f"{act.action} of {act.about} by {act.rule}" for act in found)
        try:
            await keep(f"ended {said}", query.owner, query.reason)
        except SpoolError as failed:
            return refusal(503, f"it could not be put on record, and is not ended: {failed}")
        return web.json_response({"acts": [act_as_json(act) for act in judge.end(site, domain)]})

    return [
        Operation(
            "DELETE", _PATH, "endActs", "Ends what a reply rule stops or slows down.", end, Ended, _Which,
            refusals={404: "Nothing of this is in force.", 503: "It could not be put on record; nothing is ended."},
        ),
    ]  # fmt: skip
