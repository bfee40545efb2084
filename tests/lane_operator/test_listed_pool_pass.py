"""A pass over a pool whose addresses blocklists have: what is asked, what is recorded, who is woken, who gets which."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from lane_api.dnsbl import Listing
from lane_api.ippool import AddressStatus, IPPoolStatus
from lane_operator.blocklists import Aim
from lane_operator.deliverability.dnsbl import Standing, remembered
from lane_operator.inputs import Key
from lane_operator.reconcile import QueueKey, World
from lane_operator.reconcile.pool import assign, reconcile_pool
from lane_operator.references import pool_of
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_pool_pass import PATH, POOL, a_lane, body

ADDRESSES = [{"ip": f"203.0.113.{10 + n}", "hostname": f"out{n}.example.com"} for n in range(2)]
ADDRESSES[0]["second"] = {"ip": "2001:db8::10"}  # type: ignore[assignment]
ZEN, COP = (
    Listing(list=name, codes=("127.0.0.2",), since=made.NOW.isoformat()) for name in ("zen.example", "cop.example")
)


@dataclasses.dataclass
class Lists:
    """What lists say, as the test has it; and what they are asked."""

    says: Standing | None = None
    aims: list[tuple[Key, Aim | None, dict[str, tuple[Listing, ...]]]] = dataclasses.field(default_factory=list)

    def aim(self, pool: Key, aim: Aim | None, recorded: Mapping[str, Iterable[Listing]]) -> None:
        self.aims.append((pool, aim, {ip: tuple(its) for ip, its in recorded.items()}))

    def standing(self, pool: Key) -> Standing | None:
        assert pool == POOL
        return self.says


@dataclasses.dataclass
class Rig:
    api: SmallApi
    here: World
    lists: Lists
    woken: list[QueueKey]

    def put(self, **spec: Any) -> None:
        given = made.pool(
            **{
                "addresses": ADDRESSES,
                "engineConfig": {"network": "mail/public", "prefixLength": 24, "second": {"prefixLength": 64}},
                "dnsbl": {"lists": ["zen.example", "cop.example"], "onListing": "Quarantine"},
                **spec,
            }
        ).spec
        before = self.api.objects.get(PATH, {}).get("status")
        stored = body("IPPool", "pool", given)
        self.here.cache.put("IPPool", self.api.put(PATH, stored | ({"status": before} if before else {})))

    async def passes(self) -> IPPoolStatus:
        self.woken.clear()
        await reconcile_pool(self.here, POOL)
        return self.status

    @property
    def status(self) -> IPPoolStatus:
        return IPPoolStatus.model_validate(self.api.objects[PATH]["status"])

    def row(self, ip: str) -> AddressStatus:
        return next(one for one in self.status.addresses if one.ip == ip)


@pytest.fixture
def listing(rig: tuple[SmallApi, World]) -> Rig:
    api, here = rig
    lists, woken = Lists(), list[QueueKey]()
    return Rig(api, dataclasses.replace(here, blocklists=lists, enqueue=woken.append), lists, woken)


async def test_every_address_is_asked_for_seconds_too_and_with_what_is_recorded(listing: Rig) -> None:
    listing.put(dnsbl={"every": "30m", "lists": ["zen.example"]})
    await listing.passes()
    every = ("2001:db8::10", "203.0.113.10", "203.0.113.11")
    assert listing.lists.aims[-1][:2] == (POOL, Aim(1800.0, ("zen.example",), every))

    listing.lists.says = remembered({"203.0.113.11": (ZEN,)}, made.NOW)
    await listing.passes()
    await listing.passes()
    assert listing.lists.aims[-1][2]["203.0.113.11"] == (ZEN,)

    listing.put(dnsbl=None)
    await listing.passes()
    assert listing.lists.aims[-1][1] is None
    assert listing.row("203.0.113.11").listed == ()


async def test_a_listing_is_recorded_and_wakes_the_lane_that_has_the_address_once(listing: Rig) -> None:
    listing.put()
    lane = a_lane(listing.here)
    await listing.passes()
    await assign(listing.here, lane, pool_of(listing.api.objects[PATH]))
    assert listing.row("203.0.113.10").slot == "otp-0"

    listing.lists.says = remembered({"2001:db8::10": (ZEN,)}, made.NOW)
    await listing.passes()
    assert listing.row("2001:db8::10").listed == ("zen.example",)
    assert listing.woken == [QueueKey("SendingLane", "mail", "otp")]
    assert listing.row("203.0.113.10").quarantine is None, "the lane is NeverPause, and has no standby slot"
    await listing.passes()
    assert listing.woken == []

    listing.lists.says = Standing()
    await listing.passes()
    assert listing.row("2001:db8::10").listings == ()
    assert listing.woken == [QueueKey("SendingLane", "mail", "otp")]


async def test_what_is_recorded_stays_until_the_lists_were_asked_and_goes_with_its_list(listing: Rig) -> None:
    listing.put()
    listing.lists.says = remembered({"203.0.113.11": (COP, ZEN)}, made.NOW)
    await listing.passes()
    listing.lists.says = None
    await listing.passes()
    assert listing.row("203.0.113.11").listed == ("cop.example", "zen.example")

    listing.put(dnsbl={"lists": ["zen.example"]})
    await listing.passes()
    assert listing.row("203.0.113.11").listed == ("zen.example",)


async def test_a_listed_address_is_given_to_no_slot_where_another_is_free(listing: Rig) -> None:
    listing.put()
    listing.lists.says = remembered({"203.0.113.10": (ZEN,)}, made.NOW)
    await listing.passes()
    assert listing.status.capacity.quarantined == 1
    lane = a_lane(listing.here)
    (claim,) = (await assign(listing.here, lane, pool_of(listing.api.objects[PATH]))).claims
    assert claim.address is not None
    assert claim.address.ip == "203.0.113.11"


async def test_a_pool_without_addresses_asks_nobody(listing: Rig) -> None:
    listing.put(engine="ClusterDefault", addresses=[], engineConfig={}, verification={})
    status = await listing.passes()
    assert listing.lists.aims[-1][1] is None
    assert not any(one.type == "ListsAnswer" for one in status.conditions)


async def test_a_pool_that_is_gone_is_asked_for_no_more(listing: Rig) -> None:
    await reconcile_pool(listing.here, POOL)
    assert listing.lists.aims == [(POOL, None, {})]
