"""DNS blocklists that a pool's addresses are looked for in (RFC 5782), and what is recorded of a listing."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from lane_api.model import ApiModel, cel, list_map
from lane_api.moment import Moment
from lane_api.quantities import Span

__all__ = ["QUARANTINED_BY_DNSBL", "Dnsbl", "Listing", "OnListing", "shown"]

QUARANTINED_BY_DNSBL = "dnsbl"
"""Of a quarantine: what ordered it is a listing."""
DEAD = (
    "dnsbl.sorbs.net",
    "ix.dnsbl.manitu.net",
    "ubl.unsubscore.com",
    "dnsbl.inps.de",
    "dnsbl.njabl.org",
    "dnsbl.ahbl.org",
    "cbl.abuseat.org",
)
"""Lists that ended (SORBS in June 2024, NiX Spam in January 2025, the others before): their names answer nothing, or
anything. CBL is part of zen.spamhaus.org."""
KEYED = (".dq.spamhaus.net", ".mail.abusix.zone")
"""Zones below which a first label is the customer's key."""

_DEAD = ", ".join(f"'{name}'" for name in DEAD)
ListName = Annotated[
    str,
    Field(
        min_length=3,
        max_length=180,  # 64 characters of a reversed IPv6 address stand before it in a name of 253
        json_schema_extra=cel(
            (
                "self.matches('^([a-z0-9]([-a-z0-9]*[a-z0-9])?[.])+[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "must be the list's zone in lower case, such as zen.spamhaus.org",
            ),
            (
                f"!(self in [{_DEAD}])",
                (
                    "this list has ended, and its zone answers nothing or anything: remove it (of cbl.abuseat.org take "
                    "zen.spamhaus.org)"
                ),
            ),
        ),
    ),
]


class OnListing(StrEnum):
    """What follows a listing."""

    QUARANTINE = "Quarantine"
    ALERT = "Alert"


class Dnsbl(ApiModel):
    """Blocklists to look for the pool's addresses in.

    A list counts while it works: it has the test address 127.0.0.2 (`::FFFF:7F00:2`) and not 127.0.0.1. What refuses
    to answer (127.255.255.0/24) or answers outside of 127.0.0.0/8 lists nobody. A listing counts from its second look
    on, and is over after two that do not find it.
    """

    every: Span = 1200.0
    """How often each address is looked for, with a tenth of jitter; one that is found, or found no longer, again after
    five minutes at most. Mind the terms of each list. Default 20m."""
    lists: Annotated[
        tuple[ListName, ...], Field(min_length=1, max_length=16, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Zones of lists of IP addresses, such as zen.spamhaus.org. Big ones refuse public resolvers: docs/addresses.md."""
    on_listing: OnListing = OnListing.ALERT
    """Quarantine: nothing leaves from a listed address, as with `addresses[].quarantined`, until it is listed no more;
    of a lane with `protection: NeverPause` only where a standby slot sends in its place, and of one with
    `automation: Observe` never. Alert: the condition Listed and an alert tell. Default Alert."""


class Listing(ApiModel):
    """One list that has an address."""

    list: str
    """Its zone; the key of one that has a key is left out."""
    codes: tuple[str, ...] = ()
    """What it answers, such as 127.0.0.2; what each means is the list's to say."""
    since: Moment
    """When it was found first (RFC 3339, UTC)."""


Listings = Annotated[tuple[Listing, ...], Field(json_schema_extra=list_map("list"))]


def shown(zone: str) -> str:
    """A list's name as it may be shown: without the customer's key."""
    first, _, rest = zone.partition(".")
    return f"KEY.{rest}" if first and f".{rest}".endswith(KEYED) and not zone.endswith(first) else zone
