"""A slot that is scaled away goes when it is empty and not before; its address rests, and comes back with it."""

import pytest

from e2e.eventually import eventually
from e2e.installation import DEAD_DOMAIN, Installation, lane, network, pool, reflector_secret

pytestmark = pytest.mark.cluster

SENDER = "news@shrinking.example.com"


def test_an_empty_slot_goes_and_one_with_mail_stays(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(network(space), reflector_secret(here.internet, space))
    here.apply(
        pool("pool", space, "203.0.113.130", "203.0.113.131", "203.0.113.132"),
        lane("shrinking", space, replicas=3, drain={"policy": "Wait"}),
    )
    here.wait_ready("shrinking")
    addresses = {one["name"]: one["ip"] for one in here.get("sendinglane", "shrinking")["status"]["slots"]}
    here.send("shrinking-1-0", SENDER, f"user@{DEAD_DOMAIN}", 2)

    here.cluster.kubectl("scale", "sendinglane", "shrinking", "-n", space, "--replicas=1")

    eventually(lambda: not here.is_there("statefulset", "shrinking-2"), "the empty slot is gone", within=60)
    eventually(lambda: here.condition("shrinking", "Draining"), "the lane says that a slot is going")
    assert here.is_there("pod", "shrinking-1-0")
    assert here.get("statefulset", "shrinking-1")["spec"]["replicas"] == 1
    assert "lanewright.dev/queue" in here.get("pvc", "queue-shrinking-1")["metadata"]["finalizers"]

    def released(slot: str) -> bool:
        records = {one["ip"]: one for one in here.get("ippool", "pool")["status"]["addresses"]}
        return bool(records[addresses[slot]].get("releasedAt"))

    eventually(lambda: released("shrinking-2"), "its address rests")
    assert not released("shrinking-1")

    here.cluster.kubectl("scale", "sendinglane", "shrinking", "-n", space, "--replicas=3")

    def again() -> bool:
        slots = here.get("sendinglane", "shrinking")["status"]["slots"]
        return {one["name"]: one["ip"] for one in slots} == addresses

    eventually(again, "the slots have their addresses back", within=60)
    here.wait_ready("shrinking")
