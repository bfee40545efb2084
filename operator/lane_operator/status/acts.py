"""ActsInForce: what reply rules and complaint rates stop or slow down now, in which slots, until when and why; pure.

Each of its parts is an event when it begins and when it is over: `reconcile.events` tells them apart by `SEPARATOR`,
and which of two is the same act by what stands before `BY`. Invariant: a part changes when something that it says does,
and not with each reply; the ends come rounded from `slot_answers`.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable

from lane_api.conditions import ConditionType, Reason
from lane_api.isppolicy import Action
from lane_operator.seen import ActSeen
from lane_operator.status.book import Book
from lane_operator.status.observed import SEPARATOR
from lane_operator.status.view import View

__all__ = ["BY", "MORE", "put_acts"]

BY = " by rule "
_MOST = 25  # so that a message is not cut within one
_MOST_SLOTS = 4
_ABOUT_CHARS = 300
MORE = "and more: GET /v1/slot of each slot has all"
_ENDS = "each ends by itself, or by DELETE /v1/acts of each slot that has it (docs/replies.md)"
_Held = list[tuple[str, ActSeen]]
"""One act in the slots that have it, by their names."""


def put_acts(book: Book, view: View) -> None:
    """The verdict; True while any of it lasts, the widest and oldest first."""
    found: dict[tuple[str, str, str], _Held] = defaultdict(list)
    for seen in view.heard():
        for act in seen.acts:
            if seen.reachable or _lasts(act, view.now):  # who does not answer goes on as he said until its end
                found[act.action, act.site, act.domain].append((seen.name, act))
    if not found:
        return
    listed = sorted(found.values(), key=_place)
    parts = [_said(held) for held in listed[:_MOST]] + ([MORE] if len(listed) > _MOST else [])
    is_stop = any(action != Action.BACKOFF for action, _, _ in found)
    reason = Reason.MAIL_STOPPED if is_stop else Reason.MAIL_SLOWED
    book.put(ConditionType.ACTS_IN_FORCE, True, reason, SEPARATOR.join((*parts, _ENDS)))


def _lasts(act: ActSeen, now: dt.datetime) -> bool:
    return not act.until or dt.datetime.fromisoformat(act.until) > now


def _place(held: _Held) -> tuple[bool, bool, str, str, str, str]:
    """Stops before what is only slowed down, all mail before that of one domain, then by age: nothing moves up."""
    act = held[0][1]
    return act.action == Action.BACKOFF, bool(act.domain), _since(held), act.action, act.site, act.domain


def _since(held: _Held) -> str:
    return min(act.since for _, act in held)


def _said(held: _Held) -> str:
    act, ends = held[0][1], [act.until for _, act in held]
    about = act.about[:_ABOUT_CHARS].replace(SEPARATOR, ", ")
    reply = f" ({act.sample.replace(SEPARATOR, ', ')})" if act.sample else ""
    until = f" until {max(ends)}" if all(ends) else ""
    where = _slots(name for name, _ in held)
    return f"{act.action} of {about}{BY}{act.rule} in {where} since {_since(held)}{until}{reply}"


def _slots(names: Iterable[str]) -> str:
    known = sorted(names)
    more = len(known) - _MOST_SLOTS
    return ", ".join(known[:_MOST_SLOTS]) + (f" and {more} more" if more > 0 else "")
