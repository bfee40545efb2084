"""`/v1/explain` and `/v1/queues`: why mail has not gone yet, and how much waits for whom.

Before: `server` has checked the token. After: the slot's explainer.
"""

from typing import Any, Final, Literal, Protocol, Self

from aiohttp import web
from pydantic import model_validator

from lane_relay.api.explanations import DomainExplained, MessagesExplained, Queues, SiteExplained
from lane_relay.api.operation import MOST, Operation, Page, Query, Text
from lane_relay.api.refusals import refusal

__all__ = ["Explains", "operations"]


class Explains(Protocol):
    """Who knows."""

    async def message(self, name: str) -> list[dict[str, Any]]:
        """Messages of this spool id, Message-ID or correlation id; empty if there is none. Raises OSError."""

    async def domain(self, name: str) -> dict[str, Any] | None:
        """A recipient domain, for which DNS is asked; None if it is none."""

    def site(self, name: str) -> dict[str, Any] | None:
        """A site, by its name; None if nothing is known of it."""

    async def queues(self, by: Literal["domain", "campaign"], first: int, most: int) -> dict[str, Any]:
        """A page of all queues, the longest first."""


class _Subject(Query):
    """What is to be explained."""

    fix = "give one of ?message= (spool id, Message-ID or correlation id), ?domain= or ?site="

    message: Text = ""
    """A spool id, Message-ID or correlation id."""
    domain: Text = ""
    site: Text = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(bool(one) for one in (self.message, self.domain, self.site)) != 1:
            raise ValueError("one thing is explained at a time")
        return self


class _QueuesWanted(Page):
    """A page of queues."""

    fix = f"give ?by=domain or campaign, &first= how many to skip, &limit= at most {MOST}"

    by: Literal["domain", "campaign"] = "domain"


def operations(explains: Explains) -> list[Operation]:
    """The requests."""

    async def explain(_request: web.Request, query: _Subject) -> web.Response:
        said: dict[str, Any] | None
        if query.message:
            try:
                found = await explains.message(query.message)
            except OSError as failed:
                return refusal(503, f"the records cannot be read: {failed}; a spool id of a queued message needs none")
            said, nothing = {"messages": found} if found else None, _NOTHING["message"]
        elif query.domain:
            said, nothing = await explains.domain(query.domain), _NOTHING["domain"]
        else:
            said, nothing = explains.site(query.site), _NOTHING["site"]
        return refusal(404, nothing) if said is None else web.json_response(said)

    async def queues(_request: web.Request, query: _QueuesWanted) -> web.Response:
        return web.json_response(await explains.queues(query.by, query.first, query.limit))

    answer = MessagesExplained | DomainExplained | SiteExplained
    return [
        Operation(
            "GET", "/v1/explain", "explain", "Why mail has not gone yet.", explain, answer, _Subject,
            refusals={404: "Nothing is known of it here.", 503: "The records cannot be read now."},
        ),
        Operation("GET", "/v1/queues", "listQueues", "How much waits for whom.", queues, Queues, _QueuesWanted),
    ]  # fmt: skip


_NOTHING: Final = {
    "message": "neither this slot's queue nor its records know it: look in the lane's other slots and its archive",
    "domain": "this is no mail domain (give one such as example.com), or DNS is too busy now to be asked about it",
    "site": "no such site is known here now; GET /v1/sites has those that are",
}
