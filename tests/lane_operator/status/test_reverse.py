"""PTRMatches: what slots found of their addresses' own names, and which record is to be set."""

from typing import Any

import pytest

from lane_api.conditions import Condition
from lane_operator.inputs import Desired, Observation, SlotObservation
from lane_operator.slot_answers import slot_answer
from lane_operator.status import lane_status
from tests.lane_operator import made

RIGHT = {"ptr_finding": "ForwardConfirmed"}
NONE = {"ptr_finding": "NoPTR", "ptr_message": "203.0.113.10 has no PTR record: set it"}
OTHER = {"ptr_finding": "HELOMismatch", "ptr_message": "the PTR record of 203.0.113.11 says a, HELO says b"}
SILENT = {"ptr_finding": "Unanswered", "ptr_message": "DNS does not answer for PTR 203.0.113.10 (timeout)"}


def said(*slots: SlotObservation, ptr: str | None = None, engine: str = "Multus") -> Condition | None:
    """The condition of a lane with these slots."""
    of = made.lane()
    asked: dict[str, Any] = {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"}
    pool = made.pool(engine, verification=asked | ({"ptr": ptr} if ptr else {}))
    claims = made.assignment(*(made.claim(index, engine) for index in range(len(slots))))
    status = lane_status(of, made.references(of, pool), claims, Desired(()), Observation(slots), made.NOW)
    return next((one for one in status.conditions if one.type == "PTRMatches"), None)


@pytest.mark.parametrize(
    ("first", "second", "status", "reason", "text"),
    [
        (RIGHT, RIGHT, "True", "ForwardConfirmed", "otp-0, otp-1 has a PTR record"),
        (RIGHT, OTHER, "False", "HELOMismatch", "otp-1: the PTR record of 203.0.113.11 says a"),
        (OTHER, NONE, "False", "NoPTR", "otp-1: 203.0.113.10 has no PTR record: set it. ISPs refuse mail"),
        (SILENT, NONE, "False", "NoPTR", "otp-1: 203.0.113.10 has no PTR"),
        (SILENT, RIGHT, "Unknown", "DNSUnreachable", "otp-0: DNS does not answer for PTR 203.0.113.10 (timeout)"),
        (RIGHT, {}, "True", "ForwardConfirmed", "the address of otp-0 has"),
    ],
)
def test_the_worst_answer_is_the_reason_and_each_slot_that_is_wrong_says_its_fix(
    first: dict[str, str], second: dict[str, str], status: str, reason: str, text: str
) -> None:
    found = said(made.seen(0, **first), made.seen(1, **second))
    assert found is not None
    assert (found.status, found.reason) == (status, reason)
    assert text in found.message


def test_under_require_it_says_that_nothing_leaves() -> None:
    found = said(made.seen(0, proof_state="Unproved", **NONE), ptr="Require")
    assert found is not None
    assert "Nothing leaves from there until then" in found.message


@pytest.mark.parametrize(
    "slots", [(), (made.seen(0),), (made.seen(0, ptr_finding="Unchecked"),)], ids=["none", "older image", "not yet"]
)
def test_nothing_is_said_before_a_slot_has_looked(slots: tuple[SlotObservation, ...]) -> None:
    assert said(*slots) is None


def test_nothing_is_said_where_nobody_is_to_look_or_the_address_is_shared() -> None:
    assert said(made.seen(0, **NONE), ptr="Off") is None
    assert said(made.seen(0, **NONE), engine="ClusterDefault") is None


def test_it_is_read_from_the_slots_report() -> None:
    answer: dict[str, Any] = {
        "generation": 3, "spoolId": "s",
        "queue": {"live": 0, "inFlight": 0}, "intake": {"state": "Open", "sessions": 0},
        "delivery": {"state": "Running", "ptr": {"finding": "NoPTR", "message": "none", "names": [], "at": None}},
    }  # fmt: skip
    seen = slot_answer("otp-0", answer)
    assert (seen.ptr_finding, seen.ptr_message) == ("NoPTR", "none")
