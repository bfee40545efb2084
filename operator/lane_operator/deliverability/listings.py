"""Which blocklists have an address, beside the record of who holds it, and what follows from it; pure.

Comes after the allocation and before `pools.quarantine`, which does what follows. A listing is the address's,
whoever holds it: it stays with it when the address changes hands.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from enum import StrEnum

from lane_api.classes import Protection
from lane_api.dnsbl import QUARANTINED_BY_DNSBL, Listing, OnListing
from lane_api.effective import effective
from lane_api.ippool import IPPoolStatus, Quarantine
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.inputs import Pool

__all__ = ["Follows", "ListingsOf", "follows", "listed_slots", "listing_text", "with_listings", "without_listed"]

ListingsOf = Callable[[str], tuple[Listing, ...]]
"""address -> what counts of it."""


class Follows(StrEnum):
    """What a listing means for the slot that holds the address."""

    TOLD = "Told"
    """Nothing but that it is told."""
    REPLACED = "Replaced"
    """A standby slot sends instead; where none can, it goes on."""
    STOPPED = "Stopped"
    """Nothing leaves from it."""


def follows(pool: Pool, spec: SendingLaneSpec) -> Follows:
    """What the pool asks for, as far as the lane lets automation act."""
    dnsbl = pool.spec.dnsbl
    if dnsbl is None or dnsbl.on_listing is OnListing.ALERT or spec.automation == "Observe":
        return Follows.TOLD
    return Follows.REPLACED if effective(spec).protection is Protection.NEVER_PAUSE else Follows.STOPPED


def with_listings(status: IPPoolStatus, listings_of: ListingsOf) -> IPPoolStatus:
    """The status with what blocklists have of each address."""
    rows = tuple(
        row.model_copy(update={"listings": found, "listed": tuple(one.list for one in found)})
        for row in status.addresses
        for found in (listings_of(row.ip),)
    )
    return status.model_copy(update={"addresses": rows})


def without_listed(pool: Pool, listings_of: ListingsOf) -> Pool:
    """The pool as it gives addresses away: none that nobody holds and a list has, where that means quarantine."""
    if pool.spec.dnsbl is None or pool.spec.dnsbl.on_listing is OnListing.ALERT:
        return pool
    held = {row.ip for row in pool.status.addresses if row.lane and row.released_at is None}
    addresses = tuple(
        one.model_copy(update={"quarantined": True})
        if one.ip not in held and any(listings_of(ip) for ip in one.ips)
        else one
        for one in pool.spec.addresses
    )
    return replace(pool, spec=pool.spec.model_copy(update={"addresses": addresses}))


def listed_slots(statuses: Iterable[IPPoolStatus]) -> Mapping[tuple[str, str], Quarantine]:
    """By lane (`namespace/name`) and slot, the quarantine that its listed addresses would mean."""
    found: dict[tuple[str, str], list[tuple[str, Listing]]] = {}
    for status in statuses:
        for row in status.addresses:
            if row.lane and row.released_at is None and row.listings:
                found.setdefault((row.lane, row.slot), []).extend((row.ip, one) for one in row.listings)
    return {
        slot: Quarantine(
            by=QUARANTINED_BY_DNSBL,
            reply=", ".join(f"{one.list} has {ip} ({', '.join(one.codes)})" for ip, one in its),
            since=min(one.since for _, one in its),
        )
        for slot, its in found.items()
    }


def listing_text(listing: Listing) -> str:
    """A listing in words."""
    return f"is in {listing.list} ({', '.join(listing.codes)}) since {listing.since}"
