"""SendingLane.status: `lane_status(lane, references, assignment, desired, observation, now)`.

A chain of verdicts, one a condition type. GitOps tools read Ready, Reconciling and Stalled: whatever is not as asked
is waited for (Reconciling) as long as `patience` says and then needs a person (Stalled); what is invalid needs one at
once.
Never both, and a lane that is not ready says one of them, unless it is being deleted.
"""

import datetime as dt
from typing import Any

from lane_api.conditions import ConditionType, Reason
from lane_api.effective import in_force
from lane_api.lane_status import LaneStatus
from lane_api.names import LANE_LABEL, STANDBY_FROM
from lane_operator.egress import LIMITS
from lane_operator.inputs import Assignment, Desired, Lane, Observation, References
from lane_operator.status.acts import put_acts
from lane_operator.status.book import Book, find
from lane_operator.status.dns_records import put_dns_records
from lane_operator.status.domains import domain_statuses, put_certificate, put_dns
from lane_operator.status.draining import drain_status
from lane_operator.status.figures import last_hour, oldest, rounded
from lane_operator.status.forgotten import SERVES_NOT_FOR, put_forgotten
from lane_operator.status.keys import put_rotation
from lane_operator.status.listed import put_listed
from lane_operator.status.neighbours import put_shared_domain
from lane_operator.status.node_loss import put_node_loss
from lane_operator.status.observed import put_observed
from lane_operator.status.patience import DNS, RESTART
from lane_operator.status.progress import deadline, put_draining, put_progress
from lane_operator.status.quarantine import put_quarantined
from lane_operator.status.queue_health import put_queue_health, turns_old
from lane_operator.status.redundancy import put_redundancy
from lane_operator.status.reverse import put_reverse_names
from lane_operator.status.slot_waits import slot_waits
from lane_operator.status.slots import SHARED, egress_reason, is_proved, is_to_restart, slot_status
from lane_operator.status.upgrade import put_upgrade, what_an_old_image_lacks
from lane_operator.status.view import View
from lane_operator.status.volumes import put_mail_held, put_records_at_risk
from lane_operator.status.waiting import next_end

__all__ = ["lane_status", "next_look"]

_KEEPS_CLAIMS = (
    "queue.reclaimPolicy Delete deletes no claim of a slot that goes, since it has the only copy of the slot's "
    "records: name an audit.archive, or write Retain"
)
_ASKED_BY = "spec.monitoring, submission.tls.issuerRef, domains[].dns; networkPolicies in the chart's values"


def lane_status(
    lane: Lane,
    references: References,
    assignment: Assignment,
    desired: Desired,
    observation: Observation,
    now: dt.datetime,
) -> LaneStatus:
    """Everything that is said of the lane."""
    view = View(lane, references, assignment, desired, observation, now)
    book = Book(lane.status.conditions, lane.generation, now)
    put_draining(book, view)
    put_dns(book, view)
    put_rotation(book, view)
    waits = slot_waits(view)
    settled = put_progress(book, view, waits)
    _put_ready(book, view, settled=settled, wrong=waits.wrong)
    _put_egress(book, view)
    put_reverse_names(book, view)
    put_dns_records(book, view)
    _put_config(book, view)
    put_certificate(book, view)
    _put_marks(book, view)
    put_quarantined(book, view)
    put_listed(book, view)
    put_acts(book, view)
    put_observed(book, view)
    put_mail_held(book, view)
    put_records_at_risk(book, view)
    put_queue_health(book, view)
    put_upgrade(book, view)
    slots = tuple(
        slot_status(lane, claim, observation, waits.since.get(claim.slot_name), desired) for claim in assignment.claims
    )
    return LaneStatus(
        observed_generation=lane.generation,
        replicas=sum(claim.slot_index < STANDBY_FROM for claim in assignment.claims),
        selector=f"{LANE_LABEL}={lane.name}",
        queued=rounded(sum(seen.queued for seen in observation.slots)),
        oldest_since=oldest(seen.oldest_since for seen in observation.slots),
        last_hour=last_hour(observation.slots),
        ips=",".join(dict.fromkeys(slot.ip for slot in slots)),
        slots=slots,
        domains=domain_statuses(view),
        upgrade=desired.upgrade,
        restart=desired.restart,
        drain=drain_status(view),
        effective=_in_force(view),
        conditions=book.conditions(),
    )


