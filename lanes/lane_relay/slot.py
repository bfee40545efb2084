"""What a slot tells about itself: figures for `/metrics`, readiness, and the report of `/v1`.

Reads the stages, changes nothing but what `/v1` orders, and that through the stage that owns it.
Invariant: every answer is made from memory; nothing here waits for a peer.
Before it: `pipeline`, which gives it the stages. After it: `health` and `api`.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from lane_api import __version__
from lane_api.relayconfig import RelayConfig
from lane_api.reverse import PtrFinding
from lane_relay.accept.listener import Listener
from lane_relay.account.admin_actions import AdminActions
from lane_relay.account.counters import Counters
from lane_relay.account.unroutable import UnroutableMail
from lane_relay.audit.auditor import Auditor
from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.compiled import form
from lane_relay.config import ConfigSource
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.signer import Signer
from lane_relay.deliver.told import act_as_json, add_figures, samples_as_json, slowed_sites
from lane_relay.egress.gates import Gates
from lane_relay.egress.proof import ProofState
from lane_relay.errors import SpoolError
from lane_relay.feedback.office import FeedbackOffice
from lane_relay.guard import CONTAINED
from lane_relay.metrics import OTHER_POLICY, Figures, Latencies, LatencyHistogram, expose
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.orders.restored import RESTORED, Mark
from lane_relay.orders.screener import under_order
from lane_relay.recent import LastHour, Recent
from lane_relay.resolve.published import PublishedWatch
from lane_relay.resolve.selectors import SelectorWatch
from lane_relay.slot_report import (
    HandoverFigures,
    certificate_as_json,
    domain_rows,
    feedback_as_json,
    handover_as_json,
    named_as_json,
    proof_as_json,
    record_as_json,
    site_as_json,
    time_as_json,
    warm_up_as_json,
)
from lane_relay.spool.base import Spool
from lane_relay.supervisor import Supervisor
from lane_relay.warmup.warmer import Warmer

if TYPE_CHECKING:
    from lane_relay.accept.http.server import HttpServer

__all__ = ["Slot", "Stages"]


_FLUSH_WITHIN_S: Final = 2.0  # the operator waits longer for an answer, and a volume that is stuck is one


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of a running relay."""

    spool: Spool
    listener: Listener
    gate: Gates
    selectors: SelectorWatch
    signer: Signer
    dispatcher: Dispatcher
    backlog: Backlog
    untried: Backlog
    orders: OrderKeeper
    unroutable: UnroutableMail
    admin: AdminActions
    http: "HttpServer | None" = None
    """Absent where the lane takes no mail by HTTP."""

    @property
    def sessions(self) -> int:
        """SMTP sessions open and HTTP requests in work: what may still bring mail in."""
        return self.listener.session_count + (self.http.session_count if self.http is not None else 0)


