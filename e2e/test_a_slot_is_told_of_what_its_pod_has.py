"""A pool's network and a lane's resolver change together: slots restart one after the other, each told of what it has.

Before a slot's pod ends, its configuration names nothing that only the next pod has; when all have restarted, each has
the new network on its interface, the old ones are gone, and mail leaves from the same address as before.
"""

import base64

import pytest
import yaml

from e2e.eventually import eventually
from e2e.installation import LIVE_DOMAIN, Installation, Manifest, lane, network, pool, reflector_secret
from lane_api.packing import unpacked

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ADDRESSES = ("203.0.113.71", "203.0.113.72")
SLOTS = ("follows-0", "follows-1")
SENDER = "news@follows.example.com"
BEFORE, SIDECAR = ["198.51.100.2"], ["127.0.0.1:5353"]
_PREFIX = """
import fcntl, ipaddress, socket, struct
asked = fcntl.ioctl(socket.socket(), 0x891B, struct.pack("256s", b"net1"))  # SIOCGIFNETMASK
print(ipaddress.ip_network("0.0.0.0/" + socket.inet_ntoa(asked[20:24])).prefixlen)
"""


def _resolvers(here: Installation, slot: str) -> list[str]:
    data = here.get("secret", f"{slot}-config")["data"]["relay.yaml.gz"]
    config: Manifest = yaml.safe_load(unpacked(base64.b64decode(data)))
    return list(config["delivery"].get("resolvers", []))


def _pods(here: Installation) -> dict[str, Manifest]:
    chosen = ("-n", here.namespace, "-l", "lanewright.dev/lane=follows")
    return {one["metadata"]["labels"]["lanewright.dev/slot"]: one for one in here.cluster.get("pods", *chosen)["items"]}


def _prefix(here: Installation, slot: str) -> int:
    asked = ("exec", f"{slot}-0", "-n", here.namespace, "-c", "relay", "--", "python3", "-c", _PREFIX)
    return int(here.cluster.kubectl(*asked))


def _networks(here: Installation) -> set[str]:
    found = here.cluster.get("network-attachment-definitions.k8s.cni.cncf.io", "-n", here.namespace)["items"]
    return {one["metadata"]["name"] for one in found} - {"public"}


def _asked(pod: Manifest) -> str:
    return str(pod["metadata"]["annotations"]["k8s.v1.cni.cncf.io/networks"])


@pytest.mark.long("tests/lane_operator/desired/test_carried.py", "tests/lane_operator/desired/test_networks.py")
def test_what_needs_another_pod_is_told_with_that_pod(installation: Installation) -> None:
    here = installation
    narrow = {"network": f"{here.namespace}/public", "prefixLength": 25, "gateway": "203.0.113.1"}
    here.apply(network(here.namespace), reflector_secret(here.internet, here.namespace))
    given = lane("follows", here.namespace, replicas=2)
    here.apply(pool("pool", here.namespace, *ADDRESSES), given)
    here.wait_ready("follows")
    before = _pods(here)
    assert {_prefix(here, slot) for slot in SLOTS} == {24}

    here.apply(
        pool("pool", here.namespace, *ADDRESSES, engineConfig=narrow),
        lane(
            "follows",
            here.namespace,
            replicas=2,
            resolver={"mode": "Sidecar", "forwardTo": BEFORE},
            submission=given["spec"]["submission"] | {"maxRecipients": 7},
        ),
    )
    told_at_once: set[str] = set()

    def watch() -> bool:
        for slot in SLOTS:
            secret = here.get("secret", f"{slot}-config")["data"]["relay.yaml.gz"]
            config: Manifest = yaml.safe_load(unpacked(base64.b64decode(secret)))
            pod = _pods(here).get(slot)  # looked at later than its configuration: what that names it has, or it ends
            is_old = pod is not None and pod["metadata"]["uid"] == before[slot]["metadata"]["uid"]
            if is_old and pod is not None and "deletionTimestamp" not in pod["metadata"]:
                if config["delivery"].get("resolvers") != BEFORE:
                    pytest.fail(f"{slot} is told of a resolver that its pod does not have")
                if config["intake"].get("maxRecipients") == 7:
                    told_at_once.add(slot)
        return all(_is_new(here, before, slot) for slot in SLOTS)

    eventually(watch, "both slots have restarted", within=240)
    here.wait_ready("follows", within=180)
    assert told_at_once, "the rest of the change does not wait for the turn of the slot that restarts last"
    assert {_prefix(here, slot) for slot in SLOTS} == {25}
    assert [_resolvers(here, slot) for slot in SLOTS] == [SIDECAR, SIDECAR]
    asked = {_asked(pod) for pod in _pods(here).values()}
    assert not asked & {_asked(pod) for pod in before.values()}
    eventually(lambda: _networks(here) == asked, "the networks before are gone")

    for slot in SLOTS:
        here.send(f"{slot}-0", SENDER, f"user@{LIVE_DOMAIN}", 3)
    eventually(lambda: len(here.received(SENDER)) == 6, "its mail arrives")
    assert {one.source_ip for one in here.received(SENDER)} <= set(ADDRESSES)


def _is_new(here: Installation, before: dict[str, Manifest], slot: str) -> bool:
    pod = _pods(here).get(slot)
    return pod is not None and pod["metadata"]["uid"] != before[slot]["metadata"]["uid"]
