"""Egress engines: how a slot's traffic gets its source address. One file an engine, one table, no inheritance."""

from collections.abc import Callable, Mapping

from lane_api.ippool import Engine
from lane_operator.egress import cilium, cluster_default, external, host_network, multus, socks5
from lane_operator.egress.cilium import GATEWAY_KIND
from lane_operator.egress.claims import EngineClaim, Limits, SlotClaim
from lane_operator.egress.multus import is_own_network, network_named
from lane_operator.egress.socks5 import PROXY_PARTS, proxy_entry
from lane_operator.inputs import Refusal

__all__ = [
    "ENGINES",
    "GATEWAY_KIND",
    "LIMITS",
    "PROXY_PARTS",
    "EngineClaim",
    "Limits",
    "SlotClaim",
    "is_own_network",
    "network_named",
    "proxy_entry",
]

ENGINES: Mapping[Engine, Callable[[SlotClaim], EngineClaim | Refusal]] = {
    Engine.CLUSTER_DEFAULT: cluster_default.claim,
    Engine.HOST_NETWORK: host_network.claim,
    Engine.MULTUS: multus.claim,
    Engine.SOCKS5: socks5.claim,
    Engine.CILIUM: cilium.claim,
    Engine.EXTERNAL: external.claim,
}

LIMITS: Mapping[Engine, Limits] = {
    Engine.CLUSTER_DEFAULT: cluster_default.LIMITS,
    Engine.HOST_NETWORK: host_network.LIMITS,
    Engine.MULTUS: multus.LIMITS,
    Engine.SOCKS5: socks5.LIMITS,
    Engine.CILIUM: cilium.LIMITS,
    Engine.EXTERNAL: external.LIMITS,
}
"""What each engine cannot do; shown in the lane's status."""
