"""What follows where a blocklist has an address: by the pool, by what its lane lets automation do, and by who can stand
in."""

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from lane_api.dnsbl import Dnsbl, Listing, OnListing
from lane_api.ippool import AddressStatus, IPPoolStatus, Quarantine
from lane_api.lane_status import SlotRole
from lane_operator.deliverability.listings import Follows, follows, listed_slots, with_listings, without_listed
from lane_operator.inputs import Claim
from lane_operator.pools import allocate, with_stand_ins
from tests.lane_operator import made
from tests.lane_operator.pools.test_allocate import NOW, POOL
from tests.lane_operator.pools.test_quarantine import Rig, refused

SINCE = "2026-11-23T07:00:00Z"
ZEN = Listing(list="zen.spamhaus.org", codes=("127.0.0.2",), since=SINCE)
ACTIVE, OTHER, SPARE = "203.0.113.10", "203.0.113.11", "203.0.113.20"


@dataclass
class Listed(Rig):
    """The same lane, whose pool's addresses are looked for in a list."""

    listed: dict[str, tuple[Listing, ...]] = field(default_factory=dict)
    then: Follows = Follows.STOPPED

    def decide(self, now: Any = NOW) -> dict[str, Claim]:
        result = allocate([self.pool], [self.demand], now)
        statuses = {key: with_listings(one, self.listings) for key, one in result.statuses.items()}
        result = with_stand_ins(replace(result, statuses=statuses), self.sighted, now, lambda _: self.then)
        self.pool = replace(self.pool, status=result.statuses[POOL])
        return {claim.slot_name: claim for claim in result.assignments["mail", "otp"].claims}

    def listings(self, ip: str) -> tuple[Listing, ...]:
        return self.listed.get(ip, ())


def roles(claims: dict[str, Claim]) -> dict[str, SlotRole]:
    return {name: claim.role for name, claim in claims.items()}


def test_a_listed_address_sends_nothing_and_a_standby_slot_takes_its_place() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,)})
    claims = rig.decide()

    assert roles(claims) == {"otp-0": SlotRole.QUARANTINED, "otp-1": SlotRole.ACTIVE, "otp-s0": SlotRole.PROMOTED}
    assert claims["otp-s0"].takes_mail
    assert rig.recorded("otp-0") == Quarantine(
        by="dnsbl", reply=f"zen.spamhaus.org has {ACTIVE} (127.0.0.2)", since=SINCE, stood_in_by="otp-s0"
    )
    row = next(one for one in rig.pool.status.addresses if one.ip == ACTIVE)
    assert (row.listed, row.listings) == (("zen.spamhaus.org",), (ZEN,))

    rig.listed = {}
    assert rig.decide()["otp-0"].role is SlotRole.ACTIVE
    assert rig.recorded("otp-0") is None


def test_without_a_standby_slot_the_lane_s_other_addresses_take_the_mail() -> None:
    rig = Listed(standby=0, listed={ACTIVE: (ZEN,)})
    assert roles(rig.decide()) == {"otp-0": SlotRole.QUARANTINED, "otp-1": SlotRole.ACTIVE}


def test_a_lane_that_is_never_paused_goes_on_where_no_standby_slot_can_send() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,)}, then=Follows.REPLACED)
    assert rig.decide()["otp-0"].role is SlotRole.QUARANTINED

    rig.says("otp-s0", proof_state="Unproved")
    claims = rig.decide()
    assert claims["otp-0"].role is SlotRole.ACTIVE
    assert claims["otp-0"].quarantine is None

    rig = Listed(standby=0, listed={ACTIVE: (ZEN,)}, then=Follows.REPLACED)
    assert roles(rig.decide()) == {"otp-0": SlotRole.ACTIVE, "otp-1": SlotRole.ACTIVE}
    assert rig.pool.status.capacity.quarantined == 0


def test_an_operator_that_has_just_begun_does_not_give_up_a_stand_in_that_it_has_not_asked_yet() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,)}, then=Follows.REPLACED)
    rig.decide()
    rig.said["otp-s0"] = rig.said["otp-0"] = None
    assert rig.decide()["otp-0"].role is SlotRole.QUARANTINED


