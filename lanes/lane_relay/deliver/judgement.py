"""What replies, and their absence, come to: the Attempt that is handed on, and what the slot lives by afterwards.

Before it: `dispatcher`, with what sessions report. After it: `account`, through `on_attempt`, and the ready queue.
Invariants: every entry that comes here leaves as exactly one Attempt; what is done to a site was said by a verdict.
"""

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from typing import Final, Protocol

from msgspec.structs import replace

from lane_api.classes import Protection
from lane_api.isppolicy import Action, Category, Scope, Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.deliver.acts import Act, Acts, weigh
from lane_relay.deliver.lookahead import Lookahead
from lane_relay.deliver.outcomes import (
    broken_results,
    end_of_session,
    failure_of,
    later_results,
    reply_results,
    same_results,
    summarise,
    unfit_results,
)
from lane_relay.deliver.prepared import Prepared
from lane_relay.deliver.ready_queue import Destination, Failure, Hold, Limit, ReadyQueue
from lane_relay.deliver.rules import ReplyTable, without_addresses
from lane_relay.deliver.samples import ReplySamples, without_name
from lane_relay.deliver.session import Session
from lane_relay.deliver.tls import tls_outcome
from lane_relay.deliver.trouble import Ending, Trouble
from lane_relay.errors import SpoolError
from lane_relay.records import Attempt, Message, QueueEntry, RecipientResult, Reply, Verdict
from lane_relay.smtp.client import Closed, RecipientReply

__all__ = ["Judgement", "StandIns", "Told"]

_CHUNK: Final = 500
"""Entries told of a failure in one turn of the loop."""
_SAID_AGAIN_S: Final = 60.0
"""An alert of one rule is logged at most once in so long; it is always counted."""
_LOOKED_AT_S: Final = 2.0
"""A stopped site waits so much longer than the act: once a second acts are ended, or its wait is told anew."""
_ABOUT_THE_SOURCE: Final = (Action.BACKOFF, Action.SUSPEND_SITE, Action.QUARANTINE_IP)
_SLOW_DOMAIN_FOR_S: Final = 1800.0
_STAND_IN_WITHIN_S: Final = 30.0
"""So long the operator has to promote a standby slot, before mail that is never paused goes on without."""
_log = logging.getLogger(__name__)


class Told(Enum):
    """How far the entries of a destination have been told of its failure."""

    ALL = "all"
    PART = "part"
    """There are more that can be told at once."""
    UNREAD = "unread"
    """The next one is on its way from disk."""


class StandIns(Protocol):
    """The lane's standby slots."""

    def has_standby(self, site: str) -> bool:
        """One in standby could send to this site now."""

    def is_relieved(self, site: str) -> bool:
        """One that stands in for this slot can send to this site now."""


class _Nobody:
    """A slot without siblings."""

    def has_standby(self, _site: str) -> bool:
        return False

    def is_relieved(self, _site: str) -> bool:
        return False


