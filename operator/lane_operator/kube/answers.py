"""What the API server answers, read; pure.

Between the client, which has the bytes, and whoever works with objects. What stands in the way (a proxy, a load
balancer) may answer anything under any status. Invariant: what is no answer of an API server is a NoAnswerError here,
which the client maps, and a refusal is an error of ours whatever its body says.
"""

import re
from typing import Any

import msgspec

from lane_operator.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    KubeError,
    NamespaceTerminatingError,
    NotFoundError,
    UnavailableError,
)

__all__ = ["NoAnswerError", "answered", "event_of", "names_of", "page_of", "refusal", "retry_after"]

Manifest = dict[str, Any]
LONGEST_PAUSE_S = 300.0
"""As the queue's back-off: whoever asks for more is asked again all the same."""
BOOKMARK = "BOOKMARK"


class NoAnswerError(Exception):
    """It does not come from an API server, or was damaged on its way."""


def answered(text: bytes) -> Manifest:
    """The object that a body holds, empty where there is none; raises NoAnswerError for what is no object."""
    try:
        answer = msgspec.json.decode(text) if text else {}
    except (ValueError, RecursionError) as error:
        raise NoAnswerError(f"an answer that is no JSON: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswerError(f"an answer that is no object: {text[:80]!r}")
    return answer


def page_of(answer: Manifest) -> tuple[tuple[Manifest, ...], str, str]:
    """Objects, resourceVersion and the token of the next page, of a list; raises NoAnswerError for what is none."""
    metadata, items = answer.get("metadata"), answer.get("items") or ()
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(version, str) or not _are_objects(items):
        raise NoAnswerError("an answer that is no list")
    return tuple(items), version, str(metadata.get("continue") or "")


def names_of(answer: Manifest) -> frozenset[str]:
    """The resources that a group's version serves; raises NoAnswerError where that is not told."""
    found = answer.get("resources")
    if not isinstance(found, list):
        raise NoAnswerError("an answer that is no list of resources")
    return frozenset(str(entry.get("name")) for entry in found if isinstance(entry, dict))


def event_of(line: bytes) -> tuple[str, Manifest]:
    """One event of a watch; raises KubeError where it says that the watch is over, NoAnswerError for what is none."""
    event = answered(line)
    change, body = event.get("type"), event.get("object")
    if change == "ERROR" and isinstance(body, dict):
        code = body.get("code")
        raise _error(code if isinstance(code, int) else 500, body, 0.0)
    if not isinstance(change, str) or not _are_objects([body], named=change != BOOKMARK):
        raise NoAnswerError("an event that is none")
    return change, event["object"]


def refusal(status: int, text: bytes, pause_s: float) -> KubeError:
    """Our error for an answer of 400 and above; an unknown API group and a proxy on the way answer in plain text."""
    try:
        detail = answered(text)
    except NoAnswerError:
        detail = {"message": text[:200].decode(errors="replace").strip()}
    return _error(status, detail, pause_s)


def retry_after(said: str | None) -> float:
    """Seconds that Retry-After (RFC 9110, section 10.2.3) asks for; 0 for a date, whose clock is not ours."""
    return min(float(said), LONGEST_PAUSE_S) if said and re.fullmatch(r"[0-9]{1,9}", said.strip(" ")) else 0.0


def _are_objects(found: Any, *, named: bool = True) -> bool:
    """Whether they are objects of the API, each with what it is known by."""
    if not isinstance(found, list | tuple):
        return False
    known = ("resourceVersion", "name") if named else ("resourceVersion",)
    metadata = (one.get("metadata") if isinstance(one, dict) else None for one in found)
    return all(isinstance(one, dict) and all(isinstance(one.get(name), str) for name in known) for one in metadata)


def _error(status: int, detail: Manifest, retry_after_s: float) -> KubeError:
    """Our error for an API status."""
    message, reason = str(detail.get("message", f"HTTP {status}")), str(detail.get("reason", ""))
    if status == 404:
        return NotFoundError(message, status, reason)
    if status == 403:
        terminating = "NamespaceTerminating" in _causes(detail)
        return (NamespaceTerminatingError if terminating else ForbiddenError)(message, status, reason)
    if status in {409, 410}:
        return ConflictError(message, status, reason)
    if status in {400, 405, 413, 415, 422} or "failed to create typed patch object" in message:  # an unknown field: 500
        return InvalidError(message, status, reason)
    if status == 401:
        return UnavailableError(message, status, reason)  # a token being renewed; the next request reads it again
    return UnavailableError(message, status, reason, retry_after_s)


def _causes(detail: Manifest) -> list[Any]:
    """Why, by the reasons of a Status."""
    details = detail.get("details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [one.get("reason") for one in causes if isinstance(one, dict)] if isinstance(causes, list) else []
