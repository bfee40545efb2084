"""What of a cold address's daily amounts is used, per ISP; kept in the spool, so that a restart begins no day anew.

Invariants: recipients are counted, as ISPs do; each is counted once while it is on its way, however often its route is
asked for; an ISP without a policy of its own shares the group `other`; without a warm-up in the configuration nothing
is counted and nothing kept.
Before it: `path`, which asks before an entry goes to delivery, and tells what became of it. After it: `choose`.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time
from typing import Final

import structlog
from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder, Encoder

from lane_api.relayconfig import RelayConfig, WarmUp
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.metrics import OTHER_POLICY
from lane_relay.records import QueueEntry
from lane_relay.warmup.ladder import (
    PARTS,
    Counted,
    Seen,
    aged,
    begun_on,
    default_steps,
    judge,
    kept_by,
    parts_until_room,
    remembered,
    room,
)

__all__ = ["WARM_UP", "IspWarmUp", "Warmer"]

WARM_UP: Final = "warm-up"
"""The fact's name in the spool."""
_DAY_S: Final = 86_400.0
_KEEP_EVERY_S: Final = 5.0
"""What a crash may forget of today's count."""

_log = structlog.get_logger("warmup")


class IspWarmUp(Struct):
    """One ISP's: where on its ladder the address stands, and what this step has come to so far."""

    step: int
    began: float
    """Unix time of the step's beginning."""
    admitted: int = 0
    """Recipients reached or on their way in this step."""
    part: int = 0
    """Which part of the time since 1970 the newest of `parts` is, counted from when in an hour the step began; 0: as a
    release kept it that did not count them."""
    parts: list[int] = []
    """Recipients admitted in each of the last parts of a step's length, whenever the step began; the newest last."""
    delivered: int = 0
    deferred: int = 0
    bounced: int = 0
    complained: int = 0
    blocked: int = 0
    """Of the deferred, those at whom the ISP refused the address itself."""
    last: float = 0.0
    """Unix time of the end of the last step that has kept the address where it stands, or brought it there."""
    seen: list[Seen] = []
    """What the ISP took in earlier steps, as far as it may still count; see `remembered`."""
    reason: str = "new to this ISP"
    """Why it stands on this step."""
    said: float = 0.0
    """Unix time at which all of this began on the word of the address's owner; 0: it began with nothing."""


_encode: Final = Encoder().encode
_decode: Final = Decoder(dict[str, IspWarmUp]).decode


