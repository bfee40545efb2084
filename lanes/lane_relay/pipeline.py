"""Joins the stages in the order of a message's path, and owns their tasks; the only module that knows them all.

accept -> spool -> schedule -> resolve -> deliver -> account, and account's settlement back to spool and schedule.
Invariants: every task belongs to the one TaskGroup, so a failure of any ends the process with its reason; nothing is
delivered before recovery found it, and intake opens as soon as the spool can be written.
Before it: `__main__`. After it: nothing; it returns when everything is on disk.
"""

import asyncio
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import Final

import structlog

from lane_api.isppolicy import Action, Scope, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay import health
from lane_relay.accept.http.ledger import Ledger
from lane_relay.accept.http.server import HttpServer
from lane_relay.accept.intake import Rejection
from lane_relay.accept.listener import Listener, Stored
from lane_relay.account.journal import Journal
from lane_relay.account.screen import Screen
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.api import actions, evidence
from lane_relay.api.server import AdminServer
from lane_relay.audit.auditor import Auditor, check_records, open_chain
from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.config import ConfigSource
from lane_relay.deliver.day_count import DayCounts
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.rules import ReplyTable
from lane_relay.deliver.signer import Signer
from lane_relay.egress.prober import Gate, claim_from
from lane_relay.egress.proof import ProofStatus
from lane_relay.errors import ConfigError, SpoolError
from lane_relay.guard import LoopGuard
from lane_relay.mail.dkim import Publication
from lane_relay.mail.dkim_check import signature_problem
from lane_relay.orders.book import OrderBook
from lane_relay.orders.keeper import OrderKeeper, Places
from lane_relay.orders.order import Order
from lane_relay.orders.restored import RESTORED, forgive, hold_of_restored
from lane_relay.orders.screener import Screener
from lane_relay.records import Attempt, Message, QueueEntry, RecipientResult, Route, Unroutable, Verdict, received_at
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.dns import WireResolver, ask_txt_afresh, check_server
from lane_relay.resolve.protection import Protection
from lane_relay.resolve.router import Router
from lane_relay.resolve.selectors import SelectorWatch
from lane_relay.schedule.runner import Runner
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from lane_relay.slot import Slot, Stages
from lane_relay.spool.entries import entries_of
from lane_relay.spool.log import SegmentSpool
from lane_relay.turns import Turns

__all__ = ["Pipeline", "check", "rule_problems"]

READY_LAG_S: Final = 1.0  # a Service forgets an endpoint about a second after it is not ready any more
INTAKE_GRACE_S: Final = 10.0
DELIVERY_GRACE_S: Final = 12.0
CLOSING_S: Final = 8.0  # of stopGrace, kept for the lag, the last cuts and the spool
RECOVERY_CHUNK: Final = 2000  # entries between two looks at everything else: about 5 ms
KEYS_EVERY_S: Final = 5.0
EXIT_AT_ONCE: Final = 130  # as a shell reports an interrupt

_log = structlog.get_logger("pipeline")


def check(config: RelayConfig) -> None:
    """Refuses what only the stages can judge; raises ConfigError that names the field."""
    claim_from(config.egress)
    for server in config.delivery.resolvers:
        check_server(server)
    check_records(config.records)


def rule_problems(config: RelayConfig) -> list[str]:
    """Reply rules that would not take force though the rest does; each names its field and what is wrong."""
    problems = ReplyTable(config.delivery.policies).problems
    return [f"delivery.policies[{name}].responses: {one}" for name, wrong in problems.items() for one in wrong]