def next_look(lane: Lane, status: LaneStatus, now: dt.datetime) -> float | None:
    """Seconds until time alone changes what is said: the end of waiting, or of the drain's deadline; None: it never
    does."""
    ends = []
    reconciling = find(status.conditions, ConditionType.RECONCILING)
    published = find(status.conditions, ConditionType.DNS_PUBLISHED)
    if reconciling is not None and reconciling.reason == Reason.WAITING_FOR_DNS and published is not None:
        ends.append(dt.datetime.fromisoformat(published.last_transition_time) + DNS)
    ends += [dt.datetime.fromisoformat(one.waiting_since) + RESTART for one in status.slots if one.waiting_since]
    if (old := turns_old(lane, status.oldest_since)) is not None:
        ends.append(old)
    draining = find(status.conditions, ConditionType.DRAINING)
    if draining is not None and draining.reason != Reason.HELD:
        ends.append(deadline(lane, draining.last_transition_time))
    given_up = find(status.conditions, ConditionType.VOLUME_FORGOTTEN)
    if given_up is not None and given_up.reason == Reason.SLOT_AWAITED:
        ends.append(dt.datetime.fromisoformat(given_up.last_transition_time) + SERVES_NOT_FOR)
    looks = [(end - now).total_seconds() for end in ends if end > now]
    return min((look for look in (*looks, next_end(status.conditions, now)) if look is not None), default=None)


def _in_force(view: View) -> dict[str, Any]:
    """The values in force, and what the pool's engine cannot do."""
    values, pool = in_force(view.lane.spec), view.references.pool
    mode, to = view.references.delivery_mode(view.lane)
    values["delivery"] = {"mode": mode, "to": to} if to else {"mode": mode}
    if pool is not None:
        limits = LIMITS[pool.spec.engine]
        values["egress"] = {
            "engine": pool.spec.engine.value,
            "sourceCheck": limits.source_check or "none",
            "leaksAtStart": limits.leaks_at_start,
            "limits": list(limits.texts),
        }
    return values


def _put_ready(book: Book, view: View, *, settled: bool, wrong: Reason | None) -> None:
    lane, active = view.lane, view.active
    if lane.deleting_since is not None:
        book.put(ConditionType.READY, False, Reason.DRAINING, "the lane is being deleted: its slots take no mail")
        return
    troubles = [f"{claim.slot_name} {text}" for claim, text in view.troubles()]
    good = sum(1 for claim in active if view.serves(claim))
    missing = lane.spec.replicas - len(view.kept)
    if view.drains_suspended and not lane.spec.replicas:
        message = "no slot takes mail, as spec.replicas says, and none sends, as spec.suspend says: see Draining"
        book.put(ConditionType.READY, False, _cause(book, view, wrong), message)
        return
    if troubles or missing > 0 or not settled:
        said = [refusal.message for refusal in view.desired.refusals] + troubles
        message = f"{good} of {lane.spec.replicas} slots serve" + "".join(f"; {text}" for text in said)
        pressing = troubles or any(not refusal.spare for refusal in view.desired.refusals)
        if not pressing and missing <= 0:  # nothing is wrong with what serves: a change is on its way
            message = f"{message}; generation {lane.generation} is being put in force"
            book.put(ConditionType.READY, False, Reason.NEW_GENERATION, message)
            return
        book.put(ConditionType.READY, False, _cause(book, view, wrong), message)
        return
    waiting = view.waiting_domains()
    spare = "".join(f"; {refusal.message}" for refusal in view.desired.refusals)
    held = f"; mail from {', '.join(waiting)} waits for DNS, see DNSPublished" if waiting else ""
    mode, redirect_to = view.references.delivery_mode(lane)
    if mode != "Live":
        held += f"; delivery is {mode}: {f'all mail goes to {redirect_to}' if redirect_to else 'no mail is sent'}"
    if lane.spec.suspend and lane.spec.replicas:
        message = f"takes mail and delivers nothing, as spec.suspend says{held}{spare}"
        book.put(ConditionType.READY, True, Reason.SUSPENDED, message)
    elif not lane.spec.replicas:
        message = "no slot takes mail, as spec.replicas says: set it to 1 or more"
        book.put(ConditionType.READY, True, Reason.NO_SLOTS, message)
    elif view.sends_nothing:
        held = f"; nothing leaves, since every address is quarantined, see AddressQuarantined{held}"
        book.put(ConditionType.READY, True, Reason.ADDRESSES_QUARANTINED, f"{good} of {good} slots serve{held}{spare}")
    else:  # intake is what Ready is about; what waits in a ready lane stands in the reason, which `kubectl get` shows
        reason = Reason.WAITING_FOR_DNS if waiting else Reason.ALL_SLOTS_VERIFIED
        book.put(ConditionType.READY, True, reason, f"{good} of {good} slots serve{held}{spare}")


def _cause(book: Book, view: View, wrong: Reason | None) -> Reason:
    """Why the lane is not ready, in the word that `kubectl get` shows: what is refused, else what is waited for."""
    stalled, reconciling = book.now(ConditionType.STALLED), book.now(ConditionType.RECONCILING)
    if stalled is not None:
        return Reason(stalled.reason)
    if view.desired.refusals:  # of what is still hoped for as well: PoolNotFound says more than WaitingForPool
        return view.desired.refusals[0].reason
    if wrong is not None:
        return wrong
    return Reason(reconciling.reason) if reconciling is not None else Reason.DEGRADED