class Warmer:
    """The warm-up of one address; all on the event loop."""

    def __init__(self, config: RelayConfig, clock: Clock, read: str, write: Callable[[str, str], None]) -> None:
        """`read`: the fact as it was kept; `write(name, value)` keeps it."""
        self._clock = clock
        self._write = write
        self._on_the_way: dict[tuple[int, int], str] = {}
        """(spool id, recipient) of what was admitted and has not been attempted, and the ISP that it is for."""
        self._isps: dict[str, IspWarmUp] = {}
        self._is_changed = False
        self._next_keep = 0.0
        self._config: WarmUp | None = None
        self._laid_over: frozenset[str] = frozenset()
        self._policies: frozenset[str] = frozenset()
        try:
            self._isps = _decode(read) if read else {}
            for isp in self._isps.values():
                isp.last = isp.last or isp.began  # kept by a release that noted neither
                isp.seen = isp.seen or [Seen(isp.last, isp.step)]
        except (DecodeError, ValidationError) as error:
            _log.error("the state of the warm-up cannot be read, it begins anew", reason=str(error))
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """Another configuration; where it has no warm-up the address is warm, and what was known is forgotten."""
        self._config = config.warmup
        self._policies = frozenset(policy.name for policy in config.delivery.policies)
        if self._config is None:
            self._isps.clear()
            self._on_the_way.clear()
        elif self._config.started_on is not None and not self._isps:
            now = self._clock.now()
            for name in (*self._policies, OTHER_POLICY):
                self._isps[name] = self._new(name, now, began=now)
            self._is_changed = True

    @property
    def is_active(self) -> bool:
        """Something is counted."""
        return self._config is not None

    # -- asked before an entry goes to delivery

    def group(self, policy: str) -> str:
        """Whose room mail for this ISP uses."""
        return policy if policy in self._policies else OTHER_POLICY

    def is_admitted(self, policy: str, entry: QueueEntry) -> bool:
        """It is on its way to this ISP, and has its room."""
        return self._on_the_way.get((entry.id, entry.recipients[0])) == self.group(policy)

    def room(self, policy: str, entry: QueueEntry) -> int:
        """How many of the entry's recipients may go to this ISP now; one that is on its way there has its room already.

        All of an entry's recipients are on their way, or none.
        """
        asked = len(entry.recipients)
        if self._config is None:
            return asked
        group, now = self.group(policy), self._clock.now()
        if self._on_the_way.get((entry.id, entry.recipients[0])) == group:
            return asked
        isp = self._of(group, now)
        amount = self._amount(group, isp.step)
        if amount is None:
            return asked
        return min(asked, room(amount, isp.parts))

    def rooms(self) -> dict[str, int]:
        """How many recipients may be sent to now at each ISP for which the address is cold."""
        if self._config is None:
            return {}
        now, found = self._clock.now(), {}
        for name in (*self._policies, OTHER_POLICY):
            isp = self._of(name, now) if name in self._isps else self._new(name, now)
            amount = self._amount(name, isp.step)
            if amount is not None:
                found[name] = room(amount, isp.parts or [0])
        return found

    def room_at(self, policy: str) -> float:
        """Unix time from which there may be room again: the next part of a step's length that has some, or the next
        step."""
        if self._config is None:
            return 0.0
        now, step_s = self._clock.now(), self._config.step_every
        isp = self._of(self.group(policy), now)
        amount = self._amount(self.group(policy), isp.step) or 0
        part_s = step_s / PARTS
        free = (isp.part + parts_until_room(amount, isp.parts)) * part_s + isp.began % part_s
        return min(free, isp.began + step_s)

    def admit(self, policy: str, entry: QueueEntry) -> None:
        """The entry is on its way to this ISP from here; room that it had at another one is free again."""
        if self._config is None:
            return
        group, on_the_way = self.group(policy), self._on_the_way
        isp = self._of(group, self._clock.now())
        for index in entry.recipients:
            if on_the_way.get((entry.id, index)) != group:
                self._give_back(entry.id, index)
                on_the_way[entry.id, index] = group
                isp.admitted += 1
                isp.parts[-1] += 1
        self._is_changed = True

    # -- told afterwards

    def attempted(
        self,
        policy: str,
        entry: QueueEntry,
        index: int,
        *,
        delivered: int = 0,
        deferred: int = 0,
        bounced: int = 0,
        blocked: int = 0,
        is_sent: bool = True,
    ) -> None:
        """What became of one recipient of an entry in an attempt; `is_sent`: the ISP has heard of that recipient.

        `blocked`: it was deferred since the ISP refuses the address.
        """
        if self._config is None:
            return
        if is_sent:
            self._on_the_way.pop((entry.id, index), None)
        else:
            self._give_back(entry.id, index)
        isp = self._of(self.group(policy), self._clock.now())
        isp.delivered += delivered
        isp.deferred += deferred
        isp.bounced += bounced
        isp.blocked += blocked
        self._is_changed = True

    def complained(self, policy: str) -> None:
        """A recipient at this ISP complained of mail that went out from here."""
        if self._config is not None:
            self._of(self.group(policy), self._clock.now()).complained += 1
            self._is_changed = True

    def withdrawn(self, entry: QueueEntry) -> None:
        """The entry ended without an attempt: it has used nothing, else mail that is too old uses up every day."""
        for index in entry.recipients:
            self._give_back(entry.id, index)

    def _give_back(self, spool_id: int, index: int) -> None:
        group = self._on_the_way.pop((spool_id, index), None)
        if group is not None:
            isp = self._of(group, self._clock.now())
            isp.admitted = max(0, isp.admitted - 1)
            used = next((at for at in reversed(range(len(isp.parts))) if isp.parts[at]), None)
            if used is not None:
                isp.parts[used] -= 1
            self._is_changed = True

    def keep(self, *, at_once: bool = False) -> None:
        """Writes what has changed, unless it did so a moment ago."""
        now = self._clock.monotonic()
        if not self._is_changed or (now < self._next_keep and not at_once):
            return
        self._is_changed, self._next_keep = False, now + _KEEP_EVERY_S
        try:
            self._write(WARM_UP, _encode(self._isps).decode())
        except SpoolError as failed:  # nothing is sent any more either
            _log.warning("the state of the warm-up is not kept", reason=str(failed))

    # -- told to people and to other stages

    def lay_over(self, config: RelayConfig) -> RelayConfig:
        """The configuration with fewer connections to the ISPs for which the address is still cold."""
        if self._config is None:
            return config
        most, self._laid_over = self._config.connections, self._cold()
        policies = tuple(
            policy.model_copy(update={"connections": min(policy.connections, most)})
            if self._is_cold(policy.name)
            else policy
            for policy in config.delivery.policies
        )
        update: dict[str, object] = {"policies": policies}
        if self._is_cold(OTHER_POLICY):
            update["connections"] = min(config.delivery.connections, most)
        return config.model_copy(update={"delivery": config.delivery.model_copy(update=update)})

    @property
    def is_outdated(self) -> bool:
        """The address has become warm for some ISP, or cold again, since `lay_over` was last asked."""
        return self._config is not None and self._cold() != self._laid_over

    def _cold(self) -> frozenset[str]:
        return frozenset(name for name in (*self._policies, OTHER_POLICY) if self._is_cold(name))

    def states(self) -> Iterable[tuple[str, IspWarmUp, int | None]]:
        """(ISP, its state, the step's amount; None: warm), by name."""
        now = self._clock.now()
        for name in sorted(self._isps):
            isp = self._of(name, now)
            yield name, isp, self._amount(name, isp.step)

    # -- the ladder

    def _is_cold(self, name: str) -> bool:
        return self._amount(name, self._isps[name].step if name in self._isps else 0) is not None

    def _amount(self, name: str, step: int) -> int | None:
        """Recipients of a step; None beyond the last one."""
        steps = self._steps(name)
        return steps[step] if step < len(steps) else None

    def _steps(self, name: str) -> tuple[int, ...]:
        return (self._config.steps if self._config is not None else ()) or default_steps(is_other=name == OTHER_POLICY)

    def _new(self, name: str, now: float, *, began: float = 0.0) -> IspWarmUp:
        """Of an ISP of which nothing is known: what the owner's days gave when all of this began, as if that ISP had
        seen it then, and forgotten since as all that ISPs have seen."""
        began = began or min(now, self._isps[OTHER_POLICY].said if OTHER_POLICY in self._isps else 0.0)
        started_on = self._config.started_on if self._config is not None else None
        if self._config is None or started_on is None or not began:
            return IspWarmUp(0, now)
        sent_for_s = began - datetime.combine(started_on, time(), UTC).timestamp()
        step = begun_on(sent_for_s, self._steps(name), self._config.step_every)
        seen = [Seen(began, step)]
        reason = f"its owner has sent since {started_on}"
        return IspWarmUp(aged(step, seen, now - began, now), now, last=began, seen=seen, reason=reason, said=began)

    def _of(self, name: str, now: float) -> IspWarmUp:
        """The ISP's state, judged where a step is over; a day in which nothing was asked for is none that climbs."""
        isp = self._isps.get(name)
        if isp is None:
            isp = self._isps[name] = self._new(name, now)
            self._is_changed = True
        if isp.began > now:  # the clock was set back: nothing waits for a time that was wrong
            isp.began, isp.last = now, min(isp.last, now)
            isp.seen = [Seen(min(one.at, now), one.step) for one in isp.seen]
            self._is_changed = True
        step_s = self._config.step_every if self._config is not None else 0.0
        if step_s:
            part_s = step_s / PARTS
            _go_on(isp, int((now - isp.began % part_s) / part_s))
            if now - isp.began >= step_s:
                self._judge(name, isp, now, step_s)
        return isp

    def _judge(self, name: str, isp: IspWarmUp, now: float, step_s: float) -> None:
        amount = self._amount(name, isp.step)
        counted = Counted(isp.delivered, isp.deferred, isp.bounced, isp.complained, isp.blocked)
        before = isp.step
        if amount is not None and counted.attempts:
            judged = judge(counted, amount)
            isp.step, isp.reason = max(0, isp.step + judged.change), judged.reason
        self._remember(name, isp, before, isp.began + step_s)
        isp.began = now - (now - isp.began) % step_s
        isp.admitted = isp.delivered = isp.deferred = isp.bounced = isp.complained = isp.blocked = 0
        idle = now - isp.last
        lower = aged(isp.step, isp.seen, idle, now)
        if lower < isp.step:
            isp.reason = f"for {idle / _DAY_S:.0f} days the ISP took too little to go on knowing it on step {isp.step}"
            isp.step = lower
            isp.began = now  # spread over a day of its own
        self._is_changed = True
        if isp.step != before:
            _log.info("warm-up", isp=name, step=isp.step, amount=self._amount(name, isp.step), reason=isp.reason)

    def _remember(self, name: str, isp: IspWarmUp, before: int, over: float) -> None:
        """What the ISP took in the step that was over at that time, on which the address had stood before it."""
        if not isp.delivered:
            return
        used = min(before, kept_by(isp.delivered, self._steps(name)))
        isp.seen = remembered(isp.seen, over, used)
        if used >= isp.step or isp.step > before:
            isp.last = over


def _go_on(isp: IspWarmUp, part: int) -> None:
    """What was admitted longer ago than a step counts no more; after a clock was set back nothing is forgotten."""
    if isp.part == 0:
        isp.parts = [isp.admitted]
    elif part > isp.part:
        isp.parts = [*isp.parts, *[0] * min(part - isp.part, PARTS)][-PARTS:]
    isp.part = part
