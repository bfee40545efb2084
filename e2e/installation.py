"""The operator as users install it, in the tests' cluster with the tests' internet; and the words in which tests ask.

Invariant: one release, `lanewright`, whatever test comes first; a test has namespaces of its own, served beside those
of the others. Before: `e2e.cluster`, `e2e.internet`. After: `conftest`, which gives its fixtures to every test.
"""

import asyncio
import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import yaml

from e2e.accounting import unaccounted
from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.internet import addresses
from e2e.internet.__main__ import ground_of
from e2e.internet.internet import Internet, Weights, default_policy
from e2e.internet.lane_records import unpublished
from e2e.internet.records import Message, Record
from e2e.release import OPERATOR_NAMESPACE, RELEASE, image_values, upgrade
from e2e.secrecy import shown_secrets

OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}"
RESYNC_S = 10  # two in every window in which writes are counted
RECHECK_S = 2  # tests read a lane's counts, and make what was missing
DEAD_DOMAIN = "dead.example"
LIVE_DOMAIN = "gmail-like.example"
Manifest = dict[str, Any]

_STOCK = 24
_SERVED = "lanewright-tests/served"

_SEND = """
import smtplib, socket, sys, uuid
sender, recipient, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with smtplib.SMTP(socket.gethostbyname(socket.gethostname()), 5587, timeout=20) as smtp:
    for number in range(count):
        head = f"From: {sender}\\r\\nTo: {recipient}\\r\\nMessage-ID: <{uuid.uuid4()}@test>\\r\\n"
        date = "Date: Mon, 23 Nov 2026 08:00:00 +0000\\r\\n"
        smtp.sendmail(sender, [recipient], f"{head}{date}Subject: {number}\\r\\n\\r\\nhello\\r\\n")
"""


class Installation:
    """The installed operator and the lanes of one test."""

    def __init__(self, cluster: Cluster, internet: Internet, namespace: str) -> None:
        self.cluster = cluster
        self.internet = internet
        self.namespace = namespace

    def apply(self, *objects: Manifest) -> None:
        """`kubectl apply`."""
        self.cluster.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(objects)
        )

    def get(self, kind: str, name: str, namespace: str | None = None) -> Manifest:
        """One object; raises ClusterError where there is none."""
        return dict(self.cluster.get(kind, name, "-n", namespace or self.namespace))

    def is_there(self, kind: str, name: str, namespace: str | None = None) -> bool:
        """Whether there is such an object."""
        return bool(self.cluster.get(kind, name, "-n", namespace or self.namespace, "--ignore-not-found"))

    def condition(self, lane: str, kind: str, namespace: str | None = None) -> Manifest:
        """A condition of a lane; empty while it is absent."""
        found = self.get("sendinglane", lane, namespace).get("status", {}).get("conditions", ())
        return next((dict(one) for one in found if one["type"] == kind), {})

    def told(self, lane: str) -> list[str]:
        """The notes of the lane's Warnings."""
        return [
            f"{one.get('eventTime')}: {one.get('note')}"
            for one in self.cluster.get("events.events.k8s.io", "-n", self.namespace)["items"]
            if (one["regarding"]["name"], one["type"]) == (lane, "Warning")
        ]

    def wait_ready(self, *lanes: str, within: float = 120.0) -> None:
        """Returns when the lanes are Ready; publishes what they ask to have in DNS."""
        waiting = set(lanes)

        def look() -> bool:
            for name in sorted(waiting):  # each is asked, so that the records of all are published at once
                if self._is_ready(name):
                    waiting.remove(name)
            assert not waiting, sorted(waiting)
            return True

        eventually(look, f"{', '.join(lanes)}: Ready", within=within)

    def _is_ready(self, lane: str) -> bool:
        found = self.get("sendinglane", lane)
        status = found.get("status", {})
        for record, text in unpublished(status):
            self.internet.dns.publish_txt(record, text)
        types = {one["type"]: one["status"] for one in status.get("conditions", ())}
        is_news = status.get("observedGeneration") == found["metadata"]["generation"]  # else it is of the spec before
        return is_news and types.get("Ready") == "True" and types.get("DNSPublished") == "True"

    def send(self, pod: str, sender: str, recipient: str, count: int) -> None:
        """Submits messages to a slot, from inside its pod; each was answered 250."""
        self.cluster.kubectl(
            "exec", "-i", pod, "-n", self.namespace, "-c", "relay", "--",
            "python3", "-c", _SEND, sender, recipient, str(count),
        )  # fmt: skip

    def received(self, sender: str) -> list[Message]:
        """The messages of a sender that the ISP of LIVE_DOMAIN has taken."""

        async def ask() -> list[Record]:
            async with Internet(self.internet.place, self.internet.ground, Weights()).isps as isps:
                return list(await isps.dump("gmail-like"))

        return [one for one in asyncio.run(ask()) if isinstance(one, Message) and one.sender == sender]

    def operator_restarts(self) -> tuple[str, int]:
        """The operator's pod and how often its container was started again."""
        selector = "app.kubernetes.io/name=lanewright"
        pods = self.cluster.get("pods", "-n", OPERATOR_NAMESPACE, "-l", selector)["items"]
        return pods[0]["metadata"]["uid"], sum(one["restartCount"] for one in pods[0]["status"]["containerStatuses"])


