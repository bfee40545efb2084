"""All of feedback as the pipeline sees it: made once, told of each configuration, asked for each message.

Invariants: what is not configured costs one attribute test; the files of keys are read when a configuration takes
force, and one that cannot be read leaves the last good one; nothing here is on the path of a delivery but making its
return path.
"""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import structlog
from msgspec import Struct

from lane_api.classes import TrafficClass
from lane_api.isppolicy import Action, Category, Stage
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import SuppressionScope
from lane_relay.clock import Clock
from lane_relay.errors import ConfigError, RelayError, SpoolError
from lane_relay.feedback.addresses import Addressee, Addresses
from lane_relay.feedback.complaints import Asked, Complaints, weigh
from lane_relay.feedback.desk import Around, FeedbackCounters, FeedbackDesk, Records
from lane_relay.feedback.forwarding import Deposit, Forwarder
from lane_relay.feedback.holding_back import HoldingBack
from lane_relay.feedback.list_archive import ListArchive
from lane_relay.feedback.listener import FeedbackListener
from lane_relay.feedback.outbox import Outbox
from lane_relay.feedback.reporters import AskTxt, is_named
from lane_relay.feedback.return_path import Keys, ReturnPaths
from lane_relay.feedback.samples import Samples
from lane_relay.feedback.siblings import SiblingLists, Way, ask_siblings
from lane_relay.feedback.suppression_list import SuppressionList
from lane_relay.feedback.suppression_store import SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import Source
from lane_relay.feedback.unsubscribe import UnsubscribeServer
from lane_relay.mail.token import Token
from lane_relay.metrics import OTHER_POLICY
from lane_relay.records import Attempt, Message, Reply, Verdict
from lane_relay.smtp.address import BadAddress, Mailbox, normalise_domain, parse_mailbox
from lane_relay.spool.base import Spool
from lane_relay.supervisor import Supervisor, Work

__all__ = ["FeedbackOffice", "Neighbours", "check_feedback"]

_KEY_AT_LEAST: Final = 16
_STOP_GRACE_S: Final = 5.0
_KEEP_COUNTS_S: Final = 30.0
_KEYS_AGAIN_S: Final = 5.0
COMPLAINTS: Final = "complaints"
"""The name of the counts in the spool."""
SHARES: Final = "mailboxes"
"""... and of what sites said of mailboxes."""
_COUNTS: Final = "complaint-counts"
_BOUNCES: Final = "hard-bounces"
"""Tasks, as the supervisor names them."""
_log = structlog.get_logger("feedback")


class Neighbours(Struct, frozen=True):
    """The stages that feedback works with."""

    spool: Spool
    records: Records
    deposit: Deposit
    judge_reply: Callable[[str, Stage, Reply], Verdict]
    complained: Callable[[str, Asked | None], None]
    """A complaint about mail to this ISP was counted here, and what the rate now asks for."""
    clock: Clock
    txt: AskTxt
    """The key records of who reports."""
    supervisor: Supervisor
    is_drained: Callable[[], bool] = lambda: False
    """Nothing is left to be sent, and nothing is to come."""


def check_feedback(config: RelayConfig) -> None:
    """Refuses return paths that nobody can take mail for; raises ConfigError that names the field and the fix."""
    paths = {domain.name: domain.return_path for domain in config.domains if domain.return_path is not None}
    for name, path in paths.items():
        field = f"domains[{name}].returnPath"
        if normalise_domain(path.domain) != path.domain:
            raise ConfigError(f"{field}.domain: {path.domain!r:.80} is no domain: write it as A-labels (xn--...)")
        if config.feedback is None and path.mode == "Rewrite":
            raise ConfigError(f"{field}: mode Rewrite signs its addresses: give feedback.keyFile, or write mode: Keep")
        if path.domain in {domain.name for domain in config.domains}:
            raise ConfigError(f"{field}.domain: {path.domain} is a From domain: take one below it, such as b.{name}")
    if config.feedback is None:
        return
    for field, addresses in (("addresses", config.feedback.addresses), ("postmaster", (config.feedback.postmaster,))):
        for address in filter(None, addresses):
            mailbox = parse_mailbox(address)
            if isinstance(mailbox, BadAddress):
                raise ConfigError(f"feedback.{field}: {address!r:.80}: {mailbox.reason}")
            if field == "postmaster" and mailbox.domain in {path.domain for path in paths.values()}:
                raise ConfigError(
                    f"feedback.postmaster: {address} is taken by the relay itself: name a person's mailbox"
                )
    if config.feedback.unsubscribe is not None and not paths:
        raise ConfigError(
            "feedback.unsubscribe: no domain has a returnPath, whose addresses the field would name: add one"
        )


