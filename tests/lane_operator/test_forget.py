"""A slot whose volume is lost is given up by a person's word about that very claim, and by nothing else."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import LaneStatus, SlotRole
from lane_api.names import QUEUE_FINALIZER
from lane_operator.desired.stamp import child
from lane_operator.desired.volume_claim import volume_claim
from lane_operator.inputs import Lane
from lane_operator.lifecycle import ForgetVolume, SlotFacts, acts, without_forgotten
from lane_operator.reconcile.steps import run_steps
from tests.lane_operator import made
from tests.lane_operator.small_api import small_api
from tests.lane_operator.status.test_lane_status import message, status, verdict
from tests.lane_operator.test_broken_objects import world

DEAD = made.seen(
    1, pod_ready=False, reachable=False, pvc_uid="claim-1", queued=1234, oldest_since="2026-11-23T07:00:00Z"
)
FORGET = ForgetVolume("otp-1", "claim-1", "set-1")
CLAIMS = "/api/v1/namespaces/mail/persistentvolumeclaims/queue-otp-1"
SETS = "/apis/apps/v1/namespaces/mail/statefulsets/otp-1"


def asked(word: str = "forget-slot/claim-1", **changes: Any) -> Lane:
    return made.lane(annotations={"lanewright.dev/release": word}, **changes)


def slot(**changes: Any) -> SlotFacts:
    facts = SlotFacts("otp-1", SlotRole.ACTIVE, "set-1", volume_uid="claim-1", volume_guarded=True, observation=DEAD)
    return replace(facts, **changes)


def decided(of: Lane, facts: SlotFacts) -> tuple[Any, ...]:
    return acts(of, [facts], terminating=False, may_retain=True)


def test_a_persons_word_about_the_claim_gives_up_workload_and_claim() -> None:
    assert decided(asked(), slot()) == (FORGET,)
    assert decided(asked(), slot(role=SlotRole.DRAINING)) == (FORGET,)


@pytest.mark.parametrize("word", ["", "keep-volumes", "forget-slot", "forget-slot/", "forget-slot/claim-2", "otp-1"])
def test_no_other_word_does(word: str) -> None:
    assert decided(asked(word), slot()) == ()


def test_a_slot_that_serves_or_answers_has_not_lost_its_volume() -> None:
    for seen in (replace(DEAD, pod_ready=True), replace(DEAD, reachable=True)):
        assert decided(asked(), slot(observation=seen)) == ()


def test_the_same_word_does_nothing_to_the_volume_that_comes_after_it() -> None:
    assert decided(asked(), slot(volume_uid="claim-2")) == ()


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
    said = status(asked(), made.observation(made.seen(0), DEAD))
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
    said = status(asked(), made.observation(made.seen(0), DEAD))
    another = asked(f"forget-slot/{uid}", status=LaneStatus(conditions=said.conditions))
    assert verdict(status(another, made.observation()), "VolumeForgotten") == ("True", "NoSuchVolume")


def test_the_lane_says_why_nothing_is_given_up() -> None:
    alive = made.observation(made.seen(0), made.seen(1, pvc_uid="claim-1"))
    assert verdict(status(asked(), alive), "VolumeForgotten") == ("True", "SlotServes")
    assert verdict(status(asked()), "VolumeForgotten") == ("True", "NoSuchVolume")
    assert verdict(status(asked("keep-volumes")), "VolumeForgotten") is None
