"""A NetworkPolicy put into force around one pod, as nftables rules in the pod's own network namespace.

The tests' cluster has no network that enforces such objects; this does what one is told to (networking.k8s.io/v1), for
pods by their address at the time of the call, IPv4 only. What it cannot show: how a certain network plugin reads the
object, and what one sees that looks behind a Service's address. Invariant: everything that is refused is counted.
Before: the object as the API server has it. After: the kernel.
"""

import json
import subprocess
from typing import Any

from e2e.cluster import Cluster

TABLE = "lanewright_policy"
Manifest = dict[str, Any]


class Fence:
    """The policy of one lane around one of its pods."""

    def __init__(self, cluster: Cluster, namespace: str, pod: str) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._pid = cluster.container_pid(namespace, pod, "relay")

    def put_up(self, policy: Manifest) -> None:
        """Puts it into force; again: as pods are now."""
        gateway = json.loads(self._inside("ip", "-j", "route", "show", "default"))[0]["gateway"]
        self._inside("nft", "-f", "-", stdin=self._ruleset(policy["spec"], gateway))

    def refused(self) -> dict[str, int]:
        """Packets that no rule let through since it was put up: `ingress`, `egress`."""
        listed = json.loads(self._inside("nft", "-j", "list", "counters", "table", "ip", TABLE))["nftables"]
        return {one["counter"]["name"]: one["counter"]["packets"] for one in listed if "counter" in one}

    def _ruleset(self, spec: Manifest, gateway: str) -> str:
        known = "ct state established,related accept\n meta l4proto icmp accept"
        chains = []
        for way, hook, own, peer, peers in (
            ("ingress", "input", "iifname", "saddr", "from"),
            ("egress", "output", "oifname", "daddr", "to"),
        ):
            # the node's own traffic, such as the kubelet's probes, may always pass; other interfaces are out of reach
            free = f'{own} != "eth0" accept\n ip {peer} {gateway} accept'
            rules = "\n ".join(line for rule in spec[way] for line in self._lines(rule, peers, peer))
            head = f"type filter hook {hook} priority 0; policy drop;"
            chains.append(f'chain {way} {{\n {head}\n {known}\n {free}\n {rules}\n counter name "{way}"\n}}')
        counters = "counter ingress { }\ncounter egress { }"
        return (
            f"table ip {TABLE}\ndelete table ip {TABLE}\ntable ip {TABLE} {{\n{counters}\n"
            + "\n".join(chains)
            + "\n}\n"
        )

    def _lines(self, rule: Manifest, peers: str, side: str) -> list[str]:
        """One rule of nftables for each pair of a peer and a protocol."""
        ports: dict[str, list[str]] = {}
        for one in rule.get("ports", ()):
            ports.setdefault(one["protocol"].lower(), []).append(str(one["port"]))
        doors = [f"{protocol} dport {{ {', '.join(numbers)} }}" for protocol, numbers in ports.items()] or [""]
        whom = [self._peer(one, side) for one in rule[peers]] if peers in rule else [""]
        return [f"{who} {door} accept" for who in whom if who is not None for door in doors]

    def _peer(self, peer: Manifest, side: str) -> str | None:
        """Whom it means; None for nobody that IPv4 has."""
        if "ipBlock" in peer:
            network, closed = peer["ipBlock"]["cidr"], peer["ipBlock"].get("except", ())
            if ":" in network:
                return None
            return f"ip {side} {network}" + (f" ip {side} != {{ {', '.join(closed)} }}" if closed else "")
        addresses = self._pods(peer)
        return f"ip {side} {{ {', '.join(addresses)} }}" if addresses else None

    def _pods(self, peer: Manifest) -> list[str]:
        spaces = [self._namespace]
        if "namespaceSelector" in peer:
            chosen = [one for one in self._cluster.get("namespaces")["items"] if _is(peer["namespaceSelector"], one)]
            spaces = [one["metadata"]["name"] for one in chosen]
        pods = [
            one
            for one in self._cluster.get("pods", "-A")["items"]
            if one["metadata"]["namespace"] in spaces
            and not one["spec"].get("hostNetwork")
            and _is(peer.get("podSelector", {}), one)
        ]
        return sorted({one["status"]["podIP"] for one in pods if one["status"].get("podIP")})

    def _inside(self, *command: str, stdin: str | None = None) -> str:
        whole = ["nsenter", "--target", str(self._pid), "--net", *command]
        return subprocess.run(whole, input=stdin, capture_output=True, text=True, check=True, timeout=30).stdout


def _is(selector: Manifest, one: Manifest) -> bool:
    labels = one["metadata"].get("labels", {})
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(term["key"]) in term["values"] for term in selector.get("matchExpressions", ()))
