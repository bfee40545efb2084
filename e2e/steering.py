"""The networks that engines stand on, made for tests in the nodes' own namespaces: proxies, and steering by label.

What a cluster's operator sets up himself with these engines; each is the plain form of it. Before: a cluster. After:
the tests of engines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.cluster import Cluster
from e2e.cluster.addresses import PODS_AND_SERVICES, node_address
from e2e.internet.dante import PASSWORD, USER, Dante
from lane_api.names import SLOT_LABEL

Manifest = dict[str, Any]


@dataclass(frozen=True)
class SocksProxy:
    """A Dante on a node that has one egress address."""

    cluster: Cluster
    node: str
    address: str
    port: int = 1080

    @property
    def listens(self) -> str:
        """The node's own address."""
        return node_address(self.node)

    def start(self, leaves_from: str = "") -> None:
        """Runs it; it leaves from its address, which the node has from now on, or from another one of the node."""
        self.cluster.add_address(self.node, self.address)
        dante = Dante(self.listens, self.port, leaves_from or self.address, users=True)
        folder = Path(self.cluster.layout.state) / self._name
        self.cluster.place(self.node).spawn(self._name, dante.command(folder))

    def stop(self) -> None:
        """Ends it; what goes through it breaks."""
        self.cluster.place(self.node).end(self._name)

    def secret(self, name: str, namespace: str) -> Manifest:
        """What it asks for."""
        metadata = {"name": name, "namespace": namespace}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "stringData": {"username": USER, "password": PASSWORD},
        }

    @property
    def _name(self) -> str:
        return f"dante-{self.node}-{self.port}"


class Steering:
    """A network that gives a slot's pod its egress address by the pod's label, as egress gateways do: SNAT on the node.

    Invariant: a rule is for the pod that has the label now; `end` takes all of them away.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._rules: list[tuple[str, list[str]]] = []

    def steer(self, namespace: str, slot: str, address: str) -> None:
        """What the slot's pod sends out of the cluster leaves from this address, which its node has from now on."""
        (pod,) = self._cluster.get("pods", "-n", namespace, "-l", f"{SLOT_LABEL}={slot}")["items"]
        node = pod["spec"]["nodeName"]
        self._cluster.add_address(node, address)
        rule = ["POSTROUTING", "-s", pod["status"]["podIP"], "!", "-d", PODS_AND_SERVICES, "-j", "SNAT",
                "--to-source", address]  # fmt: skip
        self._cluster.place(node).run(["iptables", "-t", "nat", "-I", *rule])
        self._rules.append((node, rule))

    def end(self) -> None:
        """As it was."""
        for node, rule in self._rules:
            self._cluster.place(node).run(["iptables", "-t", "nat", "-D", *rule], check=False)
        self._rules.clear()


def policies_of(cluster: Cluster, namespace: str) -> list[Manifest]:
    """The gateway policies that select pods of a namespace."""
    found: list[Manifest] = cluster.get("ciliumegressgatewaypolicies.cilium.io")["items"]
    return [one for one in found if str(one["metadata"]["name"]).startswith(f"{namespace}.")]
