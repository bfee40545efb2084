"""One pool's addresses while an allocation is worked out: what the spec lists, and who holds each; pure.

Invariants: an address has at most one holder, and is known by its value, never by its spelling. What served Bulk or
Cold last is remembered when it leaves the spec, too: it must come to no other class by a detour. The second of a pair
has an entry and a record of its own, so that all this holds of it as well.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from lane_api.classes import TrafficClass
from lane_api.ippool import AddressStatus, AddressWarmUp, Capacity, Engine, PoolAddress, Quarantine
from lane_api.names import STANDBY_FROM, slot_index
from lane_operator.inputs import Demand, Holding, Key, Pool

__all__ = ["Entry", "Ledger", "next_thaw", "owners", "served_elsewhere"]

AddressValue = IPv4Address | IPv6Address
_CLASSES = frozenset({"", *map(str, TrafficClass)})
LOUD = frozenset({TrafficClass.BULK, TrafficClass.COLD})
"""Classes whose addresses no other class gets without its owner's word."""
REMEMBERED = 256
"""Addresses out of the spec whose class is kept, the latest: as many as a spec may list."""
LONGEST_COOLDOWN_S = 10 * 366 * 86_400.0
"""Ten years: what lasts longer passes the calendar's end, and is for ever anyway."""


@dataclass(slots=True)
class Entry:
    """One address and who holds or held it."""

    value: AddressValue
    address: PoolAddress
    listed: bool
    """In the spec; one that is not stays only while it is held, or for the class that it served."""
    beside: str = ""
    """The first of its pair by the spec; empty where it is listed by itself."""
    held_beside: str = ""
    """The same by the record, of whoever has or had it."""
    lane: str = ""
    lane_class: str = ""
    slot: str = ""
    released_at: str | None = None
    port_block: int | None = None
    quarantine: Quarantine | None = None
    """As recorded of the slot that holds it, as is what follows."""
    verified_at: str | None = None
    warmup: AddressWarmUp | None = None
    joining: bool = False
    held_elsewhere: str = ""
    class_elsewhere: str = ""
    """What it served last in another pool, which lists it no more."""

    @property
    def served(self) -> str:
        """The class that mail left from here in last; empty for none that is known."""
        return self.lane_class if self.lane else self.class_elsewhere

    def is_barred_to(self, traffic_class: TrafficClass) -> bool:
        """It served Bulk or Cold last, and its owner has not released it to serve another class."""
        return self.served in LOUD and self.served != traffic_class and self.served != self.address.released_from

    @property
    def is_second(self) -> bool:
        """It is nobody's first address, neither now nor for whoever may have it."""
        return bool(self.held_beside if self.is_held else self.beside or (self.held_beside and not self.listed))

    @property
    def may_be_given(self) -> bool:
        """It is this pool's to give, and mail may leave from it."""
        return self.listed and not self.held_elsewhere and not self.address.quarantined

    @property
    def is_in_standby(self) -> bool:
        """A standby slot holds it."""
        index = slot_index(self.lane.partition("/")[2], self.slot) if self.is_held else None
        return index is not None and index >= STANDBY_FROM

    @property
    def is_held(self) -> bool:
        """A slot has it now."""
        return bool(self.lane) and self.released_at is None

    def cools_until(self, cooldown_s: float) -> dt.datetime | None:
        """When another lane may have it; None where it does not cool down."""
        if not self.lane or self.released_at is None:
            return None
        return dt.datetime.fromisoformat(self.released_at) + dt.timedelta(seconds=min(cooldown_s, LONGEST_COOLDOWN_S))

    def was_of(self, demand: Demand) -> bool:
        """Whether it is, or was last, this lane's: same namespace, name and class."""
        return self.lane == "/".join(demand.key) and self.lane_class == demand.traffic_class

    def hold(self, demand: Demand, slot: str) -> None:
        """Gives it to a slot."""
        if (self.lane, self.slot) != ("/".join(demand.key), slot):
            self.quarantine = self.verified_at = self.warmup = None
            self.joining = False
        self.lane, self.lane_class = "/".join(demand.key), str(demand.traffic_class)
        self.slot, self.released_at, self.held_beside = slot, None, self.beside


