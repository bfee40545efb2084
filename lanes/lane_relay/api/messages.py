"""`/v1/messages`: what is queued, a page at a time, and one message's envelope and header; bodies are never shown.

Before: `server` has checked the token. After: `queued_messages`. Invariant: where the lane wants recipients as digests
in its records, they are digests here too, and header fields that may name them are left out.
"""

from typing import Annotated, Final, Literal, Protocol, get_args

from aiohttp import web
from pydantic import Field

from lane_relay.api.explanations import LastRecord, Place, Waits
from lane_relay.api.operation import MOST, USUAL, AnswerModel, Operation, Page, Query, Text
from lane_relay.api.refusals import refusal

__all__ = ["HeaderField", "Listed", "MessageShown", "MessagesPage", "MessagesWanted", "QueuedFor", "operations"]

_PATH: Final = "/v1/messages"
_ID: Final = r"^[0-9a-f]{24}$"
SpoolId = Annotated[str, Field(pattern=_ID)]


class MessagesWanted(Query):
    """Which messages; of several conditions all must hold."""

    fix = (
        "give any of ?id= a spool id, &message-id= or &correlation-id=, &domain=, &campaign=, "
        f"&state= one of {', '.join(get_args(Place))}, &first= the `next` of the page before, &limit= at most {MOST}"
    )

    first: SpoolId | Literal[""] = ""
    """`next` of the page before: pages are in order of spool ids, which is that of acceptance."""
    limit: Annotated[int, *Page.model_fields["limit"].metadata] = USUAL
    """Messages of the page; it has fewer where they are large."""
    id: SpoolId | Literal[""] = ""
    message_id: Text = Field(default="", alias="message-id")
    correlation_id: Text = Field(default="", alias="correlation-id")
    domain: Text = ""
    """Recipient domain."""
    campaign: Text = ""
    state: Place | Literal[""] = ""


class QueuedFor(Waits):
    """Recipients of the message in one domain, and where they are."""

    to: list[str]
    """The first 100 of them; digests where records have digests."""


class Listed(AnswerModel):
    """One queued message; what is null could not be read: it has gone meanwhile, or is damaged."""

    id: str
    received_at: str
    size: int
    """Bytes."""
    sender: str | None
    """Empty: the null sender."""
    message_id: str | None
    correlation_id: str | None
    recipients_left: int
    """Of the entries that were asked for."""
    entries: list[QueuedFor]
    """The first 100 of them."""


class MessagesPage(AnswerModel):
    """Messages in order of their ids. One that stays where it is while pages are read is on exactly one of them."""

    messages: list[Listed]
    next: str | None
    """`first` of the next page; null: this is the last one."""


class HeaderField(AnswerModel):
    """One field as it is stored, folded lines joined."""

    name: str
    value: str


class MessageShown(Listed):
    """One message's envelope and header."""

    recipients: list[str]
    """All that the envelope has, also those that are settled; the first 1000."""
    header: list[HeaderField]
    """Fields that may name recipients are left out where these are digests; at most 64 KiB."""
    expires_at: str | None
    """The sender's own end; null: the lane's lifetime alone."""
    last: LastRecord | None
    """Its latest record: the last reply, as far as this slot's volume has it."""


class Queue(Protocol):
    """Who knows."""

    async def page(self, wanted: MessagesWanted) -> MessagesPage:
        """A page; raises OSError if a name has to be looked up in records that cannot be read."""

    async def one(self, message_id: str) -> MessageShown | None:
        """A queued message by its spool id; None if there is none."""


def operations(queue: Queue) -> list[Operation]:
    """The requests."""

    async def page(_request: web.Request, query: MessagesWanted) -> web.Response:
        try:
            return _said(await queue.page(query))
        except OSError as failed:
            return refusal(503, f"the records cannot be read: {failed}; spool ids need none")

    async def one(request: web.Request, _query: Query) -> web.Response:
        shown = await queue.one(request.match_info["id"])
        if shown is None:
            return refusal(404, "it is not queued here: GET /v1/trace?id= tells what became of it, by any of its names")
        return _said(shown)

    return [
        Operation(
            "GET", _PATH, "listMessages", "What is queued.", page, MessagesPage, MessagesWanted,
            refusals={503: "The records cannot be read now."},
        ),
        Operation(
            "GET", _PATH + "/{id}", "showMessage", "One message's envelope and header.", one, MessageShown,
            refusals={404: "It is not queued here."},
        ),
    ]  # fmt: skip


def _said(answer: AnswerModel) -> web.Response:
    return web.Response(
        body=answer.model_dump_json(by_alias=True, exclude_unset=True).encode(), content_type="application/json"
    )