class Slot:
    """Vitals for `health` and the acts of `/v1` for `api`, over stages that may still be recovering."""

    def __init__(self, source: ConfigSource, clock: Clock, apply: Callable[[], None], supervisor: Supervisor) -> None:
        """`apply` puts the configuration and the orders in force anew."""
        config = source.current
        self.supervisor = supervisor
        """Of what only keeps evidence, lists and figures."""
        self._source = source
        self._clock = clock
        self._apply = apply
        self.stages: Stages | None = None
        """Absent until the spool is recovered."""
        self.auditor: Auditor | None = None
        self._mark: Mark | None = None
        self._ordered = 0
        """Number of the last order about intake that took force."""
        self._kept = 0
        """Number of the last one that is on the volume, and with it all before."""
        self.feedback: FeedbackOffice | None = None
        """Absent until the spool is recovered."""
        self.listening = False
        """The sockets are open, and the relay is not stopping."""
        self.form = form()
        """`compiled` or `pure`."""
        self.latency = Latencies(config.slo_latency, ())
        self.trigger_latency = LatencyHistogram(config.slo_latency)
        self.counters = Counters()
        """Recipients by outcome; `account` and `pipeline` count."""
        self._recent = Recent(clock.monotonic())
        self._last_hour = LastHour(clock.monotonic())
        self.commits = 0
        self.commit_s = 0.0
        """Seconds from handing messages to the spool until they were durable; `pipeline` counts."""
        self.published: PublishedWatch | None = None
        """Absent until the spool is recovered."""
        self.warmer: Warmer | None = None
        self.handover: HandoverFigures | None = None
        """Absent where the slot has no siblings."""
        self.policies: frozenset[str] = frozenset()
        """Names that a site may be labelled with; set when a configuration takes force."""

    def adopt(self, config: RelayConfig) -> None:
        """Another configuration is in force: labels and the histogram's edges follow it."""
        self.policies = frozenset(policy.name for policy in config.delivery.policies)
        self.latency.adopt(config.slo_latency, self.policies)
        fresh = LatencyHistogram(config.slo_latency)
        if fresh.edges != self.trigger_latency.edges:
            self.trigger_latency = fresh

    # -- for the kubelet

    def unwell(self) -> str:
        """Never: a failure of any task ends the process by itself."""
        return ""

    def unready(self) -> str:
        """Why the relay takes no submissions now, or an empty string."""
        waits = self._source.current.slot.role == "Standby"
        return self.unwilling() or ("a standby slot takes no submissions" if waits else "")

    def unwilling(self) -> str:
        """Why the relay cannot accept durably now, also from its siblings, or an empty string."""
        if self.stages is None:
            return "the spool is being recovered"
        if not self.listening:
            return "the relay is starting or stopping"
        state = self.stages.spool.state
        if state.failed:
            return f"the spool has failed: {state.failed}"
        if state.full:
            return "the spool's volume is full: a larger queue.size gives it room"
        if state.disk_bytes >= state.budget_bytes:
            return "the spool is full: a larger queue.size gives it room"
        return "" if self.intake_state() == "Open" else "intake is closed by order"

    def metrics_text(self) -> bytes:
        """The Prometheus exposition."""
        return expose(self._figures())

    def _figures(self) -> Figures:
        """Everything as of now."""
        config = self._source.current
        figures = Figures(
            version=__version__,
            form=self.form,
            lane=f"{config.lane.namespace}/{config.lane.name}",
            slot=config.slot.name,
            traffic_class=config.lane.traffic_class,
            latency=self.latency,
            trigger_latency=self.trigger_latency,
            attempts=self.counters.attempts,
            failures=self.counters.failures,
            config_generation=config.generation,
            config_refused=bool(self._source.refused),
            config_refusals=self._source.refusals,
            commits=self.commits,
            commit_s=self.commit_s,
            egress_states=tuple(ProofState),
            egress_open=False,
            standby=config.slot.role == "Standby",
            broken_tasks=self.supervisor.broken,
        )
        if self.auditor is not None:
            figures.records = self.auditor.figures()
        if self.stages is not None:
            self._add_stages(figures, self.stages)
        if self.handover is not None:
            figures.unreadable += self.handover.unreadable
            figures.handover_given, figures.handover_taken = self.handover.given, self.handover.taken
            figures.handover_waiting, figures.handover_in_doubt = self.handover.waiting, self.handover.in_doubt
            figures.handover_stranded = self.handover.stranded
            figures.quarantine_unrelieved = self.handover.unrelieved
            oldest_doubt = min((doubt.since for doubt in self.handover.doubts), default=0.0)
            figures.handover_owed = sum(one.transfers for one in self.handover.owed)
            figures.handover_in_doubt_s = max(0.0, self._clock.now() - oldest_doubt) if oldest_doubt else 0.0
        if self.feedback is not None:
            self._add_feedback(figures, self.feedback)
        return figures

    def _add_feedback(self, figures: Figures, feedback: FeedbackOffice) -> None:
        """What came back, and who is suppressed."""
        counters, known = feedback.counters, feedback.suppressions
        figures.feedback_reports, figures.feedback_bounces = counters.reports, counters.bounces
        figures.feedback_refused, figures.feedback_waiting = counters.refused, feedback.desk.waiting
        for site, count in counters.complaints.items():
            policy = site if site in self.policies else OTHER_POLICY
            figures.complaints = {**figures.complaints, policy: figures.complaints.get(policy, 0) + count}
        figures.complaints_unauthenticated = self._by_policy(counters.complaints_unauthenticated)
        figures.complaint_thresholds, figures.complaint_levels = feedback.thresholds, feedback.complaint_levels
        figures.suppressions_added, figures.suppressions_left_out = counters.suppressed, counters.left_out
        figures.suppressions_held_back = self._by_policy(counters.held_back)
        figures.suppressions_doubted = self._by_policy({**dict.fromkeys(counters.held_back, 0), **feedback.doubted})
        outbox = feedback.outbox
        figures.webhook_waiting, figures.webhook_dropped = outbox.waiting, outbox.dropped
        figures.webhook_refused = outbox.refused
        if known is not None:
            figures.suppressions, figures.suppressions_damaged = known.rows, known.damaged
            figures.suppressions_limit, figures.suppressions_displaced = known.limit, known.displaced
            figures.suppressions_failed = bool(known.failed)

    def _by_policy(self, by_site: Mapping[str, int]) -> Counter[str]:
        found: Counter[str] = Counter()
        for site, count in by_site.items():
            found[site if site in self.policies else OTHER_POLICY] += count
        return found

    def _untried_age(self, stages: Stages) -> float:
        """Seconds that the oldest entry without an attempt waits, while it is to be attempted from here."""
        oldest = stages.untried.oldest_since()
        sends = stages.gate.is_open and self._source.current.delivery.state in ("Running", "Transferring")
        return max(0.0, self._clock.now() - oldest) if sends and oldest is not None else 0.0

    def _add_stages(self, figures: Figures, stages: Stages) -> None:
        """What only running stages know."""
        spool, oldest = stages.spool.state, stages.backlog.oldest_since()
        connections, backing_off = (dict.fromkeys((*self.policies, OTHER_POLICY), 0) for _ in range(2))
        figures.accepted = stages.listener.counters.accepted
        figures.refused = stages.listener.counters.refused
        delivery = stages.dispatcher.figures()
        figures.in_flight = delivery.in_flight
        figures.unreadable = delivery.unreadable + stages.orders.unreadable + stages.unroutable.unreadable
        figures.contained = CONTAINED
        for site in stages.dispatcher.sites.values():
            policy = site.policy if site.policy in self.policies else OTHER_POLICY
            connections[policy] = connections.get(policy, 0) + site.connections
            backing_off[policy] = backing_off.get(policy, 0) + site.is_backed_off
        figures.connections, figures.sites_backing_off = connections, backing_off
        add_figures(figures, stages.dispatcher.judgement, self.policies, self._clock.now())
        figures.quarantine_unrelieved = len(stages.dispatcher.judgement.acts.quarantined())
        figures.tls_attempts = stages.dispatcher.judgement.tls
        counters = self.counters
        figures.recipients_accepted, figures.recipients_recovered = counters.accepted, counters.recovered
        figures.recipients_finished = {outcome.value: count for outcome, count in counters.finished.items()}
        figures.recipients_missed = counters.missed
        figures.recipients_queued = spool.live_recipients
        figures.orders = stages.orders.counts()
        figures.recipients_unaccounted = counters.unaccounted(spool.live_recipients)
        figures.sessions = stages.sessions
        figures.http_requests = stages.http.answered if stages.http is not None else {}
        figures.http_keys = stages.http.witnesses.settled if stages.http is not None else {}
        figures.http_keys_failed = stages.http is not None and bool(stages.http.ledger.failed)
        figures.live = spool.live_messages
        figures.oldest_age_s = max(0.0, self._clock.now() - oldest) if oldest is not None else 0.0
        figures.untried_age_s = self._untried_age(stages)
        promise = self._source.current.slo_latency
        figures.late = stages.backlog.before(self._clock.now() - promise) if promise is not None else 0
        figures.spool_bytes = spool.disk_bytes
        figures.spool_budget_bytes = spool.budget_bytes
        figures.spool_failed = bool(spool.failed)
        figures.spool_damaged = spool.damaged
        figures.active_bytes = spool.cached_bytes
        figures.egress_state = stages.gate.status.state
        figures.egress_open = stages.gate.is_open
        named = stages.gate.named
        if named is not None:
            figures.egress_ptr = {one.value: float(one is named.finding) for one in PtrFinding}
        if self.published is not None:
            figures.dns_records_wrong = self.published.wrong()
        figures.egress_shut_s = stages.gate.shut_seconds()
        figures.held_domains = sum(not domain["published"] for domain in self._domains(stages) if domain["verified"])

    # -- for /v1

    def intake_state(self) -> Literal["Open", "Closed"]:
        """Open only if neither the configuration nor an order closes it."""
        ordered = self.stages.spool.flag("intake") if self.stages is not None else ""
        return "Closed" if "Closed" in (ordered, self._source.current.intake.state) else "Open"

    def is_drained(self) -> bool:
        """Nothing is left and nothing is to come: what there is of records need not wait to be sealed."""
        return self.stages is not None and self.intake_state() == "Closed" and not self.stages.spool.state.live_messages

    async def set_intake(self, state: Literal["Open", "Closed"], owner: str, reason: str) -> str:
        """Opens or closes intake and keeps the order in the spool, on record; raises SpoolError if that failed."""
        if self.stages is None:
            raise SpoolError("the spool is being recovered")
        self._ordered = order = self._ordered + 1
        self.stages.spool.set_flag("intake", "" if state == "Open" else "Closed")
        self.stages.admin.note(f"intake {state}", owner, reason)
        self._apply()
        await self.stages.spool.flush()
        self._kept = max(self._kept, order)
        return self.intake_state()

    def intake_kept(self) -> Literal["Open", "Closed"]:
        """What a restart would read as the order; Open while the last one is not on the volume."""
        kept = self.stages is not None and self._kept == self._ordered and self.stages.spool.flag("intake")
        return "Closed" if kept == "Closed" else "Open"

    def push(self, text: str) -> int:
        """Puts a pushed configuration in force; raises ConfigError."""
        return self._source.push(text).generation

    def config_in_force(self) -> dict[str, Any]:
        """Which configuration is in force, and why a newer one is not."""
        config = self._source.current
        return {"generation": config.generation, "serial": config.serial, "refused": self._source.refused}

    def sites(self, first: int, most: int) -> dict[str, Any]:
        """A page of the sites with queue, connections and what holds each, those with the most mail first."""
        if self.stages is None:
            return {"total": 0, "sites": [], "next": None}
        dispatcher = self.stages.dispatcher
        stopped = {act.site for act in dispatcher.judgement.acts.listed() if act.site}
        ordered = {order.selector.value: (order, n) for order, n in self.stages.orders.holding() if order.by_site}
        waiting = dict.fromkeys(dispatcher.known.parked.names, 0)
        waiting |= {name: site.waiting for name, site in dispatcher.sites.items()}
        names = sorted({*waiting, *stopped, *ordered}, key=lambda name: (-waiting.get(name, 0), name))
        rows = []
        for name in names[first : first + most]:
            state = dispatcher.explain_site(name, ordered=name in ordered)
            if state is not None and name in ordered:
                order, entries = ordered[name]
                state = under_order(state, order, entries, dispatcher.whereabouts.oldest_held(order.key))
            rows += [site_as_json(state)] if state is not None else []
        more = first + most < len(names)
        return {"total": len(names), "sites": rows, "next": first + most if more else None}

    def replies(self) -> dict[str, Any]:
        """Replies that no rule of a policy was for, as samples, the most frequent first."""
        return samples_as_json(self.stages.dispatcher.judgement.samples if self.stages is not None else None)

    async def report(self) -> dict[str, Any]:
        """The answer to GET /v1/slot; the operator's status is made of it.

        With intake closed it comes after all that was put before is on the volume: "empty" is to be true also of a
        message whose client has hung up meanwhile.
        """
        under_way = 0 if self.intake_state() == "Open" or await self._flushed() else 1
        config = self._source.current
        said: dict[str, Any] = {
            "slot": config.slot.name,
            "lane": f"{config.lane.namespace}/{config.lane.name}",
            "generation": config.generation,
            "serial": config.serial,
            "refused": self._source.refused,
            "intake": {"state": self.intake_state(), "ready": not self.unready(), "sessions": 0},
            "delivery": {"state": config.delivery.state},
            "domains": [],
            "records": {},
            "certificate": certificate_as_json(config.intake),
        }
        stages = self.stages
        if stages is None:
            return said
        proof, rows = stages.gate.status, self._domains(stages)
        said["spoolId"] = stages.spool.spool_id
        if self.warmer is not None and self.warmer.is_active:
            said["warmup"] = warm_up_as_json(self.warmer)
        if self.handover is not None:
            said["handover"] = handover_as_json(self.handover, self._clock.now())
        if self.feedback is not None:
            said["feedback"] = feedback_as_json(self.feedback.outbox)
            said["suppressions"] = self.feedback.list_report()
        said["intake"]["sessions"] = stages.sessions
        self._mark = self._mark or Mark(stages.spool)
        said["spool"] = {"id": stages.spool.spool_id, "mark": self._mark.value(self._clock.monotonic())}
        restored = stages.orders.stands(RESTORED)
        said["delivery"]["restored"] = restored.reason if restored is not None else ""
        said["delivery"]["orders"] = [order.words for order, _ in stages.orders.holding()]
        said["intake"]["ordered"] = self.intake_kept()
        said["delivery"]["proof"] = proof_as_json(proof, is_open=stages.gate.is_open)
        if stages.gate.named is not None:
            said["delivery"]["ptr"] = named_as_json(stages.gate.named)
        judgement = stages.dispatcher.judgement
        acts, slowed = judgement.acts, slowed_sites(judgement, stages.dispatcher.sites)
        said["delivery"]["acts"] = [act_as_json(act) for act in acts.listed()]
        said["delivery"]["slowed"] = [act_as_json(act) for act in slowed]
        said["delivery"]["observed"] = [act_as_json(act) for act in acts.observed(self._clock.now())]
        said["queue"] = self._queue(stages, under_way)
        said["lastHour"] = self._last_hour.look(self._clock.monotonic(), self.counters)
        said["recent"] = self._recent.look(self._clock.monotonic(), self.counters, self.latency.total())
        if self.feedback is not None and _may_go(said):
            self.feedback.hand_on()
        said["records"] = self.auditor.report() if self.auditor is not None else {}
        said["domains"] = [{key: row[key] for key in row if key != "verified"} for row in rows]
        if self.published is not None:
            for row in said["domains"]:
                row["records"] = [record_as_json(one) for one in self.published.states(row["name"])]
        return said

    def _queue(self, stages: Stages, under_way: int) -> dict[str, Any]:
        spool = stages.spool.state
        return {
            "live": spool.live_messages,
            "inFlight": stages.dispatcher.figures().in_flight + under_way + self._coming_in(),
            "oldestSince": time_as_json(stages.backlog.oldest_since()),
            "bytes": spool.live_bytes,
            "diskBytes": spool.disk_bytes,
            "budgetBytes": spool.budget_bytes,
            "behind": self._is_behind(stages),
        }

    def _is_behind(self, stages: Stages) -> bool:
        """Whether mail waits longer for its first attempt than it is to be delivered in."""
        promise = self._source.current.slo_latency
        return promise is not None and self._untried_age(stages) > promise

    def _coming_in(self) -> int:
        """What neither clients nor the volume know of yet: siblings' transfers, and what came back."""
        taking = self.handover.taking if self.handover is not None else 0
        return taking + (self.feedback.under_way if self.feedback is not None else 0)

    async def _flushed(self) -> bool:
        """Whether all that was put is on the volume, or known not to be."""
        if self.stages is None:
            return True
        try:
            async with asyncio.timeout(_FLUSH_WITHIN_S):
                await self.stages.spool.flush()
        except (SpoolError, TimeoutError):
            return False
        return True

    def _domains(self, stages: Stages) -> list[dict[str, Any]]:
        return domain_rows(self._source.current.domains, stages.selectors.states(), stages.signer.problems)


def _may_go(said: dict[str, Any]) -> bool:
    """Whether who reads this may stop the slot, and give its volume away with the suppression list on it."""
    if said["intake"]["ordered"] != "Closed" or said["intake"]["sessions"] or said["queue"]["inFlight"]:
        return False
    known = said["suppressions"]
    return bool(not known["words"] or known["readBy"] or known["archived"])
