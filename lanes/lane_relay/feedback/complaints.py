"""Complaints against what was delivered, by ISP and day of the mail, and what they come to. Pure.

A rate is judged by what it is at least (`proportion`), over one day of 500 deliveries or more, else over seven days
with as many; below that nothing is known. Complaints come late, so both counts are of the mail's day.
Before it: `path` tells of deliveries, the desk of complaints that a token proves. After it: `deliver.judgement`, which
stops or alerts. Invariants: one mail to one recipient is one complaint, however often it is reported; mail from before
counting began is in neither count; `dump` has the counts, so that a restart keeps them.
"""

from itertools import islice
from typing import Final

import msgspec
from msgspec import Struct

from lane_api.classes import Protection
from lane_api.isppolicy import Action
from lane_api.relayfeedback import ComplaintRates
from lane_relay.metrics import OTHER_POLICY
from lane_relay.proportion import at_least
from lane_relay.records import received_at

__all__ = ["LEAST", "Asked", "Complaints", "Rated", "weigh"]

LEAST: Final = 500
"""Deliveries without which a rate says nothing (research/06 part 5)."""
DAYS: Final = 7
_DAY_S: Final = 24 * 3600
_MOST_KNOWN: Final = 50_000
"""Complaints that are known again: who repeats one of them counts once."""
_MOST_KEPT: Final = 2_000
"""... of which so many are known after a restart, too: they are written with the counts, each in some 30 octets."""
_LEVELS: Final = ("", "warn", "act", "stop")


class _Kept(Struct):
    since: float
    counts: list[tuple[str, int, int, int]]
    known: list[tuple[str, int]] = []
    """(message, index) of the latest complaints."""


class Rated(Struct, frozen=True):
    """A rate that is too high."""

    level: str
    """`warn`, `act` or `stop`."""
    policy: str
    text: str
    """The counts, in words."""


class Asked(Struct, frozen=True):
    """What is to be done about it."""

    level: str
    text: str
    action: Action
    lasts: float = 0.0
    """Seconds."""
    everywhere: bool = False
    """To every ISP, and not to this one alone."""
    observed: bool = False
    """It is only said that it would be done."""


class Complaints:
    """The counts of one slot."""

    def __init__(self, kept: str, now: float) -> None:
        """`kept`: what `dump` gave in an earlier life."""
        self._counts: dict[tuple[str, int], list[int]] = {}
        """By (policy, day): delivered, complained."""
        self._known: dict[tuple[int, int], None] = {}
        self._of_nobody: dict[tuple[int, int], None] = {}
        """Not kept over a restart: no rate is reckoned from them here."""
        self._since = now
        self.is_changed = False
        try:
            found = msgspec.json.decode(kept, type=_Kept) if kept else None
        except msgspec.MsgspecError:
            found = None
        if found is not None:
            self._since = found.since
            self._counts = {(policy, day): [delivered, told] for policy, day, delivered, told in found.counts}
            self._known = {(int(message_id, 16), index): None for message_id, index in found.known}

    def dump(self, now: float) -> str:
        """The counts, without days that are over."""
        first = int(now // _DAY_S) - DAYS
        self._counts = {key: counts for key, counts in self._counts.items() if key[1] >= first}
        rows = [(policy, day, counts[0], counts[1]) for (policy, day), counts in self._counts.items()]
        self.is_changed = False
        known = [(f"{message_id:x}", index) for message_id, index in islice(reversed(self._known), _MOST_KEPT)]
        return msgspec.json.encode(_Kept(self._since, rows, known[::-1])).decode()

    def delivered(self, policy: str, message_id: int) -> None:
        """A recipient at this ISP got this message."""
        key = (policy, int(received_at(message_id) // _DAY_S))
        counts = self._counts.get(key)
        if counts is None:
            counts = self._counts[key] = [0, 0]
        counts[0] += 1
        self.is_changed = True

    def knows(self, message_id: int, index: int) -> bool:
        """This complaint was heard before, or is about mail from before counting began."""
        return (message_id, index) in self._known or received_at(message_id) < self._since

    def is_new_of_nobody(self, message_id: int, index: int) -> bool:
        """This complaint, which no named reporter is proved to have sent, was not heard before, by anybody."""
        if self.knows(message_id, index) or (message_id, index) in self._of_nobody:
            return False
        self._of_nobody[message_id, index] = None
        if len(self._of_nobody) > _MOST_KEPT:
            del self._of_nobody[next(iter(self._of_nobody))]
        return True

    def complained(self, policy: str, message_id: int, index: int, now: float, rates: ComplaintRates) -> Rated | None:
        """A recipient at this ISP complained of this message; the rate, if it is too high now."""
        if self.knows(message_id, index):
            return None
        self._known[message_id, index] = None
        if len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]
        day = int(received_at(message_id) // _DAY_S)
        self._counts.setdefault((policy, day), [0, 0])[1] += 1
        self.is_changed = True
        delivered, told, span = self._window(policy, day, int(now // _DAY_S))
        level = _level(delivered, told, rates)
        if not level:
            return None
        least = at_least(told, delivered)
        return Rated(_LEVELS[level], policy, f"{told} complaints of {delivered} delivered {span}: {least:.2%} at least")

    def levels(self, now: float, rates: ComplaintRates) -> dict[str, int]:
        """Of each ISP how high its rate is: 0 below `warn`, 1, 2 from `act`, 3 from `stop`."""
        today = int(now // _DAY_S)
        found: dict[str, int] = {}
        for policy in {policy for policy, _ in self._counts}:
            windows = [self._window(policy, day, today) for day in (today, today - 1)]
            found[policy] = max(_level(delivered, told, rates) for delivered, told, _ in windows)
        return found

    def _window(self, policy: str, day: int, today: int) -> tuple[int, int, str]:
        """Delivered and complained in what a complaint about this day is judged by; nothing: it is too old."""
        delivered, told = self._counts.get((policy, day), (0, 0))
        if delivered >= LEAST:
            return (delivered, told, "in a day") if day >= today - 1 else (0, 0, "")
        days = [self._counts.get((policy, one), (0, 0)) for one in range(today - DAYS + 1, today + 1)]
        return sum(one[0] for one in days), sum(one[1] for one in days), f"in {DAYS} days"


def _level(delivered: int, told: int, rates: ComplaintRates) -> int:
    if delivered < LEAST:
        return 0
    share = at_least(told, delivered)
    return sum(share >= one for one in (rates.warn, rates.act, rates.stop))


_PAUSE_S: Final = 4 * 3600.0
_STOP_S: Final = 24 * 3600.0


def weigh(rated: Rated, protection: Protection, *, observe: bool) -> Asked:
    """What is done about a rate under this protection.

    `NeverPause` is told and not stopped; with `observe` it is told what would be done. Of ISPs without a policy, which
    are counted together, none is stopped alone.
    """
    alone = rated.policy != OTHER_POLICY
    everywhere = protection is Protection.CONSERVATIVE and rated.level == "stop"
    if protection is Protection.NEVER_PAUSE or rated.level == "warn" or not (alone or everywhere):
        return Asked(rated.level, rated.text, Action.ALERT)
    is_short = protection is Protection.PAUSABLE and rated.level == "act"
    lasts = _PAUSE_S if is_short else _STOP_S
    return Asked(rated.level, rated.text, Action.SUSPEND_SITE, lasts, everywhere, observed=observe)
