"""`/v1/trace` and `/v1/heads`: what happened to a message, and the signed heads that are to be kept outside of the pod.

Before: `server` has checked the token. After: the slot's records; what blocks runs on a thread.
"""

from typing import Any, Final, Protocol, Self

from aiohttp import web
from pydantic import JsonValue, model_validator

from lane_relay.api.operation import AnswerModel, Count, Operation, Query, Text
from lane_relay.api.refusals import refusal

__all__ = ["Evidence", "operations"]

MOST_HEADS: Final = 1000


class Evidence(Protocol):
    """What can be asked of a slot's records."""

    async def trace(self, name: str, recipient: str) -> list[dict[str, Any]]:
        """The records of a message, in order; empty if there is none. Raises OSError."""

    async def heads(self, after: int, most: int) -> list[str]:
        """The chain's heads after this number, each as it is kept. Raises OSError."""


class _Wanted(Query):
    """Whose records."""

    fix = "give ?id= a Message-ID, correlation id or spool id, or ?recipient= an address"

    id: Text = ""
    """A Message-ID, correlation id or spool id."""
    recipient: Text = ""
    """An address."""

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if not self.id and not self.recipient:
            raise ValueError("nothing is asked for")
        return self


class _After(Query):
    """How far the chain is known."""

    fix = "give ?after= the number of the last head that you have, 0 for none"

    after: Count = 0
    """The number of the last head that you have."""


class Trace(AnswerModel):
    """One message's life, or all that became of mail to a recipient."""

    records: list[dict[str, JsonValue]]
    """As they are journalled, in the records' own names and times; see docs/records.md."""


class Heads(AnswerModel):
    """Signed heads of the chain of records, in order; at most 1000."""

    heads: list[str]


def operations(evidence: Evidence) -> list[Operation]:
    """The requests."""

    async def trace(_request: web.Request, query: _Wanted) -> web.Response:
        try:
            records = await evidence.trace(query.id, query.recipient)
        except OSError as failed:
            return refusal(503, f"the records cannot be read: {failed}")
        if not records:
            return refusal(404, "no record of it on this slot's volume: look in the lane's other slots and its archive")
        return web.json_response({"records": records})

    async def heads(_request: web.Request, query: _After) -> web.Response:
        try:
            return web.json_response({"heads": await evidence.heads(query.after, MOST_HEADS)})
        except OSError as failed:
            return refusal(503, f"the heads cannot be read: {failed}")

    unread = {503: "The records cannot be read now."}
    return [
        Operation(
            "GET", "/v1/trace", "trace", "What happened to a message.", trace, Trace, _Wanted,
            refusals=unread | {404: "This slot's volume has no record of it."},
        ),
        Operation(
            "GET", "/v1/heads", "listHeads", "The heads after one that is known.", heads, Heads, _After,
            refusals=unread,
        ),
    ]  # fmt: skip
