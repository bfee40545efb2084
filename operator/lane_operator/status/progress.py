"""Reconciling, Stalled and Draining: whether the lane is on its way, stuck, or going; pure."""

import datetime as dt
from collections.abc import Iterable

from lane_api.conditions import ConditionType, Reason
from lane_api.effective import effective
from lane_api.names import RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES
from lane_api.quantities import format_duration
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Lane, Refusal, SlotObservation
from lane_operator.status.book import Book
from lane_operator.status.figures import oldest, rounded
from lane_operator.status.patience import DNS, over
from lane_operator.status.slot_waits import SlotWaits
from lane_operator.status.view import View
from lane_operator.status.volumes import ORDERS_TOLD
from lane_operator.status.waiting import waited

__all__ = ["deadline", "put_draining", "put_progress"]

_LET_GO = f"To let the lane go and keep its volumes, annotate it with {RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}"
_FORGET = "bring it back, or give the order forget for it where it is gone for good (docs/addresses.md)"
_SUSPENDED = (
    "spec.suspend is true, so nothing but the end of queue.lifetime empties it: set suspend to false to have its mail "
    "sent, or drain.policy to Hold to have it stop with its mail"
)
_WITHOUT = "to let it go without, set drain.policy to Hold"
LONGEST_S = 36_525 * 86_400
"""A century: what lasts longer passes the calendar's end, and is for ever anyway."""


def put_progress(book: Book, view: View, slots: SlotWaits) -> bool:
    """The verdict on Reconciling and Stalled, never both; True: nothing is refused but to standby slots, and every
    active slot serves as asked.

    DNSPublished must have been put before.
    """
    refusals = (*view.desired.refusals, *_overdue(book, view), *slots.stuck)
    settled = all(refusal.spare for refusal in refusals) and not slots.waiting
    stuck = [one for one in refusals if one.waiting is None or waited(book, one.reason, one.waiting, view.now)]
    if not refusals and not slots.moving:
        stuck += _unpublished(book, view)
    if stuck:
        message = "; ".join(refusal.message for refusal in stuck)
        book.put(ConditionType.STALLED, True, stuck[0].reason, message)
        return settled
    waiting = [refusal for refusal in refusals if refusal.waiting is not None]
    if waiting and waiting[0].waiting is not None:
        reason = waiting[0].waiting
        message = "; ".join(refusal.message for refusal in waiting)
        # so long of waiting for this, not of whatever the lane was doing before
        book.put(ConditionType.RECONCILING, True, reason, message, since=book.since(ConditionType.RECONCILING, reason))
    elif slots.moving:
        _put_moving(book, view, slots)
    else:
        _put_trailing(book, view)
    return settled


def _put_moving(book: Book, view: View, slots: SlotWaits) -> None:
    """Nothing is missing, and some slots are not what they are to be yet."""
    names, generation = ", ".join(slots.moving), view.lane.generation
    if view.lane.status.observed_generation != generation:
        message = f"generation {generation} is being put in force in {names}"
        book.put(ConditionType.RECONCILING, True, Reason.NEW_GENERATION, message)
    else:
        book.put(ConditionType.RECONCILING, True, slots.reason, f"waiting for {names}")


def _put_trailing(book: Book, view: View) -> None:
    """The slots that stay are as asked; others are still to go, or a record is still to be published."""
    if view.lane.deleting_since is None and view.leaving:
        names = ", ".join(claim.slot_name for claim in view.leaving)
        book.put(ConditionType.RECONCILING, True, Reason.SCALE_IN, f"{names} is still to go, see Draining")
    elif _waits_for_dns(book, view):
        message = "mail waits for a DNS record, see DNSPublished"
        book.put(ConditionType.RECONCILING, True, Reason.WAITING_FOR_DNS, message)


def _waits_for_dns(book: Book, view: View) -> bool:
    """Slots are to send, and what they sign with is not known to be published."""
    said = book.now(ConditionType.DNS_PUBLISHED)
    sends = view.lane.deleting_since is None and not view.lane.spec.suspend and bool(view.active)
    return sends and said is not None and said.status != "True"


def _unpublished(book: Book, view: View) -> Iterable[Refusal]:
    """The record that nobody has published for too long, where somebody looks for it."""
    said = book.now(ConditionType.DNS_PUBLISHED)
    looked = any(view.published(domain.name) is False for domain in view.lane.spec.domains)
    if said is not None and looked and _waits_for_dns(book, view) and over(said.last_transition_time, DNS, view.now):
        yield Refusal(Reason(said.reason), said.message)


