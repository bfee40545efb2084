"""Whose address is quarantined, who stands in for it, and that nothing flaps."""

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.ippool import Quarantine
from lane_api.lane_status import SlotRole
from lane_operator.inputs import Claim, Demand, Key, Pool, SlotObservation
from lane_operator.pools import allocate, with_stand_ins
from tests.lane_operator.pools.test_allocate import NOW, POOL, demand
from tests.lane_operator.pools.test_standby import mixed

SPARE = [{"ip": f"203.0.113.{last}", "role": "Standby"} for last in (20, 21)]
SINCE, UNTIL = "2026-11-23T07:50:00Z", "2026-11-23T08:20:00Z"


def refused(*isps: str, since: str = SINCE, until: str = UNTIL, rule: str = "gmail/listed") -> Quarantine:
    """What a slot says of its address."""
    return Quarantine(by=rule, isps=isps, reply="550 listed", since=since, until=until)


@dataclass
class Rig:
    """A lane with two active and up to two standby slots, and what each slot said last."""

    standby: int = 1
    addresses: list[Any] = field(default_factory=lambda: ["203.0.113.10", "203.0.113.11", *SPARE])
    said: dict[str, SlotObservation | None] = field(default_factory=dict)
    pool: Pool = field(init=False)

    def __post_init__(self) -> None:
        self.pool = mixed(*self.addresses)
        for slot in ("otp-0", "otp-1", "otp-s0", "otp-s1"):
            self.says(slot)
        self.decide()

    @property
    def demand(self) -> Demand:
        return demand(replicas=2, standby=self.standby)

    def says(self, slot: str, *quarantines: Quarantine, **more: Any) -> None:
        whole: dict[str, Any] = {"reachable": True, "proof_state": "Proved", "quarantines": quarantines} | more
        self.said[slot] = SlotObservation(slot, **whole)

    def bar(self, ip: str, *, quarantined: bool = True) -> None:
        rows = self.pool.spec.addresses
        changed = tuple(one.model_copy(update={"quarantined": quarantined}) if one.ip == ip else one for one in rows)
        self.pool = replace(self.pool, spec=self.pool.spec.model_copy(update={"addresses": changed}))

    def sighted(self, _lane: Key, slot: str) -> SlotObservation | None:
        return self.said[slot]

    def decide(self, now: dt.datetime = NOW) -> dict[str, Claim]:
        """One pass, whose record is the next one's; claims by slot."""
        result = with_stand_ins(allocate([self.pool], [self.demand], now), self.sighted, now)
        self.pool = replace(self.pool, status=result.statuses[POOL])
        return {claim.slot_name: claim for claim in result.assignments["mail", "otp"].claims}

    def recorded(self, slot: str) -> Quarantine | None:
        return next(one.quarantine for one in self.pool.status.addresses if one.slot == slot)


def test_while_nobody_is_refused_the_standby_slot_stands_by() -> None:
    rig = Rig()
    claims = rig.decide()
    assert [claim.role for claim in claims.values()] == [SlotRole.ACTIVE, SlotRole.ACTIVE, SlotRole.STANDBY]
    assert not any(claim.quarantine for claim in claims.values())
    assert rig.pool.status.capacity.quarantined == 0


def test_a_refused_address_has_a_standby_slot_promoted_and_the_record_says_why() -> None:
    rig = Rig()
    rig.says("otp-0", refused("gmail"))
    claims = rig.decide()

    assert claims["otp-0"].role is SlotRole.ACTIVE, "other ISPs' mail still leaves from it"
    assert claims["otp-0"].takes_mail
    assert (claims["otp-s0"].role, claims["otp-s0"].stands_in_for) == (SlotRole.PROMOTED, ("otp-0",))
    assert not claims["otp-s0"].takes_mail
    assert rig.recorded("otp-0") == refused("gmail").model_copy(update={"stood_in_by": "otp-s0"})
    assert rig.recorded("otp-s0") is None
    assert rig.pool.status.capacity.quarantined == 1


def test_when_the_quarantine_is_over_the_standby_slot_is_one_again() -> None:
    rig = Rig()
    rig.says("otp-0", refused("gmail"))
    rig.decide()
    rig.says("otp-0")
    claims = rig.decide()

    assert claims["otp-s0"].role is SlotRole.STANDBY
    assert (rig.recorded("otp-0"), rig.pool.status.capacity.quarantined) == (None, 0)


