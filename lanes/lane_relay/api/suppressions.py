"""`/v1/suppressions`: asking about an address, taking words back, import and export, and copies for other lists.

Before it: `server`, which checks the token. After it: `feedback.suppression_list`. Invariant: an address comes in and
never goes out; a file of any length is read line by line, and what was read before a bad line is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal, Self

from aiohttp import web
from pydantic import Field, model_validator

from lane_relay.api.operation import AnswerModel, Body, Name, Operation, Query, Text
from lane_relay.api.refusals import refusal
from lane_relay.errors import RelayError
from lane_relay.feedback.exchange import COLUMNS, BadLine, Brought, header, read_line, shown, write_lines
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.smtp.address import BadAddress, parse_mailbox

__all__ = ["NO_LIST", "operations"]

_PATH: Final = "/v1/suppressions"
_AT_ONCE: Final = 1000
"""Lines between two fsyncs, and between two turns of the loop."""
_MOST_TOLD: Final = 100
Keep = Callable[[str, str, str], Awaitable[None]]
"""(action, owner, reason): on record when it returns; raises SpoolError."""
NO_LIST: Final = (
    "this slot keeps no suppression list: set `feedback: {}` in the lane's spec; without Kubernetes, suppression.path "
    "and suppression.keyFile"
)


class _Wanted(Query):
    """Of an address, behind a cursor, or all as CSV."""

    fix = "give ?address=, ?after= the cursor you have, or ?format=csv"

    address: Text = ""
    domain: Text = ""
    """From domain under which the address may be suppressed, where the list's scope is Domain."""
    after: str = ""
    """`next` of the page before: words that came later."""
    format: Literal["json", "csv"] = "json"


class _By(Query):
    """Who brings words, and why."""

    fix = "say who brings them and why: ?owner=jane&reason=..."

    owner: Name
    reason: Name


class _Whose(Query):
    """Whose words are taken back, by whom and why."""

    fix = (
        "say whose, who takes them back and why: ?address=ann@example.com&owner=jane&reason=...; "
        "or ?digest= for ?address=, as an export has it"
    )

    owner: Name
    reason: Name

    address: Text = ""
    domain: Text = ""
    """From domain under which the address may be suppressed as well."""
    digest: Text = ""

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if bool(self.address) == bool(self.digest):
            raise ValueError("one of address and digest is needed")
        return self


class Word(AnswerModel):
    """One word of the list, as its CSV has it; what is not said is empty."""

    digest: str
    reason: str
    about: str = Field(alias="class")
    scope: str
    source: str
    created: str
    expires: str
    lifted: Literal["", "true"]


class Words(AnswerModel):
    """What is known of an address."""

    entries: list[Word]


class WordsAfter(Words):
    """What came behind a cursor; `next` is a cursor always, for words that come later."""

    next: str
    more: bool
    """There are some already."""


class WrongLine(AnswerModel):
    """A line that was not taken."""

    line: int
    why: str


class Imported(AnswerModel):
    """What became of a file."""

    read: int
    added: int
    refused: int
    wrong: list[WrongLine]
    """The first 100."""


class Lifted(AnswerModel):
    """How many words count no more."""

    lifted: int


def operations(suppressions: SuppressionList | None, keep: Keep) -> list[Operation]:
    """The requests about the list; None: there is none. `keep` puts on record what is done to it."""

    async def show(request: web.Request, query: _Wanted) -> web.StreamResponse:
        if suppressions is None:
            return refusal(404, NO_LIST)
        if query.address:
            return _about(suppressions, query.address, query.domain)
        if query.format == "csv" or "text/csv" in request.headers.get("Accept", ""):
            return await _export(suppressions, request)
        words, cursor, more = suppressions.page(query.after)
        return web.json_response({"entries": [shown(word) for word in words], "next": cursor, "more": more})

    async def bring(request: web.Request, query: _By) -> web.Response:
        if suppressions is None:
            return refusal(404, NO_LIST)
        return await _import(suppressions, request, lambda said: keep(said, query.owner, query.reason))

    async def lift(_request: web.Request, query: _Whose) -> web.Response:
        return refusal(404, NO_LIST) if suppressions is None else await _lift(suppressions, query, keep)

    none, full = {404: "This lane keeps no list."}, {507: "The list is full, or its volume failed."}
    return [
        Operation(
            "GET", _PATH, "listSuppressions", "What is known of an address, or the list.", show, WordsAfter | Words,
            _Wanted, also="text/csv", refusals=none,
        ),
        Operation(
            "POST", _PATH, "importSuppressions", "Takes words in.", bring, Imported, _By,
            body=Body("text/csv", description=f"A line of names, address or digest and any of {', '.join(COLUMNS)}."),
            refusals=none | full,
        ),
        Operation(
            "DELETE", _PATH, "liftSuppressions", "Takes words back.", lift, Lifted, _Whose, refusals=none | full,
        ),
    ]  # fmt: skip


