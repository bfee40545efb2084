"""Brings the operator and the quickstart's lanes up in the cluster and finds the way into them.

Invariant: what is applied is docs/quickstart as users read it; what a user would do by hand around it (addresses on
nodes, names in DNS, the reflectors' key, the lines that `at_home` fills in) is done here and printed as it is done.
Before: `e2e.cluster`, `e2e.internet`. After: `measure`.
"""

from __future__ import annotations

import base64
import http.client
import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import Cluster
from e2e.cluster.addresses import PODS_AND_SERVICES
from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import Say
from e2e.demo.measure import Door, Way
from e2e.internet import addresses
from e2e.internet.addresses import MailProvider
from e2e.internet.internet import CHECKOUT, Internet, InternetError
from e2e.internet.lane_records import unpublished
from e2e.release import image_values, upgrade
from lane_api.names import LANE_LABEL

QUICKSTART = CHECKOUT / "docs" / "quickstart"
READY_WITHIN_S = 240.0
SUBMISSION_PORT = 587
NO_REQUESTS = {"limits": {"memory": "512Mi"}}  # Kubernetes then takes the memory as asked for, and CPU as not
CONNECTIONS_BY_DEFAULT = 10  # limits.connectionsPerIP of a lane that does not say


@dataclass(frozen=True)
class LanePod:
    """What the demo wants to know of a pod; `cpu` is the relay's request, empty if there is none."""

    lane: str
    name: str
    node: str
    qos: str
    cpu: str
    ready: bool
    ip: str
    metrics_port: int


@dataclass(frozen=True)
class QuickstartLane:
    """One lane of the quickstart as its manifest has it."""

    name: str
    namespace: str
    spec: Mapping[str, Any]

    @property
    def sender(self) -> str:
        """An envelope sender that the lane allows."""
        allowed = str(self.spec["submission"]["senders"][0])
        return allowed if not allowed.startswith("@") else f"demo{allowed}"


def manifests(folder: Path = QUICKSTART) -> list[dict[str, Any]]:
    """Every object of the quickstart, in the order of the files; raises InternetError if there is none."""
    objects = [
        found for file in sorted(folder.glob("*.yaml")) for found in yaml.safe_load_all(file.read_text()) if found
    ]
    if not objects:
        raise InternetError(f"no manifests in {folder}")
    return objects


def at_home(one: dict[str, Any]) -> dict[str, Any]:
    """A lane with what only its user can know: who submits without AUTH, and which DNS the network has."""
    if one["kind"] != "SendingLane":
        return one
    clients = {"cidrs": [PODS_AND_SERVICES, f"{addresses.CLIENT}/32"]}
    submission = {"clients": clients, **one["spec"]["submission"]}
    resolver = {"forwardTo": [addresses.RESOLVER]}
    return one | {"spec": {"resolver": resolver, **one["spec"], "submission": submission}}


def lane_of_class(objects: Iterable[Mapping[str, Any]], traffic_class: str) -> QuickstartLane:
    """The quickstart's lane of a class; raises InternetError if there is none."""
    for one in objects:
        if one["kind"] == "SendingLane" and one["spec"]["trafficClass"] == traffic_class:
            return QuickstartLane(one["metadata"]["name"], one["metadata"].get("namespace", "default"), one["spec"])
    raise InternetError(f"the quickstart has no lane of class {traffic_class}")


def connections_per_ip(lane: QuickstartLane, policies: Iterable[Mapping[str, Any]], provider: MailProvider) -> int:
    """Connections that one slot of the lane may open to an ISP: the lane's word, the policy's, the lane's default."""
    default = int(lane.spec.get("limits", {}).get("connectionsPerIP", CONNECTIONS_BY_DEFAULT))
    for policy in policies:
        match = policy["spec"]["match"]
        hosts = all(any(fnmatchcase(host, p) for p in match.get("mx", ())) for host, _ in provider.hosts)
        if not hosts:
            continue
        own = [one for one in lane.spec.get("isps", ()) if one["name"] == policy["metadata"]["name"]]
        said = [one["connectionsPerIP"] for one in (*own, policy["spec"]) if "connectionsPerIP" in one]
        return int(said[0]) if said else default
    return default


def total_connections(
    lanes: Iterable[QuickstartLane], policies: Sequence[Mapping[str, Any]], provider: MailProvider
) -> int:
    """Connections that all slots of all lanes together may open to an ISP."""
    return sum(connections_per_ip(lane, policies, provider) * int(lane.spec.get("replicas", 1)) for lane in lanes)


