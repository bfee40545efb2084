"""When a status is written, and what is worth an Event."""

from typing import Any

import pytest

from lane_operator.reconcile.events import is_alarming, transitions
from lane_operator.reconcile.status_writer import only_figures_differ


def status(queued: int = 0, ready: str = "True", reason: str = "AllSlotsVerified", **more: Any) -> dict[str, Any]:
    condition = {"type": "Ready", "status": ready, "reason": reason, "message": ""}
    return {"queued": queued, "slots": [{"name": "otp-0", "queued": queued}], "conditions": [condition], **more}


def test_counts_and_ages_alone_are_figures() -> None:
    assert only_figures_differ(status(1), status(2, oldestSince="2026-11-23T10:00:00Z"))


def test_a_condition_is_no_figure() -> None:
    assert not only_figures_differ(status(1), status(2, ready="False"))
    assert not only_figures_differ(status(), status(observedGeneration=2))


def test_a_slots_readiness_is_no_figure() -> None:
    after = status()
    after["slots"][0]["ready"] = False

    assert not only_figures_differ(status(), after)


def test_a_changed_status_or_reason_is_an_event_and_a_changed_message_is_none() -> None:
    before, after = status(), status()
    after["conditions"][0]["message"] = "2 of 2 slots serve"

    assert transitions(before, after) == ()
    assert len(transitions(before, status(ready="False"))) == 1
    assert len(transitions(before, status(reason="Suspended"))) == 1


@pytest.mark.parametrize(
    ("kind", "status_", "reason", "alarming"),
    [
        ("Ready", "False", "Degraded", True),
        ("Ready", "False", "NewGeneration", False),
        ("Ready", "False", "Draining", False),
        ("ConfigInForce", "False", "Pushing", False),
        ("ConfigInForce", "False", "Refused", True),
        ("EgressVerified", "False", "Mismatch", True),
        ("Ready", "True", "AllSlotsVerified", False),
    ],
)
def test_what_every_change_goes_through_is_no_warning(kind: str, status_: str, reason: str, alarming: bool) -> None:
    assert is_alarming({"type": kind, "status": status_, "reason": reason}) is alarming


def test_a_new_condition_is_an_event() -> None:
    assert len(transitions({}, status())) == 1


def test_a_message_that_counts_down_under_the_same_reason_is_a_figure() -> None:
    def draining(left: int) -> dict[str, Any]:
        reason = "DrainDeadlineExceeded"
        stalled = {"type": "Stalled", "status": "True", "reason": reason, "message": f"about {left} messages left"}
        return {"conditions": [stalled]}

    assert only_figures_differ(draining(48_000), draining(47_000))
