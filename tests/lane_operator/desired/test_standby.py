"""What slots are told where one stands by, stands in, or has its address quarantined."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import Quarantine
from lane_api.lane_status import SlotRole
from lane_api.relayconfig import RelayConfig, Sibling
from lane_operator.inputs import Claim
from tests.lane_operator import made
from tests.lane_operator.desired.test_siblings import configs

BY_RULE = Quarantine(by="gmail/listed", isps=("gmail",), since="s", until="u", stood_in_by="otp-s0")
BY_OWNER = Quarantine(by="spec", since="s", stood_in_by="otp-s0")


def spare(role: SlotRole = SlotRole.STANDBY, **more: Any) -> Claim:
    claim = made.claim(2)
    return replace(claim, slot_index=64, slot_name="otp-s0", role=role, **more)


def siblings(config: RelayConfig) -> dict[str, Sibling]:
    assert config.handover is not None
    return {one.slot: one for one in config.handover.siblings}


def test_a_standby_slot_takes_no_submissions_and_the_others_know_it_as_one() -> None:
    found = configs(made.claim(0), made.claim(1), spare())

    assert {slot: one.slot.role for slot, one in found.items()} == {
        "otp-0": "Active", "otp-1": "Active", "otp-s0": "Standby",
    }  # fmt: skip
    assert found["otp-s0"].intake.state == "Open", "closed is what takes nothing from siblings either"
    assert found["otp-s0"].delivery.state == "Running"
    sibling = siblings(found["otp-0"])["otp-s0"]
    assert (sibling.role, sibling.stands_in, sibling.host) == ("Standby", False, "otp-s0-0.otp-slots.mail.svc")
    assert {slot: one.delivery.standby for slot, one in found.items()} == {
        "otp-0": True, "otp-1": True, "otp-s0": False,
    }  # fmt: skip


def test_the_slot_that_an_isp_refuses_is_told_who_stands_in_and_goes_on_with_the_rest() -> None:
    promoted = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",))
    found = configs(replace(made.claim(0), quarantine=BY_RULE), made.claim(1), promoted)

    assert siblings(found["otp-0"])["otp-s0"].stands_in
    assert not siblings(found["otp-1"])["otp-s0"].stands_in
    assert (found["otp-0"].delivery.state, found["otp-0"].intake.state) == ("Running", "Open")
    assert found["otp-s0"].slot.role == "Standby"


BY_DNSBL = BY_OWNER.model_copy(update={"by": "dnsbl", "reply": "zen.example has 203.0.113.10 (127.0.0.2)"})


@pytest.mark.parametrize("ordered", [BY_OWNER, BY_DNSBL])
def test_a_slot_whose_address_is_quarantined_gives_all_away_and_the_stand_in_takes_mail(ordered: Quarantine) -> None:
    promoted = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",), replaces=True)
    found = configs(replace(made.claim(0), role=SlotRole.QUARANTINED, quarantine=ordered), promoted)

    assert (found["otp-0"].delivery.state, found["otp-0"].intake.state) == ("TransferringSuspended", "Closed")
    assert found["otp-s0"].slot.role == "Active"
    assert siblings(found["otp-0"])["otp-s0"].role == "Active"
    assert siblings(found["otp-s0"])["otp-0"].role == "Leaving"


@pytest.mark.parametrize("ordered", [BY_OWNER, BY_DNSBL])
def test_a_lone_slot_whose_address_is_quarantined_takes_mail_and_sends_none(ordered: Quarantine) -> None:
    (config,) = configs(replace(made.claim(0), quarantine=replace_stand_in(ordered))).values()

    assert (config.delivery.state, config.intake.state) == ("Suspended", "Open")


def test_what_an_isp_says_of_all_mail_goes_to_the_stand_in_and_nothing_is_suspended_by_us() -> None:
    of_all = BY_RULE.model_copy(update={"isps": ()})
    promoted = spare(SlotRole.PROMOTED, stands_in_for=("otp-0",), replaces=True)
    found = configs(replace(made.claim(0), role=SlotRole.QUARANTINED, quarantine=of_all), promoted)

    assert (found["otp-0"].delivery.state, found["otp-0"].intake.state) == ("Transferring", "Closed")


def replace_stand_in(quarantine: Quarantine) -> Quarantine:
    return quarantine.model_copy(update={"stood_in_by": ""})
