"""When a key gives way to another: each step, what stops it, and that no order of events breaks a promise."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.domains import DkimSpec
from lane_api.lane_status import KeyPhase
from lane_api.selector import SelectorFinding
from lane_operator.deliverability.dkim import (
    Answers,
    Rotation,
    Step,
    after,
    answers,
    due,
    ends,
    phase,
    read,
    write,
)
from lane_operator.inputs import Observation, SlotObservation
from lane_operator.seen import NextKeySeen

DAY = dt.timedelta(days=1)
MADE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
SPEC = DkimSpec.model_validate({"rotateEvery": "2160h", "propagation": "48h", "retire": "168h"})
NEVER = DkimSpec()
NEXT, ANSWERED = Rotation(other="Next"), Rotation(other="Next", answered=MADE + 90 * DAY)
BEFORE = Rotation(signs=2, since=MADE + 92 * DAY, other="Before")
ALL, NONE, GONE = Answers(signing=True, following=True), Answers(), Answers(signing=True, following=False)
SIGNS = Answers(signing=True)


@pytest.mark.parametrize(
    ("stands", "spec", "told", "days", "step"),
    [
        (Rotation(), NEVER, ALL, 9999, None),
        (Rotation(), SPEC, SIGNS, 89.9, None),
        (Rotation(), SPEC, SIGNS, 90, Step.MAKE),
        (Rotation(signs=2, since=MADE + 50 * DAY), SPEC, SIGNS, 100, None),
        (Rotation(signs=2, since=MADE + 50 * DAY), SPEC, SIGNS, 140, Step.MAKE),
        (Rotation(), SPEC, Answers(signing=False), 999, None),  # mail waits for the key that is to sign
        (Rotation(), SPEC, NONE, 999, None),
        (NEXT, SPEC, SIGNS, 999, None),
        (NEXT, SPEC, GONE, 999, None),
        (NEXT, SPEC, ALL, 90, Step.HEAR),
        (NEXT, NEVER, ALL, 90, Step.DROP),
        (ANSWERED, SPEC, ALL, 91.9, None),
        (ANSWERED, SPEC, ALL, 92, Step.TURN),
        (ANSWERED, SPEC, SIGNS, 92, None),  # a slot has just restarted and has not looked yet
        (ANSWERED, SPEC, NONE, 92, None),
        (ANSWERED, SPEC, GONE, 91, Step.MISS),
        (ANSWERED, SPEC, GONE, 999, Step.MISS),
        (ANSWERED, NEVER, ALL, 999, Step.DROP),
        (BEFORE, SPEC, SIGNS, 98.9, None),
        (BEFORE, SPEC, SIGNS, 99, Step.RETIRE),
        (BEFORE, NEVER, SIGNS, 99, Step.RETIRE),  # the turn is over, and is brought to its end
        (BEFORE, SPEC, NONE, 999, None),
        (BEFORE, SPEC, Answers(signing=False), 999, None),
    ],
)
def test_the_step_that_is_due(stands: Rotation, spec: DkimSpec, told: Answers, days: float, step: Step | None) -> None:
    assert due(stands, spec, MADE, told, MADE + days * DAY) is step


def test_a_lane_that_may_not_begin_ends_what_it_has_begun() -> None:
    late = MADE + 999 * DAY
    assert due(Rotation(), SPEC, MADE, ALL, late, may_begin=False) is None
    assert due(ANSWERED, SPEC, MADE, ALL, late, may_begin=False) is Step.TURN
    assert due(BEFORE, SPEC, MADE, ALL, late, may_begin=False) is Step.RETIRE


def test_a_secret_of_unknown_age_keeps_its_key() -> None:
    assert due(Rotation(), SPEC, None, ALL, MADE + 999 * DAY) is None


@pytest.mark.parametrize(
    ("stands", "expected", "end"),
    [
        (Rotation(), KeyPhase.STABLE, 90),
        (NEXT, KeyPhase.PUBLISHING, None),
        (ANSWERED, KeyPhase.PROPAGATING, 92),
        (BEFORE, KeyPhase.RETIRING, 99),
    ],
)
def test_each_phase_says_when_its_time_is_over(stands: Rotation, expected: KeyPhase, end: float | None) -> None:
    assert phase(stands) is expected
    assert ends(stands, SPEC, MADE) == (None if end is None else MADE + end * DAY)


@pytest.mark.parametrize("stands", [Rotation(), NEXT, ANSWERED, BEFORE, Rotation(retired="lw1", since=MADE, signs=2)])
def test_what_is_written_is_read_back(stands: Rotation) -> None:
    assert read(write(stands)) == stands


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"no json",
        b"[]",
        b"7",
        b"{}",
        b'{"signs": 2, "since": "soon"}',
        b'{"signs": 2, "since": "2026-01-01"}',
        b'{"signs": 2, "since": "9999-12-31T23:59:59Z"}',
        b"[" * 100_000,
    ],
)
def test_what_tells_nothing_is_a_key_that_is_not_rotated(text: bytes) -> None:
    assert read(text) == Rotation()


def slot(**changes: Any) -> SlotObservation:
    """One that signs with lw1 and finds lw2 published."""
    given_ = {
        "reachable": True,
        "domains_published": {"a.test": True},
        "domains_selectors": {"a.test": "lw1"},
        "domains_next": {"a.test": NextKeySeen("lw2", published=True, finding=SelectorFinding.PUBLISHED)},
    }
    return SlotObservation("otp-0", **{**given_, **changes})


def following(finding: SelectorFinding, selector: str = "lw2", *, published: bool = False) -> dict[str, NextKeySeen]:
    return {"a.test": NextKeySeen(selector, published=published, finding=finding)}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ALL),
        ({"domains_next": {}}, SIGNS),  # an older image, or one that has not got the configuration yet
        ({"domains_next": following(SelectorFinding.UNCHECKED)}, SIGNS),
        ({"domains_next": following(SelectorFinding.UNANSWERED)}, SIGNS),
        ({"domains_next": following(SelectorFinding.UNANSWERED, published=True)}, ALL),  # an outage of DNS
        ({"domains_next": following(SelectorFinding.ABSENT)}, GONE),
        ({"domains_next": following(SelectorFinding.OTHER)}, GONE),
        ({"domains_next": following(SelectorFinding.PUBLISHED, "lw0", published=True)}, SIGNS),  # of another key
        ({"domains_next": following(SelectorFinding.ABSENT, "lw0")}, SIGNS),
        ({"domains_selectors": {"a.test": "lw0"}}, Answers(signing=False, following=True)),
        ({"domains_published": {"a.test": False}}, Answers(signing=False, following=True)),
        ({"domains_published": {}}, NONE),  # the operator has just begun, or the slot still reads its spool
        ({"domains_published": {}, "reachable": False, "pod_ready": True}, NONE),
        ({"domains_published": {}, "reachable": False}, ALL),  # it does not run: it asks DNS itself before it signs
        ({"stopped": True, "domains_next": {}}, ALL),
        ({"reachable": False}, ALL),
    ],
)
def test_every_slot_that_says_something_must_say_so(changes: dict[str, Any], expected: Answers) -> None:
    assert answers(Observation((slot(), slot(**changes))), "a.test", "lw1", "lw2") == expected


@pytest.mark.parametrize("seen", [(), (slot(reachable=False),), (slot(stopped=True),), (SlotObservation("otp-0"),)])
def test_nobody_who_answers_says_nothing(seen: tuple[SlotObservation, ...]) -> None:
    assert answers(Observation(seen), "a.test", "lw1", "lw2") == NONE


def test_no_selector_is_answered_by_nobody() -> None:
    assert answers(Observation((slot(domains_next={}),)), "a.test", "lw1", "") == SIGNS


_EVENTS = st.lists(
    st.tuples(
        st.floats(0, 60),
        st.sampled_from([True, False, None]),
        st.sampled_from([True, False, None]),
        st.booleans(),
        st.booleans(),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(_EVENTS)
def test_whatever_happens_a_key_signs_only_once_answered_and_goes_only_once_another_signs(events: list[Any]) -> None:
    """The keys as receivers see them, through any order of answers, changes of the spec, and restarts."""
    stands, now, keys, made = Rotation(), MADE, {1: "key-1"}, 1
    answered: dict[str, dt.datetime] = {}
    for days, signing, follows, rotates, restarts in events:
        now += days * DAY
        stands = read(write(stands)) if restarts else stands
        spec = SPEC if rotates else NEVER
        step = due(stands, spec, MADE, Answers(signing=signing, following=follows), now)
        turned = after(stands, step, now, keys.get(stands.spare, "")) if step is not None else stands
        match step:
            case Step.MAKE:
                assert stands.spare not in keys
                made += 1
                keys[stands.spare] = f"key-{made}"
            case Step.HEAR:
                answered[keys[stands.spare]] = now
            case Step.MISS:
                del answered[keys[stands.spare]]
            case Step.TURN:
                assert follows
                assert now - answered[keys[turned.signs]] >= 2 * DAY
            case Step.RETIRE | Step.DROP:
                assert step is Step.DROP or (signing and stands.since is not None and now - stands.since >= 7 * DAY)
                assert turned.retired == keys.pop(stands.spare)
            case None:
                pass
        stands = turned
        assert stands.signs in keys
        assert (stands.spare in keys) == bool(stands.other)
