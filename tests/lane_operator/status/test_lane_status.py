"""What is said of a lane: one verdict a condition type, messages that name the fix, times that stand still."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.conditions import Condition, Reason
from lane_api.lane_status import LaneStatus, SlotRole
from lane_operator.inputs import (
    Assignment,
    Desired,
    DkimKey,
    Lane,
    Observation,
    Refusal,
    SlotObservation,
)
from lane_operator.status import broken_status, lane_status, next_look
from tests.lane_operator import made

LATER = dt.timedelta(minutes=5)
WAITING = Refusal(Reason.POOL_NOT_FOUND, "IPPool a/b does not exist: create it", waiting=Reason.WAITING_FOR_POOL)
INVALID = Refusal(Reason.CLASS_MISMATCH, "name a pool of the lane's class")


def status(
    of: Lane | None = None,
    seen: Observation | None = None,
    claims: Assignment | None = None,
    now: dt.datetime = made.NOW,
    engine: str = "Multus",
    references: dict[str, Any] | None = None,
    **desired: Any,
) -> LaneStatus:
    of = of or made.lane()
    return lane_status(
        of,
        made.references(of, made.pool(engine), **(references or {})),
        claims or made.assignment(),
        Desired(**desired),
        seen or made.observation(),
        now,
    )


def found(said: LaneStatus, kind: str) -> Condition | None:
    return next((one for one in said.conditions if one.type == kind), None)


def verdict(said: LaneStatus, kind: str) -> tuple[str, str] | None:
    one = found(said, kind)
    return None if one is None else (one.status, one.reason)


def message(said: LaneStatus, kind: str) -> str:
    one = found(said, kind)
    assert one is not None
    return one.message


def settled(**changes: Any) -> Lane:
    """A lane whose generation has been seen."""
    return made.lane(status=LaneStatus(observed_generation=3), **changes)


def test_a_lane_that_serves_is_ready_and_nothing_abnormal_stands_there() -> None:
    said = status()

    assert {one.type: (one.status, one.reason) for one in said.conditions} == {
        "Ready": ("True", "AllSlotsVerified"),
        "EgressVerified": ("True", "Matched"),
        "DNSPublished": ("True", "AllMatch"),
        "CertificateReady": ("False", "SelfSigned"),
        "QueueHealthy": ("True", "WithinSLO"),
        "ConfigInForce": ("True", "InForce"),
    }
    assert all(one.observed_generation == 3 for one in said.conditions)
    assert (said.observed_generation, said.replicas, said.selector) == (3, 2, "lanewright.dev/lane=otp")
    assert said.ips == "203.0.113.10,203.0.113.11"


def test_a_lane_without_slots_does_not_wait_for_its_configuration_beside_being_ready() -> None:
    said = status(settled(replicas=0), Observation(), Assignment())

    assert verdict(said, "Ready") == ("True", "NoSlots")
    assert "set it to 1 or more" in message(said, "Ready")
    assert verdict(said, "ConfigInForce") == ("True", "InForce")
    assert message(said, "ConfigInForce") == "generation 3 waits for slots: replicas is 0"


def test_what_is_absent_is_waited_for_and_stalls_after_five_minutes() -> None:
    first = status(made.lane(), claims=Assignment((), WAITING), refusals=(WAITING,), complete=False)
    waiting = made.lane(status=first)
    just_before = status(
        waiting, claims=Assignment(), refusals=(WAITING,), now=made.NOW + LATER - dt.timedelta(seconds=1)
    )
    after = status(waiting, claims=Assignment(), refusals=(WAITING,), now=made.NOW + LATER)
    still = status(made.lane(status=after), claims=Assignment(), refusals=(WAITING,), now=made.NOW + LATER * 2)

    assert verdict(first, "Reconciling") == verdict(just_before, "Reconciling") == ("True", "WaitingForPool")
    assert verdict(first, "Stalled") is None
    assert verdict(after, "Stalled") == verdict(still, "Stalled") == ("True", "PoolNotFound")
    assert verdict(after, "Reconciling") is None
    assert verdict(after, "Ready") == ("False", "PoolNotFound")
    assert "create it" in message(after, "Stalled")
    assert next_look(waiting, first, made.NOW + dt.timedelta(seconds=100)) == 200


def test_it_heals_when_what_was_absent_appears() -> None:
    first = status(made.lane(), claims=Assignment(), refusals=(WAITING,))
    stalled = status(made.lane(status=first), claims=Assignment(), refusals=(WAITING,), now=made.NOW + LATER)
    healed = status(made.lane(status=stalled), now=made.NOW + LATER * 2)

    assert verdict(healed, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(healed, "Stalled") is None


def test_five_minutes_of_other_work_are_not_five_minutes_of_waiting() -> None:
    slow = status(settled(), seen=made.observation(made.seen(0, pod_ready=False), made.seen(1)))
    later = status(made.lane(status=slow), claims=Assignment(), refusals=(WAITING,), now=made.NOW + LATER * 3)

    assert verdict(slow, "Reconciling") == ("True", "WaitingForSlots")
    assert verdict(later, "Reconciling") == ("True", "WaitingForPool")


def test_a_write_that_is_tried_again_is_no_stall_however_long_it_takes() -> None:
    retried = Refusal(Reason.PROGRESSING_WITH_RETRY, "Service otp: 503", waiting=Reason.PROGRESSING_WITH_RETRY)
    first = status(refusals=(retried,))
    late = status(made.lane(status=first), refusals=(retried,), now=made.NOW + LATER * 9)

    assert verdict(late, "Reconciling") == ("True", "ProgressingWithRetry")
    assert verdict(late, "Stalled") is None
    assert verdict(late, "Ready") == ("False", "ProgressingWithRetry")


def test_what_is_invalid_stalls_at_once() -> None:
    said = status(refusals=(INVALID,))

    assert verdict(said, "Stalled") == ("True", "ClassMismatch")
    assert verdict(said, "Ready") == ("False", "ClassMismatch")


def test_slots_on_their_way_are_reconciling() -> None:
    seen = made.observation(made.seen(0, pod_ready=False, pod_reason="relay: ImagePullBackOff"), made.seen(1))

    assert verdict(status(made.lane(), seen=seen), "Reconciling") == ("True", "NewGeneration")
    said = status(settled(), seen=seen)
    assert verdict(said, "Reconciling") == ("True", "WaitingForSlots")
    assert "1 of 2 slots serve; otp-0 the pod is not ready: relay: ImagePullBackOff" in message(said, "Ready")


@pytest.mark.parametrize(
    ("state", "status_", "reason", "ready"),
    [
        ("Proved", "True", "Matched", "True"),
        ("ProofStale", "True", "ProofStale", "True"),
        ("Unproved", "False", "ProbeFailed", "False"),
        ("PortBlocked", "False", "PortBlocked", "False"),
        ("Mismatch", "False", "Mismatch", "False"),
        ("", "Unknown", "NotProbed", "False"),
    ],
)
def test_the_worst_slot_speaks_for_the_lanes_egress(state: str, status_: str, reason: str, ready: str) -> None:
    said = status(
        seen=made.observation(made.seen(0), made.seen(1, proof_state=state, proof_message="seen from 192.0.2.1"))
    )

    assert verdict(said, "EgressVerified") == (status_, reason)
    assert found(said, "Ready") == replace_status(found(said, "Ready"), ready)
    if status_ == "False":
        assert "nothing leaves from otp-1 (203.0.113.11): seen from 192.0.2.1" in message(said, "EgressVerified")
        assert said.slots[1].ready, "intake goes on"


def replace_status(one: Condition | None, wanted: str) -> Condition | None:
    return None if one is None else one.model_copy(update={"status": wanted})


def test_clusterdefault_says_that_its_address_is_shared() -> None:
    claims = made.assignment(made.claim(0, "ClusterDefault"), made.claim(1, "ClusterDefault"))
    seen = made.observation(made.seen(0, proof_state="NotNeeded"), made.seen(1, proof_state="NotNeeded"))
    said = status(seen=seen, claims=claims, engine="ClusterDefault")

    assert verdict(said, "EgressVerified") == ("True", "SharedAddress")
    assert said.ips == "shared"
    assert verdict(said, "Ready") == ("True", "AllSlotsVerified")


def test_a_configuration_that_is_refused_says_why() -> None:
    said = status(
        seen=made.observation(made.seen(0, config_generation=2, config_refused="domains: twice"), made.seen(1))
    )

    assert verdict(said, "ConfigInForce") == ("False", "Refused")
    assert "otp-0: domains: twice" in message(said, "ConfigInForce")
    assert verdict(said, "Ready") == ("False", "Refused")


def test_a_configuration_on_its_way_names_the_slots() -> None:
    said = status(seen=made.observation(made.seen(0, config_generation=2), made.seen(1)))

    assert verdict(said, "ConfigInForce") == ("False", "Pushing")
    assert "on its way to otp-0" in message(said, "ConfigInForce")


def test_the_record_to_publish_stands_in_the_message() -> None:
    missing = {"notify.example.com": False}
    said = status(
        seen=made.observation(made.seen(0, domains_published=missing), made.seen(1, domains_published=missing))
    )

    assert verdict(said, "DNSPublished") == ("False", "NotPublished")
    assert verdict(said, "Ready") == ("True", "WaitingForDNS")
    assert f'publish TXT lw20261123._domainkey.notify.example.com = "{made.RECORD}"' in message(said, "DNSPublished")
    assert "mail from notify.example.com waits for DNS" in message(said, "Ready")
    assert said.domains[0].dkim.record == made.RECORD
    assert not said.domains[0].dkim.published


@pytest.mark.parametrize(
    ("looked", "published"), [({0: True, 1: True}, True), ({0: True, 1: False}, False), ({}, False)]
)
def test_an_ed25519_record_stands_beside_the_other_and_nothing_waits_for_it(
    looked: dict[int, bool], published: bool
) -> None:
    of = made.lane()
    known = made.references(of, made.pool()).dkim["notify.example.com"]
    second = DkimKey(f"{known.selector}-ed25519", known.secret_name, "ed25519.key", "v=DKIM1; k=ed25519; p=MC")
    domain = "notify.example.com"
    seen = [made.seen(at, domains_ed25519={domain: looked[at]} if at in looked else {}) for at in (0, 1)]

    named = {"dkim": {domain: replace(known, second=second)}}
    said = status(of, seen=made.observation(*seen), references=named)

    assert verdict(said, "DNSPublished") == ("True", "AllMatch")
    ed25519 = said.domains[0].dkim.ed25519
    assert ed25519 is not None
    assert ed25519.record_name == "lw20261123-ed25519._domainkey.notify.example.com"
    assert (ed25519.record, ed25519.published) == (second.public_record, published)


@pytest.mark.parametrize(
    ("finding", "words", "expected", "fix"),
    [
        ("Unanswered", "DNS does not answer (timeout)", ("Unknown", "DNSUnreachable"), "spec.resolver.forwardTo"),
        ("Other", "another key is published", ("False", "NotPublished"), "let that name have one TXT record"),
        ("Absent", "no TXT record is published", ("False", "NotPublished"), "publish TXT"),
    ],
)
def test_mail_that_waits_for_dns_says_what_dns_holds_and_the_fix_for_that(
    finding: str, words: str, expected: tuple[str, str], fix: str
) -> None:
    domain = "notify.example.com"
    slots = [
        made.seen(index, domains_published={domain: False}, domains_dns={domain: (finding, words)}) for index in (0, 1)
    ]
    said = status(seen=made.observation(*slots))

    assert verdict(said, "DNSPublished") == expected
    assert fix in message(said, "DNSPublished")
    assert made.RECORD in message(said, "DNSPublished")
    assert finding == "Absent" or words in message(said, "DNSPublished")


def test_dns_that_nobody_has_looked_at_is_unknown() -> None:
    seen = made.observation(made.seen(0, domains_published={}), made.seen(1, domains_published={}))

    said = status(seen=seen)
    assert verdict(said, "DNSPublished") == ("Unknown", "NotPublished")
    assert message(said, "DNSPublished").startswith("no slot has looked for TXT lw20261123._domainkey.notify")
    assert "publish it where it is not" in message(said, "DNSPublished")


def test_a_given_certificate_that_slots_show_is_issued() -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "tls": {"secretName": "lane-tls"}})
    seen = made.observation(made.seen(0, certificate_self_signed=False), made.seen(1, certificate_self_signed=False))

    assert verdict(status(of, seen=seen), "CertificateReady") == ("True", "Issued")


def test_a_suspended_lane_is_what_was_asked_for() -> None:
    said = status(made.lane(suspend=True))

    assert verdict(said, "Ready") == ("True", "Suspended")
    assert verdict(said, "Suspended") == ("True", "SpecSuspend")


def test_one_slot_or_one_node_is_no_redundancy() -> None:
    single = status(made.lane(replicas=1), claims=made.assignment(made.claim(0)), seen=made.observation(made.seen(0)))
    one_node = status(seen=made.observation(made.seen(0, node="node-a"), made.seen(1, node="node-a")))

    assert verdict(single, "NoRedundancy") == ("True", "SingleSlot")
    assert verdict(one_node, "NoRedundancy") == ("True", "SingleNode")


def test_a_deleted_lane_says_what_it_waits_for_and_the_way_out_that_works() -> None:
    going = "2026-11-23T07:59:59Z"
    both = made.observation(made.seen(0, queued=3), made.seen(1))
    waits = status(settled(deleting_since=going), both)
    holds = status(settled(deleting_since=going, drain={"policy": "Hold"}), both)
    silent = status(settled(deleting_since=going), made.observation(made.seen(0, queued=3, reachable=False)))

    assert "about 3 messages" in message(waits, "Draining")
    assert "4h (queue.lifetime) after they came, and as long again for their bounces" in message(waits, "Draining")
    assert "set drain.policy to Hold" in message(waits, "Draining")
    assert "their queue volumes stay" in message(holds, "Draining")
    assert "otp-0, otp-1 does not answer" in message(silent, "Draining")
    assert "annotate it with lanewright.dev/release=keep-volumes" in message(silent, "Draining")


def test_a_drain_past_its_deadline_says_what_is_left_and_the_way_out() -> None:
    of = settled(deleting_since="2026-11-23T06:59:59Z", generation=4)
    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    seen = made.observation(made.seen(0, queued=1234, oldest_since="2026-11-23T05:00:00Z"))
    said = status(of, seen=seen, claims=claims)

    assert verdict(said, "Draining") == ("True", "Delete")
    assert verdict(said, "Stalled") == ("True", "DrainDeadlineExceeded")
    assert "about 1200 messages left, the oldest since 2026-11-23T05:00:00Z" in message(said, "Stalled")
    assert "lanewright.dev/release=keep-volumes" in message(said, "Stalled")
    assert verdict(said, "Ready") == ("False", "Draining")


def test_a_drain_that_waits_for_its_archive_says_so() -> None:
    waits = made.seen(0, intake="Closed", unarchived=7, archive_failure="403 Forbidden")
    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    said = status(settled(deleting_since="2026-11-23T07:59:00Z"), made.observation(waits), claims=claims)

    assert "otp-0 has 7 records that audit.archive does not have yet (403 Forbidden)" in message(said, "Draining")


def test_a_drain_within_its_deadline_is_not_stalled() -> None:
    of = settled(deleting_since="2026-11-23T07:59:00Z")
    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    said = status(of, seen=made.observation(made.seen(0, queued=5)), claims=claims)

    assert verdict(said, "Stalled") is None
    assert verdict(said, "Draining") == ("True", "Delete")
    assert next_look(of, said, made.NOW) == 3540


def test_a_deadline_that_no_calendar_holds_is_never_over() -> None:
    of = settled(deleting_since="2026-11-23T07:59:00Z", drain={"deadline": "99999999h"})
    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    said = status(of, seen=made.observation(made.seen(0, queued=5)), claims=claims)

    assert verdict(said, "Stalled") is None
    assert next_look(of, said, made.NOW) is not None


def test_a_scale_in_past_its_deadline_counts_only_what_is_to_go() -> None:
    of = made.lane(replicas=1, trafficClass="Bulk")
    claims = made.assignment(made.claim(0), made.claim(1, role=SlotRole.DRAINING))
    seen = made.observation(made.seen(0, queued=50_000), made.seen(1, queued=7))
    first = status(of, seen=seen, claims=claims)
    late = status(replace(of, status=first), seen=seen, claims=claims, now=made.NOW + dt.timedelta(hours=2))

    assert verdict(first, "Draining") == ("True", "ScaleIn")
    assert verdict(late, "Stalled") == ("True", "DrainDeadlineExceeded")
    assert "about 7 messages left" in message(late, "Stalled")


def held(*others: SlotObservation, **changes: Any) -> tuple[Lane, Observation, Assignment]:
    """A lane that was scaled in with drain.policy Hold: its second slot is stopped, with mail."""
    of = made.lane(replicas=1, trafficClass="Bulk", drain={"policy": "Hold", "deadline": "1h"}, **changes)
    stopped = SlotObservation("otp-1", stopped=True, queued=1234, domains_published={"notify.example.com": False})
    claims = made.assignment(made.claim(0), made.claim(1, role=SlotRole.HELD))
    return of, made.observation(made.seen(0), stopped, *others), claims


def test_a_slot_that_holds_its_mail_is_no_trouble_of_the_lane_however_long_it_does() -> None:
    of, seen, claims = held()
    first = status(of, seen=seen, claims=claims)
    late = status(replace(of, status=first), seen=seen, claims=claims, now=made.NOW + dt.timedelta(days=9))

    assert late == first
    assert verdict(late, "Draining") == ("True", "Held")
    assert "otp-1 is stopped and keeps about 1200 messages" in message(late, "Draining")
    assert verdict(late, "Stalled") is verdict(late, "Reconciling") is None
    assert verdict(late, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(late, "EgressVerified") == ("True", "Matched")
    assert verdict(late, "ConfigInForce") == ("True", "InForce")
    assert verdict(late, "DNSPublished") == ("True", "AllMatch")
    assert (late.queued, late.slots[1].queued) == (1200, 1200)
    assert "stopped" in late.slots[1].message
    assert next_look(of, late, made.NOW) is None


def test_the_deadline_of_a_slot_that_is_to_go_later_begins_with_its_own_drain() -> None:
    of, seen, claims = held(made.seen(2, queued=7))
    waiting = replace(of, status=status(of, seen=seen, claims=claims))
    claims = Assignment((*claims.claims, made.claim(2, role=SlotRole.HELD)))
    later = made.NOW + dt.timedelta(hours=5)
    first = status(waiting, seen=seen, claims=claims, now=later)
    overdue = status(replace(of, status=first), seen=seen, claims=claims, now=later + dt.timedelta(hours=2))

    assert verdict(first, "Draining") == ("True", "ScaleIn")
    assert verdict(first, "Stalled") is None
    assert "about 7 messages left" in message(overdue, "Stalled")


def test_a_lane_of_which_no_slot_runs_says_so() -> None:
    of, seen, claims = held()
    said = status(of, seen=Observation(seen.slots[1:]), claims=Assignment(claims.claims[1:]))

    assert verdict(said, "EgressVerified") == ("Unknown", "NotProbed")
    assert message(said, "EgressVerified") == "no slot runs"


def test_counts_are_rounded_to_two_digits_and_the_oldest_time_is_shown() -> None:
    seen = made.observation(
        made.seen(0, queued=12_345, oldest_since="2026-11-23T07:00:00Z"),
        made.seen(1, queued=101, oldest_since="2026-11-23T06:00:00Z"),
    )
    said = status(seen=seen)

    assert (said.queued, [slot.queued for slot in said.slots]) == (12_000, [12_000, 100])
    assert said.oldest_since == "2026-11-23T06:00:00Z"


def test_defaults_in_force_are_shown() -> None:
    assert status().effective["queue"]["lifetime"] == "4h"
    egress = status().effective["egress"]
    assert (egress["engine"], egress["leaksAtStart"]) == ("Multus", False)
    assert "getsockname" in egress["sourceCheck"]
    assert "NetworkPolicy does not reach the second interface" in egress["limits"]


def test_a_hostnetwork_slot_without_a_pod_names_the_label_that_its_namespace_needs() -> None:
    claims = made.assignment(made.claim(0, "HostNetwork"), made.claim(1, "HostNetwork"))
    seen = made.observation(made.seen(0, pod_ready=False, pod_reason="no pod", node=""), made.seen(1))
    said = status(seen=seen, claims=claims, engine="HostNetwork")

    assert "otp-0 the pod is not ready: no pod" in message(said, "Ready")
    assert "pod-security.kubernetes.io/enforce=privileged" in message(said, "Ready")


observed = st.builds(
    lambda index, ready, reachable, state, generation, queued, refused: made.seen(
        index,
        pod_ready=ready,
        reachable=reachable,
        proof_state=state,
        config_generation=generation,
        queued=queued,
        config_refused=refused,
    ),
    st.integers(0, 1),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "Proved", "Unproved", "Mismatch", "PortBlocked", "ProofStale", "NotNeeded", "Unheard"]),
    st.integers(0, 3),
    st.integers(0, 10**6),
    st.sampled_from(["", "no"]),
)


@settings(max_examples=100, deadline=None)
@given(
    slots=st.lists(observed, max_size=2, unique_by=lambda one: one.name),
    refusals=st.lists(st.sampled_from([WAITING, INVALID]), max_size=2),
    deleting=st.booleans(),
    seconds=st.integers(0, 10_000),
)
def test_a_status_is_quiet_when_nothing_has_changed_and_never_contradicts_itself(
    slots: list[SlotObservation], refusals: list[Refusal], deleting: bool, seconds: int
) -> None:
    of = made.lane(deleting_since="2026-11-23T07:30:00Z" if deleting else None)
    now = made.NOW + dt.timedelta(seconds=seconds)
    first = status(of, seen=Observation(tuple(slots)), refusals=tuple(refusals), now=made.NOW)
    second = status(replace(of, status=first), seen=Observation(tuple(slots)), refusals=tuple(refusals), now=now)
    third = status(replace(of, status=second), seen=Observation(tuple(slots)), refusals=tuple(refusals), now=now)

    assert third == second
    assert not (found(second, "Stalled") and found(second, "Reconciling"))
    if verdict(second, "Ready") == ("True", "AllSlotsVerified"):
        assert found(second, "Stalled") is found(second, "Reconciling") is None
    kept = {one.type: one for one in first.conditions}
    for one in second.conditions:
        before = kept.get(one.type)
        if before and before.status == one.status and one.type != "Reconciling":
            assert one.last_transition_time == before.last_transition_time
    for kind in ("Reconciling", "Stalled", "Draining", "Suspended", "NoRedundancy", "ChildrenIncomplete"):
        one_found = found(second, kind)
        assert one_found is None or one_found.status == "True"


def test_an_object_that_cannot_be_read_says_so_and_keeps_what_it_knew() -> None:
    before = status()
    said = broken_status(before, {"metadata": {"generation": 9}}, "spec.queue.size: wrong", made.NOW)

    assert said.observed_generation == 9
    assert said.slots == before.slots
    assert verdict(said, "Stalled") == ("True", "InvalidSpec")
    assert message(said, "Ready") == "spec.queue.size: wrong"
