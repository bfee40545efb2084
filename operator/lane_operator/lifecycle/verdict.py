"""Whether a slot with new images does worse than the lane's slots do with the old ones; pure.

It is compared with its siblings, which get the same mail at the same time, and with what the lane did before: only who
is worse than both is, so that an ISP's bad hour turns no upgrade back. Too little mail judges nobody.
Before it: what slots say of their last minutes. After it: `upgrade`, which goes on or goes back.
"""

from collections.abc import Iterable
from typing import Final

from lane_api.lane_status import AttemptFigures
from lane_operator.inputs import SlotObservation

__all__ = ["figures_of", "worse"]

ENOUGH: Final = 30
"""Attempts on either side; fewer are chance."""
_SHARE: Final = 0.05
_TIMES: Final = 2
"""Failures are worse where their share is twice that of the others, and by so much more."""
_SLOWER_MS: Final = 30_000
"""Deliveries are worse where nine of ten take twice as long, and so much longer: what waited while the slot restarted
takes as long, and says nothing of the image."""


def figures_of(slots: Iterable[SlotObservation]) -> AttemptFigures:
    """What these slots did in the last minutes, together."""
    found = [one.recent for one in slots if one.recent is not None]
    failed = sum(one.failed for one in found)
    return AttemptFigures(
        attempts=failed + sum(one.delivered for one in found),
        failed=failed,
        p90_milliseconds=round(1000 * max((one.p90 or 0.0 for one in found), default=0.0)),
    )


def worse(new: AttemptFigures, controls: Iterable[AttemptFigures]) -> str:
    """In which way it is worse than each of the controls, in words; empty: it is not, or nobody can tell."""
    controls = [one for one in controls if one.attempts >= ENOUGH]
    if new.attempts < ENOUGH or not controls:
        return ""
    fails = all(_share(new) > max(_TIMES * _share(one), _share(one) + _SHARE) for one in controls)
    if fails:
        others = " and ".join(f"{_share(one):.0%} of {one.attempts}" for one in controls)
        return f"{_share(new):.0%} of its {new.attempts} attempts failed, and {others} elsewhere and before"
    mine = new.p90_milliseconds
    if all(mine > max(_TIMES * one.p90_milliseconds, one.p90_milliseconds + _SLOWER_MS) for one in controls):
        others = " and ".join(_seconds(one) for one in controls)
        return f"nine of ten of its deliveries took up to {_seconds(new)}, and {others} elsewhere and before"
    return ""


def _share(figures: AttemptFigures) -> float:
    return figures.failed / figures.attempts


def _seconds(figures: AttemptFigures) -> str:
    return f"{figures.p90_milliseconds / 1000:g} s"