class Pipeline:
    """One relay, from start to stop."""

    def __init__(self, source: ConfigSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        self._random = Random()  # noqa: S311 - jitter and choice among equals, no secrets
        self._stopping = asyncio.Event()
        self._backlog = Backlog()
        self._unroutable: Turns[tuple[QueueEntry, Unroutable]] = Turns()
        self._unroutable_came = asyncio.Event()
        self.slot = Slot(source, clock, self._apply)

    # -- life

    def stop(self) -> None:
        """The first time: finishes what is in flight. The second time: ends the process at once; the spool is sound."""
        if self._stopping.is_set():
            _log.warning("stopped at once")
            os._exit(EXIT_AT_ONCE)
        self._stopping.set()

    def reread(self) -> None:
        """Reads the configuration file again."""
        self._source.reread()

    async def run(self) -> None:
        """Runs until `stop`; raises what made a stage fail, in a group."""
        config = self._source.current
        probes = await health.serve(config.health, self.slot) if config.health is not None else None
        try:
            await self._run(config)
        finally:
            if probes is not None:
                await probes.cleanup()

    async def _run(self, config: RelayConfig) -> None:
        """Recovers, runs the tasks, drains."""
        guard = LoopGuard(asyncio.get_running_loop())
        entries = self._build(config)
        requests = [*actions.routes(self._orders), *evidence.routes(self._auditor)]
        admin = AdminServer(config.admin, self.slot, requests) if config.admin is not None else None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work, name=name)
                    for name, work in (
                        ("guard", guard.watch()),
                        ("egress", self._gate.run()),
                        ("config", self._source.watch()),
                        ("selectors", self._selectors.run()),
                        ("tls-policies", self._protection.run()),
                        ("keys", self._watch_keys()),
                        ("auditor", self._auditor.run()),
                        ("unroutable", self._settle_unroutable()),
                        ("orders", self._carry_out_orders(entries)),
                        *([("certificate", admin.watch())] if admin else []),
                    )
                ]
                self._source.on_change = lambda _config: self._apply()
                self._apply()
                if admin is not None:
                    await admin.start()
                await self._listener.start()
                if self._http is not None:
                    await self._http.start()
                self.slot.listening = True
                _settle_memory()
                self._dispatcher.start()
                self._schedule.start()
                _log.info("taking mail", ports=self._ports(), intake=self.slot.intake_state())
                await self._stopping.wait()
                await self._drain(admin)
                for task in tasks:
                    task.cancel()
        finally:
            await self._close()

    async def _drain(self, admin: AdminServer | None) -> None:
        """No new intake, sessions in flight finish, what was said is on disk."""
        self.slot.listening = False
        _log.info("stopping", sessions=self._listener.session_count)
        await asyncio.sleep(READY_LAG_S)
        self._schedule.stop()
        whole = max(0.0, self._source.current.stop_grace - CLOSING_S)
        delivery = self._dispatcher.drain(min(DELIVERY_GRACE_S, whole), whole)
        grace = min(INTAKE_GRACE_S, whole)
        http = [self._http.stop(grace)] if self._http is not None else []
        await asyncio.gather(self._listener.stop(grace), *http, delivery)
        if admin is not None:
            await admin.stop()

    def _ports(self) -> tuple[int, ...]:
        """Where mail comes in: the SMTP listeners', then HTTP's."""
        return self._listener.ports + (self._http.ports if self._http is not None else ())

    async def _close(self) -> None:
        """Gives up what needs no order, then the spool; first of all nothing else is sent, whatever the reason is."""
        self._dispatcher.halt()
        await self._router.close()
        await self._protection.close()
        await self._lookups.close()
        self._signer.close()
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)
        await self._spool.close()
        await self._auditor.close()
        _log.info("stopped", queued=self._spool.state.live_messages)

    # -- the stages

    def _build(self, config: RelayConfig) -> Iterator[QueueEntry]:
        """Makes the stages, last first; the entries that recovery found."""
        loop, clock = asyncio.get_running_loop(), self._clock
        self._open(config)
        self._resolvers = config.delivery.resolvers
        self._lookups = CachedLookups(WireResolver(self._resolvers), clock.monotonic)
        self._gate = Gate(config.egress, clock, self._random.random)
        self._gate.on_change = self._on_proof
        self._selectors = SelectorWatch(
            lambda name: ask_txt_afresh(self._resolvers, name), self._prove, clock, self._on_selector
        )
        self._signer = Signer(self._selectors.is_live, clock)
        self._protection = Protection.of_lane(self._lookups, clock, self._gate.may_send, config.spool.path)
        self._router = Router(config, self._lookups, clock, self._random, self._protection)
        self._schedule = Runner(ScheduledQueue(), clock, loop, self._dispatch)
        around = Surroundings(
            reschedule=self._schedule.add,
            finished=self._on_finished,
            parted=self._on_parted,
            deposit=self._deposit,
            delivered=self._on_delivered,
            jitter=self._random.random,
            policy_id=self._protection.policy_id,
        )
        self._settler = Settler(self._spool, config, clock, around, self.slot.counters)
        self._screen, book = Screen(config), OrderBook(self._spool)
        self._dispatcher = Dispatcher(
            config,
            bodies=self._spool,
            on_attempt=self._settler.on_attempt,
            may_send=self._may_send,
            reroute=self._on_due,
            clock=clock,
            signing=self._signer,
            screening=Screener(self._screen, book, self._settler, clock),
            keep_acts=partial(self._spool.set_flag, "acts"),
            days=DayCounts(clock, self._spool.flag, self._spool.set_flag),
        )
        self._dispatcher.judgement.restore(self._spool.flag("acts"))
        self._orders = OrderKeeper(self._spool, book, self._settler, clock, self._places())
        self._hold_if_restored(config)
        self._listener = Listener(
            config, deposit=self._deposit, new_id=self._spool.new_id, clock=clock, on_rejection=self._on_rejection
        )
        self._http = None
        if config.intake.http is not None and self._ledger is not None:
            self._http = HttpServer(config, self._listener, self._ledger, self._spool.keep)
        self.slot.stages = Stages(
            self._spool,
            self._listener,
            self._gate,
            self._selectors,
            self._signer,
            self._dispatcher,
            self._backlog,
            self._orders,
            self._http,
        )
        return iter(self._spool.recover())

    def _open(self, config: RelayConfig) -> None:
        """Journal and spool, with all that was left in them."""
        loop, clock = asyncio.get_running_loop(), self._clock
        began = clock.monotonic()
        _log.info("recovering", spool=config.spool.path)
        chain = open_chain(config, clock)
        self._journal = Journal.open(config.records, clock, chain=chain)
        self._auditor = Auditor(
            self._journal, chain, Path(config.records.path), clock, self._random.random, self.slot.is_drained
        )
        self.slot.auditor = self._auditor
        self._ledger = Ledger.of(config, clock.now)
        asked = self._ledger.asked() if self._ledger is not None else frozenset()
        self._spool = SegmentSpool.open(
            config.spool, self._journal, clock, loop, active_bytes=config.active_bytes, asked=asked
        )
        if self._ledger is not None:
            self._ledger.resolve(self._spool.was_stored)
        state = self._spool.state
        _log.info(
            "recovered", messages=state.live_messages, bytes=state.live_bytes, s=round(clock.monotonic() - began, 3)
        )
        self.slot.counters.recovered = state.live_recipients
        for damage in state.damage:
            _log.error("damaged in the spool", where=damage)

    def _places(self) -> Places:
        """Where orders find mail."""
        dispatcher, schedule = self._dispatcher, self._schedule
        return Places(
            sweep=schedule.sweep,
            go_on=schedule.add,
            look_again=dispatcher.look_again,
            hold=dispatcher.hold,
            release=dispatcher.release,
            held=dispatcher.held,
            ended=self._on_order_over,
        )

    def _hold_if_restored(self, config: RelayConfig) -> None:
        """What an older copy of a volume holds may have been sent: a person decides."""
        order = hold_of_restored(self._spool, config, self._clock.now())
        if order is not None and self._orders.stands(RESTORED) is None:
            self._orders.stand(order)
            _log.error("mail on the volume is held", reason=order.reason)

    def _on_order_over(self, order: Order) -> None:
        """orders -> spool: a restored volume was let go."""
        if order.id == RESTORED:
            forgive(self._spool, self._source.current)

    def _apply(self) -> None:
        """Puts the configuration, with the orders kept in the spool laid over it, in force in every stage."""
        config = self._source.current
        if self.slot.intake_state() == "Closed":
            closed = config.intake.model_copy(update={"state": "Closed"})
            config = config.model_copy(update={"intake": closed})
        self.slot.adopt(config)
        self._spool.apply(config.spool, config.active_bytes)
        self._journal.apply(config.records)
        self._auditor.apply(config.records)
        self._gate.apply(config.egress)
        self._signer.apply(config.domains)
        self._selectors.apply(self._signer.publications())
        if config.delivery.resolvers != self._resolvers:
            self._resolvers = config.delivery.resolvers
            self._lookups.replace_wire(WireResolver(self._resolvers))
        self._router.apply(config)
        self._settler.apply(config)
        self._screen.apply(config)
        self._dispatcher.apply(config)
        for policy, wrong in self._dispatcher.table.problems.items():
            _log.error(
                "rules refused: the policy's last good version stays, or, without one, its other rules",
                policy=policy,
                reason="; ".join(wrong),
            )
        if self._http is not None:
            self._http.apply(config)
        try:
            self._listener.apply(config)
        except ConfigError as failed:  # a certificate; the rest is in force, and the old certificate still serves
            _log.error("certificate kept", reason=str(failed))

    def _may_send(self) -> bool:
        """The egress proof holds, and what is sent can be recorded: else it would be sent again after a restart."""
        return self._gate.may_send() and not self._spool.has_failed

    def _on_proof(self, status: ProofStatus) -> None:
        """The gate has opened or shut, or says something new."""
        level = "info" if status.may_send else "warning"
        getattr(_log, level)("egress", state=status.state, reason=status.message)
        if status.may_send:
            self._protection.opened()
            self._dispatcher.wake()
        else:
            self._dispatcher.shut()

    def _on_selector(self, domain: str) -> None:
        """One of a signing domain's keys may sign, or may not any more."""
        self._signer.renew()
        self._dispatcher.unprepare()
        self._dispatcher.release(domain)

    async def _prove(self, key: Publication, record: str) -> str:
        """Whether what we sign verifies with what DNS answers; in a thread, since it takes milliseconds."""
        trial = self._signer.trial(key.record_name, self._clock.now())
        return await asyncio.to_thread(signature_problem, trial, record)

    async def _watch_keys(self) -> None:
        """Takes changed DKIM keys for ever."""
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            if self._signer.reload():
                self._selectors.apply(self._signer.publications())
                self._dispatcher.unprepare()
                for domain in self._source.current.domains:
                    if not domain.verify_record:  # of the others their selector tells
                        self._dispatcher.release(domain.name)

    # -- the path of a message

    def _deposit(self, message: Message, stored: Stored) -> None:
        """accept -> spool; raises SpoolError if it is refused at once."""
        began = self._clock.monotonic()
        self._spool.put(
            message,
            self._settler.writer.reception(message, self._clock.now()),
            partial(self._on_stored, message, stored, began),
        )

    def _on_stored(
        self, message: Message, stored: Stored, began: float, location: int, error: SpoolError | None
    ) -> None:
        """spool -> schedule: on disk now, so it is due, and the client may hear 250."""
        self.slot.commits += 1
        self.slot.commit_s += self._clock.monotonic() - began
        if error is None:
            self.slot.counters.accepted += len(message.envelope.recipients)
            for entry in entries_of(message, location, self._clock.now()):
                self._backlog.add(received_at(entry.id))
                self._on_due(entry)
        stored(error)

    async def _resume(self, entries: Iterator[QueueEntry]) -> None:
        """spool -> schedule, for what recovery found; in chunks, since there may be a million."""
        while chunk := list(islice(entries, RECOVERY_CHUNK)):
            for entry in chunk:
                self._backlog.add(received_at(entry.id))
            self._schedule.add_all(chunk)
            _log.info("resumed", entries=self._backlog.entries)
            await asyncio.sleep(0)

    async def _carry_out_orders(self, entries: Iterator[QueueEntry]) -> None:
        """Once all that recovery found waits where orders find it, for ever."""
        await self._resume(entries)
        await self._orders.run()

    def _dispatch(self, entries: list[QueueEntry]) -> None:
        """schedule -> resolve, a portion at a time."""
        for entry in entries:
            self._on_due(entry)

    def _on_due(self, entry: QueueEntry) -> None:
        """schedule -> resolve -> deliver."""
        destination = self._router.route(entry.domain, partial(self._on_routed, entry), entry.campaign)
        if destination is not None:
            self._on_routed(entry, destination)

    def _on_routed(self, entry: QueueEntry, destination: Route | Unroutable) -> None:
        """resolve -> deliver, or to account if there is no way, unless an order stops it."""
        if not self._orders.is_idle and self._orders.takes(entry, destination):
            return
        if isinstance(destination, Route):
            self._dispatcher.add(entry, destination)
        else:
            self._unroutable.append(entry.campaign, (entry, destination))
            self._unroutable_came.set()

    async def _settle_unroutable(self) -> None:
        """resolve -> account, for ever, one after another: the body may have to come from disk for the report."""
        while True:
            await self._unroutable_came.wait()
            self._unroutable_came.clear()
            while self._unroutable:
                entry, why = self._unroutable.popleft()
                message = self._spool.cached(entry)
                try:
                    self._settler.on_attempt(
                        _unroutable_attempt(entry, message or await self._spool.load(entry), why, self._clock.now())
                    )
                except SpoolError as failed:
                    _log.error("message cannot be read", id=f"{entry.id:024x}", reason=str(failed))

    def _on_delivered(self, seconds: float, recipients: int) -> None:
        """account -> figures: so long after acceptance these recipients got it."""
        self.slot.latency.observe(seconds, recipients)

    def _on_finished(self, entry: QueueEntry) -> None:
        """account -> figures: nobody of this entry waits any more."""
        self._backlog.remove(received_at(entry.id))

    def _on_parted(self, part: QueueEntry) -> None:
        """account -> figures: a part of an entry goes its own way."""
        self._backlog.add(received_at(part.id))

    def _on_rejection(self, rejection: Rejection) -> None:
        """accept -> account: mail that was refused has a record as well."""
        record = self._settler.writer.rejection(
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
            self._spool.record([record])


def _settle_memory() -> None:
    """Takes all that is there for the process's life out of the collector's sight, and lets it look less often.

    A message makes hardly any cycles; looking every 700 objects, Python's default, took some 7 % of its CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _unroutable_attempt(entry: QueueEntry, message: Message, why: Unroutable, now: float) -> Attempt:
    """An attempt that never came to a peer: the local reply for every recipient of the entry."""
    action = Action.BOUNCE if why.reply.is_permanent else Action.RETRY
    verdict = Verdict(why.category, action, Scope.MESSAGE)
    results = tuple([RecipientResult(index, Stage.CONNECT, why.reply, verdict) for index in entry.recipients])
    return Attempt(entry, message, "", now, now, results)
