"""What the Draining message says that an empty slot waits for."""

import pytest

from lane_api.lane_status import SlotRole
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import message, settled, status

WEBHOOK = (
    "otp-0 has 4 records or bounces that their webhooks do not have yet (hooks.example does not answer); to let it go "
    "without, set drain.policy to Hold"
)


def said(**slot: object) -> str:
    waits = made.seen(0, intake="Closed", **slot)
    claims = made.assignment(made.claim(0, role=SlotRole.DRAINING))
    lane = settled(deleting_since="2026-11-23T07:59:00Z")
    return message(status(lane, made.observation(waits), claims=claims), "Draining")


def test_a_drain_that_waits_for_webhooks_says_so_with_the_way_out() -> None:
    assert said(untold=4, webhook_failure="hooks.example does not answer").endswith(WEBHOOK)


@pytest.mark.parametrize("slot", [{}, {"untold": 4, "queued": 2}])
def test_a_drain_with_mail_or_with_nothing_left_says_nothing_of_webhooks(slot: dict[str, object]) -> None:
    assert "webhooks" not in said(**slot)
