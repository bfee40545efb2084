"""HostNetwork: the pod runs in the network of the node that holds the address, and binds it.

Invariant: nothing listens on the egress address; listeners bind the node's internal address, on ports of the slot's
own block, so that slots of several lanes share a node.
"""

from ipaddress import ip_address
from typing import Any

from lane_api.conditions import Reason
from lane_api.names import PORT_NAMES, ZONE_LABEL
from lane_operator.egress.claims import BY_BINDING, ONE_FAMILY, EngineClaim, Limits, SlotClaim, bound_second, no_right
from lane_operator.inputs import Refusal

__all__ = ["LIMITS", "claim"]

LIMITS = Limits(
    source_check=BY_BINDING,
    leaks_at_start=False,
    texts=(
        "the node needs an address for mail beside its internal one, on which the slots listen",
        "a slot cannot leave its node: while that is down its mail waits and the lane's other slots serve",
        "each slot has 8 ports of its node, from engineConfig.portRange, which the node's firewall must let pods reach",
        "NetworkPolicy does not hold in a node's network: the lane gets none",
        "the namespace must allow pods in the node's network: label it pod-security.kubernetes.io/enforce=privileged",
        ONE_FAMILY,
    ),
)

NODE_KIND = "Node"
RESOLVER_OFFSET = len(PORT_NAMES)
"""The block's port after the named ones: two sidecars of one node would meet on a fixed one."""


def claim(slot: SlotClaim) -> EngineClaim | Refusal:
    """The node's network, a source address on it, and the slot's own ports."""
    address, block = slot.address, slot.port_block
    if address is None or address.node is None or block is None:
        message = f"slot {slot.slot} has no address with a node and ports of its own"
        return Refusal(Reason.ENGINE_LIMIT, message, waiting=Reason.ENGINE_LIMIT)
    if NODE_KIND in slot.withheld:
        return no_right(NODE_KIND, "set rights.nodes")
    node = slot.nodes.get(address.node)
    if node is None or not node.internal_ip:
        return Refusal(
            Reason.NODE_NOT_FOUND,
            f"node {address.node} of address {address.ip} is not in the cluster: correct the address's node in the "
            "pool, or join the node",
            waiting=Reason.WAITING_FOR_NODE,
        )
    if address.zone and node.zone != address.zone:
        there = f"in zone {node.zone}" if node.zone else f"in no zone (it lacks the label {ZONE_LABEL})"
        return Refusal(
            Reason.ENGINE_LIMIT,
            f"address {address.ip} is said to live in zone {address.zone}, and its node {address.node} is {there}: "
            "correct zone or node of the address in the pool, or label the node",
            waiting=Reason.ENGINE_LIMIT,
        )
    source, second = address.source or address.ip, bound_second(address)
    listened = next((one for one in (source, second) if one and ip_address(one) == ip_address(node.internal_ip)), None)
    if listened is not None:
        return Refusal(
            Reason.ENGINE_LIMIT,
            f"address {address.ip} leaves from {listened}, which is node {address.node}'s internal address: the slot's "
            "own listeners bind that one, and nothing may listen on an egress address. Give the node a second address "
            "for mail, and name it in the pool as source (or as ip, where nothing translates)",
            waiting=Reason.ENGINE_LIMIT,
        )
    return EngineClaim(
        source=source,
        second_source=second,
        # ClusterFirst would give a pod in the node's network the node's resolver
        pod={"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
        node_affinity=_on(address.node),
        listen_host=node.internal_ip,
        ports={name: block + offset for offset, name in enumerate(PORT_NAMES)},
        resolver=f"127.0.0.1:{block + RESOLVER_OFFSET}",
    )


def _on(node: str) -> dict[str, Any]:
    """By the node's name, which its hostname label need not repeat."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
