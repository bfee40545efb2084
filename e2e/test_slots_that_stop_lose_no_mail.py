"""Scale-in and delete under each drain policy: every message that was taken in arrives, once."""

from contextlib import suppress

import pytest

from e2e import figures
from e2e.accounting import figure
from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, Manifest, lane, pool

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

SENDER = "news@stopping.example.com"
RECIPIENT = f"user@{LIVE_DOMAIN}"
EACH = 10


def _lane(here: Installation, policy: str, replicas: int, *, suspend: bool) -> Manifest:
    return lane("stopping", here.namespace, replicas=replicas, suspend=suspend, drain={"policy": policy})


def _arrived(here: Installation) -> list[str]:
    return [one.message_id for one in here.received(SENDER)]


def _stopped_with_mail(here: Installation, slot: str) -> bool:
    finalizers = here.get("pvc", f"queue-{slot}")["metadata"].get("finalizers", ())
    return not here.is_there("pod", f"{slot}-0") and "lanewright.dev/queue" in finalizers


def _nothing_queued(here: Installation) -> bool:
    return int(here.get("sendinglane", "stopping")["status"].get("queued", 0)) == 0


def _reasons(here: Installation) -> set[str]:
    """Of the Events that were posted of the namespace's lanes."""
    return {one["reason"] for one in here.cluster.get("events.events.k8s.io", "-n", here.namespace)["items"]}


@pytest.mark.long("e2e/test_scale_in_drains_first.py", "tests/lane_operator/test_drain.py")
def test_mail_outlives_held_and_drained_slots_and_the_lane_itself(installation: Installation) -> None:
    here = installation
    already = set(_arrived(here))
    here.apply(pool("pool", here.namespace), _lane(here, "Hold", 2, suspend=True))
    here.wait_ready("stopping")
    for slot in (0, 1):
        here.send(f"stopping-{slot}-0", SENDER, RECIPIENT, EACH)

    # Hold: a slot that is scaled away, then the whole lane, stops with its mail
    here.apply(_lane(here, "Hold", 1, suspend=True))
    eventually(lambda: _stopped_with_mail(here, "stopping-1"), "the slot stopped and kept its mail")
    eventually(lambda: "SlotHeld" in _reasons(here), "an Event says so")
    here.cluster.kubectl("delete", "sendinglane", "stopping", "-n", here.namespace, "--wait=false")
    eventually(lambda: not here.is_there("sendinglane", "stopping"), "the lane is gone")
    eventually(lambda: all(_stopped_with_mail(here, f"stopping-{slot}") for slot in (0, 1)), "both keep their mail")
    assert set(_arrived(here)) == already

    here.apply(_lane(here, "Wait", 2, suspend=False))
    here.wait_ready("stopping")
    _await_arrivals(here, already, 2 * EACH)

    # Wait: a slot that is scaled away sends what it has, then goes
    here.send("stopping-1-0", SENDER, RECIPIENT, EACH)
    here.apply(_lane(here, "Wait", 1, suspend=False))
    eventually(lambda: not here.is_there("statefulset", "stopping-1"), "the slot is gone", within=90)

    _await_arrivals(here, already, 3 * EACH)

    # Transfer: a slot that is scaled away gives what it has to the one that stays, and goes
    here.apply(_lane(here, "Transfer", 2, suspend=True))
    here.wait_ready("stopping")
    here.send("stopping-1-0", SENDER, RECIPIENT, EACH)
    here.apply(_lane(here, "Transfer", 1, suspend=False))
    eventually(lambda: not here.is_there("statefulset", "stopping-1"), "the slot is gone", within=90)

    eventually(lambda: "SlotDrained" in _reasons(here), "an Event says that it was empty")
    _await_arrivals(here, already, 4 * EACH)
    assert figure(here.cluster, here.get("pod", "stopping-0-0"), "lane_relay_handover_taken_total") == EACH
    arrived = [one for one in _arrived(here) if one not in already]
    lost = 4 * EACH - len(set(arrived))
    figures.record("e2e", "drain_lost", lost, "messages", 0.0, "lower", "make e2e")
    figures.record("e2e", "drain_messages", 4 * EACH, "messages", None, "higher", "make e2e")
    assert lost == 0
    assert len(arrived) == len(set(arrived)), "none twice"

    seeded = _lost_when_a_volume_is_thrown_away(here)
    figures.record("e2e", "drain_lost_seeded", seeded, "messages", 1.0, "higher", "make e2e")
    assert seeded == EACH, "what is lost would be seen"


def _await_arrivals(here: Installation, already: set[str], count: int) -> None:
    """Gives so many messages their time; whether they came is counted, and recorded, in the end."""
    with suppress(AssertionError):
        eventually(lambda: len(set(_arrived(here)) - already) == count, "the mail has arrived")


def _lost_when_a_volume_is_thrown_away(here: Installation) -> int:
    """The seeded fault: a held slot's volume goes by hand, finalizer and all; counted as above."""
    already = set(_arrived(here))
    here.apply(_lane(here, "Hold", 1, suspend=True))
    eventually(lambda: here.condition("stopping", "Suspended"), "delivery is stopped")
    eventually(lambda: here.condition("stopping", "ConfigInForce")["status"] == "True", "in every slot")
    here.send("stopping-0-0", SENDER, RECIPIENT, EACH)
    here.apply(_lane(here, "Hold", 0, suspend=True))
    eventually(lambda: _stopped_with_mail(here, "stopping-0"), "the slot stopped and kept its mail")
    claim = here.get("pvc", "queue-stopping-0")["metadata"]["uid"]
    here.cluster.kubectl("delete", "pvc", "queue-stopping-0", "-n", here.namespace, "--wait=false")
    here.cluster.kubectl(
        "patch",
        "pvc",
        "queue-stopping-0",
        "-n",
        here.namespace,
        "--type=merge",
        "-p",
        '{"metadata":{"finalizers":null}}',
    )
    eventually(
        lambda: (
            not here.is_there("pvc", "queue-stopping-0")
            or here.get("pvc", "queue-stopping-0")["metadata"]["uid"] != claim
        ),
        "the volume is gone",
    )
    here.apply(_lane(here, "Wait", 1, suspend=False))
    here.wait_ready("stopping")
    eventually(lambda: _nothing_queued(here), "nothing waits any more")
    return EACH - len(set(_arrived(here)) - already)
