"""What the Draining message says that an empty slot waits for."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import LaneStatus, RestartStatus, SlotRole, UpgradePhase, UpgradeStatus
from lane_operator.inputs import Claim, Desired, References
from lane_operator.status import lane_status
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import found, message, settled, status, verdict

WEBHOOK = (
    "otp-0 has 4 records or bounces that their webhooks do not have yet (hooks.example does not answer); to let it go "
    "without, set drain.policy to Hold"
)


DELETED = {"deleting_since": "2026-11-23T07:59:00Z"}
ARCHIVED = {"queue": {"reclaimPolicy": "Delete"}, "audit": {"archive": {"pvc": {"claimName": "evidence"}}}}


def said(lane: dict[str, Any] = DELETED, *claims: Claim, **slot: Any) -> str:
    waits = made.seen(0, **{"intake": "Closed", "suppressed": 0, **slot})
    known = made.assignment(made.claim(0, role=SlotRole.DRAINING), *claims)
    return message(status(settled(**lane), made.observation(waits), claims=known), "Draining")


def test_a_drain_that_waits_for_webhooks_says_so_with_the_way_out() -> None:
    assert said(untold=4, webhook_failure="hooks.example does not answer").endswith(WEBHOOK)


@pytest.mark.parametrize("slot", [{}, {"untold": 4, "queued": 2}])
def test_a_drain_with_mail_or_with_nothing_left_says_nothing_of_webhooks(slot: dict[str, Any]) -> None:
    assert "webhooks" not in said(**slot)


def test_a_scale_in_that_waits_for_a_slot_to_read_the_list_names_it() -> None:
    waits = "; otp-0 has a suppression list of 5 words that no slot that stays has read to its end: see to otp-1"
    fed: dict[str, Any] = {"feedback": {}}

    assert waits in said(fed, made.claim(1), suppressed=5)
    assert "suppression list" not in said(fed, made.claim(1), suppressed=5, list_read_by=("otp-1",))
    assert "suppression list" not in said(fed, made.claim(1), suppressed=0)
    assert "does not say who else has its suppression list" in said(fed, made.claim(1), suppressed=None)
    assert "suppression list" not in said({}, made.claim(1), suppressed=None)


def test_a_delete_that_waits_for_the_archive_to_have_the_list_says_so() -> None:
    waits = "otp-0 has a suppression list of 5 words that audit.archive does not have yet (403 Forbidden)"

    assert waits in said(DELETED | ARCHIVED, suppressed=5, list_failure="403 Forbidden")
    assert "suppression list" not in said(DELETED | ARCHIVED, suppressed=5, list_archived=True)
    assert "suppression list" not in said(DELETED, suppressed=5)  # its claim stays


OWED = {"otp-1": "otp-1 about 2 transfers, the oldest since 2026-11-23T07:00:00Z"}
ANSWERS = (
    "; otp-0 still has to answer otp-1 about 2 transfers, the oldest since 2026-11-23T07:00:00Z: bring it back, or "
    "give the order forget for it where it is gone for good (docs/addresses.md)"
)


@pytest.mark.parametrize("lane", [DELETED, {}, {"drain": {"policy": "Hold"}}, DELETED | {"drain": {"policy": "Hold"}}])
def test_a_slot_that_another_may_still_ask_what_became_of_its_mail_says_so_with_the_way_out(
    lane: dict[str, Any],
) -> None:
    assert ANSWERS in said(lane, made.claim(1), owed=OWED)
    assert "still has to answer" not in said(lane, made.claim(1))


def test_a_slot_in_standby_takes_no_mail_either_and_nobody_waits_for_it() -> None:
    standby = made.seen(1, intake="Closed", suppressed=0, owed=OWED, untold=3)
    known = made.assignment(made.claim(0, role=SlotRole.DRAINING), made.claim(1, role=SlotRole.STANDBY))
    going = made.seen(0, intake="Closed", suppressed=0)
    text = message(status(settled(), made.observation(going, standby), claims=known), "Draining")

    assert "otp-1 has" not in text
    assert "still has to answer" not in text


def test_a_webhook_that_holds_a_scale_in_is_named_with_the_way_out_and_hold_is_one() -> None:
    deaf: dict[str, Any] = {"untold": 4, "webhook_failure": "hooks.example does not answer"}

    assert said({}, made.claim(1), **deaf).endswith(WEBHOOK)
    assert "webhooks" not in said({"drain": {"policy": "Hold"}}, made.claim(1), **deaf)


def test_hold_waits_for_none_of_it() -> None:
    held: dict[str, Any] = {"drain": {"policy": "Hold"}, "feedback": {}}

    assert "otp-0 has" not in said(held, made.claim(1), suppressed=5, untold=3, unarchived=2)


def test_a_drain_that_an_order_stops_says_so_and_how_to_go_on() -> None:
    ordered: dict[str, Any] = {"queued": 1, "orders": ("suspend all of jane (they ask)",)}
    stopped = "; otp-0 keeps the mail that waits as ordered, suspend all of jane (they ask): resume or release it"

    assert stopped in said(**ordered)
    assert stopped in said({}, made.claim(1), **ordered)
    assert "as ordered" not in said(DELETED | {"drain": {"policy": "Hold"}}, **ordered), "its mail stays as it is"
    assert "as ordered" not in said(queued=1)
    assert "and 2 more" in said(queued=1, orders=tuple(f"hold queue {name}.test of jane (x)" for name in "abcdefg"))
    assert "otp-0 keeps what its volume brought" in said(queued=1, restored="an older copy")


def test_a_node_that_is_to_be_emptied_is_named_with_the_slot_that_leaves_it_and_the_time_stands_still() -> None:
    claims = made.assignment(replace(made.claim(0), moves=True), made.claim(1))
    first = status(settled(), claims=claims)
    later = status(made.lane(status=first), claims=claims, now=made.NOW + dt.timedelta(minutes=2))

    assert (verdict(first, "Draining"), verdict(first, "Ready")) == (
        ("True", "NodeDrain"),
        ("True", "AllSlotsVerified"),
    )
    assert "node node-a is to be emptied (it is cordoned): otp-0 hands its mail" in message(first, "Draining")
    assert found(later, "Draining") == found(first, "Draining")
    assert verdict(status(made.lane(status=later)), "Draining") is None


def test_a_slot_that_hands_over_before_it_restarts_is_named_and_an_upgrade_says_so_too() -> None:
    assigned = made.assignment(replace(made.claim(0), hands_over=True), made.claim(1))
    upgrade = UpgradeStatus(phase=UpgradePhase.ROLLING, slot="otp-0", since="2026-11-23T08:00:00Z")
    closed = made.observation(made.seen(0, intake="Closed", queued=1234), made.seen(1))  # the kubelet has yet to look

    def at(restart: RestartStatus | None, of: UpgradeStatus | None = None) -> LaneStatus:
        desired = replace(Desired(), restart=restart, upgrade=of)
        return lane_status(settled(), References(), assigned, desired, closed, made.NOW)

    draining = at(RestartStatus(slot="otp-0", since="2026-11-23T07:59:00Z"))
    assert (verdict(draining, "Draining"), verdict(draining, "Upgrading")) == (("True", "BeforeRestart"), None)
    assert "otp-0 is to restart, since its pod is to be another" in message(draining, "Draining")
    assert "hands its about 1200 messages to the lane's other slots" in message(draining, "Draining")
    assert draining.restart == RestartStatus(slot="otp-0", since="2026-11-23T07:59:00Z")
    assert draining.slots[0].message.startswith("takes no mail: it hands what it has")
    assert message(draining, "Ready").startswith("1 of 2 slots serve; otp-0 takes no mail: it hands")
    assert draining.slots[0].waiting_since is None, "its ten minutes do not run"

    for restart, drains, upgrading in (
        (RestartStatus(slot="otp-0", since="2026-11-23T07:59:00Z"), ("True", "BeforeRestart"), "SlotDrains"),
        (RestartStatus(slot="otp-0"), None, "SlotDrains"),
        (RestartStatus(slot="otp-0", handed_over=True), None, "SlotRestarts"),
        (RestartStatus(slot="otp-1"), None, "SlotRestarts"),
        (None, None, "SlotRestarts"),
    ):
        found_then = at(restart, upgrade)
        assert (verdict(found_then, "Draining"), verdict(found_then, "Upgrading")) == (drains, ("True", upgrading))


def test_a_drain_says_which_host_takes_the_mail() -> None:
    to = {"drain": {"to": {"host": "relay.example.net"}}}
    assert "messages go to relay.example.net (drain.to)" in said(DELETED | to, queued=7)
    last = message(
        status(settled(replicas=0, **to), claims=made.assignment(made.claim(0, role=SlotRole.DRAINING))), "Draining"
    )
    assert "relay.example.net (drain.to) takes its mail" in last
    assert "other slots take its mail over" in said(to, made.claim(1), queued=7)
