"""A slot whose volume is lost is given up by a person's word about that very claim, and by nothing else."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.conditions import Condition
from lane_api.lane_status import LaneStatus, SlotRole
from lane_api.names import QUEUE_FINALIZER
from lane_operator.desired.stamp import child
from lane_operator.desired.volume_claim import volume_claim
from lane_operator.inputs import Lane, SlotObservation
from lane_operator.lifecycle import ForgetVolume, SlotFacts, acts, without_forgotten
from lane_operator.reconcile.steps import run_steps
from lane_operator.status import next_look
from tests.lane_operator import made
from tests.lane_operator.small_api import small_api
from tests.lane_operator.status.test_lane_status import message, status, verdict
from tests.lane_operator.test_broken_objects import world

DEAD = made.seen(
    1, pod_ready=False, reachable=False, pvc_uid="claim-1", queued=1234, oldest_since="2026-11-23T07:00:00Z"
)
ALIVE = made.seen(1, pvc_uid="claim-1")
GRACE = dt.timedelta(minutes=5)
FORGET = ForgetVolume("otp-1", "claim-1", "set-1")
CLAIMS = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-1"
SETS = "/apis/apps/v1/namespaces/mail/statefulsets/otp-1"


def asked(word: str = "forget-slot/claim-1", **changes: Any) -> Lane:
    return made.lane(annotations={"lanewright.dev/release": word}, **changes)


def slot(**changes: Any) -> SlotFacts:
    facts = SlotFacts("otp-1", SlotRole.ACTIVE, "set-1", volume_uid="claim-1", volume_guarded=True, observation=DEAD)
    return replace(facts, **changes)


def told(*before: SlotObservation, word: str = "forget-slot/claim-1", at: dt.datetime = made.NOW) -> Lane:
    """The lane as its status stands after each of these was seen of otp-1, a second after the other."""
    of = asked(word)
    for second, seen in enumerate(before):
        said = status(of, made.observation(made.seen(0), seen), now=at + dt.timedelta(seconds=second))
        of = replace(of, status=LaneStatus(conditions=said.conditions))
    return of


def decided(of: Lane, facts: SlotFacts, now: dt.datetime = made.NOW + GRACE) -> tuple[Any, ...]:
    return acts(of, [facts], now, terminating=False, may_retain=True)


def test_a_persons_word_about_the_claim_gives_up_workload_and_claim() -> None:
    assert decided(told(DEAD), slot()) == (FORGET,)
    assert decided(told(DEAD), slot(role=SlotRole.DRAINING)) == (FORGET,)


def test_it_is_said_for_five_minutes_before_it_is_done() -> None:
    of = told(DEAD)
    assert verdict(of.status, "VolumeForgotten") == ("True", "SlotAwaited")
    assert "otp-1 does not serve: its volume (claim claim-1) is given up at 2026-11-23T08:05:00Z" in message(
        of.status, "VolumeForgotten"
    )
    assert decided(asked(), slot()) == decided(of, slot(), made.NOW + GRACE - dt.timedelta(seconds=1)) == ()
    assert next_look(of, of.status, made.NOW) == GRACE.total_seconds()
    assert decided(told(DEAD, DEAD, DEAD), slot()) == (FORGET,), "looks do not make it longer"


def test_who_served_once_since_he_was_asked_for_is_not_given_up_at_a_later_restart() -> None:
    for seen in (ALIVE, replace(DEAD, reachable=True)):
        served = told(seen, DEAD, DEAD)
        assert decided(told(seen), slot(), made.NOW + dt.timedelta(days=30)) == ()
        assert decided(served, slot(), made.NOW + dt.timedelta(days=30)) == ()
        assert verdict(served.status, "VolumeForgotten") == ("True", "SlotServes")
        assert "(claim claim-1)" in message(served.status, "VolumeForgotten")
    between = told(DEAD, ALIVE, DEAD)
    assert decided(between, slot(), made.NOW + dt.timedelta(days=30)) == ()


def test_what_an_older_operator_said_of_a_slot_that_serves_counts_too() -> None:
    served = Condition(
        type="VolumeForgotten",
        status="True",
        reason="SlotServes",
        message="otp-1 serves from that volume, so that it is not lost: nothing is done. Take the annotation away",
        observed_generation=3,
        last_transition_time="2026-11-23T07:00:00Z",
    )
    of = asked(status=LaneStatus(conditions=(served,)))
    assert verdict(status(of, made.observation(made.seen(0), DEAD)), "VolumeForgotten") == ("True", "SlotServes")


def test_the_word_set_anew_or_about_another_claim_begins_anew() -> None:
    another = replace(DEAD, pvc_uid="claim-2")
    served = told(replace(ALIVE, pvc_uid="claim-2"), DEAD).status
    anew = status(
        asked("forget-slot/claim-2", status=LaneStatus(conditions=served.conditions)),
        made.observation(made.seen(0), another),
        now=made.NOW + GRACE,
    )
    assert verdict(anew, "VolumeForgotten") == ("True", "SlotAwaited")
    assert "given up at 2026-11-23T08:10:00Z" in message(anew, "VolumeForgotten")
    away = status(made.lane(status=LaneStatus(conditions=anew.conditions)))
    assert verdict(away, "VolumeForgotten") is None


def given_up() -> LaneStatus:
    return status(told(DEAD), made.observation(made.seen(0), DEAD), now=made.NOW + GRACE)


def test_an_act_that_failed_is_tried_again() -> None:
    of = asked(status=LaneStatus(conditions=given_up().conditions))
    assert decided(of, slot(), made.NOW + GRACE) == (FORGET,)


@pytest.mark.parametrize("word", ["", "keep-volumes", "forget-slot", "forget-slot/", "forget-slot/claim-2", "otp-1"])
def test_no_other_word_does(word: str) -> None:
    assert decided(told(DEAD, word=word), slot()) == ()


def test_a_slot_that_serves_or_answers_has_not_lost_its_volume() -> None:
    for seen in (replace(DEAD, pod_ready=True), replace(DEAD, reachable=True)):
        assert decided(told(DEAD), slot(observation=seen)) == ()


def test_the_same_word_does_nothing_to_the_volume_that_comes_after_it() -> None:
    assert decided(told(DEAD), slot(volume_uid="claim-2")) == ()


def test_workload_and_claim_are_not_applied_in_the_pass_that_gives_them_up() -> None:
    of = made.lane()
    claims = [child(of, volume_claim(of, made.claim(at), None), slot=f"otp-{at}", owned=False) for at in (0, 1)]
    assert without_forgotten(claims, (FORGET,)) == (claims[0],)


async def test_exactly_this_claim_goes_and_its_finalizer_with_it() -> None:
    of = asked()
    async with small_api() as (api, kube):
        here = world(kube)
        for kind, path, uid, finalizers in (
            ("StatefulSet", SETS, "set-1", []),
            ("PersistentVolumeClaim", CLAIMS, "claim-1", [QUEUE_FINALIZER]),
        ):
            name = path.rpartition("/")[2]
            metadata = {"namespace": "mail", "name": name, "uid": uid, "finalizers": finalizers}
            here.cache.put(kind, api.put(path, {"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": {}}))
        await run_steps(here, of, {}, (replace(FORGET, uid="another"),))
        assert CLAIMS in api.objects
        await run_steps(here, of, {}, (FORGET,))
        assert not {CLAIMS, SETS} & set(api.objects)
        await here.observer.close()


def test_the_lane_says_what_was_given_up_and_which_command_lists_it() -> None:
    said = given_up()
    assert verdict(said, "VolumeForgotten") == ("True", "GivenUp")
    text = message(said, "VolumeForgotten")
    assert (
        "the volume of otp-1 (claim claim-1) is given up as asked, by its last words with about 1200 messages" in text
    )
    assert "`lane-relay audit unsettled ARCHIVE --slot otp-1` lists" in text

    after = status(asked(status=LaneStatus(conditions=said.conditions)), made.observation())
    assert verdict(after, "VolumeForgotten") == ("True", "GivenUp")
    assert message(after, "VolumeForgotten") == f"{text}; take the annotation lanewright.dev/release away"
    later = status(asked(status=LaneStatus(conditions=after.conditions)), made.observation())
    assert message(later, "VolumeForgotten") == message(after, "VolumeForgotten")


@pytest.mark.parametrize("uid", ["claim-2", "claim-11", "claim", "1"])
def test_that_one_volume_was_given_up_is_not_said_of_another(uid: str) -> None:
    said = given_up()
    another = asked(f"forget-slot/{uid}", status=LaneStatus(conditions=said.conditions))
    assert verdict(status(another, made.observation()), "VolumeForgotten") == ("True", "NoSuchVolume")


def test_the_lane_says_why_nothing_is_given_up() -> None:
    alive = made.observation(made.seen(0), made.seen(1, pvc_uid="claim-1"))
    assert verdict(status(asked(), alive), "VolumeForgotten") == ("True", "SlotServes")
    assert verdict(status(asked()), "VolumeForgotten") == ("True", "NoSuchVolume")
    assert verdict(status(asked("keep-volumes")), "VolumeForgotten") is None