def put_draining(book: Book, view: View) -> None:
    """The verdict on Draining."""
    if view.lane.deleting_since is not None:
        book.put(ConditionType.DRAINING, True, Reason.DELETE, _parting(view), since=view.lane.deleting_since)
    elif view.leaving:
        names = ", ".join(claim.slot_name for claim in view.leaving)
        policy = view.lane.spec.drain.policy
        way = _way(view) if policy is DrainPolicy.TRANSFER else ""
        if view.drains_suspended:
            way = f"; {_SUSPENDED}"
        message = f"{names} takes no mail and goes when it is empty, by drain.policy {policy}{way}{_unproven(view)}"
        since = book.since(ConditionType.DRAINING, Reason.SCALE_IN)  # not since an earlier slot began to hold its mail
        book.put(ConditionType.DRAINING, True, Reason.SCALE_IN, message, since=since)
    elif view.moving:
        since = book.since(ConditionType.DRAINING, Reason.NODE_DRAIN)
        book.put(ConditionType.DRAINING, True, Reason.NODE_DRAIN, _leaving_node(view), since=since)
    elif view.handing_over:
        since = book.since(ConditionType.DRAINING, Reason.BEFORE_RESTART)
        book.put(ConditionType.DRAINING, True, Reason.BEFORE_RESTART, _before_restart(view), since=since)
    elif view.going:
        held = [(claim.slot_name, seen.queued) for claim in view.going if (seen := view.held(claim))]
        kept = ", ".join(f"{name} is stopped and keeps about {rounded(count)} messages" for name, count in held)
        message = f"{kept}, by drain.policy Hold: raise replicas or set another policy to have them sent"
        book.put(ConditionType.DRAINING, True, Reason.HELD, message)


def _way(view: View) -> str:
    """Who takes the mail of slots that go: those that stay, else the way out, else nobody."""
    if view.active:
        return ": the lane's other slots take its mail over"
    to = view.lane.spec.drain.to
    return f": {to.host} (drain.to) takes its mail" if to is not None else ""


def _leaving_node(view: View) -> str:
    """What a slot does whose node is to be emptied; no counts, which would have the condition written each time."""
    names = ", ".join(claim.slot_name for claim in view.moving)
    nodes = {seen.node for claim in view.moving if (seen := view.observation.slot(claim.slot_name)) and seen.node}
    return (
        f"node {', '.join(sorted(nodes))} is to be emptied (it is cordoned): {names} hands its mail to the lane's "
        "other slots, then it may be evicted; `kubectl uncordon` the node to have it send itself again"
    )


def _before_restart(view: View) -> str:
    """What a slot does whose pod is to be another; the count is a figure, which is not written each time."""
    seen = view.observation.slot(view.handing_over)
    left = rounded(seen.queued) if seen is not None else 0
    return (
        f"{view.handing_over} is to restart, since its pod is to be another: it takes no mail and hands its about "
        f"{left} messages to the lane's other slots, for a time (upgrades.drain in the chart's values), and restarts "
        "with what is left"
    )


def _parting(view: View) -> str:
    """What a deleted lane does with its mail, and the way out that works from where it stands."""
    left = rounded(sum(seen.queued for seen in view.observation.slots))
    silent = [claim.slot_name for claim in view.running if not _answers(view.observation.slot(claim.slot_name))]
    if silent:
        return (
            f"the lane is being deleted, and {', '.join(silent)} does not answer: by what was said last, about {left} "
            f"messages are in its queues. {_LET_GO}{_joined(_owes(view))}"
        )
    if view.lane.spec.drain.policy is DrainPolicy.HOLD:
        return (
            "the lane is being deleted: by drain.policy Hold its slots stop and their queue volumes stay, with their "
            f"mail and keys, for a lane of this name{_unproven(view)}"
        )
    if view.drains_suspended:
        return f"the lane is being deleted with about {left} messages: {_SUSPENDED}{_unproven(view)}"
    longest = format_duration(effective(view.lane.spec).lifetime_s)
    to = view.lane.spec.drain.to
    if to is not None and view.lane.spec.drain.policy is DrainPolicy.TRANSFER:
        return (
            f"the lane is being deleted: its about {left} messages go to {to.host} (drain.to), and it goes when that "
            f"has them; what it refuses is tried for {longest} (queue.lifetime) after it came{_unproven(view)}"
        )
    return (
        f"the lane is being deleted: it goes when its about {left} messages are sent or bounced, "
        f"at the latest {longest} (queue.lifetime) after they came, and as long again for their bounces. To let it go "
        "at once and keep its queue volumes for a lane of this name, set drain.policy to Hold"
        f"{_unproven(view)}"
    )


def _unproven(view: View) -> str:
    """Which slots have sent everything, and what else they wait for; under Hold only what nothing gets them out of."""
    holds = view.lane.spec.drain.policy is DrainPolicy.HOLD
    closed = () if holds else tuple(_closed(view))
    empty = [seen for seen in closed if not seen.queued]
    others = (text for seen in empty for text in (*_waits_for(seen), *_keeps_list(view, seen)))
    return _joined((*_waits_by_order(closed), *_owes(view), *others))


