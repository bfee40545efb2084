"""How a slot goes without losing mail: a pure state machine a slot; `reconcile` is its hand."""

from lane_operator.lifecycle.drain import (
    DRAINED_ANNOTATION,
    DeleteWorkload,
    Drained,
    LetGo,
    ReleaseVolume,
    RetainVolume,
    ScaleToZero,
    SlotFacts,
    Step,
    is_released,
    next_steps,
    outlived,
    shaped,
)
from lane_operator.lifecycle.evict import Evacuation, evacuated, leaving_nodes
from lane_operator.lifecycle.forget import Act, ForgetVolume, acts, forgotten, without_forgotten
from lane_operator.lifecycle.restart import Around, handing_over, restart_status
from lane_operator.lifecycle.roll import rolled, staggered
from lane_operator.lifecycle.slots import as_stopped, slot_facts
from lane_operator.lifecycle.upgrade import UNDER_WAY, UpgradePlan, planned

__all__ = [
    "DRAINED_ANNOTATION",
    "UNDER_WAY",
    "Act",
    "Around",
    "DeleteWorkload",
    "Drained",
    "Evacuation",
    "ForgetVolume",
    "LetGo",
    "ReleaseVolume",
    "RetainVolume",
    "ScaleToZero",
    "SlotFacts",
    "Step",
    "UpgradePlan",
    "acts",
    "as_stopped",
    "evacuated",
    "forgotten",
    "handing_over",
    "is_released",
    "leaving_nodes",
    "next_steps",
    "outlived",
    "planned",
    "restart_status",
    "rolled",
    "shaped",
    "slot_facts",
    "staggered",
    "without_forgotten",
]
