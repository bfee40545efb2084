"""The conditions of one object while they are decided; keeps the time at which each became what it is."""

import datetime as dt
from collections.abc import Iterable

from lane_api.conditions import Condition, ConditionType, Reason

__all__ = ["Book", "find", "stamp"]

_ORDER = list(ConditionType)
MESSAGE_LIMIT = 32_768  # metav1.Condition


def stamp(now: dt.datetime) -> str:
    """RFC 3339, UTC, seconds."""
    return now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find(conditions: Iterable[Condition], kind: ConditionType) -> Condition | None:
    """The condition of that type."""
    return next((one for one in conditions if one.type == kind), None)


class Book:
    """Takes one verdict a type; abnormal-true conditions that get none are gone."""

    def __init__(self, previous: Iterable[Condition], generation: int, now: dt.datetime) -> None:
        """`previous` are the conditions as they stand in status."""
        self._previous = {one.type: one for one in previous}
        self._generation, self._now = generation, stamp(now)
        self._verdicts: dict[ConditionType, Condition] = {}

    def since(self, kind: ConditionType, reason: Reason | None = None) -> str:
        """When the condition that is True now became so (for this reason, where one is given); else now."""
        before = self._previous.get(kind)
        if before is None or before.status != "True" or (reason is not None and before.reason != reason):
            return self._now
        return before.last_transition_time or self._now

    def was_stalled(self, reason: Reason) -> bool:
        """Whether Stalled stood there for this reason, of this generation: a new one is hoped for anew."""
        before = self._previous.get(ConditionType.STALLED)
        if before is None or before.status != "True" or before.reason != reason:
            return False
        return before.observed_generation == self._generation

    def before(self, kind: ConditionType) -> Condition | None:
        """The condition as it stood."""
        return self._previous.get(kind)

    def now(self, kind: ConditionType) -> Condition | None:
        """The verdict that was put on it; None: none yet."""
        return self._verdicts.get(kind)

    def put(self, kind: ConditionType, status: bool | None, reason: Reason, message: str, since: str = "") -> None:
        """The verdict on one type; None is Unknown. `since` overrides when it began."""
        spelled = "Unknown" if status is None else str(status)
        before = self._previous.get(kind)
        kept = before.last_transition_time if before is not None and before.status == spelled else ""
        self._verdicts[kind] = Condition(
            type=kind.value,
            status=spelled,
            reason=reason.value,
            message=message[:MESSAGE_LIMIT],
            observed_generation=self._generation,
            last_transition_time=since or kept or self._now,
        )

    def conditions(self) -> tuple[Condition, ...]:
        """All verdicts, in a fixed order."""
        return tuple(self._verdicts[kind] for kind in _ORDER if kind in self._verdicts)
