"""Who owns a key in a lane of a few slots, whose ledgers are on disk and whose wires can be cut."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

import pytest
from msgspec.json import encode

from lane_relay.accept.http.ledger import KEPT_S, Entry, Ledger, Outcome
from lane_relay.accept.http.witnesses import CLAIM_NAME, Claimed, Passed, Witnesses, witnesses_of
from lane_relay.errors import RelayError

SLOTS = ("otp-0", "otp-1", "otp-2")
NOW = 1_800_000_000.0


class Lane:
    """Its slots, and which of them reach which."""

    def __init__(self, folder: Path, slots: tuple[str, ...]) -> None:
        self._folder = folder
        self.names: tuple[str, ...] = ()
        self.now, self.monotonic = NOW, 0.0
        self.cut: set[tuple[str, str]] = set()
        self.silent: set[str] = set()
        self.claims = 0
        self.random = random.Random(1)
        self.ledgers: dict[str, Ledger] = {}
        self.slots: dict[str, Witnesses] = {}
        self.become(*slots)

    def become(self, *slots: str) -> None:
        """Its slots are these from now on; a new one has an empty volume."""
        self.names = slots
        for slot in slots:
            if slot not in self.slots:
                ledger = self.ledgers[slot] = Ledger(self._folder / slot, spool_bytes=2**30, now=lambda: self.now)
                ledger.resolve(lambda _: True)
                wire = Wire(self, slot)
                self.slots[slot] = Witnesses(ledger, slot, wire, lambda: self.monotonic, claim_within_s=30)

    async def stand(self) -> None:
        """It has its slots for longer than any claim."""
        for slot in self.names:
            await self.slots[slot].is_alone()
            await self.ledgers[slot].lane_for(self.names)
        self.now += 26 * 3600

    def isolate(self, slot: str) -> None:
        self.cut |= {(slot, other) for other in SLOTS} | {(other, slot) for other in SLOTS}

    async def take(self, slot: str, key: bytes) -> None:
        """What a slot does when it owns a key: its message is stored, and the ledger says so."""
        await self.ledgers[slot].save(key, Entry(b"body", self.now, {0: Outcome(b"i" * 12, stored=True)}))


class Wire:
    """The way of one slot to the others."""

    def __init__(self, lane: Lane, slot: str) -> None:
        self._lane, self._slot = lane, slot

    @property
    def siblings(self) -> tuple[str, ...]:
        return tuple(slot for slot in self._lane.names if slot != self._slot)

    async def fetch(
        self,
        slot: str,
        name: str,
        params: Mapping[str, str],
        *,
        method: Literal["GET", "PUT"] = "GET",
        body: bytes | None = None,
    ) -> tuple[bytes, Mapping[str, str]]:
        lane = self._lane
        assert (name, method, params["giver"]) == (CLAIM_NAME, "PUT", self._slot)
        lane.claims += 1
        if (self._slot, slot) in lane.cut:
            raise RelayError("no connection")
        if slot in lane.silent:
            await asyncio.sleep(60)
        for _ in range(lane.random.randrange(4)):
            await asyncio.sleep(0)
        owner = await lane.slots[slot].claimed(bytes.fromhex(params["key"]), self._slot, params["owner"])
        return encode(Claimed(owner)), {}


@pytest.fixture
async def lane(tmp_path: Path) -> AsyncIterator[Lane]:
    made = Lane(tmp_path, SLOTS)
    await made.stand()
    yield made
    for ledger in made.ledgers.values():
        ledger.close()


@pytest.fixture
async def growing(tmp_path: Path) -> AsyncIterator[Lane]:
    made = Lane(tmp_path, SLOTS[:2])
    await made.stand()
    yield made
    for ledger in made.ledgers.values():
        ledger.close()


def key_of(*witnesses: str) -> bytes:
    """A key that has these witnesses, in this order."""
    return next(key for key in (n.to_bytes(16, "big") for n in range(1000)) if witnesses_of(key, SLOTS) == witnesses)


async def test_whoever_claims_first_owns_the_key_at_every_slot(lane: Lane) -> None:
    for number in range(15):
        key, first = number.to_bytes(16, "big"), SLOTS[number % 3]
        assert await lane.slots[first].settle(key) == first
        for slot in SLOTS:
            assert await lane.slots[slot].settle(key) == first


async def test_of_all_slots_at_once_one_owns_the_key(lane: Lane) -> None:
    for number in range(30):
        key = number.to_bytes(16, "big")
        owners = await asyncio.gather(*(lane.slots[slot].settle(key) for slot in SLOTS))
        assert [slot for slot, owner in zip(SLOTS, owners, strict=True) if slot == owner] == [owners[0]]
        assert len(set(owners)) == 1


@pytest.mark.parametrize("away", SLOTS)
async def test_of_all_slots_at_once_one_owns_the_key_although_one_slot_is_away(lane: Lane, away: str) -> None:
    lane.isolate(away)
    others = [slot for slot in SLOTS if slot != away]
    for number in range(12):
        key = number.to_bytes(16, "big")
        owners = await asyncio.gather(*(lane.slots[slot].settle(key) for slot in others))
        assert len(set(owners)) == 1
        assert owners[0] in others
    lane.cut.clear()
    for number in range(12):
        key = number.to_bytes(16, "big")
        found = [await lane.slots[slot].settle(key) for slot in (away, *others)]
        assert set(found) <= set(others), "the slot that was away takes what another has"
        assert len(set(found)) == 1


async def test_a_slot_that_learns_late_that_another_owns_the_key_lets_it_have_it_at_both_witnesses(lane: Lane) -> None:
    key = key_of("otp-0", "otp-1")
    lane.cut = {("otp-1", "otp-0")}
    assert await lane.slots["otp-1"].settle(key) == "otp-1"
    assert await lane.slots["otp-2"].settle(key) == "otp-1"
    lane.cut.clear()
    assert await lane.ledgers["otp-0"].claim(key, asker="otp-0", owner="otp-0", here="otp-0") == "otp-1"


async def test_without_a_witness_nobody_owns_the_key(lane: Lane) -> None:
    key = key_of("otp-0", "otp-1")
    lane.isolate("otp-2")
    assert await lane.slots["otp-2"].settle(key) == ""
    assert await lane.slots["otp-1"].settle(key) == "otp-1"
    lane.cut.clear()
    assert await lane.slots["otp-2"].settle(key) == "otp-1"
    assert {slot: dict(one.settled) for slot, one in lane.slots.items()} == {
        "otp-0": {},
        "otp-1": {"Here": 1},
        "otp-2": {"Nobody": 1, "Sibling": 1},
    }


async def test_a_key_that_was_given_up_is_anybodys_and_only_its_owner_gives_it_up(lane: Lane) -> None:
    for number in range(10):
        key = number.to_bytes(16, "big")
        await lane.slots["otp-0"].settle(key)
        await lane.slots["otp-1"].give_up(key)
        assert await lane.slots["otp-1"].settle(key) == "otp-0"
        await lane.slots["otp-0"].give_up(key)
        assert await lane.slots["otp-1"].settle(key) == "otp-1"


async def test_whoever_has_the_answer_owns_the_key_also_if_it_never_claimed_it(lane: Lane) -> None:
    key = key_of("otp-0", "otp-1")
    await lane.take("otp-1", key)  # from when the lane had one slot
    assert await lane.slots["otp-2"].settle(key) == "otp-1"
    assert await lane.slots["otp-0"].settle(key) == "otp-1"


async def test_a_claim_outlives_the_answer_and_then_goes(lane: Lane) -> None:
    key = key_of("otp-0", "otp-1")
    await lane.slots["otp-2"].settle(key)
    lane.now += KEPT_S + 60
    assert await lane.slots["otp-0"].settle(key) == "otp-2"
    lane.now += KEPT_S
    assert await lane.slots["otp-0"].settle(key) == "otp-0"


async def test_a_claim_survives_a_restart_of_the_witness(lane: Lane, tmp_path: Path) -> None:
    key = key_of("otp-0", "otp-1")
    await lane.slots["otp-2"].settle(key)
    ledger = lane.ledgers["otp-0"]
    ledger.close()
    lane.ledgers["otp-0"] = again = Ledger(tmp_path / "otp-0", spool_bytes=2**30, now=lambda: lane.now)
    again.resolve(lambda _: True)
    assert await again.claim(key, asker="otp-0", owner="otp-0", here="otp-0") == "otp-2"


async def test_a_silent_witness_is_waited_for_once_and_asked_again_later(lane: Lane) -> None:
    key = key_of("otp-0", "otp-1")
    lane.silent = {"otp-0"}
    asker = Witnesses(lane.ledgers["otp-1"], "otp-1", Wire(lane, "otp-1"), lambda: lane.monotonic, claim_within_s=0.01)
    assert await asker.settle(key) == "otp-1"
    assert lane.claims == 1
    assert await asker.settle(key_of("otp-1", "otp-0")) == "otp-1"
    assert lane.claims == 1
    assert asker.settled == {"OneWitness": 2}
    lane.silent.clear()
    lane.monotonic += 60.0
    asker.claim_within_s = 30
    assert await asker.settle(key) == "otp-1"
    assert lane.claims == 2
    assert await lane.slots["otp-0"].settle(key) == "otp-1"


async def test_an_owner_that_is_not_in_the_lane_any_more_is_named_and_not_overruled(lane: Lane) -> None:
    answer = await lane.slots["otp-0"].pass_on("otp-7", Passed(b"k", "", "", "HTTP", b"{}"))
    assert (answer.status, "Retry-After" in answer.headers) == (410, False)
    assert b"otp-7 had the request" in answer.encoded()


async def test_an_owner_that_this_slot_has_not_heard_of_yet_may_come(lane: Lane) -> None:
    lane.become(*SLOTS, "otp-3")
    answer = await lane.slots["otp-0"].pass_on("otp-4", Passed(b"k", "", "", "HTTP", b"{}"))
    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
    lane.now += 601
    answer = await lane.slots["otp-0"].pass_on("otp-4", Passed(b"k", "", "", "HTTP", b"{}"))
    assert answer.status == 410


async def test_slots_that_are_added_one_after_the_other_within_a_day_find_every_key(growing: Lane) -> None:
    keys = [number.to_bytes(16, "big") for number in range(12)]
    for key in keys:
        assert await growing.slots["otp-0"].settle(key) == "otp-0"
    growing.become(*SLOTS)
    growing.become(*SLOTS, "otp-3")
    assert any(not {"otp-0", "otp-1"} & set(witnesses_of(key, growing.names)) for key in keys)
    for slot in reversed(growing.names):
        assert {await growing.slots[slot].settle(key) for key in keys} == {"otp-0"}, slot


async def test_of_slots_that_have_and_have_not_heard_of_a_new_one_one_owns_the_key(growing: Lane) -> None:
    growing.become(*SLOTS, "otp-3")
    for number in range(12):
        key = number.to_bytes(16, "big")
        growing.names = (*SLOTS, "otp-3")
        assert await growing.slots["otp-3"].settle(key) == "otp-3"
        growing.names = SLOTS[:2]
        assert await growing.slots["otp-0"].settle(key) == "otp-3"


async def test_after_a_day_with_the_same_slots_the_witnesses_alone_are_asked(growing: Lane) -> None:
    growing.become(*SLOTS, "otp-3")
    key = next(k for k in (n.to_bytes(16, "big") for n in range(99)) if "otp-0" not in witnesses_of(k, growing.names))
    assert await growing.slots["otp-0"].settle(key) == "otp-0"
    assert growing.claims == 3
    growing.now += KEPT_S + 3601
    assert await growing.slots["otp-0"].settle(key) == "otp-0"
    assert growing.claims == 5


async def test_a_slot_that_is_left_alone_remembers_whose_keys_there_were(growing: Lane) -> None:
    key = b"k" * 16
    assert await growing.slots["otp-1"].settle(key) == "otp-1"
    growing.become("otp-0")
    left = growing.slots["otp-0"]
    assert not await left.is_alone()
    assert await left.settle(key) == "otp-1"
    growing.now += KEPT_S + 3601
    assert await left.is_alone()


async def test_a_slot_that_has_always_been_alone_settles_nothing(tmp_path: Path) -> None:
    lane = Lane(tmp_path, ("otp-0",))
    assert await lane.slots["otp-0"].is_alone()
    lane.ledgers["otp-0"].close()
