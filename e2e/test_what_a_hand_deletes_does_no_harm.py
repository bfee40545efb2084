"""Orphaned children, a deleted definition, a wiped record, a volume deleted under its slot: mail and addresses stay."""

import json

import pytest

from e2e.eventually import eventually
from e2e.installation import (
    DEAD_DOMAIN,
    LIVE_DOMAIN,
    Installation,
    Manifest,
    lane,
    network,
    pool,
    reflector_secret,
)
from e2e.internet.internet import CHECKOUT

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

CRDS = CHECKOUT / "crds"
DEFINITION = "sendinglanes.lanewright.dev"
QUEUED = 2


def _applied(here: Installation, manifest: Manifest) -> bool:
    here.apply(manifest)  # raises while the API server still has the definition of before
    return True


def _queued(here: Installation, name: str) -> int:
    return int(here.get("sendinglane", name)["status"].get("queued", 0))


@pytest.mark.long("tests/lane_operator/test_drain.py")
def test_orphaning_a_lane_or_deleting_its_definition_keeps_its_mail(installation: Installation) -> None:
    here, space = installation, installation.namespace
    mine, sender = lane("kept", space, drain={"deadline": "5s"}), "news@kept.example.com"
    here.apply(pool("pool", space), mine)
    here.wait_ready("kept")
    here.send("kept-0-0", sender, f"user@{DEAD_DOMAIN}", QUEUED)
    eventually(lambda: _queued(here, "kept") == QUEUED, "the mail is seen", within=60)
    claim = here.get("pvc", "queue-kept-0")["metadata"]["uid"]

    def waits_and_is_released() -> None:
        eventually(
            lambda: here.condition("kept", "Stalled").get("reason") == "DrainDeadlineExceeded",
            "the lane says what is left",
        )
        assert here.is_there("pod", "kept-0-0")
        here.cluster.kubectl("annotate", "sendinglane", "kept", "-n", space, "lanewright.dev/release=keep-volumes")

    here.cluster.kubectl("delete", "sendinglane", "kept", "-n", space, "--cascade=orphan", "--wait=false")
    waits_and_is_released()
    eventually(lambda: not here.is_there("sendinglane", "kept"), "the lane is gone")
    for kind, name in (
        ("statefulset", "kept-0"),
        ("service", "kept"),
        ("secret", "kept-ca"),
        ("configmap", "kept-dashboard"),
    ):
        eventually(lambda k=kind, n=name: not here.is_there(k, n), f"{kind} {name} is gone, owner or none")  # type: ignore[misc]  # defaults bind the loop's values
    assert here.is_there("secret", "kept-users")
    assert here.get("pvc", "queue-kept-0")["metadata"]["uid"] == claim

    here.apply(mine)
    here.wait_ready("kept")
    eventually(lambda: _queued(here, "kept") == QUEUED, "the mail is there", within=60)

    here.cluster.kubectl("delete", "crd", DEFINITION, "--wait=false")
    waits_and_is_released()
    eventually(lambda: not here.cluster.get("crd", DEFINITION, "--ignore-not-found"), "it is gone")
    here.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRDS / f"{DEFINITION}.yaml"))
    here.cluster.kubectl("wait", "--for=condition=Established", f"crd/{DEFINITION}", "--timeout=90s")

    eventually(lambda: _applied(here, mine), "a lane can be made again", within=30)
    here.wait_ready("kept")
    assert here.get("pvc", "queue-kept-0")["metadata"]["uid"] == claim
    eventually(lambda: _queued(here, "kept") == QUEUED, "the mail is there", within=60)


