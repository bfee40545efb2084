"""A lane that is deleted with mail queued for a dead ISP keeps it: held back, released on purpose, adopted again."""

import pytest

from e2e.eventually import eventually
from e2e.installation import (
    DEAD_DOMAIN,
    LIVE_DOMAIN,
    Installation,
    Stock,
    lane,
    network,
    pool,
    reflector_secret,
    serve,
)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

QUEUED = 3
SENDER = "news@parting.example.com"
ADDRESSES = ("203.0.113.120", "203.0.113.121")


def _lane(here: Installation) -> dict[str, object]:
    return lane("parting", here.namespace, drain={"policy": "Wait", "deadline": "5s"})


def _begin(here: Installation) -> None:
    """A lane with its own address, and mail for an ISP that does not answer."""
    here.apply(network(here.namespace), reflector_secret(here.internet, here.namespace))
    here.apply(pool("pool", here.namespace, *ADDRESSES), _lane(here))
    here.wait_ready("parting")
    here.send("parting-0-0", SENDER, f"user@{DEAD_DOMAIN}", QUEUED)


def _slot(here: Installation) -> dict[str, object]:
    return dict(here.get("sendinglane", "parting")["status"]["slots"][0])


def _sends_from(here: Installation) -> set[str]:
    """Sends one message to an ISP that lives; the addresses that it has seen this sender at."""
    before = len(here.received(SENDER))
    here.send("parting-0-0", SENDER, f"user@{LIVE_DOMAIN}", 1)
    eventually(lambda: len(here.received(SENDER)) > before, "the message is at its ISP")
    return {one.source_ip for one in here.received(SENDER)[before:]}


def _stalled_with_count(here: Installation) -> None:
    def stalled() -> bool:
        said = here.condition("parting", "Stalled")
        return said.get("reason") == "DrainDeadlineExceeded" and f"about {QUEUED} messages" in said["message"]

    eventually(stalled, "the lane says that its deadline has passed, and what is left", within=60)


def test_a_deleted_lane_waits_is_released_and_adopted_with_volume_and_address(installation: Installation) -> None:
    here = installation
    _begin(here)
    claim, address = here.get("pvc", "queue-parting-0"), _slot(here)["ip"]

    here.cluster.kubectl("delete", "sendinglane", "parting", "-n", here.namespace, "--wait=false")
    _stalled_with_count(here)
    assert "oldest since" in here.condition("parting", "Stalled")["message"]
    assert here.is_there("pod", "parting-0-0")

    here.cluster.kubectl(
        "annotate", "sendinglane", "parting", "-n", here.namespace, "lanewright.dev/release=keep-volumes"
    )
    eventually(lambda: not here.is_there("sendinglane", "parting"), "the lane is gone")
    eventually(lambda: not here.is_there("pod", "parting-0-0"), "its pod is gone", within=90)
    kept = here.get("pvc", "queue-parting-0")
    assert kept["metadata"]["uid"] == claim["metadata"]["uid"]
    assert "lanewright.dev/queue" in kept["metadata"]["finalizers"]

    here.apply(lane("stranger", here.namespace, replicas=1))
    eventually(lambda: here.get("sendinglane", "stranger")["status"]["slots"][0]["ip"], "another lane has an address")
    assert here.get("sendinglane", "stranger")["status"]["slots"][0]["ip"] != address

    here.apply(_lane(here))
    here.wait_ready("parting")
    assert here.get("pvc", "queue-parting-0")["metadata"]["uid"] == claim["metadata"]["uid"]
    assert _slot(here)["ip"] == address
    eventually(lambda: here.get("sendinglane", "parting")["status"]["queued"] == QUEUED, "the mail is there", within=60)
    assert _sends_from(here) == {address}


def test_an_empty_lane_goes_by_itself_and_its_address_rests(installation: Installation) -> None:
    here = installation
    here.apply(network(here.namespace), reflector_secret(here.internet, here.namespace))
    here.apply(pool("pool", here.namespace, *ADDRESSES), _lane(here))
    here.wait_ready("parting")
    address = _slot(here)["ip"]

    here.cluster.kubectl("delete", "sendinglane", "parting", "-n", here.namespace, "--wait=false")

    eventually(lambda: not here.is_there("sendinglane", "parting"), "the lane is gone", within=120)
    left = here.get("pvc", "queue-parting-0")  # reclaimPolicy Retain
    assert "lanewright.dev/queue" not in left["metadata"].get("finalizers", ())

    def rests() -> bool:
        records = here.get("ippool", "pool")["status"]["addresses"]
        return any(one["ip"] == address and one.get("releasedAt") for one in records)

    eventually(rests, "the address rests")


def test_foreground_deletion_loses_no_mail_either(installation: Installation) -> None:
    here = installation
    _begin(here)
    claim = here.get("pvc", "queue-parting-0")

    here.cluster.kubectl(
        "delete", "sendinglane", "parting", "-n", here.namespace, "--wait=false", "--cascade=foreground"
    )

    _stalled_with_count(here)
    eventually(lambda: here.is_there("pod", "parting-0-0"), "the slot was made again to finish its queue")
    assert here.get("pvc", "queue-parting-0")["metadata"]["uid"] == claim["metadata"]["uid"]


def test_a_deleted_namespace_gives_its_volume_and_address_to_the_lane_that_is_made_again(
    installation: Installation, images: dict[str, str], stock: Stock
) -> None:
    here = installation
    # the pool stands elsewhere, as a platform team's does, and outlives the namespace
    pools = stock.take()
    pooled = {**pool("pool", pools, *ADDRESSES)}
    pooled["spec"]["allowedNamespaces"] = {"names": [here.namespace]}
    mine = lane("parting", here.namespace, poolRef={"name": "pool", "namespace": pools}, drain={"deadline": "5s"})
    here.apply(network(pools), reflector_secret(here.internet, pools), pooled, mine)
    here.wait_ready("parting")
    here.send("parting-0-0", SENDER, f"user@{DEAD_DOMAIN}", QUEUED)
    eventually(lambda: here.get("sendinglane", "parting")["status"]["queued"] == QUEUED, "the mail is seen", within=60)
    volume, address = here.get("pvc", "queue-parting-0")["spec"]["volumeName"], _slot(here)["ip"]

    here.cluster.kubectl("delete", "namespace", here.namespace, "--wait=false")
    _stalled_with_count(here)
    here.cluster.kubectl(
        "annotate", "sendinglane", "parting", "-n", here.namespace, "lanewright.dev/release=keep-volumes"
    )
    eventually(
        lambda: not here.cluster.kubectl("get", "namespace", here.namespace, "--ignore-not-found").strip(),
        "the namespace is gone",
        within=120,
    )

    serve(here.cluster, images, here.namespace)
    here.apply(mine)
    here.wait_ready("parting")
    assert here.get("pvc", "queue-parting-0")["spec"]["volumeName"] == volume
    assert _slot(here)["ip"] == address
    eventually(lambda: here.get("sendinglane", "parting")["status"]["queued"] == QUEUED, "the mail is there", within=60)
    assert _sends_from(here) == {address}
    here.cluster.kubectl("delete", "namespace", pools, "--wait=false")