def pool(name: str, namespace: str, *addresses: str, **spec: Any) -> Manifest:
    """A pool of Multus addresses, or of engine ClusterDefault where none is given."""
    own: Manifest = {"engine": "ClusterDefault"}
    if addresses:
        own = {
            "engine": "Multus",
            "engineConfig": {"network": f"{namespace}/public", "prefixLength": 24, "gateway": "203.0.113.1"},
            "addresses": [{"ip": ip, "hostname": f"out{ip.rpartition('.')[2]}.example.com"} for ip in addresses],
            "verification": {
                "reflectors": [f"tcp://198.51.100.{last}:25" for last in (5, 6, 7)],
                "secretName": "reflector",
            },
        }
    return _object("IPPool", name, namespace, {"classes": ["Transactional", "Bulk"], **own, **spec})


def lane(name: str, namespace: str, pool: str = "pool", **spec: Any) -> Manifest:
    """A Bulk lane for `NAME.example.com`, small enough that many fit on a node."""
    domain = f"{name}.example.com"
    asked = {
        "trafficClass": "Bulk",
        "poolRef": {"name": pool},
        "submission": {"senders": [f"@{domain}"], "clients": {"cidrs": ["198.18.0.0/15"]}},
        "domains": [{"name": domain}],
        "queue": {"size": "1Gi"},
        "audit": {"maxSize": "64Mi"},
        "resolver": {"mode": "Addresses", "addresses": ["198.51.100.2"]},
        "pod": {"resources": {"requests": {"cpu": "10m", "memory": "64Mi"}}},
    }
    return _object("SendingLane", name, namespace, {**asked, **spec})


def network(namespace: str) -> Manifest:
    """The template that Multus pools name."""
    config = {"cniVersion": "0.3.1", "type": "macvlan", "master": "eth0", "mode": "bridge"}
    metadata = {"name": "public", "namespace": namespace}
    return {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": metadata,
        "spec": {"config": json.dumps(config)},
    }


def reflector_secret(internet: Internet, namespace: str) -> Manifest:
    """The key that the tests' reflectors run with."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "reflector", "namespace": namespace},
        "stringData": {"key": internet.reflector_key.read_text().strip()},
    }


@pytest.fixture(scope="session")
def internet(cluster: Cluster) -> Internet:
    """The internet of the tests' cluster, with every reflector; it goes with the cluster."""
    return internet_of(cluster)


def internet_of(cluster: Cluster) -> Internet:
    """The cluster's internet, brought up where it is not."""

    async def up() -> Internet:
        found = await Internet.up(cluster.place("net"), ground_of(cluster))
        await found.close()
        return found

    found = asyncio.run(up())
    found.start_reflectors()
    return found


@pytest.fixture(scope="session")
def images(cluster: Cluster) -> dict[str, str]:
    """Our images, on every node."""
    return cluster.load(("operator", "relay", "unbound"))