def test_a_listed_standby_slot_stands_in_for_nobody() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,), SPARE: (ZEN,)}, then=Follows.REPLACED)
    claims = rig.decide()
    assert claims["otp-0"].role is SlotRole.ACTIVE
    assert claims["otp-s0"].role is SlotRole.QUARANTINED

    rig = Listed(standby=2, listed={ACTIVE: (ZEN,), SPARE: (ZEN,)}, then=Follows.REPLACED)
    assert rig.decide()["otp-s1"].stands_in_for == ("otp-0",)


def test_what_an_isp_refuses_counts_where_a_listing_stops_nothing() -> None:
    rig = Listed(standby=0, listed={ACTIVE: (ZEN,)}, then=Follows.REPLACED)
    rig.says("otp-0", refused("gmail"))
    assert rig.decide()["otp-0"].role is SlotRole.ACTIVE
    assert rig.recorded("otp-0") == refused("gmail")


def test_a_listing_that_is_only_told_stops_nothing_and_is_recorded() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,)}, then=Follows.TOLD)
    assert rig.decide()["otp-0"].role is SlotRole.ACTIVE
    assert next(one.listed for one in rig.pool.status.addresses if one.ip == ACTIVE) == ("zen.spamhaus.org",)


def test_the_owner_s_word_comes_before_a_listing() -> None:
    rig = Listed(listed={ACTIVE: (ZEN,)}, then=Follows.REPLACED)
    rig.bar(ACTIVE)
    rig.decide()
    recorded = rig.recorded("otp-0")
    assert recorded is not None
    assert recorded.is_by_owner


@pytest.mark.parametrize(
    ("spec", "on_listing", "then"),
    [
        ({"trafficClass": "Bulk"}, "Quarantine", Follows.STOPPED),
        ({"trafficClass": "Cold"}, "Quarantine", Follows.STOPPED),
        ({"trafficClass": "Transactional"}, "Quarantine", Follows.REPLACED),
        ({"trafficClass": "Transactional", "protection": "Pausable"}, "Quarantine", Follows.STOPPED),
        ({"trafficClass": "Bulk", "automation": "Observe"}, "Quarantine", Follows.TOLD),
        ({"trafficClass": "Bulk"}, "Alert", Follows.TOLD),
        ({"trafficClass": "Bulk"}, None, Follows.TOLD),
    ],
)
def test_what_follows_is_what_the_pool_asks_for_as_far_as_the_lane_lets_it(
    spec: dict[str, Any], on_listing: str | None, then: Follows
) -> None:
    dnsbl = {"lists": ["zen.spamhaus.org"], "onListing": on_listing} if on_listing else None
    assert follows(made.pool(dnsbl=dnsbl), made.lane(**spec).spec) is then


def test_both_addresses_of_a_pair_are_listed_by_either() -> None:
    rows = (
        AddressStatus(ip=ACTIVE, lane="mail/otp", slot="otp-0"),
        AddressStatus(ip="2001:db8::10", first=ACTIVE, lane="mail/otp", slot="otp-0"),
    )
    status = with_listings(IPPoolStatus(addresses=rows), lambda ip: (ZEN,) if ":" in ip else ())
    found = listed_slots([status])
    assert found["mail/otp", "otp-0"].reply == "zen.spamhaus.org has 2001:db8::10 (127.0.0.2)"


def test_a_listed_address_that_nobody_holds_is_given_to_nobody() -> None:
    rig = Listed(standby=0, addresses=[ACTIVE, OTHER, "203.0.113.12"])
    dnsbl = Dnsbl.model_validate({"lists": ["zen.spamhaus.org"], "onListing": "Quarantine"})

    def barred(**changes: Any) -> list[str]:
        pool = replace(rig.pool, spec=rig.pool.spec.model_copy(update={"dnsbl": dnsbl.model_copy(update=changes)}))
        return [one.ip for one in without_listed(pool, lambda _: (ZEN,)).spec.addresses if one.quarantined]

    assert barred() == ["203.0.113.12"], "what slots hold is quarantined by the listing, and not by a word of its owner"
    assert barred(on_listing=OnListing.ALERT) == []