def _joined(texts: Iterable[str]) -> str:
    return "".join(f"; {text}" for text in texts)


def _closed(view: View) -> Iterable[SlotObservation]:
    """What slots say that are on their way out; in standby, or quarantined, a slot takes no mail either."""
    going = {claim.slot_name for claim in view.going}
    for seen in view.heard():
        if seen.intake == "Closed" and (seen.name in going or view.lane.deleting_since is not None):
            yield seen


def _waits_by_order(closed: Iterable[SlotObservation]) -> Iterable[str]:
    """Which slots keep mail that neither goes out nor to a sibling before a person lets it."""
    for seen in closed:
        if seen.orders:
            most = ", ".join(seen.orders[:ORDERS_TOLD])
            more = f" and {len(seen.orders) - ORDERS_TOLD} more" if len(seen.orders) > ORDERS_TOLD else ""
            yield f"{seen.name} keeps the mail that waits as ordered, {most}{more}: resume or release it"
        if seen.restored:
            yield f"{seen.name} keeps what its volume brought: release or drop it, see MailHeld"


def _owes(view: View) -> Iterable[str]:
    """Which slots may still ask one that goes what became of mail that they gave it: nobody else could tell them."""
    empty = [one.name for one in view.observation.slots if one.stopped and not one.queued]
    for seen in _closed(view):
        if owed := seen.owed_to_others_than(empty):
            yield f"{seen.name} still has to answer {', '.join(owed)}: {_FORGET}"


def _waits_for(seen: SlotObservation) -> Iterable[str]:
    """What an empty slot has that nobody else has yet."""
    if seen.unarchived:
        why = f" ({seen.archive_failure})" if seen.archive_failure else ""
        yield f"{seen.name} has {seen.unarchived} records that audit.archive does not have yet{why}"
    if seen.untold:
        why = f" ({seen.webhook_failure})" if seen.webhook_failure else ""
        yield f"{seen.name} has {seen.untold} records or bounces that their webhooks do not have yet{why}; {_WITHOUT}"


def _keeps_list(view: View, seen: SlotObservation) -> Iterable[str]:
    """What an empty slot has of the suppression list that it must not take with it; as `lifecycle` judges it."""
    deleting = view.lane.deleting_since is not None
    staying = () if deleting else tuple(claim.slot_name for claim in (*view.kept, *view.standby))
    if seen.list_is_with(staying):
        return
    if seen.suppressed is None:
        if staying and view.lane.spec.feedback is not None:
            yield f"{seen.name} does not say who else has its suppression list: let it roll to this operator's image"
        return
    words = f"{seen.name} has a suppression list of {rounded(seen.suppressed)} words that"
    if staying:
        yield f"{words} no slot that stays has read to its end: see to {', '.join(staying)}; {_WITHOUT}"
    elif view.lane.deletes_claims and not seen.list_archived:
        why = f" ({seen.list_failure})" if seen.list_failure else ""
        yield f"{words} audit.archive does not have yet{why}; {_WITHOUT}"


def _answers(seen: SlotObservation | None) -> bool:
    return seen is not None and seen.reachable


def deadline(lane: Lane, since: str) -> dt.datetime:
    """When a drain that began then should be over."""
    return dt.datetime.fromisoformat(since) + dt.timedelta(seconds=min(lane.spec.drain.deadline, LONGEST_S))


def _overdue(book: Book, view: View) -> tuple[Refusal, ...]:
    """A drain whose deadline has passed, with what is left."""
    lane = view.lane
    deleting = lane.deleting_since is not None
    if not deleting and not view.leaving:
        return ()
    began = lane.deleting_since or book.since(ConditionType.DRAINING, Reason.SCALE_IN)
    if view.now <= deadline(lane, began) or lane.annotations.get(RELEASE_ANNOTATION) == RELEASE_KEEP_VOLUMES:
        return ()
    names = {claim.slot_name for claim in view.leaving}
    slots = [seen for seen in view.observation.slots if deleting or seen.name in names]
    left, since = rounded(sum(seen.queued for seen in slots)), oldest(seen.oldest_since for seen in slots)
    age = f", the oldest since {since}" if since else ""
    way_out = _LET_GO if deleting else "Set replicas back, or wait"
    if view.drains_suspended:
        way_out = f"Set suspend to false. {_LET_GO}" if deleting else "Set suspend to false, or replicas back"
    message = f"the drain's deadline has passed with about {left} messages left{age}; nothing is dropped. {way_out}"
    return (Refusal(Reason.DRAIN_DEADLINE_EXCEEDED, message),)
