"""Egress engines: how a slot's traffic gets its source address. One file an engine, one table, no inheritance."""

from collections.abc import Callable, Mapping

from lane_api.ippool import Engine
from lane_operator.egress import cluster_default, host_network, multus
from lane_operator.egress.claims import EngineClaim, SlotClaim
from lane_operator.inputs import Refusal

__all__ = ["ENGINES", "LIMITS", "EngineClaim", "SlotClaim"]

ENGINES: Mapping[Engine, Callable[[SlotClaim], EngineClaim | Refusal]] = {
    Engine.CLUSTER_DEFAULT: cluster_default.claim,
    Engine.HOST_NETWORK: host_network.claim,
    Engine.MULTUS: multus.claim,
}

LIMITS: Mapping[Engine, tuple[str, ...]] = {
    Engine.CLUSTER_DEFAULT: cluster_default.LIMITS,
    Engine.HOST_NETWORK: host_network.LIMITS,
    Engine.MULTUS: multus.LIMITS,
}
"""What each engine cannot do, in plain words; shown in the lane's status."""
