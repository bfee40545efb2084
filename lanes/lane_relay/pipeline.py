"""Makes the stages, owns their tasks, starts and stops them; only it and `path`, which joins them, know them all.

Invariants: every task belongs to the one TaskGroup, so a failure of any ends the process with its reason, but of those
of `supervisor`; nothing is delivered before recovery found it, and intake opens as soon as the spool can be written.
Before it: `__main__`. After it: nothing; it returns when everything is on disk.
"""

import asyncio
import os
from collections.abc import Iterator
from functools import partial
from random import Random
from typing import Final

import structlog

from lane_api.relayconfig import RelayConfig
from lane_relay import health, memory
from lane_relay.able import ability_of
from lane_relay.accept.http.ledger import Ledger
from lane_relay.accept.listener import Listener
from lane_relay.account.admin_actions import AdminActions
from lane_relay.account.journal import Journal
from lane_relay.account.late import LateMail
from lane_relay.account.screen import Screen
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.account.unroutable import UnroutableMail
from lane_relay.api import actions, acts, evidence, explain, handover, keys, messages, siblings, suppressions
from lane_relay.api.server import AdminServer
from lane_relay.audit.auditor import Auditor, check_records, open_chain
from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.config import ConfigSource
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.kept_limits import KeptLimits
from lane_relay.deliver.regrouping import grouping
from lane_relay.deliver.rules import ReplyTable
from lane_relay.deliver.signer import Signer
from lane_relay.egress.gates import Gates, check_egress
from lane_relay.egress.proof import ProofStatus
from lane_relay.ending import READY_LAG_S, Times, finish_last
from lane_relay.errors import ConfigError
from lane_relay.exchange import Exchange, Neighbourhood, open_transfers
from lane_relay.explainer import Explainer
from lane_relay.feedback.office import FeedbackOffice, Neighbours, check_feedback
from lane_relay.guard import LoopGuard
from lane_relay.handover.ability import Ability
from lane_relay.mail.dkim import Publication
from lane_relay.mail.dkim_check import signature_problem
from lane_relay.orders.book import OrderBook
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.orders.places import places_of
from lane_relay.orders.screener import Screener
from lane_relay.path import MessagePath
from lane_relay.queued_messages import QueuedMessages
from lane_relay.records import QueueEntry
from lane_relay.resolve.cache import CachedLookups
from lane_relay.resolve.dns import WireResolver, ask_reverse_afresh, ask_txt_afresh, check_server
from lane_relay.resolve.protection import Protection
from lane_relay.resolve.published import PublishedWatch
from lane_relay.resolve.reverse import ReverseWatch
from lane_relay.resolve.router import Router
from lane_relay.resolve.selectors import SelectorWatch
from lane_relay.schedule.runner import Runner
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from lane_relay.slot import Slot, Stages
from lane_relay.spool.log import SegmentSpool
from lane_relay.supervisor import Supervisor
from lane_relay.warmup.line import WarmUpLine
from lane_relay.warmup.warmer import WARM_UP, Warmer

__all__ = ["Pipeline", "check", "rule_problems"]

KEYS_EVERY_S: Final = 5.0
EXIT_AT_ONCE: Final = 130  # as a shell reports an interrupt

_log = structlog.get_logger("pipeline")


