"""QueueHealthy: what is said of mail that waits."""

import datetime as dt
from typing import Any

import pytest

from lane_api.lane_status import LaneStatus
from lane_operator.slot_answers import slot_answer
from lane_operator.status import next_look
from tests.lane_operator import made
from tests.lane_operator.status.test_lane_status import found, message, settled, status, verdict

KIND = "QueueHealthy"
HALF = dt.timedelta(hours=2)  # of a Transactional lane's lifetime


def said(*slots: dict[str, Any], before: LaneStatus | None = None, **lane: Any) -> LaneStatus:
    seen = made.observation(*(made.seen(index, **slot) for index, slot in enumerate(slots or ({}, {}))))
    of = made.lane(status=before or LaneStatus(observed_generation=3), **lane)
    return status(of, seen)


def stamp(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_lane_whose_mail_leaves_in_time_is_healthy() -> None:
    assert verdict(said(), KIND) == ("True", "WithinSLO")
    assert verdict(said({"queued": 5, "oldest_since": stamp(made.NOW - HALF / 2)}, {}), KIND) == ("True", "WithinSLO")


def test_a_message_that_has_waited_for_half_of_its_lifetime_is_old_and_looked_for_then() -> None:
    soon = stamp(made.NOW - HALF + dt.timedelta(minutes=7))
    young = said({"queued": 1, "oldest_since": soon}, {})

    assert verdict(young, KIND) == ("True", "WithinSLO")
    assert next_look(settled(), young, made.NOW) == 420.0
    old = said({"queued": 1, "oldest_since": stamp(made.NOW - HALF)}, {})
    assert verdict(old, KIND) == ("False", "Old")
    assert "half of its lifetime (queue.lifetime 4h)" in message(old, KIND)
    assert verdict(old, "Ready") == ("True", "AllSlotsVerified")


def test_mail_that_comes_in_faster_than_it_leaves_is_named_with_the_slot() -> None:
    behind = said({}, {"is_behind": True})

    assert verdict(behind, KIND) == ("False", "Growing")
    assert message(behind, KIND).startswith("otp-1 takes more mail than it sends")


def test_room_is_low_at_nine_tenths_and_enough_again_at_eight() -> None:
    assert verdict(said({"disk_used": 85}, {}), KIND) == ("True", "WithinSLO")
    low = said({"disk_used": 90}, {"is_behind": True})
    assert verdict(low, KIND) == ("False", "DiskLow")
    assert "otp-0 has little room left" in message(low, KIND)
    assert verdict(said({"disk_used": 85}, {}, before=low), KIND) == ("False", "DiskLow")
    assert verdict(said({"disk_used": 75}, {}, before=low), KIND) == ("True", "WithinSLO")


def test_slots_that_do_not_answer_leave_it_as_it_was() -> None:
    silent = {"reachable": False, "pod_ready": False}
    low = said({"disk_used": 95}, {})

    assert found(said(silent, silent), KIND) is None
    assert verdict(said(silent, silent, before=low), KIND) == ("False", "DiskLow")


@pytest.mark.parametrize(
    ("queue", "used", "behind"),
    [
        ({}, None, False),
        ({"diskBytes": 949, "budgetBytes": 1000, "behind": True}, 90, True),
        ({"diskBytes": 2000, "budgetBytes": 1000, "behind": False}, 100, False),
        ({"diskBytes": 5, "budgetBytes": 0}, None, False),
    ],
)
def test_a_slots_room_is_told_in_steps_and_an_older_image_tells_none(
    queue: dict[str, Any], used: int | None, behind: bool
) -> None:
    plain = {"live": 0, "inFlight": 0, "oldestSince": None, "bytes": 0}
    intake = {"state": "Open", "sessions": 0}
    answer = {"generation": 3, "spoolId": "s", "intake": intake, "delivery": {"state": "Running"}}
    seen = slot_answer("otp-0", {**answer, "queue": {**plain, **queue}})

    assert (seen.disk_used, seen.is_behind) == (used, behind)


def test_a_lane_that_wants_claims_deleted_and_has_no_archive_is_told_that_they_stay() -> None:
    delete: dict[str, Any] = {"queue": {"reclaimPolicy": "Delete"}}
    archive: dict[str, Any] = {"audit": {"archive": {"pvc": {"claimName": "evidence"}}}}

    assert verdict(said(**delete), "ChildrenIncomplete") == ("True", "NoArchive")
    assert "deletes no claim of a slot that goes" in message(said(**delete), "ChildrenIncomplete")
    assert found(said(**delete, **archive), "ChildrenIncomplete") is None
    assert found(said(), "ChildrenIncomplete") is None
