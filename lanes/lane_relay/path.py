"""The way of a message through the stages: what each hands on to the next, one method an arrow.

accept -> spool -> schedule -> resolve -> deliver -> account, and account's settlement back to spool and schedule.
Invariants: an entry is in one stage at a time, and the backlog knows it from the disk until its last recipient is
settled; a message is due only once it is on disk.
Before it: the stages, which call it. After it: the stages, which `pipeline` makes and sets here before
the first message.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from math import inf
from typing import Final

import structlog

from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import Delivery
from lane_relay import memory
from lane_relay.accept.intake import Rejection
from lane_relay.accept.listener import Stored
from lane_relay.accept.message import redirect
from lane_relay.account.late import LateMail
from lane_relay.account.settle import Outcome, OutcomeOf
from lane_relay.account.settler import Settler
from lane_relay.account.unroutable import UnroutableMail
from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.explain import Place
from lane_relay.deliver.pacing import Hold, Limit
from lane_relay.errors import SpoolError
from lane_relay.exchange import Exchange
from lane_relay.feedback.complaints import Asked
from lane_relay.feedback.office import FeedbackOffice
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.records import (
    Attempt,
    Message,
    QueueEntry,
    Reply,
    Route,
    Unroutable,
    Verdict,
    received_at,
)
from lane_relay.resolve.router import Router
from lane_relay.schedule.runner import Runner
from lane_relay.slot import Slot
from lane_relay.spool.base import Spool
from lane_relay.spool.entries import entries_of
from lane_relay.warmup.line import WarmUpLine, part_off
from lane_relay.warmup.warmer import Warmer

__all__ = ["MessagePath"]

_WARMS_UP: Final = "this address is still being warmed up for its ISP, and what it may send now is used up"
RECOVERY_CHUNK: Final = 500  # entries between two looks at everything else: a millisecond or two
TOLD_EVERY: Final = 50_000  # entries
_NOWHERE: Final = Route("", "", ())
_TOLD_AGAIN_S: Final = 60.0  # after so long mail that was late asks for room again, told or not

_log = structlog.get_logger("pipeline")


class MessagePath:
    """The arrows between the stages of one slot; all on the event loop."""

    spool: Spool
    settler: Settler
    unroutable: UnroutableMail
    late: LateMail
    schedule: Runner
    router: Router
    dispatcher: Dispatcher
    orders: OrderKeeper
    feedback: FeedbackOffice
    warmer: Warmer
    line: WarmUpLine
    """Where mail waits for room in a warm-up."""
    untried: Backlog
    """Entries that were not attempted yet: how long they wait is our doing, and no receiver's."""
    lifetime: float
    """Seconds from acceptance, as the configuration in force has it."""
    redirect_to: str
    """Where all mail goes, or empty; as the configuration in force has it."""
    exchange: Exchange | None
    """Absent where the slot has no siblings."""

    def __init__(self, slot: Slot, backlog: Backlog, clock: Clock) -> None:
        """`slot` and `backlog` are told what happens."""
        self._slot = slot
        self._backlog = backlog
        self.untried = Backlog()
        self._clock = clock
        self.lifetime = inf

    def apply(self, delivery: Delivery) -> None:
        """Another configuration: a shorter lifetime is also that of what waits for its next attempt."""
        is_shorter = delivery.lifetime < self.lifetime
        self.lifetime, self.redirect_to = delivery.lifetime, delivery.redirect_to
        if is_shorter:
            self.schedule.end_by(self._end_of)

    def on_attempt(self, attempt: Attempt) -> None:
        """deliver -> account, and to the suppression list what a peer said of a mailbox."""
        self.settler.on_attempt(attempt)
        self.feedback.attempted(attempt)

    def judge_reply(self, policy: str, stage: Stage, reply: Reply) -> Verdict:
        """feedback -> deliver: what a reply that came in a report means."""
        return self.dispatcher.table.judge(policy, stage, reply)

    def deposit(self, message: Message, stored: Stored) -> None:
        """accept -> spool; raises SpoolError if it is refused at once."""
        began = self._clock.monotonic()
        message = self.feedback.marked(message)
        self.spool.put(
            message,
            self.settler.writer.reception(message, self._clock.now()),
            partial(self._on_stored, message, stored, began),
        )

    def deposit_own(self, message: Message, stored: Stored) -> None:
        """account, feedback -> spool: reports and forwarded bounces, redirected as all mail is; raises as `deposit`."""
        self.deposit(redirect(message, self.redirect_to) if self.redirect_to else message, stored)

    def _on_stored(
        self, message: Message, stored: Stored, began: float, location: int, error: SpoolError | None
    ) -> None:
        """spool -> schedule: on disk now, so it is due, and the client may hear 250."""
        self._slot.commits += 1
        self._slot.commit_s += self._clock.monotonic() - began
        if error is None:
            self._slot.counters.accepted += len(message.envelope.recipients)
            for entry in entries_of(message, location, self._clock.now()):
                self._add(entry)
                self.on_due(entry)
        stored(error)

    async def resume(self, entries: Iterator[QueueEntry]) -> None:
        """spool -> schedule, for what recovery found; in chunks, since there may be a million."""
        resumed = 0
        while chunk := list(islice(entries, RECOVERY_CHUNK)):
            for entry in chunk:
                self._add(entry)
            self.schedule.add_all(self.exchange.ours(chunk) if self.exchange is not None else chunk)
            resumed += len(chunk)
            if not resumed % TOLD_EVERY:
                _log.info("resumed", entries=resumed)
            await asyncio.sleep(0)
        if resumed % TOLD_EVERY:
            _log.info("resumed", entries=resumed)
        memory.give_back()
        if self.exchange is not None:
            self.exchange.giver.recovered()

    async def carry_out_orders(self, entries: Iterator[QueueEntry]) -> None:
        """Once all that recovery found waits where orders find it, for ever."""
        await self.resume(entries)
        await self.orders.run()

    def dispatch(self, entries: list[QueueEntry]) -> None:
        """schedule -> resolve, a portion at a time."""
        for entry in entries:
            self.on_due(entry)

    def hand_out(self, left: int) -> None:
        """schedule -> resolve, whether they are due or not: so many, for there is a way out of this slot now."""
        entries = self.schedule.take(min(left, RECOVERY_CHUNK))
        self.dispatch(entries)
        if entries and left > len(entries):
            asyncio.get_running_loop().call_soon(self.hand_out, left - len(entries))

    def on_accepted(self, recipients: int) -> None:
        """hand-over -> figures."""
        self._slot.counters.accepted += recipients

    def on_taken_over(self, entry: QueueEntry) -> None:
        """hand-over -> schedule: a sibling's mail is on our disk."""
        self._add(entry)
        self.schedule.add(entry)

    def on_due(self, entry: QueueEntry) -> None:
        """schedule -> resolve -> deliver."""
        if self._is_emptied(entry):
            if not self.orders.is_idle and self._is_taken(entry, None):
                return  # a sibling knows nothing of the order
            if not self.orders.asks_sites and self._went_to_sibling(entry):
                return  # whatever its site is
        destination = self.router.fresh(entry.domain)
        if destination is None:
            destination = self.router.route(entry.domain, partial(self._on_routed, entry), entry.campaign)
        if destination is not None:
            self._on_routed(entry, destination)

    def _on_routed(self, entry: QueueEntry, destination: Route | Unroutable) -> None:
        """resolve -> deliver, or to account if there is no way, unless an order stops it."""
        if not self.orders.is_idle and self._is_taken(entry, destination):
            return
        if isinstance(destination, Route):
            if self._leaves_from_here(entry, destination):
                self.dispatcher.add(entry, destination)
        elif not (self._is_emptied(entry) and self._went_to_sibling(entry)):
            self.on_withdrawn(entry)
            self.unroutable.add(entry, destination)

    def _is_taken(self, entry: QueueEntry, destination: Route | Unroutable | None) -> bool:
        """An order has the entry now; the room that it had in a warm-up is free again."""
        if not self.orders.takes(entry, destination):
            return False
        self.on_withdrawn(entry)
        return True

    def _is_emptied(self, entry: QueueEntry) -> bool:
        """Everything is to leave this slot, this too."""
        return self.exchange is not None and self.exchange.is_emptying and not self.is_over(entry)

    def _went_to_sibling(self, entry: QueueEntry, policy: str = "", site: str = "", *, has_room: bool = True) -> bool:
        """It is on its way to a sibling, or waits for one; here it needs no room any more."""
        if self.exchange is None or self.exchange.sends_here(entry, policy, site, has_room=has_room):
            return False
        self.on_withdrawn(entry)
        return True

    def _leaves_from_here(self, entry: QueueEntry, route: Route) -> bool:
        """Whether the entry goes to delivery; else it is on its way to a sibling, or waits."""
        warmer, policy = self.warmer, route.policy
        warms_up = warmer.is_active
        if (warms_up or self.exchange is not None) and self.is_over(entry):
            return True  # delivery ends it before an attempt; waiting here it would never be told
        room = 1
        if warms_up:  # nobody passes those who wait
            waits = self.line.holds(policy) and not warmer.is_admitted(policy, entry)
            room = 0 if waits else warmer.room(policy, entry)
        if self.exchange is not None and self._went_to_sibling(entry, policy, route.site, has_room=room > 0):
            return False
        if not room:
            self._wait_for_room(entry, policy)
            return False
        if warms_up:
            rest = part_off(entry, room)
            warmer.admit(policy, entry)
            if rest is not None:
                self.on_parted(rest)
                self._on_routed(rest, route)
        return True

    def _wait_for_room(self, entry: QueueEntry, policy: str) -> None:
        """Until the warm-up allows more; in between its sender may have to hear that it is late."""
        self.warmer.withdrawn(entry)
        now = self._clock.now()
        if self.settler.late_at(entry) <= now:
            self.late.add(entry, _WARMS_UP, min(now + _TOLD_AGAIN_S, self._end_of(entry)))
        else:
            self.line.add(policy, entry)

    # -- what the line asks: see warmup.line.Home

    def looked_at(self, entry: QueueEntry) -> float:
        """Unix time at which an entry that waits for room has to be looked at all the same."""
        return min(self._end_of(entry), self.settler.late_at(entry))

    @property
    def has_siblings(self) -> bool:
        """One at least can be offered something now."""
        return self.exchange is not None and self.exchange.has_sibling

    def would_leave(self, entry: QueueEntry, policy: str) -> bool:
        """Whether a sibling would take an entry for which there is no room here."""
        if self.exchange is None:
            return False
        route = self.router.fresh(entry.domain)
        site = route.site if isinstance(route, Route) else policy
        return self.exchange.would_leave(entry, policy, site)

    def take_waiting(self, count: int) -> list[QueueEntry]:
        """schedule, warm-up -> hand-over: so many entries that wait, whether they may go or not."""
        taken = self.schedule.take(count)
        return taken + self.line.take(count - len(taken))

    def sweep(self, unwanted: Callable[[QueueEntry], bool]) -> Iterator[list[QueueEntry]]:
        """schedule, warm-up -> orders: all that wait and are unwanted, in portions."""
        yield from self.schedule.sweep(unwanted)
        yield from self.line.sweep(unwanted)

    def waiting(self) -> Iterator[Place]:
        """Where entries are that go to a sibling, or wait for a warm-up, and what holds them there."""
        if self.exchange is not None:
            yield from self.exchange.places()
        for group, entries in self.line.portions():
            yield self._warms_up(group, tuple(entries)) if group else Place("Scheduled", _NOWHERE, None, tuple(entries))

    def _warms_up(self, group: str, entries: tuple[QueueEntry, ...]) -> Place:
        room_at = self.warmer.room_at(group)
        until = room_at - self._clock.now() + self._clock.monotonic()
        hold = Hold(Limit.WARM_UP, until, f"{_WARMS_UP} ({group})")
        return Place("Scheduled", Route("", group, ()), hold, entries, not_before=room_at)

    def _end_of(self, entry: QueueEntry) -> float:
        """Unix time after which it is not attempted any more."""
        end = received_at(entry.id) + self.lifetime
        return min(end, entry.expires_at) if entry.expires_at else end

    def is_over(self, entry: QueueEntry) -> bool:
        """Its lifetime has passed: it is not attempted any more."""
        return self._clock.now() >= self._end_of(entry)

    def is_ordered(self, entry: QueueEntry, sender: str) -> bool:
        """hand-over -> orders, with what is about to go to a sibling: whether one stops it, and has it.

        Where orders ask for sites and none is known, it comes again with its own.
        """
        destination = self.router.known(entry.domain) if self.orders.asks_sites else None
        if destination is None and self.orders.asks_sites and not self.is_over(entry):
            self.on_due(entry)
            return True
        return self.orders.takes_with_sender(entry, sender, destination)

    def on_counted(self, policy: str, entry: QueueEntry, one: OutcomeOf) -> None:
        """account -> warm-up and complaint rates: what the ISP said or did; what we did only ends the attempt."""
        if self.feedback.counts_complaints and one.outcome is Outcome.DELIVERED:
            self.feedback.delivered(policy, entry.id)
        if self.warmer.is_active:
            result = one.result
            outcome = None if result.ours else one.outcome
            self.warmer.attempted(
                policy,
                entry,
                result.index,
                delivered=outcome is Outcome.DELIVERED,
                deferred=outcome is Outcome.DEFERRED,
                bounced=outcome is Outcome.BOUNCED,
                blocked=outcome is Outcome.DEFERRED and _is_block(result.verdict),
                # what the peer refused for good, and waits only until the report about it can be stored, was sent
                is_sent=not result.ours or result.verdict.action is Action.BOUNCE,
            )

    def on_complaint(self, policy: str, asked: Asked | None) -> None:
        """feedback -> warm-up, and to deliver what a complaint rate asks for."""
        self.warmer.complained(policy)
        if asked is not None:
            rule, where = f"complaints/{asked.level}", "" if asked.everywhere else policy
            self.dispatcher.judgement.of_complaints(
                policy, rule, asked.text, asked.action, asked.lasts, where, observed=asked.observed
            )

    def on_withdrawn(self, entry: QueueEntry) -> None:
        """account -> warm-up: nothing was sent."""
        if self.warmer.is_active:
            self.warmer.withdrawn(entry)

    def on_delivered(self, policy: str, seconds: float, recipients: int, since_trigger: float) -> None:
        """account -> figures: so long after acceptance, and after its trigger, these recipients of an ISP got it."""
        self._slot.latency.of(policy).observe(seconds, recipients)
        if since_trigger:
            self._slot.trigger_latency.observe(since_trigger, recipients)

    def on_finished(self, entry: QueueEntry) -> None:
        """account -> figures: nobody of this entry waits any more."""
        self._backlog.remove(received_at(entry.id))
        if not entry.attempts:
            self.untried.remove(received_at(entry.id))

    def on_parted(self, part: QueueEntry) -> None:
        """account -> figures: a part of an entry goes its own way."""
        self._add(part)

    def on_tried(self, entry: QueueEntry) -> None:
        """account -> figures: its first attempt is over, and it waits for another."""
        self.untried.remove(received_at(entry.id))

    def _add(self, entry: QueueEntry) -> None:
        self._backlog.add(received_at(entry.id))
        if not entry.attempts:
            self.untried.add(received_at(entry.id))

    def on_rejection(self, rejection: Rejection) -> None:
        """accept -> account: mail that was refused has a record as well."""
        record = self.settler.writer.rejection(
            rejection.reply,
            self._clock.now(),
            stage=rejection.stage,
            client=rejection.client,
            helo=rejection.helo,
            user=rejection.user,
            sender=rejection.sender,
            recipients=rejection.recipients,
        )
        with suppress(SpoolError):  # a spool that failed keeps no records; the client is to hear why all the same
            self.spool.record([record])


def _is_block(verdict: Verdict) -> bool:
    """The ISP refuses the address, and not its pace."""
    return (
        verdict.action in (Action.SUSPEND_SITE, Action.QUARANTINE_IP)
        and verdict.scope in (Scope.IP, Scope.LANE)
        and verdict.category is not Category.RATE_LIMITED
    )
