"""`/v1/suppressions`: asking about an address, taking words back, import and export, and copies for other lists.

Before it: `server`, which checks the token. After it: `feedback.suppression_list`. Invariant: an address comes in and
never goes out; a file of any length is read line by line, and what was read before a bad line is kept.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

from aiohttp import web

from lane_relay.api.refusals import refusal
from lane_relay.errors import RelayError
from lane_relay.feedback.exchange import COLUMNS, BadLine, Brought, header, read_line, shown, write_lines
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.smtp.address import BadAddress, parse_mailbox

__all__ = ["routes"]

_PATH: Final = "/v1/suppressions"
_AT_ONCE: Final = 1000
"""Lines between two fsyncs, and between two turns of the loop."""
_MOST_TOLD: Final = 100
_NO_LIST: Final = "this lane keeps no suppression list: give suppression.path and suppression.keyFile"


def routes(suppressions: SuppressionList | None) -> list[web.RouteDef]:
    """The requests about the list; None: there is none."""

    async def show(request: web.Request) -> web.StreamResponse:
        if suppressions is None:
            return refusal(404, _NO_LIST)
        address = request.query.get("address", "")
        if address:
            return _about(suppressions, address, request.query.get("domain", ""))
        if request.query.get("format") == "csv" or "text/csv" in request.headers.get("Accept", ""):
            return await _export(suppressions, request)
        words, cursor, more = suppressions.page(request.query.get("after", ""))
        return web.json_response({"entries": [shown(word) for word in words], "next": cursor, "more": more})

    async def bring(request: web.Request) -> web.Response:
        return refusal(404, _NO_LIST) if suppressions is None else await _import(suppressions, request)

    async def lift(request: web.Request) -> web.Response:
        return refusal(404, _NO_LIST) if suppressions is None else await _lift(suppressions, request)

    return [web.get(_PATH, show), web.post(_PATH, bring), web.delete(_PATH, lift)]


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


async def _import(suppressions: SuppressionList, request: web.Request) -> web.Response:
    lines = _lines(request)
    columns = header(await anext(lines, ""))
    if isinstance(columns, BadLine):
        return refusal(422, f"line 1: {columns.why}")
    waiting: list[Brought] = []
    wrong: list[dict[str, Any]] = []
    told = {"read": 0, "added": 0, "refused": 0}
    number = 1
    try:
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


async def _lift(suppressions: SuppressionList, request: web.Request) -> web.Response:
    address, digest = request.query.get("address", ""), request.query.get("digest", "")
    if address:
        mailbox = parse_mailbox(address)
        if isinstance(mailbox, BadAddress):
            return refusal(422, f"address: {mailbox.reason}")
        digests = suppressions.digests(str(mailbox), request.query.get("domain", ""))
    else:
        found = read_line(("digest",), digest)
        if not isinstance(found, Brought):
            return refusal(422, "say whose: ?address=ann@example.com or ?digest=, as an export has it")
        digests = [found.digest]
    try:
        lifted = sum([await suppressions.lift(one) for one in digests])
    except RelayError as failed:
        return refusal(507, str(failed))
    return web.json_response({"lifted": lifted})