class Ledger:
    """The entries of one pool."""

    def __init__(self, pool: Pool) -> None:
        """Joins what the spec lists with what the status remembers."""
        self.pool = pool
        self._entries: dict[AddressValue, Entry] = {}
        self._seconds: dict[AddressValue, tuple[PoolAddress, str]] = {}
        for address in sorted(pool.spec.addresses, key=lambda one: one.ip):
            value = _address_value(address.ip)
            if value is not None:
                self._entries.setdefault(value, Entry(value, address, listed=True))
        for first in [entry.address for entry in self._entries.values() if entry.address.second is not None]:
            self._list_second(first)
        for record in pool.status.addresses:
            self._remember(record)
        self._entries = dict(sorted(self._entries.items(), key=lambda one: (one[0].version, int(one[0]))))

    def __iter__(self) -> Iterator[Entry]:
        """Entries of slots' first addresses, in order of family and value."""
        return iter([entry for entry in self._entries.values() if not entry.is_second])

    @property
    def entries(self) -> tuple[Entry, ...]:
        """These, and those of the seconds."""
        return tuple(self._entries.values())

    def second_of(self, first: Entry) -> Entry | None:
        """What the spec puts beside an address; None for nothing, or where a slot has it otherwise by the record."""
        asked = first.address.second if first.listed else None
        entry = self.entry(asked.ip) if asked is not None else None
        return entry if entry is not None and entry.listed and entry.beside == first.address.ip else None

    def entry(self, text: str) -> Entry | None:
        """The entry of an address in any spelling."""
        value = _address_value(text)
        return None if value is None else self._entries.get(value)

    def holders(self) -> dict[tuple[str, str, str], Entry]:
        """What is held, by lane, class and slot."""
        return {(one.lane, one.lane_class, one.slot): one for one in self if one.is_held}

    def release_all_but(self, kept: Iterable[Entry], now: dt.datetime, moved: Collection[AddressValue] = ()) -> None:
        """Lets the others rest; of one that the spec has dropped only the class is kept, where that binds it.

        `moved` are addresses that serve in another pool by now, whose record counts.
        """
        staying = {entry.value for entry in kept}
        gone = []
        for entry in self.entries:
            if entry.is_held and entry.value not in staying:
                entry.released_at = now.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                entry.port_block = entry.quarantine = entry.verified_at = entry.warmup = None
                entry.joining = False
            if not entry.listed and not entry.is_held and entry.value in self._seconds:
                entry.address, entry.beside = self._seconds[entry.value]  # it rests before it is a second
                entry.listed = True
            if not entry.listed and not entry.is_held:
                gone.append(entry)
        binding = [one for one in gone if one.lane_class in LOUD and one.value not in moved]
        latest = sorted(binding, key=lambda one: one.released_at or "", reverse=True)[:REMEMBERED]
        for entry in gone:
            if entry not in latest:
                del self._entries[entry.value]

    def capacity(self, now: dt.datetime) -> Capacity:
        """Addresses by state."""
        held = sum(entry.is_held for entry in self)  # of pairs the firsts
        standby = sum(entry.is_in_standby for entry in self)
        cooling = sum(self.is_cooling(entry, now) for entry in self)
        usable = sum(entry.listed and not entry.held_elsewhere for entry in self)
        free = sum(self.is_free(entry, now) for entry in self)
        quarantined = sum(entry.listed and entry.address.quarantined and not entry.is_held for entry in self)
        return Capacity(
            total=usable,
            assigned=held - standby,
            standby=standby,
            quarantined=quarantined,
            cooling=cooling,
            free=free,
        )

    def is_cooling(self, entry: Entry, now: dt.datetime) -> bool:
        """Given up so lately that only its own lane may have it."""
        until = entry.cools_until(self.pool.spec.cooldown) if entry.listed else None
        return until is not None and now < until

    def is_free(self, entry: Entry, now: dt.datetime) -> bool:
        """Any lane may have it, if it is of the class that it served or the address is not bound to that."""
        return entry.may_be_given and not entry.is_held and not self.is_cooling(entry, now)

    def records(self) -> tuple[AddressStatus, ...]:
        """The entries as the pool's status keeps them."""
        return tuple(_record(entry) for entry in self._entries.values())

    def _list_second(self, first: PoolAddress) -> None:
        value = _address_value(first.second.ip) if first.second is not None else None
        if value is None or first.second is None:
            return
        address = first.model_copy(
            update={"ip": first.second.ip, "source": first.second.source, "proxy": first.second.proxy, "second": None}
        )
        if self._entries.setdefault(value, Entry(value, address, listed=True, beside=first.ip)).beside:
            self._seconds[value] = address, first.ip

    def _remember(self, record: AddressStatus) -> None:
        value = _address_value(record.ip)
        if value is None or not record.lane or record.lane_class not in _CLASSES:
            return  # what a hand has damaged is no record, and found again by what the slot carries
        entry = self._entries.get(value)
        if entry is not None and entry.beside and record.released_at is None and not record.first:
            entry = None  # a slot has it as its only one, and keeps it so, whatever it is to be next
        if entry is None and (record.released_at is None or record.lane_class in LOUD):
            address = PoolAddress.model_construct(  # as it was validated when it was assigned
                ip=record.ip,
                hostname=record.hostname,
                node=record.node,
                zone=record.zone,
                source=record.source,
                proxy=record.proxy.proxy if record.proxy is not None else None,
            )
            entry = self._entries[value] = Entry(value, address, listed=False)
        if entry is None or entry.lane:
            return
        entry.lane, entry.lane_class, entry.slot = record.lane, record.lane_class, record.slot
        entry.held_beside = record.first
        entry.released_at, entry.quarantine = record.released_at, record.quarantine
        entry.verified_at, entry.warmup, entry.joining = record.verified_at, record.warmup, record.joining
        entry.port_block = record.port_block if self.pool.spec.engine is Engine.HOST_NETWORK else None


