"""One request of the admin API: how it is asked, what does it, what it answers; routes and document are made of these.

Invariants: a parameter that is unknown, given twice or out of its bounds is refused with the list of what there is, and
nothing is done; what is not an Operation has no route. Before: the rooms of this package, each a list of operations.
After: `server` routes them, `openapi` describes them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Final, TypeVar

from aiohttp import web
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from lane_relay.api.refusals import refusal, words_of

__all__ = [
    "MOST", "USUAL", "AnswerModel", "Body", "Count", "Name", "Operation", "Page", "Query", "Text",
    "read_body", "routes_of",
]  # fmt: skip

MOST: Final = 1000
USUAL: Final = 100
"""Rows of a page where nobody says how many."""
_Model = TypeVar("_Model", bound=BaseModel)


def _digits(given: Any) -> Any:
    if isinstance(given, str) and not (given.isascii() and given.isdecimal()):
        raise ValueError("give a whole number, 0 or more")
    return given


Count = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_digits)]
"""A whole number as parameters have it; exact in JSON."""
Text = Annotated[str, Field(min_length=1, max_length=1000)]
Name = Annotated[str, Field(min_length=1, max_length=500)]
"""Who does something, and why: both go on record."""


class AnswerModel(BaseModel):
    """What is answered: camelCase, nothing beside the fields; times are RFC 3339 in UTC.

    Its schema is made when the first such answer is, and what its fields mean is read from the source for the document
    (`descriptions`): a start waits for neither.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True, defer_build=True
    )


class Query(BaseModel):
    """The parameters of a request; a text that is not given is empty. By itself: there are none."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=False, defer_build=True
    )

    fix: ClassVar[str] = ""
    """What to give, said with each refusal."""


class Page(Query):
    """Where a page begins and how long it is."""

    first: Count = 0
    """So many are skipped: 0, or what the page before gave as `next`."""
    limit: Annotated[int, Field(ge=1, le=MOST), BeforeValidator(_digits)] = USUAL
    """Rows of the page."""


@dataclass(frozen=True, slots=True)
class Body:
    """What a request carries."""

    media_type: str = "application/json"
    model: type[BaseModel] | None = None
    """None: a text."""
    description: str = ""


_Handle = Callable[[web.Request, Any], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One request."""

    method: str
    path: str
    name: str
    """In the document; clients that are generated call it so."""
    summary: str
    handle: _Handle
    """Gets the request and its `query`, parsed."""
    answer: Any
    """The model, or a union of models, of what is answered; None: any JSON object."""
    query: type[Query] = Query
    body: Body | None = None
    refusals: Mapping[int, str] = field(default_factory=dict)
    """By status, beside those that every request may get."""
    status: int = 200
    also: str = ""
    """Another media type that it may answer with."""
    admit: Callable[[web.Request], web.Response | None] | None = None
    """Set: no token opens it; siblings show a certificate, and this gives the refusal for whoever is none."""

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Answers a request whose sender may ask."""
        refused = self.admit(request) if self.admit is not None else None
        if refused is not None:
            return refused
        query = _parsed(self.query, request)
        return refusal(422, query) if isinstance(query, str) else await self.handle(request, query)


def _parsed(model: type[Query], request: web.Request) -> Query | str:
    """The parameters, or what is wrong with them and what there is."""
    known = [one.alias or name for name, one in model.model_fields.items()]
    there_are = f"there are {', '.join(known)}" if known else "there are none here"
    given = request.query
    for name in given:
        if name not in known:
            return f"no parameter {name!r:.80}: {there_are}"
        if len(given.getall(name)) > 1:
            return f"{name}: give it once"
    try:
        return model.model_validate(dict(given))
    except ValidationError as wrong:
        return words_of(wrong) + (f"; {model.fix}" if model.fix else "")


async def read_body(request: web.Request, model: type[_Model], example: str) -> _Model | web.Response:
    """The body, or the refusal that shows what one looks like."""
    try:
        return model.model_validate_json(await request.read())
    except ValidationError as wrong:
        return refusal(422, f"{words_of(wrong)}; send {example}")


def routes_of(operations: Iterable[Operation]) -> list[web.RouteDef]:
    """The requests, for aiohttp's router."""
    return [
        web.get(one.path, one.run, allow_head=False)
        if one.method == "GET"
        else web.route(one.method, one.path, one.run)
        for one in operations
    ]
