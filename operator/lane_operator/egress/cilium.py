"""Cilium: its egress gateway translates to the slot's address, by a CiliumEgressGatewayPolicy of the slot's own.

The policy is in no namespace, so its name carries the lane's and it has no owner; it goes with the slot, or with the
lane's finalizer. Selected is the slot's label: Cilium matches the labels of a pod's identity, from which it leaves out
what is under kubernetes.io (pkg/labelsfilter), so neither a pod's name nor its index would do.
"""

from ipaddress import ip_address

from lane_api.conditions import Reason
from lane_api.names import SLOT_LABEL
from lane_operator.egress.claims import (
    BY_PROOF,
    NOTICED_LATE,
    ONE_FAMILY,
    EngineClaim,
    Limits,
    SlotClaim,
    addressless,
    bound_second,
    no_right,
)
from lane_operator.inputs import Manifest, Refusal

__all__ = ["GATEWAY_KIND", "LIMITS", "claim"]

GATEWAY_KIND = "CiliumEgressGatewayPolicy.cilium.io"
_HOSTNAME = "kubernetes.io/hostname"
_NAMESPACE_NAME = "kubernetes.io/metadata.name"

LIMITS = Limits(
    source_check=BY_PROOF,
    leaks_at_start=True,
    texts=(
        "a new pod's first connections may leave from its node's address: the proof waits for its own",
        NOTICED_LATE,
        "one gateway node an address, and Cilium (OSS) moves none: while it is down nothing leaves from the address",
        "the gateway needs the address on an interface, kube-proxy replacement and BPF masquerading; no Cluster Mesh",
        "IPv6 addresses need a Cilium whose gateway translates IPv6; an older one refuses the policy",
        ONE_FAMILY,
    ),
)


def claim(slot: SlotClaim) -> EngineClaim | Refusal:
    """The slot's gateway policy."""
    address = slot.address
    if address is None:
        return addressless(slot)
    if GATEWAY_KIND in slot.withheld:
        return no_right(GATEWAY_KIND, "add Cilium to rights.engines")
    if GATEWAY_KIND not in slot.kinds:
        return Refusal(
            Reason.ENGINE_MISSING,
            "the cluster has no CiliumEgressGatewayPolicy: install Cilium with egressGateway.enabled, or choose "
            "another engine for the pool",
            waiting=Reason.WAITING_FOR_ENGINE,
        )
    nodes = {_HOSTNAME: address.node} if address.node else dict(sorted(slot.config.node_selector.items()))
    if not nodes:
        return Refusal(
            Reason.ENGINE_LIMIT,
            f"address {address.ip} names no gateway: give it a node, or the pool engineConfig.nodeSelector",
            waiting=Reason.ENGINE_LIMIT,
        )
    policies = [_policy(slot, f"{slot.namespace}.{slot.slot}", address.source or address.ip, nodes)]
    if (second := bound_second(address)) is not None:  # one policy has one egressIP
        policies.append(_policy(slot, f"{slot.namespace}.{slot.slot}.second", second, nodes))
    return EngineClaim(manifests=tuple(policies), is_brought_out_elsewhere=True)


def _policy(slot: SlotClaim, name: str, egress_ip: str, nodes: dict[str, str]) -> Manifest:
    everywhere = "::/0" if ip_address(egress_ip).version == 6 else "0.0.0.0/0"
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumEgressGatewayPolicy",
        # neither namespace nor slot has a dot in its name, so no two make one
        "metadata": {"name": name},
        "spec": {
            "selectors": [
                {
                    "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: slot.namespace}},
                    "podSelector": {"matchLabels": {SLOT_LABEL: slot.slot}},
                }
            ],
            # what stays in the cluster never goes through a gateway
            "destinationCIDRs": [everywhere],
            "egressGateway": {"nodeSelector": {"matchLabels": nodes}, "egressIP": egress_ip},
        },
    }