def check(config: RelayConfig) -> None:
    """Refuses what only the stages can judge; raises ConfigError that names the field."""
    check_egress(config.egress)
    for server in config.delivery.resolvers:
        check_server(server)
    check_records(config.records)
    check_feedback(config)


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
        self._hands_over = False
        self._backlog = Backlog()
        self.slot = Slot(source, clock, self._apply, Supervisor(self._random.random))
        self._path = MessagePath(self.slot, self._backlog, clock)

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
                await probes.stop()

    async def _run(self, config: RelayConfig) -> None:
        """Recovers, runs the tasks, drains."""
        guard = LoopGuard(asyncio.get_running_loop())
        entries = self._build(config)
        admin = self._admin(config)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(work, name=name)
                    for name, work in (
                        ("guard", guard.watch()),
                        ("egress", self._gate.run()),
                        ("config", self._source.watch()),
                        ("selectors", self._selectors.run()),
                        ("published", self.slot.supervisor.keep("published", self._published.run)),
                        ("tls-policies", self.slot.supervisor.keep("tls-policies", self._protection.run)),
                        ("keys", self._watch_keys()),
                        ("warm-up", self._watch_warm_up()),
                        ("warm-up-line", self._path.line.run()),
                        ("auditor", self._auditor.run()),
                        ("feedback", self._feedback.run(*self._exchange.ways if self._exchange else (None, None))),
                        ("unroutable", self._unroutable.run()),
                        ("late", self._path.late.run()),
                        ("orders", self._path.carry_out_orders(entries)),
                        *([("certificate", self.slot.supervisor.keep("certificate", admin.watch))] if admin else []),
                        *([("hand-over", self._exchange.run())] if self._exchange else []),
                    )
                ]
                self._source.on_change = lambda _config: self._apply()
                self._apply()
                if admin is not None:
                    await admin.start()
                await self._listener.start()
                await self._feedback.start()
                if self._http is not None:
                    await self._http.start()
                self.slot.listening = True
                memory.settle()
                self._dispatcher.start()
                self._schedule.start()
                if self._ports():
                    _log.info("taking mail", ports=self._ports(), intake=self.slot.intake_state(), form=self.slot.form)
                else:
                    _log.warning("takes no mail: no listener is configured, set intake.smtp", form=self.slot.form)
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
        began = self._clock.now()
        await asyncio.sleep(READY_LAG_S)
        times = Times.of(self._source.current.stop_grace)
        http = [self._http.stop(times.intake)] if self._http is not None else []
        intake = asyncio.gather(self._listener.stop(times.intake), self._feedback.stop(), *http)
        await finish_last(intake, self._backlog, began, self._clock, times.last)
        self._schedule.stop()
        self._path.line.stop()
        await asyncio.gather(intake, self._dispatcher.drain(times.delivery, times.answers))
        self._warmer.keep(at_once=True)
        if admin is not None:
            await admin.stop()

    def _ports(self) -> tuple[int, ...]:
        """Where mail comes in: the SMTP listeners', then HTTP's."""
        return self._listener.ports + (self._http.ports if self._http is not None else ())

    async def _close(self) -> None:
        """Gives up what needs no order, then the spool; first of all nothing else is sent, whatever the reason is."""
        self._dispatcher.halt()
        if self._exchange is not None:
            await self._exchange.close()
        await self._router.close()
        await self._lookups.close()
        self._signer.close()
        if self._ledger is not None:
            await asyncio.to_thread(self._ledger.close)
        await self.slot.supervisor.once("feedback", self._feedback.close)
        await self._spool.close()
        await self._auditor.close()
        _log.info("stopped", queued=self._spool.state.live_messages)

    # -- the stages

    def _build(self, config: RelayConfig) -> Iterator[QueueEntry]:
        """Makes the stages, last first; the entries that recovery found."""
        loop, clock = asyncio.get_running_loop(), self._clock
        transfers = open_transfers(config)
        self._open_store(config, transfers.asked if transfers is not None else frozenset())
        self._open_ways(config)
        self._schedule = Runner(ScheduledQueue(), clock, loop, self._path.dispatch)
        around = Surroundings(
            reschedule=self._schedule.add,
            finished=self._path.on_finished,
            parted=self._path.on_parted,
            deposit=self._path.deposit_own,
            delivered=self._path.on_delivered,
            jitter=self._random.random,
            counted=self._path.on_counted,
            withdrawn=self._path.on_withdrawn,
            tried=self._path.on_tried,
            policy_id=self._protection.policy_id,
        )
        self._settler = Settler(self._spool, config, clock, around, self.slot.counters)
        path = self._path
        neighbours = Neighbours(
            self._spool, self._settler, path.deposit_own, path.judge_reply, path.on_complaint, clock,
            self._lookups.txt, self.slot.supervisor, self.slot.is_drained,
        )  # fmt: skip
        self.slot.feedback = self._feedback = FeedbackOffice(config, neighbours)
        self._screen = Screen(config, self._feedback if config.suppression is not None else None)
        book = OrderBook(self._spool)
        self._dispatcher = self._make_dispatcher(config, book)
        self._dispatcher.judgement.restore(self._spool.flag("acts"))
        self._gate.on_shut = self._dispatcher.shut
        self._unroutable = UnroutableMail(self._spool, self._settler, clock)
        self._exchange: Exchange | None = None
        if transfers is not None:
            self._exchange = Exchange(transfers, config, self._spool, self._settler, clock, self._around())
            self._dispatcher.judgement.stand_ins = self._exchange.relief
        handing_over = self._exchange.look_again if self._exchange is not None else None
        places = places_of(self._dispatcher, self._path.sweep, self._schedule.add, handing_over)
        siblings = self._exchange.orders if self._exchange is not None else None
        self._admin_actions = AdminActions(self._spool, self._settler, clock)
        self._orders = OrderKeeper(
            self._spool, book, self._settler, clock, places, lambda: self._source.current, siblings,
            self._journal.begin_anew,
        )  # fmt: skip
        self._join(config)
        return iter(self._spool.recover())

    def _make_dispatcher(self, config: RelayConfig, book: OrderBook) -> Dispatcher:
        """Delivery, with all that it asks and tells."""
        clock = self._clock
        return Dispatcher(
            config,
            bodies=self._spool,
            on_attempt=self._path.on_attempt if self._feedback.learns else self._settler.on_attempt,
            may_send=self._may_send,
            reroute=self._path.on_due,
            clock=clock,
            signing=self._signer,
            screening=Screener(self._screen, book, self._settler, clock),
            keep_acts=partial(self._spool.set_flag, "acts"),
            kept=KeptLimits(clock, self._spool.flag, self._spool.set_flag),
            return_paths=self._feedback if config.feedback is not None else None,
            on_late=self._settler.on_late,
            routes=self._router,
            leads_to=self._gate.leads_to,
        )

    def _open_store(self, config: RelayConfig, asked: frozenset[int]) -> None:
        """Recovers spool and journal; `asked` are ids of which the spool is to tell whether they were stored."""
        clock, began, slot = self._clock, self._clock.monotonic(), self.slot
        _log.info("recovering", spool=config.spool.path)
        chain = open_chain(config, clock)
        self._journal = Journal.open(config.records, clock, chain=chain)
        self._auditor = Auditor(self._journal, chain, clock, self._random.random, slot.is_drained, slot.supervisor)
        self._ledger = Ledger.of(config, clock.now)
        if self._ledger is not None:
            asked |= self._ledger.asked()
        loop, active = asyncio.get_running_loop(), config.active_bytes
        self._spool = SegmentSpool.open(config.spool, self._journal, clock, loop, active_bytes=active, asked=asked)
        if self._ledger is not None:
            self._ledger.resolve(self._spool.was_stored)
        state = self._spool.state
        _log.info(
            "recovered", messages=state.live_messages, bytes=state.live_bytes, s=round(clock.monotonic() - began, 3)
        )
        self.slot.counters.recovered = state.live_recipients + state.missing_recipients
        for damage in state.damage:
            _log.error("damaged in the spool", where=damage)

    def _open_ways(self, config: RelayConfig) -> None:
        """What decides where mail may go: DNS, the egress proof, the keys."""
        clock = self._clock
        self._resolvers = config.delivery.resolvers
        self._lookups = CachedLookups(WireResolver(self._resolvers), clock.monotonic)
        names = ReverseWatch(lambda address, host: ask_reverse_afresh(self._resolvers, address, host), clock)
        self._gate = Gates(config.egress, clock, self._random.random, names, config.slot.hostname)
        self._gate.on_change = self._on_proof
        self._selectors = SelectorWatch(
            lambda name: ask_txt_afresh(self._resolvers, name), self._prove, clock, self._on_selector
        )
        self._published = self.slot.published = PublishedWatch.over(lambda: self._resolvers, clock)
        self._signer = Signer(self._selectors.is_live, clock)
        self._protection = Protection.of_lane(self._lookups, clock, self._gate.may_send_first, config.spool.path)
        self._router = Router(config, self._lookups, clock, self._random, self._protection)
        self._warmer = Warmer(config, clock, self._spool.flag(WARM_UP), self._spool.set_flag)

    def _join(self, config: RelayConfig) -> None:
        """Makes what comes before the path, and tells the path and the slot what there is."""
        path = self._path
        path.spool, path.settler, path.schedule, path.router = self._spool, self._settler, self._schedule, self._router
        path.dispatcher, path.orders, path.exchange = self._dispatcher, self._orders, self._exchange
        path.feedback, path.unroutable = self._feedback, self._unroutable
        path.warmer, path.late = self._warmer, LateMail(self._spool, self._settler, self._schedule.add)
        path.line = WarmUpLine(self._warmer, self._clock, path)
        self._listener = Listener(
            config,
            deposit=path.deposit,
            new_id=self._spool.new_id,
            clock=self._clock,
            on_rejection=path.on_rejection,
            is_suppressed=self._feedback.is_suppressed if config.suppression is not None else None,
        )
        self._http = None
        if config.intake.http is not None and self._ledger is not None:
            from lane_relay.accept.http.server import HttpServer  # with its templates a tenth of the start

            way = self._exchange.carrier if self._exchange is not None else None
            self._http = HttpServer(config, self._listener, self._ledger, self._spool.keep, way=way)
        self.slot.auditor, self.slot.handover, self.slot.warmer = self._auditor, self._exchange, self._warmer
        self.slot.stages = Stages(
            self._spool,
            self._listener,
            self._gate,
            self._selectors,
            self._signer,
            self._dispatcher,
            self._backlog,
            self._path.untried,
            self._orders,
            self._unroutable,
            self._admin_actions,
            self._http,
        )

    def _ability(self) -> Ability:
        """What siblings may give us to send at once."""
        policies = self._source.current.delivery.policies
        return ability_of(self._dispatcher, self._warmer, self._orders, policies)

    def _around(self) -> Neighbourhood:
        """What hand-over calls of us."""
        return Neighbourhood(
            queued=self._path.on_taken_over,
            accepted=self._path.on_accepted,
            resume=self._path.on_due,
            wait=self._schedule.add,
            look_again=self._dispatcher.look_again,
            scheduled=self._path.take_waiting,
            is_over=self._path.is_over,
            is_ordered=self._path.is_ordered,
            unwilling=self.slot.unwilling,
            quarantined=self._dispatcher.judgement.acts.quarantined,
        )

    def _admin(self, config: RelayConfig) -> AdminServer | None:
        """The admin API, where siblings hand over as well."""
        if config.admin is None:
            return None
        authority = config.handover.ca_file if config.handover is not None else None
        explainer = Explainer(
            lambda: self._source.current, self._clock, self._dispatcher, self._schedule.portions, self._router,
            self._auditor.trace, self._path.waiting, self._orders.stands,
        )  # fmt: skip
        queued = QueuedMessages(
            explainer.everything, explainer.waits, self._auditor.trace, self._spool.peek, self._auditor.recipients_key
        )
        rooms = [
            *actions.operations(self._orders, explainer.everything),
            *acts.operations(self._dispatcher.judgement, self._admin_actions.keep),
            *evidence.operations(self._auditor), *explain.operations(explainer), *messages.operations(queued),
            *suppressions.operations(self._feedback.suppressions, self._admin_actions.keep),
        ]  # fmt: skip
        if self._exchange is not None:
            rooms += keys.operations(self._exchange, self._http)
            rooms += siblings.operations(
                self._exchange, self._feedback.suppressions, self._feedback.count_complaint, self._ability
            )
            rooms += handover.operations(
                self._exchange, lambda: self._source.current.intake.max_message_size, self._listener
            )
        return AdminServer(config.admin, self.slot, rooms, authority)

    def _apply(self) -> None:
        """Puts the configuration, with the orders kept in the spool laid over it, in force in every stage."""
        config = self._source.current
        if self.slot.intake_state() == "Closed" or config.slot.role == "Standby":
            closed = config.intake.model_copy(update={"state": "Closed"})
            config = config.model_copy(update={"intake": closed})
        self.slot.adopt(config)
        self._spool.apply(config.spool, config.active_bytes)
        self._journal.apply(config.records)
        self._auditor.apply(config.records)
        self._gate.apply(config.egress, config.slot.hostname)
        self._signer.apply(config.domains)
        self._selectors.apply(self._signer.publications())
        self._published.apply(config.domains, config.egress)
        if config.delivery.resolvers != self._resolvers:
            self._resolvers = config.delivery.resolvers
            self._lookups.replace_wire(WireResolver(self._resolvers))
        self._router.apply(config)
        self._settler.apply(config)
        self._screen.apply(config)
        self._orders.apply()
        self._admin_actions.in_force(self._source.current)
        if self._exchange is not None:
            self._exchange.apply(config)
        self._warmer.apply(config)
        if config.delivery.hands_over and not self._hands_over:
            asyncio.get_running_loop().call_soon(lambda: self._path.hand_out(len(self._schedule)))
        self._hands_over = config.delivery.hands_over
        self._path.line.apply((config.warmup, grouping(config)))
        self._path.apply(config.delivery)
        self._dispatcher.apply(self._warmer.lay_over(config))
        for policy, wrong in self._dispatcher.table.problems.items():
            _log.error(
                "rules refused: the policy's last good version stays, or, without one, its other rules",
                policy=policy,
                reason="; ".join(wrong),
            )
        if self._http is not None:
            self._http.apply(config)
        for stage in (self._listener, self._feedback):
            try:
                stage.apply(config)
            except ConfigError as failed:  # a certificate or key; the rest is in force, and the last good one serves
                _log.error("file kept", reason=str(failed))

    def _may_send(self) -> bool:
        """The egress proof holds, and what is sent can be recorded: else it would be sent again after a restart."""
        return self._gate.may_send() and not self._spool.has_failed

    def _on_proof(self, status: ProofStatus) -> None:
        """The gate has opened or shut, or says something new."""
        (_log.info if status.may_send else _log.warning)("egress", state=status.state, reason=status.message)
        if self._gate.may_send_first():
            self._protection.opened()
        if self._gate.is_open:
            self._dispatcher.wake()

    def _on_selector(self, domain: str) -> None:
        """One of a signing domain's keys may sign, or may not any more."""
        self._signer.renew()
        self._dispatcher.unprepare()
        self._dispatcher.release(domain)

    async def _prove(self, key: Publication, record: str) -> str:
        """Whether what we sign verifies with what DNS answers; in a thread, since it takes milliseconds."""
        trial = self._signer.trial(key.record_name, self._clock.now())
        return await asyncio.to_thread(signature_problem, trial, record)

    async def _watch_warm_up(self) -> None:
        """Keeps what of today's amounts is used, and lets ISPs have their connections once the address is warm."""
        while True:
            await asyncio.sleep(KEYS_EVERY_S)
            self._warmer.keep()
            if self._warmer.is_outdated:
                self._apply()

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
            elif self._signer.is_old():
                self._signer.renew()
                self._dispatcher.unprepare()