def _about(suppressions: SuppressionList, address: str, domain: str) -> web.Response:
    mailbox = parse_mailbox(address)
    if isinstance(mailbox, BadAddress):
        return refusal(422, f"address: {mailbox.reason}")
    words = suppressions.words_about(str(mailbox), domain)
    return web.json_response({"entries": [shown(word) for word in words]})


async def _export(suppressions: SuppressionList, request: web.Request) -> web.StreamResponse:
    """The whole list as of about now, in portions."""
    answer = web.StreamResponse(headers={"Content-Type": "text/csv; charset=utf-8"})
    await answer.prepare(request)
    await answer.write((",".join(COLUMNS) + "\n").encode())
    cursor, more = "", True
    while more:
        words, cursor, more = suppressions.page(cursor)
        await answer.write("".join(write_lines(words)).encode())
        await asyncio.sleep(0)
    await answer.write_eof()
    return answer


async def _import(
    suppressions: SuppressionList, request: web.Request, keep: Callable[[str], Awaitable[None]]
) -> web.Response:
    """On record before the first word counts, and with what came of it."""
    lines = _lines(request)
    columns = header(await anext(lines, ""))
    if isinstance(columns, BadLine):
        return refusal(422, f"line 1: {columns.why}")
    waiting: list[Brought] = []
    wrong: list[dict[str, Any]] = []
    told = {"read": 0, "added": 0, "refused": 0}
    number = 1
    try:
        await keep("import of suppressions")
        async for line in lines:
            number += 1
            found = read_line(columns, line)
            if found is None:
                continue
            told["read"] += 1
            if isinstance(found, BadLine):
                told["refused"] += 1
                if len(wrong) < _MOST_TOLD:
                    wrong.append({"line": number, "why": found.why})
                continue
            waiting.append(found)
            if len(waiting) >= _AT_ONCE:
                told["added"] += await suppressions.bring(waiting)
                waiting = []
        told["added"] += await suppressions.bring(waiting)
        await keep(f"imported suppressions: {', '.join(f'{count} {what}' for what, count in told.items())}")
    except RelayError as failed:
        return refusal(507, f"after line {number}: {failed}; {told['added']} words before it are kept")
    return web.json_response({**told, "wrong": wrong})


async def _lines(request: web.Request) -> AsyncIterator[str]:
    """The body's lines, whatever its length."""
    rest = b""
    async for chunk in request.content.iter_chunked(64 * 1024):
        whole = rest + chunk
        lines = whole.split(b"\n")
        rest = lines.pop()
        if len(rest) > 64 * 1024:
            rest = rest[: 64 * 1024]  # told as too long; no file of ours has such a line
        for line in lines:
            yield line.decode("utf-8", "replace").rstrip("\r")
    if rest:
        yield rest.decode("utf-8", "replace").rstrip("\r")


async def _lift(suppressions: SuppressionList, query: _Whose, keep: Keep) -> web.Response:
    """On record, by digest, before the first word counts no more."""
    if query.address:
        mailbox = parse_mailbox(query.address)
        if isinstance(mailbox, BadAddress):
            return refusal(422, f"address: {mailbox.reason}")
        digests = suppressions.digests(str(mailbox), query.domain)
    else:
        found = read_line(("digest",), query.digest)
        if not isinstance(found, Brought):
            return refusal(422, _Whose.fix)
        digests = [found.digest]
    try:
        named = ", ".join(one.hex() for one in digests)
        await keep(f"lift of what is suppressed: {named}", query.owner, query.reason)
        lifted = sum([await suppressions.lift(one) for one in digests])
    except RelayError as failed:
        return refusal(507, str(failed))
    return web.json_response({"lifted": lifted})
