"""A lane that grows: its standby slots take mail first, and are standby slots again when it has grown or shrunk."""

from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.ippool import Quarantine
from lane_api.lane_status import SlotRole
from lane_operator.inputs import Assignment, Claim, Key, Pool, SlotObservation
from lane_operator.pools import AllocationResult, allocate, with_growth, with_stand_ins
from lane_operator.seen import WarmUpSeen
from tests.lane_operator.pools.test_allocate import NOW, POOL, demand
from tests.lane_operator.pools.test_standby import mixed

SPARE = [{"ip": f"203.0.113.{last}", "role": "Standby"} for last in (20, 21)]
ACTIVE = [f"203.0.113.{last}" for last in (10, 11, 12)]
SINCE, UNTIL = "2026-11-23T07:50:00Z", "2026-11-23T08:20:00Z"
SENDS: dict[str, Any] = {"reachable": True, "pod_ready": True, "proof_state": "Proved"}
COLD = WarmUpSeen(0, "gmail", SINCE)


@dataclass
class Rig:
    """A lane that serves with as many slots as it began with."""

    replicas: int = 2
    standby: int = 1
    cold: bool = False
    """Addresses warm up."""
    addresses: list[Any] = field(default_factory=lambda: [*ACTIVE, *SPARE])
    said: dict[str, SlotObservation] = field(default_factory=dict)
    pool: Pool = field(init=False)
    result: AllocationResult = field(init=False)

    def __post_init__(self) -> None:
        self.pool = mixed(*self.addresses)
        for slot in ("otp-0", "otp-1", "otp-s0", "otp-s1"):
            self.says(slot)
        self.decide()

    def says(self, slot: str, **more: Any) -> None:
        self.said[slot] = SlotObservation(slot, **{**SENDS, **more})

    def decide(self) -> dict[str, Claim]:
        """One pass, whose record is the next one's; claims by slot."""
        asked = demand(replicas=self.replicas, standby=self.standby)

        def sighted(_lane: Key, slot: str) -> SlotObservation | None:
            return self.said.get(slot)

        result = with_stand_ins(allocate([self.pool], [asked], NOW), sighted, NOW)
        self.result = with_growth(result, sighted, lambda _address: self.cold)
        self.pool = replace(self.pool, status=self.result.statuses[POOL])
        return {claim.slot_name: claim for claim in self.result.assignments.get(asked.key, Assignment()).claims}

    @property
    def joining(self) -> list[str]:
        return [row.slot for row in self.pool.status.addresses if row.joining]

    def seen_warming_up(self, slot: str) -> None:
        """The record has the step that the slot said it was on."""
        rows = tuple(
            row.model_copy(update={"warmup": {"step": 0, "isp": "gmail"}}) if row.slot == slot else row
            for row in self.pool.status.addresses
        )
        status = type(self.pool.status).model_validate(
            self.pool.status.model_copy(update={"addresses": ()}).model_dump()
            | {"addresses": [row if isinstance(row, dict) else row.model_dump(warnings=False) for row in rows]}
        )
        self.pool = replace(self.pool, status=status)


def test_a_lane_that_begins_promotes_nobody() -> None:
    rig = Rig(said={})

    assert rig.joining == []
    assert {claim.role for claim in rig.decide().values()} == {SlotRole.ACTIVE, SlotRole.STANDBY}


def test_a_lane_that_grows_takes_mail_in_standby_until_the_new_slot_sends() -> None:
    rig = Rig()
    rig.replicas = 3
    claims = rig.decide()
    assert (claims["otp-s0"].role, claims["otp-s0"].stands_in_for) == (SlotRole.PROMOTED, ("otp-2",))
    assert claims["otp-s0"].takes_mail
    assert claims["otp-2"].takes_mail, "it comes into the Service as soon as its pod is ready"
    assert rig.joining == ["otp-2"]

    rig.says("otp-2", proof_state="Unproved")
    assert rig.decide()["otp-s0"].takes_mail
    rig.says("otp-2")
    assert rig.decide()["otp-s0"].role is SlotRole.STANDBY
    assert rig.joining == []


def test_a_slot_that_restarts_later_does_not_join_again() -> None:
    rig = Rig()
    rig.replicas = 3
    rig.decide()
    rig.says("otp-2")
    rig.decide()
    rig.says("otp-2", pod_ready=False, reachable=False, proof_state="")

    assert rig.decide()["otp-s0"].role is SlotRole.STANDBY


