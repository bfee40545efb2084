"""IPPool.status: the allocation's record, and what is odd about it; pure."""

import datetime as dt
from collections.abc import Iterable

from lane_api.conditions import ConditionType, Reason
from lane_api.ippool import IPPoolStatus
from lane_operator.deliverability.dnsbl import Standing
from lane_operator.inputs import Pool
from lane_operator.status.book import Book
from lane_operator.status.listed import put_listed_of_pool
from lane_operator.status.neighbours import put_mixed_networks
from lane_operator.status.waiting import put_waiting

__all__ = ["pool_status"]


def pool_status(
    pool: Pool,
    allocated: IPPoolStatus,
    now: dt.datetime,
    neighbours: Iterable[Pool] = (),
    standing: Standing | None = None,
) -> IPPoolStatus:
    """The status with its conditions; `allocated` is what the allocation says of addresses and capacity.

    `neighbours` are other pools with addresses in the networks of this one's; `standing` is what blocklists say of
    them, once they were asked.
    """
    book = Book(pool.status.conditions, pool.generation, now)
    capacity = allocated.capacity
    counts = {
        "assigned": capacity.assigned,
        "in standby": capacity.standby,
        "cooling down": capacity.cooling,
        "quarantined": capacity.quarantined,
        "free": capacity.free,
    }
    always = ("assigned", "cooling down", "free")
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name in always)
    message = f"{told} of {capacity.total}"
    if pool.deleting:
        holders = sorted({one.lane for one in allocated.addresses if one.lane and one.released_at is None})
        message = (
            f"{message}; it is being deleted, gives nothing new, and goes once no lane holds an address of it; "
            f"held now by: {', '.join(holders) or 'none'}"
        )
    book.put(ConditionType.READY, not pool.deleting, Reason.DRAINING if pool.deleting else Reason.ACCEPTED, message)
    _put_valid(book, pool, allocated, now)
    put_mixed_networks(book, pool, allocated, neighbours)
    put_listed_of_pool(book, pool, allocated, standing)
    return allocated.model_copy(update={"observed_generation": pool.generation, "conditions": book.conditions()})


def _put_valid(book: Book, pool: Pool, allocated: IPPoolStatus, now: dt.datetime) -> None:
    """What the spec asks for and does not get makes it Reconciling, then Stalled; the rest of it is in force."""
    elsewhere = [f"{one.ip} is in IPPool {one.held_elsewhere}" for one in allocated.addresses if one.held_elsewhere]
    listed = {ip for address in pool.spec.addresses for ip in address.ips}
    removed = [
        f"{one.ip} by slot {one.slot} of lane {one.lane}"
        for one in allocated.addresses
        if one.lane and one.released_at is None and one.ip not in listed
    ]
    if elsewhere:
        message = (
            f"{', '.join(elsewhere)} as well, or is held by a slot from it, and is assigned there only: remove it from "
            "one of them"
        )
        book.put(ConditionType.VALID, False, Reason.ADDRESS_CONFLICT, message)
        put_waiting(book, Reason.ADDRESS_CONFLICT, message, now)
    elif removed:
        message = (
            f"no longer in the pool and still held: {', '.join(removed)}. The slot keeps it until it has drained: "
            "scale the lane in, or put the address back"
        )
        book.put(ConditionType.VALID, False, Reason.ADDRESS_REMOVED, message)
        put_waiting(book, Reason.ADDRESS_REMOVED, message, now)
    else:
        book.put(ConditionType.VALID, True, Reason.ACCEPTED, "every address is this pool's alone")
