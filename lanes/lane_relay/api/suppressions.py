"""`/v1/suppressions`: asking about an address, taking words back, import and export, and copies for other lists.

Before it: `server`, which checks the token. After it: `feedback.suppression_list`. Invariant: an address comes in and
never goes out; a file of any length is read line by line, and what was read before a bad line is kept.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, Literal, Self

from aiohttp import web
from pydantic import Field, field_validator, model_validator

from lane_relay.api.operation import AnswerModel, Body, Name, Operation, Query, Text
from lane_relay.api.refusals import refusal
from lane_relay.errors import RelayError
from lane_relay.feedback.exchange import (
    COLUMNS,
    BadLine,
    Brought,
    header,
    read_line,
    read_time,
    shown,
    text_of,
    write_lines,
    written,
)
from lane_relay.feedback.suppression_list import MOST_TIME, Choice, SuppressionList
from lane_relay.feedback.suppressions import Reason, Suppressed
from lane_relay.smtp.address import BadAddress, parse_mailbox

__all__ = ["HELD_BACK", "NO_LIST", "operations"]

_PATH: Final = "/v1/suppressions"
HELD_BACK: Final = "/v1/suppressions/held-back"
_AT_ONCE: Final = 1000
"""Lines between two fsyncs, and between two turns of the loop."""
_MOST_TOLD: Final = 100
_CHUNK: Final = 64 * 1024
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


class _Which(_By):
    """Many words at once, by what they say."""

    fix = "say which, who says so and why: ?site=google&from=2026-11-28T12:00:00Z&to=...&owner=jane&reason=..."

    site: Text = ""
    """Of hard bounces: the site that said so, as `GET /v1/sites` names it."""
    since: Text = Field("", alias="from")
    """Said at this time or later: RFC 3339, a date, or Unix seconds."""
    until: Text = Field("", alias="to")
    """Said at this time or earlier."""
    dry_run: Literal["", "true", "false"] = ""
    """Only `false` does it; else it is said how many words there are."""

    @field_validator("since", "until")
    @classmethod
    def _is_time(cls, given: str) -> str:
        read_time(given, "time")
        return given

    def chosen(self, reason: Reason) -> Choice:
        """Which words of this reason are meant."""
        until = read_time(self.until, "to") if self.until else MOST_TIME
        return Choice(reason, self.site, read_time(self.since, "from"), until)


class _Whose(_Which):
    """Whose words are taken back, by whom and why."""

    fix = (
        "say whose, who takes them back and why: ?address=ann@example.com&owner=jane&reason=...; "
        "or ?digest= for ?address=, as an export has it; or which: ?suppressedFor=hard-bounce&site=&from=&to="
    )

    address: Text = ""
    domain: Text = ""
    """From domain under which the address may be suppressed as well."""
    digest: Text = ""
    suppressed_for: Reason | None = None
    """Every word of this reason, instead of those about one address."""

    @model_validator(mode="after")
    def _says_whose(self) -> Self:
        if sum((bool(self.address), bool(self.digest), self.suppressed_for is not None)) != 1:
            raise ValueError("one of address, digest and suppressedFor is needed")
        if self.suppressed_for is None and (self.site or self.since or self.until or self.dry_run):
            raise ValueError("site, from, to and dryRun go with suppressedFor")
        if self.site and self.suppressed_for not in (Reason.HARD_BOUNCE, Reason.HELD_BACK):
            raise ValueError("site goes with suppressedFor=hard-bounce or held-back: other words have none")
        return self

    def choice(self) -> Choice:
        """Which; raises ValueError."""
        return self.chosen(self.suppressed_for or Reason.HARD_BOUNCE)


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
    known: int
    """Of which the list knew as much already."""
    refused: int
    wrong: list[WrongLine]
    """The first 100."""


class Lifted(AnswerModel):
    """How many words count no more."""

    lifted: int
    note: str = ""
    """Why there were none."""


class Chosen(AnswerModel):
    """How many words were meant, and what became of them."""

    found: int
    lifted: int
    dry_run: bool
    """Nothing was done: ask again with `dryRun=false`."""


class Believed(AnswerModel):
    """How many words were meant, and how many of them count now."""

    found: int
    believed: int
    dry_run: bool
    """Nothing was done: ask again with `dryRun=false`."""


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
        if suppressions is None:
            return refusal(404, NO_LIST)
        if query.suppressed_for is not None:
            return await _lift_all(suppressions, query, keep)
        return await _lift(suppressions, query, keep)

    async def believe(_request: web.Request, query: _Which) -> web.Response:
        return refusal(404, NO_LIST) if suppressions is None else await _believe(suppressions, query, keep)

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
            "DELETE", _PATH, "liftSuppressions", "Takes words back: of an address, or by reason, site and time.", lift,
            Lifted | Chosen, _Whose, refusals=none | full,
        ),
        Operation(
            "POST", HELD_BACK, "believeSuppressions", "Hard bounces that were held back count from now on.", believe,
            Believed, _Which, refusals=none | full,
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
    first = text_of(await anext(lines, b""))
    columns = first if isinstance(first, BadLine) else header(first)
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
            text = text_of(line)
            found = text if isinstance(text, BadLine) else read_line(columns, text, suppressions.latest)
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
    known = told["read"] - told["added"] - told["refused"]
    return web.json_response({**told, "known": known, "wrong": wrong})


async def _lines(request: web.Request) -> AsyncIterator[bytes]:
    """The body's lines without their ends, CR, LF or both, whatever its length."""
    rest = b""
    async for chunk in request.content.iter_chunked(_CHUNK):
        lines = (rest + chunk).splitlines(keepends=True)
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()  # behind a CR the LF may be still to come
        if len(rest) > _CHUNK:
            rest = rest[:_CHUNK] + rest[-1:]  # told as too long; no file of ours has such a line
        for line in lines:
            yield line.rstrip(b"\r\n")
    if rest:
        yield rest.rstrip(b"\r\n")


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
    note = "" if lifted else "no word of this list is about it: GET /v1/suppressions?address= tells what is known"
    return web.json_response({"lifted": lifted, "note": note})


async def _lift_all(suppressions: SuppressionList, query: _Whose, keep: Keep) -> web.Response:
    choice, act = query.choice(), suppressions.take_back
    return await _change(suppressions, query, choice, keep, "lifted", "lift of {} words suppressed for {}", act)


async def _believe(suppressions: SuppressionList, query: _Which, keep: Keep) -> web.Response:
    choice, act = query.chosen(Reason.HELD_BACK), suppressions.believe
    return await _change(suppressions, query, choice, keep, "believed", "{} words count that were {}", act)


async def _change(
    suppressions: SuppressionList,
    by: _Which,
    choice: Choice,
    keep: Keep,
    counted: str,
    record: str,
    act: Callable[[list[Suppressed]], Awaitable[None]],
) -> web.Response:
    """Does it to all words chosen, unless it is only asked how many; on record is that number, and the choice."""
    try:
        words = await suppressions.chosen(choice)
        changed = len(words) if by.dry_run == "false" else 0
        if changed:
            await keep(record.format(changed, _said(choice)), by.owner, by.reason)
            await act(words)
    except RelayError as failed:
        return refusal(507, str(failed))
    return web.json_response({"found": len(words), counted: changed, "dryRun": by.dry_run != "false"})


def _said(choice: Choice) -> str:
    """A choice for the record."""
    site = f" at {choice.site}" if choice.site else ""
    since = f" from {written(choice.since)}" if choice.since else ""
    until = f" to {written(choice.until)}" if choice.until < MOST_TIME else ""
    return f"{choice.reason.value}{site}{since}{until}"
