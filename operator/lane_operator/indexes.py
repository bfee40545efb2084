"""By what the cache finds objects without looking at all of them: one table, pure functions of one object.

Before the cache, which keeps them up to date with each change. Invariant: what an index says of an object depends on
that object alone.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any, Final

from lane_operator.inputs import Manifest
from lane_operator.marks import addresses_of, is_kept, lane_key, pool_key, pool_named
from lane_operator.organizations import from_domains, organization_of, seen_domains

__all__ = [
    "INDEXES",
    "KEPT_VOLUMES_BY_LANE",
    "LANES_BY_DOMAIN",
    "LANES_BY_ORGANIZATION",
    "LANES_BY_POOL",
    "PARTS_BY_ADDRESS",
    "PARTS_BY_POOL",
    "PODS_BY_NODE",
    "POOLS_BY_ADDRESS",
    "POOLS_BY_ENGINE",
    "POOLS_BY_NETWORK",
    "POOLS_BY_NODE",
    "Index",
    "address_value",
    "network_of",
    "networks_listed",
]

Index = Callable[[Manifest], Iterable[Hashable]]

LANES_BY_POOL: Final = "lanes by pool"
LANES_BY_DOMAIN: Final = "lanes by From domain and class"
LANES_BY_ORGANIZATION: Final = "lanes by organizational domain and class"
PARTS_BY_POOL: Final = "workloads and volumes by the pool that they name"
PARTS_BY_ADDRESS: Final = "workloads and volumes by the address that they carry"
KEPT_VOLUMES_BY_LANE: Final = "PersistentVolumes by lane"
PODS_BY_NODE: Final = "pods by node"
POOLS_BY_ADDRESS: Final = "pools by what they list or hold"
POOLS_BY_NETWORK: Final = "pools by the networks of what they list"
POOLS_BY_NODE: Final = "pools by the nodes of their addresses"
POOLS_BY_ENGINE: Final = "pools by engine"


@lru_cache(maxsize=16_384)
def address_value(text: str) -> str:
    """One spelling of an address; what is none is itself."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text


@lru_cache(maxsize=16_384)
def network_of(text: str) -> str:
    """The network that is judged as a whole: an IPv4 address's /24, an IPv6 address's /64; empty for no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    return str(ip_network(f"{address}/{24 if address.version == 4 else 64}", strict=False))


def _domains(lane: Manifest) -> Iterable[Hashable]:
    spec = lane["spec"]
    return ((domain, spec.get("trafficClass", "")) for domain in from_domains(spec))


def _organizations(lane: Manifest) -> Iterable[Hashable]:
    spec = lane["spec"]
    return {(organization_of(domain), spec.get("trafficClass", "")) for domain in seen_domains(spec)}


def _pool(body: Manifest) -> Iterable[Hashable]:
    pool = pool_key(body)
    return (pool,) if pool is not None and is_kept(body) else ()


def _carried(body: Manifest) -> Iterable[str]:
    return (address_value(text) for text in addresses_of(body))


def _lane(body: Manifest) -> Iterable[Hashable]:
    lane = lane_key(body)
    return () if lane is None else (lane,)


def _node(pod: Manifest) -> Iterable[str]:
    node = (pod.get("spec") or {}).get("nodeName")
    return (node,) if node else ()


def _rows(pool: Manifest) -> Iterable[dict[str, Any]]:
    """Addresses of the spec, and records of the status."""
    yield from pool["spec"].get("addresses") or ()
    yield from (pool.get("status") or {}).get("addresses") or ()


def _addresses(pool: Manifest) -> Iterable[str]:
    return (address_value(ip) for row in _rows(pool) for ip in _of_row(row))


def _of_row(row: dict[str, Any]) -> Iterable[str]:
    """An address, with its second where it has one."""
    return (ip for ip in (row.get("ip"), (row.get("second") or {}).get("ip")) if ip)


def networks_listed(pool: Manifest) -> set[str]:
    """The networks of the addresses in a pool's spec."""
    return {network_of(ip) for row in pool["spec"].get("addresses") or () for ip in _of_row(row)}


def _nodes(pool: Manifest) -> Iterable[str]:
    return (row["node"] for row in _rows(pool) if row.get("node"))


def _parts(index: Index) -> dict[str, Index]:
    return dict.fromkeys(("StatefulSet", "PersistentVolumeClaim", "PersistentVolume"), index)


INDEXES: Final[Mapping[str, Mapping[str, Index]]] = {
    LANES_BY_POOL: {"SendingLane": lambda body: (pool_named(body),)},
    LANES_BY_DOMAIN: {"SendingLane": _domains},
    LANES_BY_ORGANIZATION: {"SendingLane": _organizations},
    PARTS_BY_POOL: _parts(_pool),
    PARTS_BY_ADDRESS: _parts(_carried),
    KEPT_VOLUMES_BY_LANE: {"PersistentVolume": _lane},
    PODS_BY_NODE: {"Pod": _node},
    POOLS_BY_ADDRESS: {"IPPool": _addresses},
    POOLS_BY_NETWORK: {"IPPool": networks_listed},
    POOLS_BY_NODE: {"IPPool": _nodes},
    POOLS_BY_ENGINE: {"IPPool": lambda body: (body["spec"].get("engine"),)},
}
"""Name -> kind -> what an object of that kind is found by."""