class Judgement:
    """Of one slot. All methods are for the event loop's thread."""

    def __init__(
        self,
        config: RelayConfig,
        sites: dict[str, ReadyQueue],
        lookahead: Lookahead,
        clock: Clock,
        on_attempt: Callable[[Attempt], None],
        keep: Callable[[str], None],
    ) -> None:
        """`keep(text)`: the acts in force, to be given to `restore` by the next process."""
        self.table = ReplyTable(config.delivery.policies)
        self.acts = Acts()
        self.samples = ReplySamples()
        self._sites = sites
        self._lookahead = lookahead
        self._clock = clock
        self._on_attempt = on_attempt
        self._keep = keep
        self._config = config
        self._said: dict[str, float] = {}
        self._is_freed = False
        """Acts were ended by hand since the last look."""
        self.stand_ins: StandIns = _Nobody()
        self.slow_parked: Callable[[Verdict, str, float], None] = lambda _verdict, _reply, _now: None
        """Told of what slows every site down, for those that are not whole."""
        self.attempts = self.delivered = 0
        self.done: Counter[tuple[str, str]] = Counter()
        """Acts done, by (policy, action)."""
        self.tls: Counter[tuple[str, str]] = Counter()
        """By `tls_outcome`: attempts, and connections whose failure another host is to make good."""
        self.alerts: Counter[tuple[str, str]] = Counter()
        """Alerts, by (policy, rule)."""

    def apply(self, config: RelayConfig) -> None:
        """Another configuration: rules, protection and automation are those of it from now on; acts in force stay."""
        self._config = config
        if not config.delivery.observes:
            self.acts.forget_observed()
        self.table.apply(config.delivery.policies)

    # -- acts

    def restore(self, kept: str) -> None:
        """What an earlier process stopped stays stopped until its time is over."""
        now = self._clock.now()
        self.acts.load(kept, now)
        if self.acts.follow(now):
            self._remember()
        for act in self.acts.listed():
            _log.warning("%s of %s until %s, by %s", act.action, act.about, _time(act.until), act.rule)

    def begin(self, site: ReadyQueue) -> None:
        """A site that is new here: what stops or slows it goes on, an earlier process's back-off where it was."""
        self.hold(site)
        act = self.acts.slowed(site.name)
        if act is not None:
            rest = Verdict(Category.OTHER, Action.BACKOFF, act_for=act.until - self._clock.now(), rule=act.rule)
            site.slow_down(rest, act.reply, self._clock.monotonic())

    def hold(self, site: ReadyQueue) -> None:
        """Tells a site what stops it now, or that nothing does."""
        act = self.acts.stop_of(site.name)
        if act is not None and self._goes_on(act, site.name):
            if not site.backed_off:
                verdict = Verdict(Category.OTHER, Action.BACKOFF, Scope.IP, rule=act.rule)
                site.slow_down(verdict, act.reply, self._clock.monotonic())
            act = None
        if act is None:
            site.suspended = None
            return
        until = self._clock.monotonic() + max(act.until - self._clock.now(), 0.0) + _LOOKED_AT_S
        site.suspended = Hold(Limit.SUSPENDED, until, f"{act.action} until {_time(act.until)} by {act.rule}")

    def _goes_on(self, act: Act, site: str) -> bool:
        """What is never paused leaves an address for a stand-in only: while there is none it goes on, slowly."""
        if act.action is not Action.QUARANTINE_IP or self._config.delivery.protection is not Protection.NEVER_PAUSE:
            return False
        return self._clock.now() - act.since > _STAND_IN_WITHIN_S and not self.stand_ins.is_relieved(site)

    def expire(self) -> bool:
        """Ends the acts that are over; True if some mail need not wait any more."""
        now = self._clock.now()
        is_shorter, ended = self.acts.follow(now), self.acts.expire(now)
        for act in ended:
            _log.info("%s of %s is over", act.action, act.about)
        if ended or is_shorter:
            self._remember()
        # also those that go on: their ends are told by a clock that may be set, and sites wait by one that is not
        about = {act.site for act in (*ended, *self.acts.listed())}
        known = self._sites.values() if "" in about else [self._sites[one] for one in about if one in self._sites]
        freed, self._is_freed = bool(ended) or self._is_freed, False
        for site in known:
            waited = site.suspended is not None
            self.hold(site)
            freed = freed or (waited and site.suspended is None)
        return freed

    def acts_about(self, site: str, domain: str) -> list[Act]:
        """What is in force about just this, a site's back-off among it; an empty site is every site."""
        known, slowed = self._sites.get(site), self.acts.slowed(site)
        goes_on = slowed is not None and not domain and known is not None and known.is_backed_off
        return self.acts.about(site, domain) + ([slowed] if slowed is not None and goes_on else [])

    def end(self, site: str, domain: str) -> list[Act]:
        """Ends that by hand, and gives it; mail that waits for it goes within a second, what was put off when due."""
        ended = self.acts_about(site, domain)
        self.acts.end(site, domain)
        known = self._sites.get(site)
        if known is not None and known.pacing is not None and not domain:
            known.pacing.end_backoff(self._clock.monotonic())
        for act in ended:
            _log.warning("%s of %s is ended by hand", act.action, act.about)
        for one in self._sites.values():
            self.hold(one)
        self._remember()
        self._is_freed = True
        return ended

    def _act(self, site: ReadyQueue, verdict: Verdict, reply: Reply, domain: str) -> None:
        """Does what a verdict asks for beyond another try, if it is time for it and the lane allows it."""
        delivery = self._config.delivery
        has_standby = delivery.standby and self.stand_ins.has_standby(site.name)
        asked = weigh(
            verdict,
            delivery.protection,
            self._config.lane.traffic_class,
            has_standby=has_standby,
            observe=delivery.observes,
        )
        about_domain = verdict.scope is Scope.DOMAIN and bool(domain)
        subject = f"{site.name} {domain}" if about_domain else site.name
        if asked is None or (asked.action is Action.SUSPEND_DOMAIN and not domain):
            return
        now = self.acts.time_of(site.name, self._clock.monotonic())
        if not self.acts.is_due(verdict, subject, now, delivery.protection):
            return
        reply, everywhere = without_addresses(reply), asked.scope is Scope.LANE
        of_domain = domain if about_domain or asked.action is Action.SUSPEND_DOMAIN else ""
        if asked.observed:
            act = self._made(site, asked.action, verdict, reply, "" if everywhere else site.name, of_domain)
            self._observe(site.policy, act)
            return
        self.done[site.policy, asked.action] += 1
        if asked.alert:
            self._alert(site, verdict, reply, asked.action)
        if asked.action is Action.BACKOFF and not about_domain:
            self._slow_down(list(self._sites.values()) if everywhere else [site], verdict, str(reply))
            if everywhere:
                self.slow_parked(verdict, str(reply), self._clock.monotonic())
        elif asked.action is not Action.ALERT:
            self._put(self._made(site, asked.action, verdict, reply, "" if everywhere else site.name, of_domain))

    def _slow_down(self, sites: list[ReadyQueue], verdict: Verdict, reply: str) -> None:
        is_news, now = False, self._clock.now()
        for site in sites:
            goes_on = site.is_backed_off
            site.slow_down(verdict, reply, self._clock.monotonic())
            lasts = verdict.act_for if verdict.act_for is not None else site.limits.backoff.for_
            act = Act(Action.BACKOFF, site.name, now, now + lasts, verdict.rule, reply, lasts=lasts)
            is_news = self.acts.slow(act, goes_on=goes_on) or is_news
        if is_news:
            self._remember()

    def _made(self, site: ReadyQueue, action: Action, verdict: Verdict, reply: Reply, where: str, domain: str) -> Act:
        now, is_slow = self._clock.now(), action is Action.BACKOFF
        usual = site.limits.backoff.for_ if is_slow and not domain else _SLOW_DOMAIN_FOR_S
        lasts = verdict.act_for if verdict.act_for is not None else usual
        every = 1.0 / site.foot_per_second if is_slow and domain else 0.0
        return Act(action, where, now, now + lasts, verdict.rule, str(reply), domain, every, lasts)

    def of_complaints(
        self, policy: str, rule: str, said: str, action: Action, lasts: float, where: str, *, observed: bool = False
    ) -> None:
        """What came back asks for this act for so many seconds; `where` is the ISP's name, or empty: every site.

        `observed`: the lane's owner asks that it be told of and not done.
        """
        now = self._clock.now()
        if observed:
            self._observe(policy, Act(action, where, now, now + lasts, rule, said, lasts=lasts))
            return
        self.done[policy, action] += 1
        self.alerts[policy, rule] += 1
        if action is not Action.ALERT:
            self._put(Act(action, where, now, now + lasts, rule, said, lasts=lasts))
        elif self._is_to_be_said(rule):
            _log.warning("alert by %s at %s: %s", rule, policy, said)

    def _observe(self, policy: str, act: Act) -> None:
        if not self.acts.observe(act):
            return
        self.done[policy, Action.ALERT] += 1
        self.alerts[policy, act.rule] += 1
        _log.warning("automation is Observe: no %s of %s until %s, by %s: %s", act.action, act.about,
                     _time(act.until), act.rule, act.reply)  # fmt: skip

    def _put(self, act: Act) -> None:
        if not self.acts.place(act):
            return
        _log.warning("%s of %s until %s, by %s: %s", act.action, act.about, _time(act.until), act.rule, act.reply)
        self._remember()
        for one in self._sites.values():
            self.hold(one)

    def _remember(self) -> None:
        """For the next process; a failed spool keeps nothing, and lets nothing out either."""
        try:
            self._keep(self.acts.dump())
        except SpoolError as failed:
            _log.error("acts are not kept over a restart: %s", failed)

    def _alert(self, site: ReadyQueue, verdict: Verdict, reply: Reply, done: Action) -> None:
        self.alerts[site.policy, verdict.rule] += 1
        if self._is_to_be_said(verdict.rule):
            _log.warning("alert by %s at %s, %s asked for, %s done: %s", verdict.rule, site.name, verdict.action, done,
                         reply)  # fmt: skip

    def _is_to_be_said(self, rule: str) -> bool:
        now = self._clock.monotonic()
        if now - self._said.get(rule, -_SAID_AGAIN_S) < _SAID_AGAIN_S:
            return False
        self._said[rule] = now
        return True

    def puts_off(self, destination: Destination, prepared: Prepared) -> bool:
        """Whether mail of this message's From domain waits here; then its entry has left, to come back in time."""
        failure = self._wait(destination.site, prepared.message, takes=True)
        if failure is not None:
            self.report(destination, prepared, same_results(prepared.entry, failure), None)
        return failure is not None

    def puts_off_unprepared(self, site: ReadyQueue, entry: QueueEntry, message: Message) -> bool:
        """The same of an entry that waits for a connection: what must not leave is no reason to open one."""
        failure = self._wait(site, message, takes=False)
        if failure is not None:
            self._not_made(site.name, entry, message, failure)
        return failure is not None

    def _wait(self, site: ReadyQueue, message: Message, *, takes: bool) -> Failure | None:
        held = self.acts.wait_of(site.name, message.from_domain, self._clock.now(), takes=takes)
        if held is None:
            return None
        act, seconds = held
        text = f"4.7.1 not sent: mail from {message.from_domain} waits until {_time(act.until)} by {act.rule}"
        verdict = Verdict(Category.OTHER, Action.RETRY, Scope.DOMAIN, seconds, rule=act.rule)
        return Failure(Stage.CONNECT, Reply(451, (text,)), verdict, ours=True, own_words=True)

    def _not_made(self, site: str, entry: QueueEntry, message: Message, failure: Failure) -> None:
        """An attempt that could not be made."""
        now = self._clock.now()
        self.attempts += 1
        self._on_attempt(Attempt(entry, message, site, now, now, same_results(entry, failure)))

    # -- what sessions report

    def of_trouble(self, session: Session, trouble: Trouble, now: float) -> bool:
        """A session will never be ready; True if entries of its destination are to be told, by `tell`."""
        destination = session.destination
        site = destination.site
        failure = failure_of(self.table, site.policy, trouble)
        verdict = failure.verdict
        self._note(site, failure.stage, failure.reply, verdict)
        if site.is_after_pause(destination, now):
            self.acts.pass_over(site.name, destination.parked_at, destination.parked_until)
        self._act(site, verdict, failure.reply, "")
        # of the source or of its pace the other hosts would say the same; of itself a host says nothing about the next
        of_source = verdict.action in _ABOUT_THE_SOURCE and verdict.scope is not Scope.SITE
        everybody = trouble.ours or of_source
        blamed = destination.targets if everybody else (session.target,)
        if not site.failed(destination, blamed, failure, now, self._config.delivery.retry):
            if trouble.tls is not None:
                self.tls[tls_outcome(trouble.tls)] += 1
            return False
        if everybody and not trouble.ours:
            destination.begin_elsewhere(session.target)
        # that one host takes no mail, ever, says nothing of those that are busy or away (RFC 7504 section 4)
        told = failure if everybody else destination.hopeful or failure
        destination.blame, destination.hopeful = told, None
        # what is published may be another by the next attempt: all of them are to ask for their route again
        binds = trouble.tls is not None and session.target.demand is not None
        of_all = binds or told.verdict.action is Action.BOUNCE
        destination.blame_left = destination.waiting if of_all else 1
        return True

    def of_replies(
        self, session: Session, prepared: Prepared, replies: tuple[RecipientReply, ...], later: tuple[int, ...] = ()
    ) -> bool:
        """The peer has answered for every recipient but those that wait for another transaction; True if the session
        is of no more use."""
        policy = session.destination.site.policy
        results = reply_results(self.table, policy, prepared.message, replies) + later_results(later)
        return self.report(session.destination, prepared, results, session)

    def of_part(self, session: Session, prepared: Prepared, taken: tuple[RecipientReply, ...]) -> None:
        """The peer has the message for these recipients while others' transactions follow: it is settled at once, for
        what a crash repeats is to be the transaction in flight and not those before it."""
        results = reply_results(self.table, session.destination.site.policy, prepared.message, taken)
        self._on_attempt(self._attempt(session, prepared, results))

    def of_unfit(self, session: Session, prepared: Prepared, refusal: Reply, *, unsure: bool) -> None:
        """This peer, the last one, cannot take the message by what it offers; `unsure`: some have not said all."""
        results = unfit_results(prepared.entry, refusal, unsure=unsure)
        self.report(session.destination, prepared, results, session)

    def of_broken(self, session: Session, prepared: Prepared, closed: Closed, ending: Ending) -> None:
        """The connection ended under an entry; recipients of earlier transactions have their answers already."""
        where = f"{session.target.host}[{session.target.address}]"
        closed = replace(closed, refused=session.portion.answered + closed.refused)
        policy = session.destination.site.policy
        results = broken_results(self.table, policy, prepared, closed, where, ending)
        self.report(session.destination, prepared, results, session)

    def report(
        self,
        destination: Destination,
        prepared: Prepared,
        results: tuple[RecipientResult, ...],
        session: Session | None,
    ) -> bool:
        """Hands the Attempt on and lives by what it says of the site; True if the session is of no more use."""
        site, entry, message = destination.site, prepared.entry, prepared.message
        summary = summarise(results)
        self.attempts += 1
        site.attempts += 1
        if summary.delivered:
            self.delivered += 1
            site.delivered += 1
        elif session is not None:
            for result in results:
                about = message.envelope.recipients[result.index]
                self._note(site, result.stage, result.reply, result.verdict, about)
            for result in summary.acts:
                reply = without_name(result.reply, message.envelope.recipients[result.index])
                self._act(site, result.verdict, reply, message.from_domain)
            if summary.end_session and not session.delivered:
                self._of_fruitless(session, results)
        if session is None:
            now = self._clock.now()
            tls = destination.blame.tls if destination.blame is not None else None
            attempt = Attempt(entry, message, site.name, now, now, results, tls=tls)
        else:
            attempt = self._attempt(session, prepared, results)
        self.tls[tls_outcome(attempt.tls)] += 1
        self._lookahead.done(destination, prepared)
        self._on_attempt(attempt)
        return summary.end_session

    def _of_fruitless(self, session: Session, results: tuple[RecipientResult, ...]) -> None:
        """A session ends and has brought nothing about: a run of them says that the host takes no mail now."""
        destination, ended = session.destination, end_of_session(results)
        if ended is None:  # a rule of the site's says what to do
            return
        failure = Failure(ended.stage, without_addresses(ended.reply), ended.verdict, own_words=ended.own_words)
        now, retry = self._clock.monotonic(), self._config.delivery.retry
        if destination.site.ended_fruitless(destination, session.target, failure, now, retry):
            self._lookahead.empty(destination)  # what waits for long keeps no body

    def _attempt(self, session: Session, prepared: Prepared, results: tuple[RecipientResult, ...]) -> Attempt:
        """What is known of an attempt that came to a peer."""
        now = self._clock.now()
        return Attempt(
            prepared.entry,
            prepared.message,
            session.destination.site.name,
            session.started_at or now,
            now,
            results,
            session.peer,
            session.tls,
            session.number,
            session.passes_on,
        )

    def _note(self, site: ReadyQueue, stage: Stage, reply: Reply, verdict: Verdict, about: str = "") -> None:
        if verdict.rule.startswith("default/"):
            self.samples.note(site.name, site.policy, stage, reply, verdict, self._clock.now(), about)

    # -- entries without a session

    def tell(self, destination: Destination) -> Told:
        """Attempts for the entries that a failed connection was for, a portion of them; the others wait."""
        done = 0
        while destination.blame is not None and destination.blame_left and done < _CHUNK:
            prepared = self._lookahead.next(destination)
            if prepared is None:
                break
            done += 1
            destination.blame_left -= 1
            self.report(destination, prepared, same_results(prepared.entry, destination.blame), None)
        if destination.blame_left and destination.waiting:
            return Told.PART if done == _CHUNK else Told.UNREAD
        destination.blame = None
        destination.looks_ahead = destination.preparing > 0
        self._lookahead.empty(destination)
        return Told.ALL

    def overdue(self, site: str, hold: Hold, entry: QueueEntry, message: Message | None) -> None:
        """An entry waited here past its lifetime: an attempt that could not be made; None: it cannot be read."""
        if message is None:
            return
        text = f"4.4.7 not sent within its lifetime; held by {hold.limit}"
        reply = Reply(451, (f"{text}: {hold.detail}" if hold.detail else text,))
        verdict = Verdict(Category.MESSAGE_EXPIRED, Action.RETRY, Scope.MESSAGE)
        self._not_made(site, entry, message, Failure(Stage.CONNECT, reply, verdict, ours=True, own_words=True))


def _time(unix: float) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
