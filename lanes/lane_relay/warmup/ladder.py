"""The ladder of a warm-up and the judgement at the end of each step; pure.

An address that is new to an ISP sends little at first and more only on evidence that the last amount was liked: a
schedule that climbs by the calendar alone climbs into a block. An ISP forgets an address that it does not see: what was
climbed is gone by the calendar alone. Before it: counts of one step. After it: `warmer`.
"""

from collections.abc import Sequence
from functools import cache
from typing import Final

from msgspec import Struct

from lane_relay.proportion import at_least

__all__ = [
    "PARTS",
    "Counted",
    "Judged",
    "Seen",
    "aged",
    "begun_on",
    "default_steps",
    "judge",
    "kept_by",
    "parts_until_room",
    "remembered",
    "room",
]

_FIRST: Final = 50
_FIRST_OTHER: Final = 200
"""Spread over many small receivers, of which none sees much."""
_DOUBLES_UNTIL: Final = 5_000
_HALF_MORE_UNTIL: Final = 50_000
_LAST: Final = 1_000_000
"""Recipients a day at one ISP at which an address counts as warm."""
_USED: Final = 0.7
"""Of a step's amount that must have been sent before it says anything (SparkPost's automatic warm-up asks for 0.9)."""
_NOTICED: Final = 0.1
"""Of a step's amount that an ISP must have taken in a step for the address to stay known as one that sends so much."""
_DEFERRED_HOLD: Final = 0.10
_DEFERRED_DROP: Final = 0.20
_BOUNCED_HOLD: Final = 0.02
_COMPLAINED_HOLD: Final = 0.001
_BLOCKED: Final = 3
"""As often as it takes for the default rules to stop the ISP's mail; one reply may be a rule's mistake."""
_DROP: Final = 2
_FADES_S: Final = 14 * 86_400.0
_HALF_GONE_S: Final = 30 * 86_400.0
"""The window over which ISPs are taken to remember; none of them publishes its own (sources: anonymousserverhosting,
suped, bigboxhosting)."""
_GONE_S: Final = 90 * 86_400.0
PARTS: Final = 24
"""Of a step; of a day: its hours."""
_SPREAD_OVER: Final = 12
"""A step's amount leaves in no fewer parts."""


class Counted(Struct, frozen=True):
    """What one step has come to, in recipients."""

    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    complained: int = 0
    """Heard of in this step, whenever their mail went out."""
    blocked: int = 0
    """Of the deferred, those at whom the ISP refused the address itself."""

    @property
    def attempts(self) -> int:
        """All of them."""
        return self.delivered + self.deferred + self.bounced


class Judged(Struct, frozen=True):
    """What follows for the next step."""

    change: int
    """1, 0 or -2 steps."""
    reason: str


class Seen(Struct, frozen=True, array_like=True):
    """What an ISP took in one step keeps this step, and for a time what is near it."""

    at: float
    """Unix time."""
    step: int


@cache
def default_steps(*, is_other: bool = False) -> tuple[int, ...]:
    """Recipients a step: doubled up to 5,000, by half up to 50,000, by a quarter beyond; all small ISPs share one."""
    steps, amount = [], _FIRST_OTHER if is_other else _FIRST
    while amount < _LAST:
        steps.append(amount)
        if amount < _DOUBLES_UNTIL:
            amount = min(amount * 2, _DOUBLES_UNTIL)
        elif amount < _HALF_MORE_UNTIL:
            amount = min(amount * 3 // 2, _HALF_MORE_UNTIL)
        else:
            amount = amount * 5 // 4
    return tuple(steps)


def judge(counted: Counted, amount: int) -> Judged:
    """Whether the next step may be a higher one."""
    attempts = counted.attempts
    if not attempts:
        return Judged(0, "nothing was sent")
    if counted.blocked >= _BLOCKED:  # few of many: the rest was stopped by that
        return Judged(-_DROP, "the ISP refused the address")
    deferred, bounced = counted.deferred / attempts, counted.bounced / attempts
    if deferred >= _DEFERRED_DROP:
        return Judged(-_DROP, f"{deferred:.0%} of the attempts were deferred")
    if deferred >= _DEFERRED_HOLD:
        return Judged(0, f"{deferred:.0%} of the attempts were deferred")
    if bounced >= _BOUNCED_HOLD:
        return Judged(0, f"{bounced:.1%} of the recipients bounced")
    complained = at_least(counted.complained, counted.delivered)
    if counted.complained > 1 and complained >= _COMPLAINED_HOLD:  # of a small step one would be too many
        return Judged(0, f"{counted.complained} complaints of {counted.delivered}: {complained:.2%} at least")
    if attempts < _USED * amount:
        return Judged(0, f"only {attempts} of {amount} were sent")
    return Judged(1, f"{attempts} of {amount} were sent, {deferred:.0%} deferred, {bounced:.1%} bounced")


def begun_on(sent_for_s: float, steps: Sequence[int], step_s: float) -> int:
    """The step of an address that has sent for so many seconds as its owner says: one each, and never beyond the last,
    for that it is warm is for evidence, or for him, to say."""
    return max(0, min(int(sent_for_s / step_s), len(steps) - 1))


def kept_by(delivered: int, steps: Sequence[int]) -> int:
    """The step that is kept by so much in one: the highest of which it is a tenth, or the one to which it climbs.

    So the same again always has room, and stays where it is; beyond the last step the address is warm.
    """
    if delivered >= _NOTICED * steps[-1]:
        return len(steps)
    noticed = max((step for step, amount in enumerate(steps) if delivered >= _NOTICED * amount), default=0)
    return max(noticed, next((step for step, amount in enumerate(steps) if delivered < _USED * amount), len(steps)))


def remembered(seen: Sequence[Seen], at: float, step: int) -> list[Seen]:
    """With what was seen now: what is older, and no more, will never count again. Highest and oldest first."""
    return [*[one for one in seen if one.step > step and at - one.at <= _GONE_S], Seen(at, step)]


def aged(step: int, seen: Sequence[Seen], idle: float, now: float) -> int:
    """The step of an address that nothing has kept on it for `idle` seconds: what was seen of it lately has its say.

    Until 14 days nothing changes. Then what the ISP saw so long ago keeps two steps below it, after 30 days half-way
    up to it, after 90 the first one; the best of all that it saw counts.
    """
    if idle <= _FADES_S:
        return step
    return min(step, max((_faded(one.step, now - one.at) for one in seen), default=0))


def _faded(step: int, age: float) -> int:
    if age > _GONE_S:
        return 0
    if age > _HALF_GONE_S:
        return step // 2
    return max(0, step - _DROP) if age > _FADES_S else step


def room(amount: int, parts: Sequence[int]) -> int:
    """How many recipients may be reached now, where `parts` were in the last parts of a step, the newest last.

    No more than a twelfth of the amount in one part and the amount in all of them, whenever a step began: the burst of
    a morning is spread, also that of somebody whose first mail went out at night.
    """
    return max(0, min(amount - sum(parts), -(-amount // _SPREAD_OVER) - parts[-1]))


def parts_until_room(amount: int, parts: Sequence[int]) -> int:
    """After how many parts there is room, if nothing else goes out: one, unless all of the amount is used."""
    return next((more for more in range(1, PARTS) if sum(parts[more - PARTS :]) < amount), PARTS)