def test_where_addresses_warm_up_the_standby_slot_takes_mail_until_the_new_one_is_warm() -> None:
    rig = Rig(cold=True)
    rig.replicas = 3
    rig.decide()
    rig.says("otp-2")
    assert rig.decide()["otp-s0"].takes_mail, "it has sent nothing yet"
    rig.says("otp-2", warmup=COLD)
    rig.seen_warming_up("otp-2")
    assert rig.decide()["otp-s0"].takes_mail
    rig.says("otp-2", warmup=None)

    assert rig.decide()["otp-s0"].role is SlotRole.STANDBY


def test_a_lane_that_shrinks_again_gives_the_latest_slot_up_and_has_its_standby_back() -> None:
    rig = Rig()
    before = rig.decide()
    rig.replicas = 3
    rig.decide()
    rig.replicas = 2

    assert rig.decide() == before
    assert rig.joining == []


def test_where_the_pool_has_nothing_more_a_standby_slot_takes_mail() -> None:
    rig = Rig(addresses=[*ACTIVE[:2], *SPARE])
    rig.replicas = 3
    claims = rig.decide()

    assert (claims["otp-s0"].stands_in_for, claims["otp-s0"].takes_mail) == (("otp-2",), True)
    assert rig.result.assignments["mail", "otp"].refusal is not None


def test_one_standby_slot_for_each_new_one_and_a_quarantine_has_the_first_choice() -> None:
    rig = Rig(standby=2)
    refused = Quarantine(by="gmail/listed", isps=("gmail",), reply="550 listed", since=SINCE, until=UNTIL)
    rig.says("otp-0", quarantines=(refused,))
    rig.replicas = 3
    claims = rig.decide()

    assert claims["otp-s0"].stands_in_for == ("otp-0",)
    assert not claims["otp-s0"].takes_mail
    assert (claims["otp-s1"].stands_in_for, claims["otp-s1"].takes_mail) == (("otp-2",), True)


def test_a_lane_without_standby_slots_grows_as_ever() -> None:
    rig = Rig(standby=0)
    rig.replicas = 3

    assert {claim.role for claim in rig.decide().values()} == {SlotRole.ACTIVE}
    assert rig.joining == []


slots = st.sampled_from(["otp-0", "otp-1", "otp-2", "otp-s0", "otp-s1"])
states = st.fixed_dictionaries(
    {
        "reachable": st.booleans(),
        "pod_ready": st.booleans(),
        "proof_state": st.sampled_from(["Proved", "Unproved", ""]),
        "warmup": st.sampled_from([None, COLD]),
    }
)
moves = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), slots, states), min_size=1, max_size=12)


@settings(max_examples=150, deadline=None)
@given(moves, st.booleans())
def test_whatever_happens_who_stands_in_can_send_and_nobody_stands_in_for_nothing(
    steps: list[tuple[int, int, str, dict[str, Any]]], cold: bool
) -> None:
    rig = Rig(cold=cold)
    for replicas, standby, slot, state in steps:
        before = set(rig.joining)
        held = {row.slot for row in rig.pool.status.addresses if row.lane and row.released_at is None}
        rig.replicas, rig.standby = replicas, standby
        rig.says(slot, **state)
        claims = rig.decide()
        promoted = [claim for claim in claims.values() if claim.role is SlotRole.PROMOTED]
        lacking = rig.result.assignments["mail", "otp"].lacking if claims or replicas else ()

        assert set(rig.joining) <= before | {one for one in claims if one not in held}, "nobody joins twice"
        for claim in promoted:
            (new,) = claim.stands_in_for
            said = rig.said[claim.slot_name]
            assert said.reachable
            assert said.may_send
            assert new in rig.joining or new in lacking
        assert len({claim.stands_in_for for claim in promoted}) == len(promoted)
        assert all(claims[one].role is SlotRole.ACTIVE for one in rig.joining if one in claims)
        assert {name for name, claim in claims.items() if claim.slot_index < 64} == {
            f"otp-{index}" for index in range(replicas)
        }, "the latest leave first"
        assert rig.decide() == claims, "a second look changes nothing"
