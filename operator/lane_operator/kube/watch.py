"""List and watch of one kind, in one namespace or in all, with the reconnects, as a stream of cache changes.

For what the operator makes itself, some twenty objects a lane: kopf keeps a record and a task of each, copies each
twice at every event, and would watch Secrets in the whole cluster, to which we hold rights by namespace. What users
write comes through kopf (`handlers.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import structlog

from lane_operator.errors import ConflictError, KubeError, NotFoundError, StreamBrokenError, UnavailableError
from lane_operator.kube.client import Kube
from lane_operator.kube.kinds import Kind

__all__ = ["watch_kind"]

RECONNECT_S = 1.0
RECONNECT_MAX_S = 60.0
ABSENT_S = 30.0  # until a kind that the cluster does not serve is looked for again
log = structlog.get_logger(__name__)


async def watch_kind(
    kube: Kube,
    kind: Kind,
    namespace: str | None,
    selector: str,
    relist: Callable[[], Awaitable[str]],
    changed: Callable[[Kind, str, dict[str, Any]], None],
    version: str = "",
    absent_s: float = ABSENT_S,
    reconnect_s: float = RECONNECT_S,
    *,
    resumes: bool = False,
) -> None:
    """Runs until cancelled.

    `relist` takes in the whole collection and returns its resourceVersion, `changed` gets each (type, object) after it.
    With a `version` the collection was listed already, as of that. A stream that breaks off is listed anew, but opened
    again where it was if somebody else sees that the store has not gone back meanwhile (`resumes`): a resourceVersion
    does not tell. One that cannot be opened, or whose history is gone, is always listed anew, once somebody answers.
    """
    pause = reconnect_s
    while True:
        began = time.monotonic()
        place = _Place(version)
        version = ""
        try:
            place.version = place.version or await relist()
            await _follow(kube, kind, namespace, selector, place, changed)
        except NotFoundError:
            await asyncio.sleep(absent_s)
        except KubeError as error:
            log.warning("watch interrupted", kind=kind.kind, namespace=namespace, error=str(error))
            if isinstance(error, StreamBrokenError):
                version = place.version if resumes else ""
            elif isinstance(error, UnavailableError) and not error.status:
                await kube.until_it_answers()  # some twenty streams would each ask for that
            if time.monotonic() - began > RECONNECT_MAX_S:  # it was sound until now
                pause = reconnect_s
            await asyncio.sleep(pause)
            pause = min(pause * 2, RECONNECT_MAX_S)


@dataclass
class _Place:
    """How far a stream has come."""

    version: str


async def _follow(
    kube: Kube,
    kind: Kind,
    namespace: str | None,
    selector: str,
    place: _Place,
    changed: Callable[[Kind, str, dict[str, Any]], None],
) -> None:
    """Follows the stream over its regular ends; returns when the history is gone and a new list is needed."""
    while True:
        try:
            async for change, body in kube.watch(kind, namespace, selector, place.version):
                place.version = body["metadata"]["resourceVersion"]
                if change != "BOOKMARK":
                    changed(kind, change, body)
        except ConflictError:
            return
