"""Writes a lane's status: the only writer, one patch a change, figures at most as often as the settings allow.

Invariant: an unchanged status is not written, so our own write, coming back as an event, ends in a pass without one.
"""

import copy
from collections.abc import Mapping
from typing import Any

from lane_api.conditions import ConditionType
from lane_api.lane_status import LaneStatus
from lane_operator import metrics
from lane_operator.errors import NotFoundError
from lane_operator.inputs import Key, Manifest
from lane_operator.kube import SENDING_LANE
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.world import World
from lane_operator.references import status_of
from lane_operator.status import broken_status

__all__ = ["only_figures_differ", "write_invalid_lane", "write_lane_status"]

_FIGURES = ("queued", "oldestSince", "message", "warmup", "lastHour", "perHour", "endsAt", "measured", "measuredAt")
"""Messages too, where type, status and reason are the same: a drain's count down, a kubelet's back-off. But
not of VolumeForgotten: which volume was given up is news, and is known only until its claim has gone."""


async def write_lane_status(world: World, key: Key, status: LaneStatus) -> float | None:
    """Writes what is new; seconds until held-back figures may be written. Raises KubeError."""
    body = world.cache.get(SENDING_LANE.kind, *key)
    if body is None:
        return None
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    before = body.get("status") or {}
    if wanted == before:
        return None
    now = world.monotonic()
    every = world.settings.figures_every_s
    wait = world.figures_written.get(key, -every) + every - now
    if wait > 0 and only_figures_differ(before, wanted):
        return wait
    if await _write(world, body, wanted):
        world.figures_written[key] = now
    return None


async def write_invalid_lane(
    world: World, body: Manifest, message: str, leaving: Mapping[str, str] | None = None
) -> None:
    """Says on a lane that cannot even be read what is wrong with it. Raises KubeError.

    `leaving` are slots on nodes that are to be emptied, and since when each has had its turn.
    """
    status = broken_status(status_of(LaneStatus, body), body, message, world.wall())
    slots = tuple(one.model_copy(update={"leaving_since": (leaving or {}).get(one.name)}) for one in status.slots)
    status = status.model_copy(update={"slots": slots})
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    if wanted != (body.get("status") or {}):
        await _write(world, body, wanted)


def only_figures_differ(before: Manifest, after: Manifest) -> bool:
    """Whether two statuses say the same but for how much is queued, since when, warm-ups, rates and ends."""
    return _without_figures(before) == _without_figures(after)


def _without_figures(status: Manifest) -> Manifest:
    plain: dict[str, Any] = copy.deepcopy(status)
    conditions = (one for one in plain.get("conditions", ()) if one["type"] != ConditionType.VOLUME_FORGOTTEN)
    for part in (plain, *plain.get("slots", ()), plain.get("drain") or {}, *conditions):
        for name in _FIGURES:
            part.pop(name, None)
    return plain


async def _write(world: World, body: Manifest, wanted: Manifest) -> bool:
    metadata = body["metadata"]
    try:
        changed = await world.kube.patch_status(
            SENDING_LANE, metadata["namespace"], metadata["name"], wanted, metadata["resourceVersion"]
        )
    except NotFoundError:  # deleted while we looked
        world.cache.drop(SENDING_LANE.kind, body)
        return False
    metrics.status_writes.labels(kind=SENDING_LANE.kind).inc()
    world.cache.put(SENDING_LANE.kind, changed)
    await post_transitions(world, body, wanted)
    return True
