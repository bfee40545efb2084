"""A request's body from its bytes to the model, in a thread, within bounds of time and memory whatever it says.

The interpreter's lock is held while JSON is parsed and while errors are listed: a body of many small values, or of many
mistakes, would hold up the whole slot. So the values are counted before anything is made of them, and the shape is
looked at before the models are.
Invariants: nothing is parsed of a body with too many values; the models list a few hundred errors at most.
Before it: bytes from a client. After it: `injection`.
"""

import hashlib
import re
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

from msgspec import Struct
from msgspec.json import Decoder, Encoder
from pydantic import ValidationError

from lane_relay.accept.http.answer import Answer, problem
from lane_relay.accept.http.request import Submission
from lane_relay.errors import NOT_OURS

__all__ = ["MAX_PARTS", "VALUE_BYTES", "Read", "canonical", "read", "read_request"]

MAX_PARTS: Final = 500_000
"""Strings, commas and opening brackets of a body: parsing so many takes about 0.1 s."""
VALUE_BYTES: Final = 64
"""About what each of them holds once it is parsed."""
_MOST_ENTRIES: Final = 64
"""Of one object, or of a list within one, but for substitutions; no model has as many."""
_MOST_FAULTS: Final = 20
_HALF_A_PAIR = re.compile(rb"(?<!\\)(?:\\\\)*(\\u[dD][89abAB][0-9a-fA-F]{2})(?!\\u[dD][c-fC-F])")

_decode: Final = Decoder().decode
_encode: Final = Encoder(order="deterministic").encode


class Read(Struct, frozen=True):
    """A request that was read."""

    request: Submission
    digest: bytes
    """Of its canonical form."""
    held: int
    """Bytes that its values hold beside the body, about."""


def read_request(body: bytes, most_recipients: int) -> Read | Answer:
    """The request, or what is wrong with it."""
    parts = _parts(body)
    if parts > MAX_PARTS:
        return problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has more than {MAX_PARTS} values and separators: send fewer recipients or substitutions in one "
            "request",
            code="552 5.3.4",
        )
    digest = _looked_through(body, most_recipients)
    if isinstance(digest, Answer):
        return digest
    request = read(body)
    if isinstance(request, Submission):
        _ = request.first_places  # kept with it: a request may have many, and this is no thread of the loop
    return Read(request, digest, parts * VALUE_BYTES) if isinstance(request, Submission) else _faulty(request)


def _looked_through(body: bytes, most_recipients: int) -> bytes | Answer:
    """The digest of its canonical form; what it was decoded to is let go before the models read the body again."""
    try:
        plain, value = _canonical(body)
    except ValueError as wrong:
        return problem(HTTPStatus.BAD_REQUEST, str(wrong))
    if isinstance(value, dict) and (answer := _too_many(value, most_recipients)) is not None:
        return answer
    return hashlib.sha256(plain).digest()[:16]


def canonical(body: bytes) -> bytes:
    """The same bytes for the same JSON, whatever the order of its names; raises ValueError if it is none."""
    return _canonical(body)[0]


def read(body: bytes) -> Submission | list[dict[str, str]]:
    """The request, or what is wrong with it: JSON pointers (RFC 6901), each with a text."""
    try:
        return Submission.model_validate_json(body)
    except ValidationError as failed:
        return [
            {"pointer": _pointer(error["loc"]), "detail": _fix(error)}
            for error in failed.errors(include_url=False, include_context=False, include_input=False)[:_MOST_FAULTS]
        ]


def _canonical(body: bytes) -> tuple[bytes, Any]:
    try:
        value = _decode(body)
        return _encode(value), value
    except NOT_OURS as failed:
        raise ValueError(f"the body is not JSON: {_why(body, failed)}") from None


def _why(body: bytes, failed: Exception) -> str:
    """The decoder takes the first half of a surrogate pair without its second for a text that is cut off."""
    half = _HALF_A_PAIR.search(body)
    return f"{half[1].decode()} in a text is half a character (RFC 8259 section 7)" if half else str(failed)


def _parts(body: bytes) -> int:
    """No fewer than it has; looked at more closely if commas and brackets within its texts might make them too many."""
    most = _separators(body) + body.count(b'"') // 2 + 1
    if most <= MAX_PARTS:
        return most
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # now each quote begins or ends a text
    texts = bare.count(b'"') // 2
    if texts > MAX_PARTS:
        return texts
    return texts + sum(_separators(one) for one in bare.split(b'"')[::2]) + 1


def _separators(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _too_many(value: dict[str, Any], most_recipients: int) -> Answer | None:
    recipients = value.get("recipients")
    if isinstance(recipients, list) and len(recipients) > most_recipients:
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{len(recipients)} recipients are more than the {most_recipients} of one request: send several requests",
            code="452 4.5.3",
        )
    crowded = next((pointer for pointer, one in _sized(value) if len(one) > _MOST_ENTRIES), None)
    if crowded is None:
        return None
    return _faulty([{"pointer": crowded, "detail": f"has more than {_MOST_ENTRIES} entries: take some out"}])


def _sized(value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any] | list[Any]]]:
    """What the models bound, each with where it is; lists of the whole end with their first bad item anyway."""
    yield "", value
    for name, one in value.items():
        if isinstance(one, dict) and name != "substitutions":
            yield _pointer((name,)), one
            yield from ((_pointer((name, inner)), each) for inner, each in one.items() if isinstance(each, list))
        elif isinstance(one, list):
            yield from ((_pointer((name, place)), each) for place, each in enumerate(one) if isinstance(each, dict))


def _faulty(faults: list[dict[str, str]]) -> Answer:
    first = faults[0]
    where = f"{first['pointer']}: " if first["pointer"] else ""
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}{first['detail']}", errors=faults)


def _pointer(location: tuple[int | str, ...]) -> str:
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def _fix(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "unknown field: take it out or correct it; GET /v1/openapi.json lists what there is"
        case "missing":
            return "is required"
        case _:
            return str(error["msg"]).removeprefix("Value error, ")[:400]