def test_what_several_isps_refuse_is_one_quarantine_with_one_stand_in() -> None:
    rig = Rig(standby=2)
    later = "2026-11-23T09:00:00Z"
    rig.says("otp-0", refused("yahoo", since="2026-11-23T07:55:00Z", until=later, rule="yahoo/x"), refused("gmail"))
    claims = rig.decide()

    assert rig.recorded("otp-0") == Quarantine(
        by="gmail/listed", isps=("gmail", "yahoo"), reply="550 listed", since=SINCE, until=later, stood_in_by="otp-s0"
    )
    assert claims["otp-s1"].role is SlotRole.STANDBY


def test_a_stand_in_stays_while_the_cause_lasts_whatever_else_comes_and_goes() -> None:
    rig = Rig(standby=2)
    rig.says("otp-s0", proof_state="Unproved")
    rig.says("otp-0", refused("gmail"))
    assert rig.decide()["otp-s1"].stands_in_for == ("otp-0",), "the first cannot send"
    rig.says("otp-s0")
    assert rig.decide()["otp-s1"].stands_in_for == ("otp-0",), "one cause, one promotion"
    rig.says("otp-0", refused("gmail", until="2026-11-23T08:50:00Z"))
    assert rig.decide()["otp-s1"].stands_in_for == ("otp-0",)
    rig.says("otp-s0", reachable=False)
    rig.says("otp-s1", reachable=False)
    assert rig.decide()["otp-s1"].stands_in_for == ("otp-0",), "no other could"
    rig.says("otp-s0")
    assert rig.decide()["otp-s0"].stands_in_for == ("otp-0",), "one that can, for one that cannot"
    rig.says("otp-s1")
    assert rig.decide()["otp-s0"].stands_in_for == ("otp-0",)


def test_two_refused_addresses_get_two_stand_ins_or_share_the_only_one() -> None:
    for standby, expected in ((2, [("otp-0",), ("otp-1",)]), (1, [("otp-0", "otp-1")])):
        rig = Rig(standby=standby)
        rig.says("otp-0", refused("gmail"))
        rig.says("otp-1", refused("gmail"))
        claims = rig.decide()
        assert [claims[f"otp-s{number}"].stands_in_for for number in range(standby)] == expected


def test_one_that_the_same_isp_refuses_or_that_cannot_send_does_not_stand_in() -> None:
    rig = Rig()
    rig.says("otp-0", refused("gmail"))
    rig.says("otp-s0", refused("gmail"))
    assert rig.decide()["otp-s0"].stands_in_for == ()
    assert rig.recorded("otp-0") == refused("gmail"), "nobody stands in"
    rig.says("otp-s0", refused("yahoo"))
    assert rig.decide()["otp-s0"].stands_in_for == ("otp-0",)
    for more in ({"reachable": False}, {"proof_state": "Mismatch"}):
        other = Rig()
        other.says("otp-0", refused("gmail"))
        other.says("otp-s0", **more)
        assert other.decide()["otp-s0"].stands_in_for == ()


def test_of_a_slot_that_does_not_answer_what_is_recorded_counts_to_its_end() -> None:
    rig = Rig()
    rig.says("otp-0", refused("gmail"))
    rig.decide()
    rig.said["otp-0"] = None  # the operator has restarted
    assert rig.decide()["otp-s0"].stands_in_for == ("otp-0",)
    rig.says("otp-0", reachable=False)
    assert rig.decide()["otp-s0"].stands_in_for == ("otp-0",)
    assert rig.decide(NOW + dt.timedelta(minutes=21))["otp-s0"].stands_in_for == ()
    assert rig.recorded("otp-0") is None


def test_an_address_that_its_owner_quarantines_takes_its_slot_out_and_puts_the_stand_in_in_its_place() -> None:
    rig = Rig()
    rig.bar("203.0.113.10")
    claims = rig.decide()

    assert claims["otp-0"].role is SlotRole.QUARANTINED
    assert claims["otp-0"].intake_is_closed
    assert (claims["otp-s0"].role, claims["otp-s0"].takes_mail) == (SlotRole.PROMOTED, True)
    recorded = rig.recorded("otp-0")
    assert recorded == Quarantine(by="spec", since="2026-11-23T08:00:00Z", stood_in_by="otp-s0")
    rig.decide(NOW + dt.timedelta(hours=1))
    assert rig.recorded("otp-0") == recorded, "it began when it began"
    rig.said["otp-0"] = None
    rig.bar("203.0.113.10", quarantined=False)
    assert rig.decide()["otp-0"].role is SlotRole.ACTIVE, "also while it does not answer"