def _put_egress(book: Book, view: View) -> None:
    claims = view.running
    if claims and all(claim.address is None for claim in claims):
        message = "engine ClusterDefault: mail leaves from an address shared with the cluster, nothing is proved"
        book.put(ConditionType.EGRESS_VERIFIED, True, Reason.SHARED_ADDRESS, message)
        return
    seen = [view.observation.slot(claim.slot_name) for claim in claims]
    status, reason = egress_reason(seen)
    book.put(ConditionType.EGRESS_VERIFIED, status, reason, _egress_message(view, status, reason))


def _egress_message(view: View, status: bool | None, reason: Reason) -> str:
    if reason is Reason.MATCHED:
        pool = view.references.pool
        checked = f"; what checks it: {LIMITS[pool.spec.engine].source_check}" if pool is not None else ""
        return f"each slot's traffic was seen leaving from its own address{checked}"
    stale = reason is Reason.PROOF_STALE
    said = []
    for claim in view.running:
        seen = view.observation.slot(claim.slot_name)
        if seen is not None and seen.proof_state == "ProofStale" if stale else seen is None or not seen.is_verified:
            text = seen.proof_message if seen and seen.proof_message else "has not said yet what it sees"
            said.append(f"{claim.slot_name} ({claim.address.ip if claim.address else SHARED}): {text}")
    if stale:
        secret = view.references.pool.spec.verification.secret_name if view.references.pool is not None else None
        key = f"see that they run, and that their key is the one in Secret {secret}" if secret else "see that they run"
        return (
            "no reflector of the pool confirms the address, so the proof is not renewed; proved slots go on sending, "
            f"new ones wait: {key}; {'; '.join(said)}"
        )
    if not said:
        return "no slot runs" if view.assignment.claims else "no slot has an address yet"
    if status is None:
        return "; ".join(said)
    closed = [claim for claim in view.running if not is_proved(view.observation.slot(claim.slot_name))]
    return f"{'nothing leaves from' if closed else 'not every address is proved:'} {'; '.join(said)}"


def _put_config(book: Book, view: View) -> None:
    generation, behind, refused = view.lane.generation, [], []
    for claim in view.running:
        seen = view.observation.slot(claim.slot_name)
        if seen is not None and seen.config_refused and not is_to_restart(seen):
            lacks = what_an_old_image_lacks(view, seen.config_refused)
            refused.append(f"{claim.slot_name}: {seen.config_refused}{lacks}")
        elif seen is None or is_to_restart(seen) or view.lacks_config(seen):
            behind.append(claim.slot_name)
    if refused:
        message = f"generation {generation} was refused and the one before stays in force; {'; '.join(refused)}"
        book.put(ConditionType.CONFIG_IN_FORCE, False, Reason.REFUSED, message)
    elif not view.assignment.claims and not view.lane.spec.replicas:
        message = f"generation {generation} waits for slots: replicas is 0"
        book.put(ConditionType.CONFIG_IN_FORCE, True, Reason.IN_FORCE, message)
    elif behind or not view.running:
        message = f"{view.news(behind)} is on its way to {', '.join(behind) or 'slots that are not there yet'}"
        book.put(ConditionType.CONFIG_IN_FORCE, False, Reason.PUSHING, message)
    else:
        book.put(ConditionType.CONFIG_IN_FORCE, True, Reason.IN_FORCE, f"generation {generation} is in every slot")


def _put_marks(book: Book, view: View) -> None:
    """Abnormal-true conditions that only tell."""
    lane, spec = view.lane, view.lane.spec
    if spec.suspend:
        message = "spec.suspend stops delivery; mail is taken in and waits. Set it to false to send again"
        book.put(ConditionType.SUSPENDED, True, Reason.SPEC_SUSPEND, message)
    put_redundancy(book, view)
    put_node_loss(book, view)
    put_forgotten(book, view)
    put_shared_domain(book, view)
    if lane.deleting_since is None:
        _put_incomplete(book, view)


def _put_incomplete(book: Book, view: View) -> None:
    """What the lane asks for and does not get; what leaves a door open is the reason, where there are both."""
    desired, withheld = view.desired, view.references.withheld
    lacking = {has: ", ".join(one for one in desired.left_out if (one in withheld) is has) for has in (True, False)}
    said = [
        (Reason.NO_NETWORK_POLICY, desired.unfenced),
        (Reason.NOT_OURS, desired.foreign),
        (Reason.DOMAIN_NOT_ALLOWED, desired.unpublishable),
    ]
    if lacking[True]:
        text = f"the operator has no rights to {lacking[True]}: set them (rights in the chart's values), or"
        said.append((Reason.FORBIDDEN, f"{text} do not ask for it ({_ASKED_BY})"))
    if lacking[False]:
        text = f"the cluster does not serve {lacking[False]}: install it, or do not ask for it ({_ASKED_BY})"
        said.append((Reason.KIND_ABSENT, text))
    if view.lane.spec.queue.reclaim_policy == "Delete" and view.lane.spec.audit.archive is None:
        said.append((Reason.NO_ARCHIVE, _KEEPS_CLAIMS))
    said = [(reason, text) for reason, text in said if text]
    if said:
        book.put(ConditionType.CHILDREN_INCOMPLETE, True, said[0][0], "; ".join(text for _, text in said))
