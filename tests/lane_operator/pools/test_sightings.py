"""What slots say of their addresses beside the record of who holds which: a figure, that nothing depends on."""

from typing import Any

import pytest

from lane_api.ippool import AddressStatus, AddressWarmUp, IPPoolStatus
from lane_operator.inputs import Key, SlotObservation
from lane_operator.pools.sightings import with_sightings
from lane_operator.seen import WarmUpSeen
from tests.lane_operator import made

FIRST, LATER = "2026-11-23T08:00:00Z", "2026-11-23T09:00:00Z"
HELD: dict[str, Any] = {"ip": "203.0.113.10", "lane": "mail/otp", "slot": "otp-0"}
PROVED: dict[str, Any] = {"proof_at": FIRST, "proof_address": "203.0.113.10"}


def after(row: dict[str, Any], seen: SlotObservation | None) -> AddressStatus:
    def sighted(lane: Key, slot: str) -> SlotObservation | None:
        assert (lane, slot) == (("mail", "otp"), "otp-0")
        return seen

    (found,) = with_sightings(IPPoolStatus(addresses=(AddressStatus(**row),)), sighted).addresses
    return found


def test_a_proof_is_dated_and_its_renewal_changes_nothing() -> None:
    first = after(HELD, made.seen(0, **PROVED))
    assert first.verified_at == FIRST
    again = after({**HELD, "verified_at": FIRST}, made.seen(0, **{**PROVED, "proof_at": LATER}))
    assert again == first
    stale = after({**HELD, "verified_at": FIRST}, made.seen(0, proof_state="ProofStale", **PROVED))
    assert stale.verified_at == FIRST, "no reflector has denied it"


@pytest.mark.parametrize("state", ["Mismatch", "Unproved", "PortBlocked"])
def test_what_is_not_proved_any_more_has_no_date(state: str) -> None:
    assert after({**HELD, "verified_at": FIRST}, made.seen(0, proof_state=state, **PROVED)).verified_at is None


@pytest.mark.parametrize(
    "seen",
    [
        None,
        made.seen(0, reachable=False, proof_state="Mismatch", **PROVED),
        made.seen(0, proof_state=""),
        made.seen(0, proof_state="Mismatch", proof_at=LATER, proof_address="203.0.113.99"),
    ],
    ids=["not seen", "silent", "starting", "of another address"],
)
def test_a_slot_that_says_nothing_of_this_address_takes_nothing_back(seen: SlotObservation | None) -> None:
    row = {**HELD, "verified_at": FIRST, "warmup": AddressWarmUp(step=3, isp="gmail", since=FIRST)}
    assert after(row, seen) == AddressStatus(**row)


def test_an_address_that_nobody_holds_is_left_alone() -> None:
    row = {**HELD, "released_at": FIRST}
    status = IPPoolStatus(addresses=(AddressStatus(**row), AddressStatus(ip="203.0.113.11")))
    assert with_sightings(status, lambda _lane, _slot: made.seen(0, **PROVED)) is status


def test_the_spelling_of_an_ipv6_address_does_not_matter() -> None:
    seen = made.seen(0, proof_at=FIRST, proof_address="2001:db8::1")
    assert after({**HELD, "ip": "2001:DB8:0::0001"}, seen).verified_at == FIRST


def test_a_step_has_the_date_at_which_it_was_first_seen_until_there_is_another() -> None:
    on_three = made.seen(0, warmup=WarmUpSeen(3, "gmail", FIRST), **PROVED)
    assert after(HELD, on_three).warmup == AddressWarmUp(step=3, isp="gmail", since=FIRST)
    row = {**HELD, "warmup": AddressWarmUp(step=3, isp="gmail", since=FIRST)}
    same = made.seen(0, warmup=WarmUpSeen(3, "gmail", LATER), **PROVED)  # not left: its time began anew
    assert after(row, same).warmup == AddressWarmUp(step=3, isp="gmail", since=FIRST)
    next_one = made.seen(0, warmup=WarmUpSeen(4, "gmail", LATER), **PROVED)
    assert after(row, next_one).warmup == AddressWarmUp(step=4, isp="gmail", since=LATER)
    assert after(row, made.seen(0, **PROVED)).warmup is None, "warm"


PAIR = (AddressStatus(**HELD), AddressStatus(**{**HELD, "ip": "2001:db8::10", "first": "203.0.113.10"}))


@pytest.mark.parametrize(
    ("said", "dated"),
    [
        ({"proof_address": "2001:db8::10", "proof_state": "Unproved", "gate_open": True}, FIRST),
        ({"proof_address": "203.0.113.10", "proof_state": "Unproved", "gate_open": True}, None),
        ({"proof_address": "203.0.113.10", "proof_state": "Proved", "gate_open": True}, FIRST),
        ({"proof_address": "2001:db8::10", "proof_state": "Unproved", "gate_open": False}, None),
    ],
    ids=["the second is not proved", "the first is not proved", "both", "neither"],
)
def test_of_a_pair_the_first_has_the_date_that_mail_leaves_from_it(said: dict[str, Any], dated: str | None) -> None:
    seen = made.seen(0, proof_at=FIRST, **said)
    first, second = with_sightings(IPPoolStatus(addresses=PAIR), lambda _lane, _slot: seen).addresses

    assert (first.verified_at, second) == (dated, PAIR[1])