def test_a_pools_lost_record_is_read_back_from_its_slots(installation: Installation) -> None:
    here, space = installation, installation.namespace
    addresses = [f"203.0.113.{last}" for last in (140, 141, 142)]
    here.apply(network(space), reflector_secret(here.internet, space), pool("pool", space, *addresses))
    here.apply(lane("late", space))
    here.wait_ready("late")
    here.apply(lane("early", space))  # first by name, second by address
    here.wait_ready("early")
    held, pods = (
        _holders(here),
        {name: here.get("pod", f"{name}-0")["metadata"]["uid"] for name in ("late-0", "early-0")},
    )
    assert len(held) == 2

    wipe = json.dumps([{"op": "remove", "path": "/status"}])
    here.cluster.kubectl("patch", "ippool", "pool", "-n", space, "--subresource=status", "--type=json", "-p", wipe)
    here.apply(lane("aardvark", space))  # would be served first

    eventually(lambda: "aardvark-0" in _holders(here), "the newcomer has an address")
    now = _holders(here)
    assert {slot: ip for slot, ip in now.items() if slot in held} == held
    assert len(set(now.values())) == 3
    assert {name: here.get("pod", f"{name}-0")["metadata"]["uid"] for name in pods} == pods


def _holders(here: Installation) -> dict[str, str]:
    records = here.get("ippool", "pool").get("status", {}).get("addresses", ())
    return {one["slot"]: one["ip"] for one in records if one.get("lane") and not one.get("releasedAt")}


def test_a_volume_deleted_under_its_slot_is_a_condition_whose_fix_works(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("bereft", space))
    here.wait_ready("bereft")
    claim, sender = here.get("pvc", "queue-bereft-0")["metadata"]["uid"], "news@bereft.example.com"

    here.cluster.kubectl("delete", "pvc", "queue-bereft-0", "-n", space, "--wait=false")

    stalled = eventually(lambda: here.condition("bereft", "Stalled"), "the lane says so")
    assert stalled["reason"] == "VolumeDeleted"
    assert "Set replicas to 0" in stalled["message"]
    before = len(here.received(sender))
    here.send("bereft-0-0", sender, f"user@{LIVE_DOMAIN}", 1)  # it serves on
    for replicas in (0, 1):
        here.apply(lane("bereft", space, replicas=replicas))
        if not replicas:
            eventually(lambda: not here.is_there("statefulset", "bereft-0"), "the slot drained and went", within=90)
            assert len(here.received(sender)) == before + 1
    here.wait_ready("bereft")
    assert here.get("pvc", "queue-bereft-0")["metadata"]["uid"] != claim


def test_a_pool_that_became_unreadable_stops_only_changes_of_its_own_lanes(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), pool("other", space), lane("hit", space), lane("unhurt", space, pool="other"))
    here.wait_ready("hit", "unhurt")
    pod, started = here.get("pod", "hit-0-0")["metadata"]["uid"], here.operator_restarts()

    # a definition newer than the operator: the API server takes what the operator does not know
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/classes/items/enum/-"
    newer = json.dumps([{"op": "add", "path": path, "value": "Urgent"}])
    here.cluster.kubectl("patch", "crd", "ippools.lanewright.dev", "--type=json", "-p", newer)
    try:
        broken: Manifest = pool("pool", space, classes=["Urgent", "Bulk"])
        eventually(lambda: _applied(here, broken), "the API server takes the newer pool", within=30)

        eventually(lambda: here.condition("hit", "Reconciling").get("reason") == "WaitingForPool", "its lane waits")
        said = {one["type"]: one for one in here.get("ippool", "pool")["status"]["conditions"]}
        assert said["Stalled"]["reason"] == "InvalidSpec"
        assert "classes" in said["Stalled"]["message"]
        here.apply(lane("unhurt", space, pool="other", limits={"connectionsPerIP": 3}))
        generation = here.get("sendinglane", "unhurt")["metadata"]["generation"]
        eventually(
            lambda: (
                here.condition("unhurt", "ConfigInForce").get("observedGeneration") == generation
                and here.condition("unhurt", "ConfigInForce")["status"] == "True"
            ),
            "another pool's lane goes on",
        )
        assert here.get("pod", "hit-0-0")["metadata"]["uid"] == pod
    finally:
        here.apply(pool("pool", space))
        crd = str(CRDS / "ippools.lanewright.dev.yaml")
        here.cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", crd)
    here.wait_ready("hit", "unhurt")
    assert here.operator_restarts() == started