def test_without_standby_slots_the_others_take_over_what_the_owner_quarantines_and_a_lone_slot_keeps_it() -> None:
    rig = Rig(standby=0)
    rig.bar("203.0.113.10")
    assert rig.decide()["otp-0"].role is SlotRole.QUARANTINED
    rig.bar("203.0.113.11")
    claims = rig.decide()
    assert [claim.role for claim in claims.values()] == [SlotRole.ACTIVE, SlotRole.ACTIVE], "somebody takes the mail"
    assert all(claim.quarantine for claim in claims.values())


def test_what_is_said_of_all_mail_by_an_isp_goes_to_a_stand_in_and_not_to_the_lane_s_other_addresses() -> None:
    rig = Rig(standby=0)
    rig.says("otp-0", refused())
    assert rig.decide()["otp-0"].role is SlotRole.ACTIVE
    with_spare = Rig()
    with_spare.says("otp-0", refused())
    claims = with_spare.decide()
    assert claims["otp-0"].role is SlotRole.QUARANTINED
    assert claims["otp-s0"].takes_mail


def test_a_standby_address_that_its_owner_quarantines_stands_in_for_nobody() -> None:
    rig = Rig()
    rig.bar("203.0.113.20")
    rig.says("otp-0", refused("gmail"))
    claims = rig.decide()
    assert claims["otp-s0"].role is SlotRole.QUARANTINED
    assert claims["otp-s0"].stands_in_for == ()


def test_another_lane_s_standby_slots_are_left_alone() -> None:
    rig = Rig(standby=0)
    rig.says("otp-0", refused("gmail"))
    demands = [rig.demand, demand("aaa", replicas=0, standby=1)]
    result = with_stand_ins(
        allocate([rig.pool], demands, NOW), lambda _lane, slot: rig.said.get(slot) or SlotObservation(slot), NOW
    )
    assert [claim.role for claim in result.assignments["mail", "aaa"].claims] == [SlotRole.STANDBY]


def test_an_address_that_goes_to_another_slot_takes_no_quarantine_along() -> None:
    rig = Rig()
    rig.says("otp-0", refused("gmail"))
    rig.decide()
    result = allocate([replace(rig.pool, spec=rig.pool.spec.model_copy(update={"cooldown": 0.0}))], [], NOW)
    assert not any(one.quarantine for one in result.statuses[POOL].addresses)


_said = st.lists(st.sampled_from(["gmail", "yahoo", ""]), max_size=2, unique=True)
_state = st.tuples(_said, st.booleans(), st.booleans())


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_state, _state, _state, _state), min_size=1, max_size=6))
def test_whatever_slots_say_one_slot_stands_in_for_each_and_the_same_again(history: list[tuple[Any, ...]]) -> None:
    rig = Rig(standby=2)
    for states in history:
        for slot, (isps, reachable, proved) in zip(("otp-0", "otp-1", "otp-s0", "otp-s1"), states, strict=True):
            found = [refused(*([isp] if isp else [])) for isp in isps]
            rig.says(slot, *found, reachable=reachable, proof_state="Proved" if proved else "Unproved")
        claims = rig.decide()
        assert rig.decide() == claims, "nothing new, nothing decided anew"
        duties = [slot for claim in claims.values() for slot in claim.stands_in_for]
        assert len(duties) == len(set(duties))
        for claim in claims.values():
            assert claim.role in (SlotRole.ACTIVE, SlotRole.STANDBY, SlotRole.PROMOTED, SlotRole.QUARANTINED)
            if claim.stands_in_for:
                assert claim.role is SlotRole.PROMOTED
            if claim.quarantine is not None and claim.quarantine.stood_in_by:
                assert claim.slot_name in claims[claim.quarantine.stood_in_by].stands_in_for
        assert any(claim.takes_mail for claim in claims.values()), "somebody takes the mail"
