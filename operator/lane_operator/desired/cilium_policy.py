"""The CiliumNetworkPolicy of a lane whose engine is Cilium: what a NetworkPolicy cannot say there; pure.

Two things. Cilium takes no pod or node for a part of an ipBlock, so what the lane names by address is opened to the
cluster's own as well. And a denial holds whatever another policy of the namespace allows: the addresses that hand out a
node's credentials are shut but for DNS, which some clouds serve there.
It stands beside the NetworkPolicy, which shuts the rest, and is there when that is.
"""

from collections.abc import Iterable
from ipaddress import ip_network

from lane_api.ippool import Engine
from lane_api.names import LANE_LABEL
from lane_operator.desired.network_policy import CLOUD_NETWORKS
from lane_operator.desired.reached import Sink
from lane_operator.inputs import Lane, Manifest, NetworkPolicies, References

__all__ = ["POLICY_KIND", "cilium_policy", "lacks_policy"]

POLICY_KIND = "CiliumNetworkPolicy.cilium.io"
_BEFORE_DNS, _AFTER_DNS = (1, 52), (54, 65535)


def lacks_policy(references: References, settings: NetworkPolicies | None) -> tuple[str, ...]:
    """The kind, where a policy is to be made and the cluster does not serve it."""
    return (POLICY_KIND,) if _is_wanted(references, settings) and POLICY_KIND not in references.kinds else ()


def cilium_policy(
    lane: Lane, references: References, sinks: Iterable[Sink], settings: NetworkPolicies | None
) -> Manifest | None:
    """The policy; None where none is to be made, or the cluster does not serve the kind."""
    if not _is_wanted(references, settings) or POLICY_KIND not in references.kinds:
        return None
    named = sorted({sink for sink in sinks if sink.network})
    spec: Manifest = {
        "endpointSelector": {"matchLabels": {LANE_LABEL: lane.name}},
        "egressDeny": [
            {
                "toCIDR": [str(ip_network(one)) for one in CLOUD_NETWORKS],
                "toPorts": [{"ports": [_ports(*_BEFORE_DNS), _ports(*_AFTER_DNS)]}],
            }
        ],
    }
    if named:
        spec["egress"] = [
            {
                "toEntities": ["cluster"],
                "toPorts": [{"ports": [_port(sink.port, is_dns=sink.is_dns) for sink in named]}],
            }
        ]
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": lane.name},
        "spec": spec,
    }


def _is_wanted(references: References, settings: NetworkPolicies | None) -> bool:
    return settings is not None and references.pool is not None and references.pool.spec.engine is Engine.CILIUM


def _ports(first: int, last: int) -> Manifest:
    return {"port": str(first), "endPort": last, "protocol": "TCP"}


def _port(number: int, *, is_dns: bool) -> Manifest:
    return {"port": str(number), "protocol": "ANY" if is_dns else "TCP"}
