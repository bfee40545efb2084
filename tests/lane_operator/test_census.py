"""What the cache holds as metrics: counted by how it is, what stands badly by name, nothing of what has gone."""

import re
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from lane_operator import metrics
from lane_operator.cache import Cache
from lane_operator.census import Census

ROOT = Path(__file__).parents[2]


def put(cache: Cache, kind: str, name: str, version: int = 1, **status: Any) -> None:
    metadata = {"name": name, "namespace": "mail", "uid": name, "resourceVersion": str(version)}
    cache.put(kind, {"kind": kind, "metadata": metadata, "spec": {}, "status": status})


def condition(kind: str, reason: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason}


def told(cache: Cache) -> set[str]:
    """Lines of figures that are not 0."""
    registry = CollectorRegistry()
    registry.register(Census(cache))
    lines = generate_latest(registry).decode().splitlines()
    return {line for line in lines if not line.startswith("#") and not line.endswith(" 0.0")}


def test_objects_are_counted_by_how_they_are() -> None:
    cache = Cache()
    put(cache, "SendingLane", "a", conditions=[condition("Ready", "Accepted")])
    put(cache, "SendingLane", "b", conditions=[condition("Ready", "Accepted"), condition("Reconciling", "Pushing")])
    put(cache, "SendingLane", "c", conditions=[condition("Ready", "x", "False"), condition("Stalled", "PoolNotFound")])
    put(cache, "SendingLane", "d")
    put(cache, "ISPPolicy", "gmail", conditions=[condition("Ready", "Accepted")])

    assert told(cache) == {
        'lanewright_objects{kind="SendingLane",state="ready"} 1.0',
        'lanewright_objects{kind="SendingLane",state="reconciling"} 1.0',
        'lanewright_objects{kind="SendingLane",state="stalled"} 1.0',
        'lanewright_objects{kind="SendingLane",state="unready"} 1.0',
        'lanewright_objects{kind="ISPPolicy",state="ready"} 1.0',
        'lanewright_stalled{kind="SendingLane",object="mail/c",reason="PoolNotFound"} 1.0',
    }


def test_a_lane_that_went_back_to_its_images_is_named_until_it_has_others() -> None:
    cache = Cache()
    back = [condition("Ready", "Accepted"), condition("UpgradeHalted", "RolledBack")]
    put(cache, "SendingLane", "a", conditions=back)
    put(cache, "SendingLane", "b", conditions=[condition("Ready", "Accepted"), condition("Upgrading", "SlotWatched")])
    assert {line for line in told(cache) if "halted" in line} == {'lanewright_upgrade_halted{lane="mail/a"} 1.0'}

    put(cache, "SendingLane", "a", 2, conditions=back[:1])
    assert not any("halted" in line for line in told(cache))


def test_a_pool_tells_what_becomes_of_its_addresses_until_it_goes() -> None:
    cache = Cache()
    put(cache, "IPPool", "pool", capacity={"total": 9, "assigned": 4, "free": 3, "cooling": 2})
    pools = {line for line in told(cache) if "pool_addresses" in line}

    assert pools == {
        'lanewright_pool_addresses{pool="mail/pool",state="assigned"} 4.0',
        'lanewright_pool_addresses{pool="mail/pool",state="free"} 3.0',
        'lanewright_pool_addresses{pool="mail/pool",state="cooling"} 2.0',
    }
    body = cache.get("IPPool", "mail", "pool")
    assert body is not None
    cache.drop("IPPool", body)
    assert told(cache) == set()


def test_a_listed_address_and_a_list_that_cannot_be_asked_are_named_until_that_is_over() -> None:
    cache = Cache()
    rows = [{"ip": "203.0.113.10", "listed": ["zen.spamhaus.org"]}, {"ip": "203.0.113.11", "listed": []}]
    put(cache, "IPPool", "pool", addresses=rows, conditions=[condition("ListsAnswer", "ListBroken", "False")])
    assert {line for line in told(cache) if "list" in line and "objects" not in line} == {
        'lanewright_address_listed{ip="203.0.113.10",list="zen.spamhaus.org",pool="mail/pool"} 1.0',
        'lanewright_blocklist_broken{pool="mail/pool"} 1.0',
    }
    put(cache, "IPPool", "pool", 2, addresses=rows[1:], conditions=[condition("ListsAnswer", "ListsWork")])
    assert not {line for line in told(cache) if "list" in line and "objects" not in line}


def test_every_metric_of_the_operator_is_documented_and_nothing_else_is() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    ours = set(re.findall(r"`(lanewright_[a-z_]+)`", page))
    declared = {
        name.removesuffix("_created")
        for family in (getattr(metrics, name) for name in metrics.__all__)
        for metric in family.collect()
        for name in [metric.name + ("_total" if metric.type == "counter" else "")]
    }
    census = {family.name for family in Census(Cache()).collect()}

    assert ours == declared | census