def read_key(path: str, field: str) -> bytes:
    """A key from its file; raises ConfigError that names the fix."""
    try:
        key = Path(path).read_bytes().strip()
    except OSError as failed:
        raise ConfigError(f"{field}: {path} cannot be read: {failed.strerror}") from None
    if len(key) < _KEY_AT_LEAST:
        raise ConfigError(f"{field}: {path} holds {len(key)} octets: a key has at least {_KEY_AT_LEAST}, random ones")
    return key


class FeedbackOffice:
    """The feedback of one slot."""

    def __init__(self, config: RelayConfig, neighbours: Neighbours, *, keys_again_s: float = _KEYS_AGAIN_S) -> None:
        """Reads the suppression list, which blocks; raises ConfigError or RelayError."""
        self._keys_again_s = keys_again_s
        self._neighbours = neighbours
        self._config = config
        self._keys = _keys(config)
        self.suppressions = known = self._open_list(config)
        self._archive = ListArchive(known, neighbours.is_drained) if known is not None else None
        self._folder = Path(config.spool.path).parent / "feedback"
        self._outbox = Outbox(self._folder / "outbox")
        spool, clock = neighbours.spool, neighbours.clock
        self._forwarder = Forwarder(neighbours.deposit, spool.new_id, self._outbox, clock)
        self.holding = HoldingBack(spool.flag(SHARES))
        forwarder = self._forwarder
        around = Around(
            neighbours.judge_reply,
            forwarder.forward,
            forwarder.to_people,
            self._complained,
            neighbours.txt,
            forwarder.site_of,
            self._is_held,
        )
        self.counts_complaints = config.feedback is not None
        self.complaints = Complaints(spool.flag(COMPLAINTS), clock.now())
        self._siblings: Way | None = None
        self._ways: tuple[Way, ...] = ()
        """To lists that are copied from."""
        self._wanted: RelayConfig | None = None
        """A configuration whose keys could not be read."""
        self.desk = FeedbackDesk(
            spool, neighbours.records, self.suppressions, Samples(self._folder / "samples"), clock, around
        )
        self._listener: FeedbackListener | None = None
        self._http: UnsubscribeServer | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._supervisor = neighbours.supervisor
        self._supervisor.name(_COUNTS, _BOUNCES)
        self._is_handed_on = False
        self._put_in_force(config)
        if config.feedback is not None and config.feedback.smtp is not None:
            self._listener = FeedbackListener(config, self._find, self.desk.take, clock)
        if config.feedback is not None and config.feedback.http is not None:
            self._http = UnsubscribeServer(self._unsubscribe)
            self._http.apply(self._keys.feedback)

    def _open_list(self, config: RelayConfig) -> SuppressionList | None:
        if config.suppression is None:
            return None
        store = SuppressionStore.open(config.suppression.path, config.suppression.max_entries)
        keys, traffic_class = self._keys, config.lane.traffic_class
        return SuppressionList(
            config.suppression, traffic_class, keys.suppression, store, self._neighbours.clock, keys.earlier
        )

    # -- configuration

    def apply(self, config: RelayConfig) -> None:
        """A new configuration is in force; raises ConfigError for files that cannot be used, and keeps the last.

        Files may come some seconds after the configuration that names them: they are looked for again.
        """
        self._wanted = config
        self._keys = _keys(config)
        self._wanted = None
        self._put_in_force(config)
        if self.suppressions is not None and config.suppression is not None:
            self.suppressions.apply(config.suppression, self._keys.suppression, self._keys.earlier)
        if self._http is not None:
            self._http.apply(self._keys.feedback)
        if self._listener is not None:
            self._listener.apply(config)

    def _put_in_force(self, config: RelayConfig) -> None:
        self._config = config
        if config.intake.state == "Open":
            self._is_handed_on = False
        if self._archive is not None:
            self._archive.apply(config)
        self._reporters = {policy.name: policy.reporters for policy in config.delivery.policies}
        self.desk.reporters = tuple({one for named in self._reporters.values() for one in named})
        self._addresses = Addresses(config, self._keys.feedback)
        self._paths = ReturnPaths(config, self._keys) if config.feedback is not None else None
        self._forwarder.apply(config)
        self._outbox.key_file = config.feedback.webhook_key_file if config.feedback is not None else None
        self.desk.apply(self._keys.feedback, self._keys.suppression, self._keys.earlier)

    # -- the path of a message

    @property
    def rewrites(self) -> bool:
        """Each recipient goes in a transaction of its own."""
        return self._paths is not None and self._paths.rewrites

    def sender(self, message: Message, recipients: tuple[int, ...]) -> str | None:
        """The envelope sender of a transaction for these recipients; None: the message's own."""
        return self._paths.sender(message, recipients) if self._paths is not None else None

    def marked(self, message: Message) -> Message:
        """The message with what makes its complaints known again; before it is stored."""
        return self._paths.marked(message) if self._paths is not None else message

    def is_suppressed(self, recipient: str, traffic_class: TrafficClass, from_domain: str = "") -> str:
        """Why mail of this class must not go to this recipient, or empty."""
        return self.suppressions.is_suppressed(recipient, traffic_class, from_domain) if self.suppressions else ""

    @property
    def learns(self) -> bool:
        """Refusals in the session are words for the list."""
        return self.suppressions is not None

    def attempted(self, attempt: Attempt) -> None:
        """Suppresses whom the peer does not know; the attempt's own record is what says so for good."""
        try:
            self._learn(attempt)
        except Exception as broken:  # noqa: BLE001 -- the attempt is settled, and the next bounce says it again
            self._supervisor.note(_BOUNCES, broken)

    def _learn(self, attempt: Attempt) -> None:
        known = self.suppressions
        if known is None or attempt.peer is None:
            return
        delivered, unknown = 0, []
        for result in attempt.results:
            verdict = result.verdict
            if verdict.action is None:
                delivered += 1
            elif verdict.action is Action.BOUNCE and verdict.category is Category.BAD_MAILBOX:
                recipient = attempt.message.envelope.recipients[result.index]
                unknown.append(known.digest(recipient, attempt.message.from_domain))
        if delivered:
            self.holding.delivered(attempt.site, delivered, attempt.ended_at)
        if unknown:
            before = self.holding.unknown(attempt.site, attempt.message.id, unknown, attempt.ended_at)
            if before:
                self._begin_to_hold(attempt.site)
            self._own(self._suppress(known, attempt.site, unknown, before))

    def _begin_to_hold(self, site: str) -> None:
        _log.warning(
            "so many mailboxes of a site are said not to exist that it is not believed: its words are held back",
            site=site,
        )
        self._keep_shares()

    async def _suppress(self, known: SuppressionList, site: str, digests: list[bytes], before: list[bytes]) -> None:
        """`before`: what was believed of late, and is not any more."""
        try:
            await self.desk.suppress_unknown(known, site, digests, Source.DELIVERY)
            if before:
                await self.desk.hold_back(known, site, before, Source.DELIVERY)
        except SuppressionsFullError:
            pass  # counted; the next bounce says it again
        except RelayError as failed:
            _log.error("a hard bounce is not on the suppression list", reason=str(failed))

    # -- complaints

    def delivered(self, policy: str, message_id: int) -> None:
        """A recipient at this ISP got this message; called for each, where complaints are counted."""
        try:
            self.complaints.delivered(policy, message_id)
        except Exception as broken:  # noqa: BLE001 -- a rate lacks one delivery; no mail waits for that
            self._supervisor.note(_COUNTS, broken)

    async def _complained(self, token: Token, reporter: str) -> str:
        """Counts a complaint at the slot that the mail left from, empty: of nobody; the site, empty: nobody knows."""
        site = await self.count_complaint(token.id, token.index, reporter)
        if not site and self._siblings is not None:
            site = await ask_siblings(self._siblings, token, reporter)
        if not site and reporter:
            self.desk.counters.complaints[""] += 1
        return site

    async def count_complaint(self, message_id: int, index: int, reporter: str) -> str:
        """Counts a complaint about mail that left from here; where it went, empty: it did not leave from here.

        Towards the rate it counts if the policy of where it went names the reporter.
        """
        site = await self._forwarder.site_of(message_id)
        feedback = self._config.feedback
        if not site or feedback is None:
            return ""
        self.desk.counters.complaints[site] += bool(reporter)
        policy = site if site in self._reporters else OTHER_POLICY
        if not is_named(reporter, self._reporters.get(site, ())):
            self.desk.counters.complaints_unauthenticated[site] += self.complaints.is_new_of_nobody(message_id, index)
        elif not self.complaints.knows(message_id, index):
            now, rates = self._neighbours.clock.now(), feedback.complaints
            rated = self.complaints.complained(policy, message_id, index, now, rates)
            delivery = self._config.delivery
            observe = delivery.observes or rates.automation == "Observe"
            asked = weigh(rated, delivery.protection, observe=observe) if rated is not None else None
            self._neighbours.complained(policy, asked)
            self._keep_count()
        return site

    @property
    def complaint_levels(self) -> dict[str, int]:
        """Of each ISP how high its rate is now: 0 below `warn`, 1, 2 from `act`, 3 from `stop`."""
        feedback = self._config.feedback
        return self.complaints.levels(self._neighbours.clock.now(), feedback.complaints) if feedback else {}

    async def _keep_counts(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_COUNTS_S)
            self._keep_count()
            self._keep_shares()

    async def _look_for_keys(self) -> None:
        """Until the files are there that the last configuration names."""
        while True:
            await asyncio.sleep(self._keys_again_s)
            if self._wanted is not None:
                try:
                    self.apply(self._wanted)
                    _log.info("the keys of feedback are read")
                except ConfigError as failed:
                    _log.debug("keys of feedback", reason=str(failed))

    def _keep_count(self) -> None:
        """Of deliveries a crash may forget the last half minute's; a complaint is kept at once."""
        if not self.complaints.is_changed or not self.counts_complaints:
            return
        try:
            self._neighbours.spool.set_flag(COMPLAINTS, self.complaints.dump(self._neighbours.clock.now()))
        except SpoolError as failed:  # nothing is sent any more either
            _log.warning("the counts of complaints are not kept", reason=str(failed))

    def _keep_shares(self) -> None:
        """What is usual may be half a minute old after a crash; who is not believed is kept at once."""
        if not self.holding.is_changed or self.suppressions is None:
            return
        try:
            self._neighbours.spool.set_flag(SHARES, self.holding.dump())
        except SpoolError as failed:
            _log.warning("what sites say of mailboxes is not kept", reason=str(failed))

    def _is_held(self, site: str) -> bool:
        return self.holding.is_held(site, self._neighbours.clock.now())

    @property
    def doubted(self) -> dict[str, int]:
        """1 for each site whose hard bounces are held back now."""
        return dict.fromkeys(self.holding.held(self._neighbours.clock.now()), 1)

    def _own(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self._supervisor.watch(_BOUNCES))

    def _find(self, recipient: Mailbox) -> Addressee | None:
        return self._addresses.find(recipient)

    def hand_on(self) -> None:
        """The slot has said that nothing is under way and that others have its list: it may be gone in a moment, and
        its volume with it. Until it takes mail again no wish is kept here, for nobody would hear of it.
        """
        self._is_handed_on = True

    async def _unsubscribe(self, token: Token, source: Source) -> None:
        """As the desk's; also while intake is closed, as long as the list has not been handed on."""
        if self._is_handed_on:
            raise RelayError("the suppression list has been handed on")
        await self.desk.unsubscribe(token, source)

    # -- life

    @property
    def under_way(self) -> int:
        """How much is heard and not kept yet: mail with the desk, wishes, words for the list."""
        mail = self._listener.under_way if self._listener is not None else 0
        return mail + self.desk.wishes_under_way + len(self._tasks)

    def list_report(self) -> dict[str, Any]:
        """For `/v1/slot`: who else has the words of the list; without a list nobody needs to have any."""
        if self._archive is None:
            return {"words": 0, "readBy": [], "archived": False, "failure": "", "doubted": []}
        of_list = self._archive.report(tuple(slot for way in self._ways for slot in way.siblings))
        return of_list | {"doubted": sorted(self.doubted)}

    @property
    def ports(self) -> tuple[int, int]:
        """Where it listens: SMTP, HTTP; 0: not at all."""
        return (self._listener.port if self._listener else 0, self._http.port if self._http else 0)

    @property
    def counters(self) -> FeedbackCounters:
        """What came back so far."""
        if self._listener is not None:
            self.desk.counters.refused = self._listener.refused
        return self.desk.counters

    @property
    def thresholds(self) -> dict[str, float]:
        """Complaint rates by level: warn, act, stop."""
        feedback = self._config.feedback
        return feedback.complaints.model_dump(include={"warn", "act", "stop"}) if feedback is not None else {}

    @property
    def outbox(self) -> Outbox:
        """Bounces on their way to a webhook."""
        return self._outbox

    async def start(self) -> None:
        """Opens the sockets; raises OSError."""
        feedback = self._config.feedback
        if feedback is None:
            return
        if self._listener is not None and feedback.smtp is not None:
            await self._listener.start(feedback.smtp)
        if self._http is not None and feedback.http is not None:
            context = self._listener.certificate.context if self._listener is not None and feedback.tls else None
            await self._http.start(feedback.http, context)

    async def run(self, siblings: Way | None, neighbours: Way | None) -> None:
        """Keeps the list's log short, follows the lists of siblings and of the namespace, tells webhooks, for ever."""
        self._siblings = siblings
        self._ways = tuple(way for way in (siblings, neighbours) if way is not None)
        async with asyncio.TaskGroup() as group:
            for task, work in self._works(siblings, neighbours).items():
                group.create_task(self._supervisor.keep(task, work))

    def _works(self, siblings: Way | None, neighbours: Way | None) -> dict[str, Work]:
        """What runs for ever, each on its own: one that breaks ends no other."""
        works: dict[str, Work] = {
            _COUNTS: self._keep_counts,
            "feedback-keys": self._look_for_keys,
            "bounce-webhook": self._outbox.run,
        }
        if self.suppressions is None:
            return works
        works["suppression-list"] = self.suppressions.run
        if siblings is not None:
            lists = SiblingLists(self.suppressions, siblings, self._folder / "siblings.json")
            works["sibling-lists"] = lists.run
        if neighbours is not None:
            others = SiblingLists(self.suppressions, neighbours, self._folder / "neighbours.json", shared=True)
            works["namespace-lists"] = others.run
        if self._archive is not None:
            works["list-archive"] = self._archive.run
        return works

    async def stop(self) -> None:
        """Takes nothing new; what is under way is kept first."""
        stops = []
        if self._http is not None:
            stops.append(self._http.stop())
        if self._listener is not None:
            stops.append(self._listener.stop(_STOP_GRACE_S))
        await asyncio.gather(*stops)

    async def close(self) -> None:
        """When all that was told is on the volume."""
        if self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if self.suppressions is not None:
            await self.suppressions.close()
        self.desk.close()
        self._keep_count()
        self._keep_shares()


def _keys(config: RelayConfig) -> Keys:
    feedback = read_key(config.feedback.key_file, "feedback.keyFile") if config.feedback is not None else b""
    asked = config.suppression
    if asked is None:
        return Keys(feedback, feedback)
    own, shared = read_key(asked.key_file, "suppression.keyFile"), b""
    if asked.namespace_key_file is not None:
        shared = read_key(asked.namespace_key_file, "suppression.namespaceKeyFile")
    return Keys(feedback, shared, own) if asked.scope is SuppressionScope.NAMESPACE else Keys(feedback, own, shared)
