"""What the cache holds, as metrics that are reckoned when they are asked for: nothing is left of what has gone.

Objects are named by one label, `namespace/name`: a Prometheus gives `namespace` its own meaning.
"""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from lane_api.conditions import ConditionType
from lane_operator.cache import Cache
from lane_operator.inputs import Manifest
from lane_operator.kube import IP_POOL, ISP_POLICY, SENDING_LANE

__all__ = ["Census"]

_POOL_STATES = ("assigned", "standby", "cooling", "quarantined", "free")
_KINDS = (SENDING_LANE.kind, IP_POOL.kind, ISP_POLICY.kind)


class Census(Collector):
    """Users' objects by how they are, what stands badly by name, and pools by what becomes of their addresses."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics of this instant."""
        objects = GaugeMetricFamily(
            "lanewright_objects", "Objects of users: ready, reconciling, stalled, or unready.", labels=["kind", "state"]
        )
        stalled = GaugeMetricFamily(
            "lanewright_stalled", "1 for each object that waits for a person.", labels=["kind", "object", "reason"]
        )
        halted = GaugeMetricFamily(
            "lanewright_upgrade_halted", "1 for each lane that went back to the images before.", labels=["lane"]
        )
        for kind in _KINDS:
            states: Counter[str] = Counter()
            for body in self._cache.all(kind):
                reasons = _conditions(body)
                states[_state(reasons)] += 1
                if ConditionType.STALLED in reasons:
                    stalled.add_metric([kind, _name(body), reasons[ConditionType.STALLED][1]], 1)
                if ConditionType.UPGRADE_HALTED in reasons:
                    halted.add_metric([_name(body)], 1)
            for state in ("ready", "reconciling", "stalled", "unready"):
                objects.add_metric([kind, state], states[state])
        yield objects
        yield stalled
        yield halted
        yield self._pools()
        yield from self._listed()

    def _pools(self) -> GaugeMetricFamily:
        found = GaugeMetricFamily(
            "lanewright_pool_addresses",
            "Addresses of a pool, by what becomes of them: " + ", ".join(_POOL_STATES) + ".",
            labels=["pool", "state"],
        )
        for body in self._cache.all(IP_POOL.kind):
            capacity = (body.get("status") or {}).get("capacity") or {}
            for state in _POOL_STATES:
                found.add_metric([_name(body), state], float(capacity.get(state) or 0))
        return found

    def _listed(self) -> Iterator[GaugeMetricFamily]:
        listed = GaugeMetricFamily(
            "lanewright_address_listed", "1 for each address in a blocklist.", labels=["pool", "ip", "list"]
        )
        broken = GaugeMetricFamily(
            "lanewright_blocklist_broken", "1 for each pool with a blocklist that cannot be asked.", labels=["pool"]
        )
        for body in self._cache.all(IP_POOL.kind):
            for row in (body.get("status") or {}).get("addresses") or ():
                for name in row.get("listed") or ():
                    listed.add_metric([_name(body), row["ip"], name], 1)
            if _conditions(body).get(ConditionType.LISTS_ANSWER, ("", ""))[0] == "False":
                broken.add_metric([_name(body)], 1)
        yield listed
        yield broken


def _name(body: Manifest) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _conditions(body: Manifest) -> dict[str, tuple[str, str]]:
    """Status and reason of each condition."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    return {one["type"]: (one.get("status", ""), one.get("reason", "")) for one in conditions}


def _state(reasons: dict[str, tuple[str, str]]) -> str:
    """As kstatus reads them: what is under way or stuck comes before what is ready."""
    if ConditionType.STALLED in reasons:
        return "stalled"
    if ConditionType.RECONCILING in reasons:
        return "reconciling"
    return "ready" if reasons.get(ConditionType.READY, ("", ""))[0] == "True" else "unready"
