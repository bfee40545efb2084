"""What a client is told: one result a recipient, or problem details (RFC 9457) for the whole request.

Invariant: an answer says by code and text what SMTP would say, and the fix; it repeats nothing secret. Pure.
"""

from http import HTTPStatus
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from lane_relay.accept.http.request import Submission
from lane_relay.records import Reply, message_id_text

__all__ = [
    "Answer",
    "Fault",
    "Problem",
    "Result",
    "Results",
    "accepted",
    "for_each",
    "problem",
    "refused",
    "result_of",
    "results",
]

RETRY_AFTER_S: Final = 5
_OVER_ITS_RATE: Final = "451 4.7.1"
_WRONG_CREDENTIALS: Final = (530, 535)


class Result(BaseModel):
    """What became of one recipient."""

    model_config = ConfigDict(extra="forbid")

    to: str
    """As the request names it."""
    status: Literal["accepted", "refused"]
    """Accepted: on disk."""
    id: str | None = None
    """Of the message, as records and `trace` show it; of accepted ones."""
    code: str
    """As SMTP says it: `250 2.0.0`, `550 5.7.1`; 4xx may be tried again, 5xx needs the fix first."""
    text: str
    """Of a refusal: what to mend."""


class Results(BaseModel):
    """At least one message is on disk."""

    model_config = ConfigDict(extra="forbid")

    slot: str
    """Who has them, also where another slot was asked."""
    accepted: int
    """How many recipients' messages are on disk."""
    refused: int
    """How many are not."""
    results: list[Result]
    """In the order of the request's recipients."""


class Fault(BaseModel):
    """One thing that is wrong with the body."""

    model_config = ConfigDict(extra="forbid")

    pointer: str
    """Where, as a JSON pointer (RFC 6901); empty: the whole."""
    detail: str
    """What is wrong, and the fix."""


class Problem(BaseModel):
    """Nothing was taken (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = "about:blank"
    """Always this: `title` and `code` say what kind it is."""
    title: str
    """The status in words."""
    status: int
    """The HTTP status."""
    detail: str
    """What is wrong and what to do."""
    code: str | None = None
    """As SMTP says it, where it has a code."""
    errors: list[Fault] | None = None
    """Each thing that is wrong with the body."""
    results: list[Result] | None = None
    """One a recipient, where each was judged and all were refused."""


class Answer:
    """A status, a body and what else goes into the header."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: BaseModel, headers: dict[str, str] | None = None) -> None:
        self.status = status
        self.body = body
        self.headers = headers or {}

    @property
    def media_type(self) -> str:
        """Of the body."""
        return "application/problem+json" if isinstance(self.body, Problem) else "application/json"

    def encoded(self) -> bytes:
        """The body's bytes."""
        return self.body.model_dump_json(exclude_none=True).encode()


def _status_of(reply: Reply) -> int:
    """The HTTP status for what SMTP refuses with this reply."""
    if reply.code in _WRONG_CREDENTIALS:
        return HTTPStatus.UNAUTHORIZED
    if reply.code < 500:
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.FORBIDDEN if reply.enhanced == "5.7.1" else HTTPStatus.UNPROCESSABLE_ENTITY


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: list[dict[str, str]] | None = None,
    results: list[Result] | None = None,
) -> Answer:
    """Problem details, with the fields that the status asks for."""
    headers = {}
    if status in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.CONFLICT):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = 'Basic realm="lane", charset="UTF-8", Bearer realm="lane"'
    faults = None if errors is None else [Fault(**one) for one in errors]
    body = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, code=code, errors=faults, results=results
    )
    return Answer(status, body, headers)


def refused(reply: Reply) -> Answer:
    """The whole request is refused with what SMTP would say."""
    return problem(_status_of(reply), _words(reply), code=_code(reply))


def _code(reply: Reply) -> str:
    return f"{reply.code} {reply.enhanced}".rstrip()


def _words(reply: Reply) -> str:
    return reply.text.removeprefix(reply.enhanced).lstrip()


def accepted(to: str, message_id: int) -> Result:
    """This recipient's message is on disk."""
    text = message_id_text(message_id)
    return Result(to=to, status="accepted", id=text, code="250 2.0.0", text=f"Ok: queued as {text}")


def result_of(to: str, reply: Reply) -> Result:
    """This recipient gets nothing, and why."""
    return Result(to=to, status="refused", code=_code(reply), text=_words(reply))


def for_each(request: Submission, found: dict[int, Result]) -> list[Result]:
    """What each recipient hears; one that is named again, what it did the first time, under its name now."""
    heard = zip(request.recipients, map(found.__getitem__, request.first_places), strict=True)
    return [one if one.to == named.to else one.model_copy(update={"to": named.to}) for named, one in heard]


def results(slot: str, found: list[Result], headers: dict[str, str] | None = None) -> Answer:
    """The answer for recipients that were judged one by one."""
    taken = sum(one.status == "accepted" for one in found)
    if taken:
        body = Results(slot=slot, accepted=taken, refused=len(found) - taken, results=found)
        return Answer(HTTPStatus.OK, body, headers)
    passing = next((one for one in found if one.code.startswith("4")), None)
    first: Any = passing or found[0]
    status = HTTPStatus.SERVICE_UNAVAILABLE if passing else HTTPStatus.UNPROCESSABLE_ENTITY
    if first.code == _OVER_ITS_RATE:
        status = HTTPStatus.TOO_MANY_REQUESTS
    return problem(status, f"no recipient was accepted: {first.text}", code=first.code, results=found)
