"""Why a pool gives a lane less than it asks for, in words that name the fix; pure.

Comes beside the allocation, which says what a lane got; here is only said what it lacks.
"""

import datetime as dt
from collections.abc import Sequence

from lane_api.conditions import Reason
from lane_api.names import STANDBY_FROM
from lane_operator.inputs import Demand, Pool, Refusal
from lane_operator.pools.ledger import Entry, Ledger

__all__ = ["closed", "exhausted", "going", "no_pool", "no_ports"]

SHOWN = 3
"""Addresses that a message names; it counts the rest."""


def closed(demand: Demand, pool: Pool) -> Refusal | None:
    """Why this lane may not draw from the pool."""
    name = "/".join(pool.key)
    if demand.namespace not in pool.namespaces:
        return Refusal(
            Reason.POOL_CLOSED,
            f"IPPool {name} is closed to namespace {demand.namespace}: add it to the pool's allowedNamespaces.names",
            waiting=Reason.POOL_CLOSED,
        )
    if demand.traffic_class not in pool.spec.classes:
        allowed = ", ".join(sorted(pool.spec.classes))
        return Refusal(
            Reason.CLASS_MISMATCH,
            f"IPPool {name} is for {allowed} and this lane is {demand.traffic_class}: "
            "an address keeps the reputation of what it sent, so name a pool of the lane's class",
            waiting=Reason.CLASS_MISMATCH,
        )
    return None


def no_pool(demand: Demand) -> Refusal:
    """There is no such pool, or it cannot be read."""
    return Refusal(
        Reason.POOL_NOT_FOUND,
        f"IPPool {'/'.join(demand.pool)} does not exist, or cannot be read: create or correct it; slots that "
        "run keep what they have",
        waiting=Reason.WAITING_FOR_POOL,
    )


def going(pool: Pool) -> Refusal:
    """The pool is being deleted."""
    return Refusal(
        Reason.POOL_NOT_FOUND,
        f"IPPool {'/'.join(pool.key)} is being deleted and gives no more addresses; it goes once no lane holds one. "
        "Create it again then, or make the lane with another pool",
        waiting=Reason.WAITING_FOR_POOL,
    )


def no_ports(pool: Pool, entry: Entry) -> Refusal:
    """HostNetwork: the node has no block of ports left for the slot."""
    return Refusal(
        Reason.ENGINE_LIMIT,
        f"no block of 8 ports is free on node {entry.address.node} in {pool.spec.engine_config.port_range}: "
        f"widen engineConfig.portRange of IPPool {'/'.join(pool.key)}",
        waiting=Reason.ENGINE_LIMIT,
    )


def exhausted(ledger: Ledger, demand: Demand, wanted: Sequence[int], now: dt.datetime) -> Refusal:
    """Who has them all, in figures, and when the next one is free again; `wanted` are the slots that have none."""
    capacity, cooldown_s = ledger.capacity(now), ledger.pool.spec.cooldown
    ends = [
        until
        for entry in ledger
        if ledger.is_cooling(entry, now) and (until := entry.cools_until(cooldown_s)) is not None
    ]
    rest = f" (the next until {min(ends).strftime('%Y-%m-%dT%H:%M:%SZ')})" if ends else ""
    standing = f"{capacity.standby} in standby, " if capacity.standby else ""
    quarantined = f"{capacity.quarantined} quarantined, " if capacity.quarantined else ""
    active = [index for index in wanted if index < STANDBY_FROM]
    standby = len(wanted) - len(active)
    wait = ", wait for those that cool down or lower spec.cooldown of the pool" if ends else ""
    missing = []
    if active:
        missing.append(
            f"{len(active)} of {demand.replicas} slots have none: add addresses to the pool{wait}, or lower replicas"
        )
    if standby:
        missing.append(
            f"{standby} of {demand.standby} standby slots have none: add addresses with role: Standby to the pool, "
            "or lower standbyReplicas"
        )
    return Refusal(
        Reason.POOL_EXHAUSTED,
        f"IPPool {'/'.join(ledger.pool.key)} has {capacity.total} addresses: {capacity.assigned} assigned, "
        f"{standing}{capacity.cooling} cooling down{rest}, {quarantined}{capacity.free} free"
        f"{_barred(ledger, demand, now)}; {'; '.join(missing)}",
        waiting=Reason.POOL_EXHAUSTED,
        spare=not active,
    )


def _barred(ledger: Ledger, demand: Demand, now: dt.datetime) -> str:
    """Which of the free ones are bound to the class that they served, and what lets them go; empty for none."""
    barred = [one for one in ledger if ledger.is_free(one, now) and one.is_barred_to(demand.traffic_class)]
    if not barred:
        return ""
    shown = ", ".join(one.address.ip for one in barred[:SHOWN]) + (", ..." if len(barred) > SHOWN else "")
    served = sorted({one.served for one in barred})
    fix = " or ".join(f"releasedFrom: {one}" for one in served)
    return (
        f" ({len(barred)} of them last served {' or '.join(served)}: {shown}. Such an address goes to a "
        f"{demand.traffic_class} lane only once {fix} on the address in the pool says so, and warms up again then)"
    )