class Stock:
    """Namespaces that the operator serves already: each change of their list restarts it, so many come at once."""

    def __init__(self, cluster: Cluster, images: dict[str, str]) -> None:
        self._cluster = cluster
        self._images = images
        self._waiting: list[str] = []

    def take(self) -> str:
        """One that nobody has had yet."""
        if not self._waiting:
            made = [f"t-{secrets.token_hex(4)}" for _ in range(_STOCK)]
            serve(self._cluster, self._images, *made)
            self._waiting = made
        return self._waiting.pop()


@pytest.fixture(scope="session")
def stock(cluster: Cluster, images: dict[str, str]) -> Stock:
    """Served namespaces for all tests of this run."""
    return Stock(cluster, images)


async def free_isps(internet: Internet) -> None:
    """The scripted ISPs as they are by default, and no connection of an earlier test's slots to any of them.

    Slots without an address of their own share their node's, and the ISPs count its connections: those that a slot on
    its way out still holds are the next test's 421.
    """
    async with Internet(internet.place, internet.ground, internet.weights).isps as isps:
        for provider in addresses.SCRIPTED:
            await isps.set_policy(provider.name, default_policy(provider))
            await isps.disconnect(provider.name)


@pytest.fixture
def installation(cluster: Cluster, internet: Internet, stock: Stock) -> Iterator[Installation]:
    """The operator, serving a new namespace of the test's own."""
    asyncio.run(free_isps(internet))
    with installed(cluster, internet, stock.take()) as found:
        yield found
        assert shown_secrets(cluster, OPERATOR_NAMESPACE, found.namespace) == [], "content of a Secret was shown"
        assert unaccounted(cluster, found.namespace) == {}, "recipients of whom nobody knows what became of them"


@contextmanager
def installed(cluster: Cluster, internet: Internet, namespace: str) -> Iterator[Installation]:
    """A served namespace, which goes in the end with all that is in it."""
    try:
        yield Installation(cluster, internet, namespace)
    finally:
        release(cluster, namespace)
        cluster.kubectl("delete", "namespace", namespace, "--wait=false", "--ignore-not-found")


def serve(cluster: Cluster, images: dict[str, str], *namespaces: str, **values: Manifest) -> None:
    """Installs or upgrades the chart, serving these namespaces, which are made, beside those of other tests.

    `values` are a test's own, block by block; without them the installation is again as every test finds it.
    """
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {_SERVED: "true"}}}
        for name in namespaces
    ]
    if made:
        cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(made))
    served = [
        one["metadata"]["name"]
        for one in cluster.get("namespaces", "-l", _SERVED)["items"]
        if "deletionTimestamp" not in one["metadata"]
    ]
    upgrade(
        cluster,
        image_values(images)
        | {name: block for name, block in values.items() if name != "operator"}
        | {
            "operator": {"replicas": 1, "resync": RESYNC_S, "recheck": RECHECK_S, **values.get("operator", {})},
            "servedNamespaces": sorted(served),
            "dns": {"domains": {name: ["*"] for name in served}},
            "rights": {"engines": ["HostNetwork", "Multus", "Cilium"], **values.get("rights", {})},
        },
    )


def release(cluster: Cluster, namespace: str) -> None:
    """Lets the test's lanes go with what is left in them."""
    if not cluster.get("namespace", namespace, "--ignore-not-found"):
        return
    lanes = [one["metadata"]["name"] for one in cluster.get("sendinglanes", "-n", namespace)["items"]]
    for name in lanes:
        cluster.kubectl("delete", "sendinglane", name, "-n", namespace, "--wait=false")
        cluster.kubectl(
            "annotate", "sendinglane", name, "-n", namespace, "--overwrite", "lanewright.dev/release=keep-volumes",
            check=False,
        )  # fmt: skip
    eventually(lambda: not cluster.get("sendinglanes", "-n", namespace)["items"], "the test's lanes are gone")
    for claim in cluster.get("persistentvolumeclaims", "-n", namespace)["items"]:
        patch = ("-p", '{"metadata":{"finalizers":null}}', "--type=merge")
        cluster.kubectl("patch", "pvc", claim["metadata"]["name"], "-n", namespace, *patch, check=False)


def _object(kind: str, name: str, namespace: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