def apart(pods: Iterable[LanePod]) -> list[str]:
    """What of the slots' places makes the run one of something else; empty where all share a node and its disk."""
    places = sorted({f"{one.lane} on {one.node}" for one in pods})
    if len({place.rpartition(" ")[2] for place in places}) < 2:
        return []
    said = (
        f"the lanes do not share a node and its disk ({', '.join(places)}): lanes that were there before keep their "
        "volumes, so `make cluster-down` first"
    )
    return [said]


def operator_values(images: Mapping[str, str], namespaces: Iterable[str]) -> dict[str, Any]:
    """The chart's values for images that are on the nodes already."""
    return {**image_values(images), "servedNamespaces": sorted(set(namespaces))}


class Lanes:
    """The operator and the quickstart in one cluster; `objects` may be other manifests with a lane of each class."""

    def __init__(
        self, cluster: Cluster, internet: Internet, folder: Path, objects: Sequence[dict[str, Any]] | None = None
    ) -> None:
        self._cluster = cluster
        self._internet = internet
        self._folder = folder
        self.objects = [at_home(one) for one in (manifests() if objects is None else objects)]
        self.otp = lane_of_class(self.objects, "Transactional")
        self.bulk = lane_of_class(self.objects, "Bulk")

    @property
    def policies(self) -> list[Mapping[str, Any]]:
        """The quickstart's ISPPolicies."""
        return [one for one in self.objects if one["kind"] == "ISPPolicy"]

    def install(self, say: Say) -> None:
        """Puts the images on the nodes and installs or upgrades the chart."""
        say("images")
        images = self._cluster.load(("operator", "relay", "unbound"))
        namespaces = {one["metadata"].get("namespace", "default") for one in self.objects if _is_ours(one)}
        for namespace in sorted(namespaces):
            self._apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}])
        say("helm upgrade --install lanewright")
        try:
            upgrade(self._cluster, operator_values(images, namespaces))
        except ClusterError as error:
            raise InternetError(str(error)) from error

    def apply(self, say: Say) -> None:
        """Prepares the network for the pools, applies the quickstart, publishes its keys, waits until all is Ready."""
        for pool in (one for one in self.objects if one["kind"] == "IPPool"):
            self._prepare(pool)
        # one node and one disk for both: what the lanes do not share must not be the machine's doing
        others = self._cluster.nodes[1:]
        for node in others:
            self._cluster.kubectl("cordon", node)
        try:
            say("kubectl apply -f docs/quickstart, with submission.clients and resolver.forwardTo of this network")
            self._apply(self.objects)
            self.request_cpu(say)
        finally:
            for node in others:
                self._cluster.kubectl("uncordon", node)

    def request_cpu(self, say: Say, *, wanted: bool = True) -> None:
        """The relays ask for the CPU of their class, or for none at all; returns when all is Ready again."""
        for lane in (self.otp, self.bulk):
            given = self._cluster.get("sendinglanes.lanewright.dev", lane.name, "-n", lane.namespace)["spec"]
            if wanted != bool(given.get("pod", {}).get("resources")):
                continue
            resources = None if wanted else NO_REQUESTS
            patch = json.dumps({"spec": {"pod": {"resources": resources}}})
            self._cluster.kubectl(
                "patch", "sendinglanes.lanewright.dev", lane.name, "-n", lane.namespace, "--type=merge", "-p", patch
            )
        self._wait_ready(say, asks_for_cpu=wanted)

    def pods(self) -> list[LanePod]:
        """The pods of both lanes."""
        found = []
        for lane in (self.otp, self.bulk):
            selector = f"{LANE_LABEL}={lane.name}"
            for one in self._cluster.get("pods", "-n", lane.namespace, "-l", selector)["items"]:
                ready = {c["type"]: c["status"] for c in one.get("status", {}).get("conditions", ())}
                relay = next(c for c in one["spec"]["containers"] if c["name"] == "relay")
                found.append(
                    LanePod(
                        lane.name,
                        one["metadata"]["name"],
                        one["spec"].get("nodeName", ""),
                        one.get("status", {}).get("qosClass", ""),
                        relay.get("resources", {}).get("requests", {}).get("cpu", ""),
                        ready.get("Ready") == "True" and "deletionTimestamp" not in one["metadata"],
                        one.get("status", {}).get("podIP", ""),
                        next((p["containerPort"] for p in relay["ports"] if p["name"] == "metrics"), 0),
                    )
                )
        return found

    def _wait_ready(self, say: Say, *, asks_for_cpu: bool) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while waiting := [
            words
            for lane in (self.otp, self.bulk)
            if (words := self._missing(lane) or self._old_pod(lane, asks_for_cpu))
        ]:
            say("; ".join(waiting))
            if time.monotonic() > deadline:
                raise InternetError(f"not Ready after {READY_WITHIN_S:.0f} s: {'; '.join(waiting)}")
            time.sleep(0.5)

    def queued(self) -> int:
        """Messages in the lanes' queues, as the relays themselves say."""
        return sum(self._queued(one) for one in self.pods())

    def _queued(self, pod: LanePod) -> int:
        connection = http.client.HTTPConnection(pod.ip, pod.metrics_port, timeout=10)
        connection.sock = self._cluster.place("ctl").socket()
        try:
            connection.sock.settimeout(10)
            connection.sock.connect((pod.ip, pod.metrics_port))
            connection.request("GET", "/metrics")
            lines = connection.getresponse().read().decode().splitlines()
        finally:
            connection.close()
        return int(sum(float(line.split()[-1]) for line in lines if line.startswith("lane_relay_queue_messages")))

    def _old_pod(self, lane: QuickstartLane, asks_for_cpu: bool) -> str:
        """Says so while a pod of the lane is not Ready or is not yet the one that was asked for."""
        own = [one for one in self.pods() if one.lane == lane.name]
        as_asked = [one for one in own if one.ready and bool(one.cpu) == asks_for_cpu]
        return "" if own and len(as_asked) == len(own) else f"{lane.name}: its pod is being replaced"

    def way(self) -> Way:
        """The way into both lanes and the addresses that they may send from."""
        return Way("lanes", self._door(self.otp), self._door(self.bulk), self._ips(self.otp), self._ips(self.bulk))

    def _prepare(self, pool: Mapping[str, Any]) -> None:
        spec, namespace = pool["spec"], pool["metadata"].get("namespace", "default")
        for address in spec.get("addresses", ()):
            self._internet.publish_host(address["hostname"], address["ip"])
            if "node" in address:
                self._cluster.add_address(address["node"], address.get("source", address["ip"]))
        secret = spec.get("verification", {}).get("secretName")
        if secret:
            key = self._internet.reflector_key.read_text().strip()
            self._apply(
                [
                    {
                        "apiVersion": "v1",
                        "kind": "Secret",
                        "metadata": {"name": secret, "namespace": namespace},
                        "stringData": {"key": key},
                    }
                ]
            )

    def _apply(self, objects: Iterable[Mapping[str, Any]]) -> None:
        self._cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def _status(self, lane: QuickstartLane) -> dict[str, Any]:
        found = self._cluster.get("sendinglanes.lanewright.dev", lane.name, "-n", lane.namespace)
        return dict(found.get("status", {}))

    def _missing(self, lane: QuickstartLane) -> str:
        """What keeps a lane from being Ready, or nothing; publishes DKIM records that wait for it."""
        status = self._status(lane)
        for name, text in unpublished(status):
            self._internet.publish_txt(name, text)
        for condition in status.get("conditions", ()):
            if condition["type"] == "Ready":
                ready = condition["status"] == "True"
                return "" if ready else f"{lane.name}: {condition['reason']} {condition.get('message', '')}"
        return f"{lane.name}: not yet seen by the operator"

    def _door(self, lane: QuickstartLane) -> Door:
        services = self._cluster.get("services", "-n", lane.namespace, "-l", f"{LANE_LABEL}={lane.name}")["items"]
        port = int(lane.spec["submission"].get("smtp", {}).get("port", SUBMISSION_PORT))
        hosts = [
            one["spec"]["clusterIP"]
            for one in services
            if one["spec"].get("clusterIP") not in (None, "None") and port in [p["port"] for p in one["spec"]["ports"]]
        ]
        if not hosts:
            raise InternetError(f"lane {lane.name} has no submission Service with port {port}")
        return Door(hosts[0], port, lane.sender, "starttls", self._credentials(lane))

    def _credentials(self, lane: QuickstartLane) -> Path:
        name = lane.spec["submission"].get("auth", {}).get("secretName") or f"{lane.name}-users"
        data = self._cluster.get("secret", name, "-n", lane.namespace)["data"]
        user, password = next(iter(sorted(data.items())))
        file = self._folder / f"{lane.name}.credentials"
        file.touch(mode=0o600)
        file.write_text(f"{user}:{base64.b64decode(password).decode()}\n")
        return file

    def _ips(self, lane: QuickstartLane) -> frozenset[str]:
        return frozenset(slot["ip"] for slot in self._status(lane).get("slots", ()) if slot.get("ip"))


def _is_ours(one: Mapping[str, Any]) -> bool:
    return str(one["apiVersion"]).startswith("lanewright.dev/")


def first_delivery(times: Iterable[float], since: float) -> float:
    """Seconds from `since` to the first of these times; infinite if there is none."""
    return min(times, default=math.inf) - since
