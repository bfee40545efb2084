"""Where a slot's pod may run, and where it would rather; pure.

May: where its address lives, as the engine says or the pool's owner. Rather: apart from the lane's other slots.
"""

from collections.abc import Mapping
from typing import Any

from lane_api.classes import TrafficClass
from lane_api.ippool import PoolAddress
from lane_api.names import CLASS_LABEL, LANE_LABEL, ROLE_LABEL, ZONE_LABEL
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Lane

__all__ = ["affinity"]


def affinity(lane: Lane, role: str, address: PoolAddress | None, engine: EngineClaim) -> dict[str, Any]:
    """Slots of one role on other nodes and, of these, in other zones; then away from the lane's other slots; then
    Transactional away from Bulk and Cold: where the cluster allows it.

    Each weighs more than what comes after it, for the scheduler adds up: else one standby slot and one loud pod on the
    only other node would put both active slots on the same.
    """
    peers = {"matchLabels": {LANE_LABEL: lane.name, ROLE_LABEL: role}}
    terms = [
        _away_from(peers, weight=100, everywhere=False),
        _away_from(peers, weight=40, everywhere=False, within=ZONE_LABEL),
        _away_from({"matchLabels": {LANE_LABEL: lane.name}}, weight=15, everywhere=False),
    ]
    if lane.spec.traffic_class is TrafficClass.TRANSACTIONAL:
        noisy = {"key": CLASS_LABEL, "operator": "In", "values": ["Bulk", "Cold"]}
        terms.append(_away_from({"matchExpressions": [noisy]}, weight=5, everywhere=True))
    found: dict[str, Any] = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": terms}}
    required = engine.node_affinity or _home(address, on_node=not engine.is_brought_out_elsewhere)
    if required is not None:
        found["nodeAffinity"] = required
    return found


def _home(address: PoolAddress | None, *, on_node: bool) -> dict[str, Any] | None:
    """The node or the zone that the address lives in; None for one that any node may have. `on_node`: the slot runs on
    the node that the address names, which is no gateway."""
    term: dict[str, Any] = {}
    if address is not None and address.node and on_node:
        # by the node's name, which its hostname label need not repeat
        term["matchFields"] = [{"key": "metadata.name", "operator": "In", "values": [address.node]}]
    if address is not None and address.zone:
        term["matchExpressions"] = [{"key": ZONE_LABEL, "operator": "In", "values": [address.zone]}]
    return {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}} if term else None


def _away_from(
    selector: Mapping[str, Any], *, weight: int, everywhere: bool, within: str = "kubernetes.io/hostname"
) -> dict[str, Any]:
    term: dict[str, Any] = {"labelSelector": dict(selector), "topologyKey": within}
    if everywhere:
        term["namespaceSelector"] = {}  # every namespace
    return {"weight": weight, "podAffinityTerm": term}
