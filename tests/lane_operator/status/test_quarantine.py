"""What a lane says of addresses that are refused, and of slots that stand by."""

from dataclasses import replace
from typing import Any

from lane_api.ippool import Quarantine
from lane_api.lane_status import LaneStatus, SlotRole
from lane_operator.inputs import Claim, SlotObservation
from lane_operator.reconcile.events import is_alarming
from tests.lane_operator import made
from tests.lane_operator.desired.test_standby import BY_DNSBL, BY_OWNER, spare
from tests.lane_operator.status.test_lane_status import message, status, verdict

KIND = "AddressQuarantined"
BY_RULE = Quarantine(
    by="gmail/listed",
    isps=("gmail",),
    reply="550 5.7.1 listed",
    since="2026-11-23T07:50:00Z",
    until="2026-11-23T08:20:00Z",
    stood_in_by="otp-s0",
)
FIRST = replace(made.claim(0), quarantine=BY_RULE)
PROMOTED = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",))


def said(*claims: Claim, unseen: str = "", spare_says: dict[str, Any] | None = None, standby: int = 1) -> LaneStatus:
    waits = SlotObservation(
        "otp-s0", pod_reason="readiness probe failed", reachable=True, config_generation=3, proof_state="Proved"
    )
    slots = [made.seen(0), made.seen(1), replace(waits, **(spare_says or {}))]
    return status(
        made.lane(standbyReplicas=standby),
        made.observation(*[one for one in slots if one.name != unseen]),
        made.assignment(*claims),
    )


def test_a_standby_slot_that_takes_nothing_makes_the_lane_no_less_ready() -> None:
    found = said(made.claim(0), made.claim(1), spare())

    assert verdict(found, "Ready") == ("True", "AllSlotsVerified")
    assert verdict(found, "Reconciling") is None
    assert verdict(found, KIND) is None
    assert found.replicas == 2, "what spec.replicas is about"
    last = found.slots[-1]
    assert (last.name, last.role, last.ready, last.egress_verified, last.message) == (
        "otp-s0", SlotRole.STANDBY, False, True, "",
    )  # fmt: skip


def test_a_standby_slot_that_does_not_answer_says_why_its_pod_is_not_there() -> None:
    found = said(made.claim(0), made.claim(1), spare(), spare_says={"reachable": False, "pod_reason": "no pod"})

    assert found.slots[-1].message == "does not answer the operator: no pod"
    assert verdict(found, "Ready") == ("True", "AllSlotsVerified")


def test_a_listed_address_is_said_with_the_list_and_the_stand_in() -> None:
    of_all = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",), replaces=True)
    barred = replace(made.claim(0), role=SlotRole.QUARANTINED, quarantine=BY_DNSBL)
    found = said(barred, made.claim(1), of_all)

    assert verdict(found, KIND) == ("True", "StandbyPromoted")
    assert message(found, KIND) == (
        "otp-0 (203.0.113.10) sends nothing until it is listed no more, since zen.example has 203.0.113.10 (127.0.0.2)"
        "; its mail leaves from otp-s0"
    )


def test_a_refused_address_is_said_with_isp_rule_reply_end_and_stand_in() -> None:
    found = said(FIRST, made.claim(1), PROMOTED)

    assert verdict(found, KIND) == ("True", "StandbyPromoted")
    assert message(found, KIND) == (
        "otp-0 (203.0.113.10) sends no mail for gmail until 2026-11-23T08:20:00Z, by rule gmail/listed "
        "(550 5.7.1 listed): it leaves from otp-s0"
    )
    assert verdict(found, "Ready") == ("True", "AllSlotsVerified")
    assert found.slots[0].message in message(found, KIND)
    assert (found.slots[2].role, found.slots[2].message) == (SlotRole.PROMOTED, "stands in for otp-0")
    assert is_alarming({"type": KIND, "status": "True", "reason": "StandbyPromoted"})


def test_without_a_stand_in_the_fix_is_named() -> None:
    alone = replace(FIRST, quarantine=BY_RULE.model_copy(update={"stood_in_by": ""}))

    none = said(alone, made.claim(1), standby=0)
    assert verdict(none, KIND) == ("True", "NoStandby")
    assert "it waits; no standby slot can take it over: set standbyReplicas" in message(none, KIND)
    unable = said(alone, made.claim(1), spare())
    assert "see the messages of its standby slots" in message(unable, KIND)


def test_a_slot_that_its_owner_quarantines_is_replaced_and_the_lane_is_ready() -> None:
    out = replace(made.claim(0), role=SlotRole.QUARANTINED, quarantine=BY_OWNER)
    promoted = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",), replaces=True)
    found = said(out, made.claim(1), promoted, spare_says={"pod_ready": True})

    assert verdict(found, "Ready") == ("True", "AllSlotsVerified")
    assert "2 of 2 slots serve" in message(found, "Ready")
    assert found.slots[0].role is SlotRole.QUARANTINED
    assert "sends nothing, as quarantined in the pool says; its mail leaves from otp-s0" in message(found, KIND)


def test_a_standby_address_that_is_refused_is_told_and_nothing_waits_for_it() -> None:
    found = said(made.claim(0), made.claim(1), spare(quarantine=BY_RULE.model_copy(update={"stood_in_by": ""})))

    assert verdict(found, KIND) == ("True", "StandbyRefused")
    assert "leaves from its other addresses" in message(found, KIND)
