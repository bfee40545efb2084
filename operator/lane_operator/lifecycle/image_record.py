"""What a slot's workload says of the images that it was given: by which upgrade, when, and instead of which; pure.

It is the upgrade as it was decided, written in the apply that brings the images. An operator that dies before it has
written the status so loses nothing that a judgement needs. Invariant: it changes with the images alone, and one that is
no such record says nothing, like a workload of an older release.
Before it: the workloads. After it: `upgrade`.
"""

import datetime as dt
from collections.abc import Iterator, Mapping
from typing import Final

from pydantic import ValidationError

from lane_api.lane_status import SlotImages, UpgradePhase, UpgradeStatus
from lane_api.names import IMAGES_ANNOTATION
from lane_operator.inputs import Manifest

__all__ = ["UNDER_WAY", "recalled", "record_of", "recorded"]

UNDER_WAY: Final = frozenset({UpgradePhase.ROLLING, UpgradePhase.WATCHED})
_LATEST: Final = dt.timedelta(hours=1)
"""Longer than an operator is away with its node; whoever has served for longer is not judged by what was before, such
as the slots of a cluster that was restored."""
_ORDER: Final = list(UpgradePhase)


def recorded(said: UpgradeStatus) -> str:
    """The record of images that are given by this upgrade as it stands now."""
    return said.model_dump_json(by_alias=True, exclude_none=True)


def record_of(workload: Manifest) -> str:
    """The record that it carries; empty: none."""
    return str((workload["metadata"].get("annotations") or {}).get(IMAGES_ANNOTATION, ""))


def recalled(
    said: UpgradeStatus | None,
    records: Mapping[str, str],
    live: Mapping[str, SlotImages],
    wanted: SlotImages,
    now: dt.datetime,
) -> UpgradeStatus | None:
    """How far the upgrade is: as status says, or as a workload does whose record is newer.

    `records` and `live` are by slot; only a record that tells of the wanted images, and of what its slot has, counts.
    """
    newest = max(_told(records, live, wanted, now), key=lambda one: _age(one, wanted), default=None)
    if said is None or newest is None:
        return said or newest
    if said.slot == newest.slot and {said.phase, newest.phase} <= UNDER_WAY and said.images == wanted:
        return said  # it is as far at least, whatever another replica's clock says
    return newest if _age(newest, wanted) > _age(said, wanted) else said


def _told(
    records: Mapping[str, str], live: Mapping[str, SlotImages], wanted: SlotImages, now: dt.datetime
) -> Iterator[UpgradeStatus]:
    for slot, text in records.items():
        told = _read(text)
        if told is None or told.images != wanted:
            continue
        if told.phase is UpgradePhase.ROLLED_BACK:
            counts = live[slot] == told.previous
        else:  # a slot that was broken anyway got them beside the one whose turn it was
            of_it = told.slot == slot or told.phase is UpgradePhase.WAITING
            counts = of_it and live[slot] == wanted and now - dt.datetime.fromisoformat(told.since) <= _LATEST
        if counts:
            yield told


def _read(text: str) -> UpgradeStatus | None:
    """The record; None: there is none, or a hand has damaged it."""
    if not text:
        return None
    try:
        told = UpgradeStatus.model_validate_json(text)
        return told if dt.datetime.fromisoformat(told.since).tzinfo is not None else None
    except (ValidationError, ValueError):
        return None


def _age(said: UpgradeStatus, wanted: SlotImages) -> tuple[dt.datetime, int]:
    """What is later is newer; of one second what is further, if it is about these images at all."""
    return dt.datetime.fromisoformat(said.since), _ORDER.index(said.phase) if said.images == wanted else -1
