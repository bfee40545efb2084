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
    shaped,
)
from lane_operator.lifecycle.evict import evictable
from lane_operator.lifecycle.roll import rolled, staggered
from lane_operator.lifecycle.slots import as_stopped, slot_facts

__all__ = [
    "DRAINED_ANNOTATION",
    "DeleteWorkload",
    "Drained",
    "LetGo",
    "ReleaseVolume",
    "RetainVolume",
    "ScaleToZero",
    "SlotFacts",
    "Step",
    "as_stopped",
    "evictable",
    "is_released",
    "next_steps",
    "rolled",
    "shaped",
    "slot_facts",
    "staggered",
]