@lru_cache(maxsize=16_384)  # each allocation reads every pool, and every slot's address
def _address_value(text: str) -> AddressValue | None:
    """The address itself, whatever its spelling; None for what is none."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def next_thaw(pool: Pool, now: dt.datetime) -> float | None:
    """Seconds until the next address that rests may be another lane's; None where none rests."""
    ends = (entry.cools_until(pool.spec.cooldown) for entry in Ledger(pool).entries)
    waits = [(end - now).total_seconds() for end in ends if end is not None and end > now]
    return min(waits, default=None)


def _held_values(pool: Pool) -> set[AddressValue]:
    """The addresses that slots hold by this pool's record."""
    found = (_address_value(one.ip) for one in pool.status.addresses if one.lane and one.released_at is None)
    return {value for value in found if value is not None}


def _record(entry: Entry) -> AddressStatus:
    if not entry.lane:
        return AddressStatus(ip=entry.address.ip, first=entry.beside, held_elsewhere=entry.held_elsewhere)
    return AddressStatus(
        ip=entry.address.ip,
        first=entry.held_beside,
        hostname=entry.address.hostname,
        node=entry.address.node,
        zone=entry.address.zone,
        source=entry.address.source,
        proxy=entry.address.proxy.record if entry.address.proxy is not None else None,
        lane=entry.lane,
        lane_class=entry.lane_class,
        slot=entry.slot,
        released_at=entry.released_at,
        port_block=entry.port_block,
        quarantine=entry.quarantine,
        joining=entry.joining,
        verified_at=entry.verified_at,
        warmup=entry.warmup,
        held_elsewhere=entry.held_elsewhere,
    )


def owners(pools: Iterable[Pool], holdings: Iterable[Holding] = ()) -> dict[AddressValue, Key]:
    """Which pool an address belongs to: the one whose record holds it, else the one whose slots still carry it though
    it is gone or has forgotten it, else the first by name that lists it."""
    ordered = sorted(pools, key=lambda pool: pool.key)
    found: dict[AddressValue, Key] = {}
    for pool in ordered:
        for value in _held_values(pool):
            found.setdefault(value, pool.key)
    for value, key in _carried(ordered, holdings):
        found.setdefault(value, key)
    for pool in ordered:
        for value in _listed_values(pool):
            found.setdefault(value, pool.key)
    return found


def served_elsewhere(pool: Pool, others: Iterable[Pool]) -> Mapping[AddressValue, str]:
    """What addresses did last in other pools: address -> class of the lane that has or had it there."""
    latest: dict[AddressValue, tuple[str, str]] = {}
    for other in others:
        for record in other.status.addresses if other.key != pool.key else ():
            value = _address_value(record.ip) if record.lane else None
            if value is not None:
                # one that is held counts as the latest of all; of two given up in one second, either order is one
                found = (record.released_at or "~", record.lane_class)
                latest[value] = max(found, latest.get(value, found))
    return {value: traffic_class for value, (_, traffic_class) in latest.items()}


def _carried(pools: Iterable[Pool], holdings: Iterable[Holding]) -> Iterator[tuple[AddressValue, Key]]:
    """What live slots carry, by the pool that it came from.

    What nobody vouches for counts in pools that are open to its namespace, which may draw from them anyway.
    """
    offering: defaultdict[AddressValue, list[frozenset[str]]] = defaultdict(list)
    for pool in pools:
        for listed in _listed_values(pool):
            offering[listed].append(pool.namespaces)
    for holding in sorted(holdings):
        value = _address_value(holding.address)
        if value is None or value not in offering:  # nobody could give it out
            continue
        if holding.vouched or all(holding.namespace in open_to for open_to in offering[value]):
            yield value, holding.pool


def _listed_values(pool: Pool) -> tuple[AddressValue, ...]:
    """The addresses that the pool's spec lists, in its order."""
    values = (_address_value(ip) for address in pool.spec.addresses for ip in address.ips)
    return tuple(value for value in values if value is not None)
