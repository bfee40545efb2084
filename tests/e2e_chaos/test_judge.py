"""The judge of `make chaos-operator` finds each thing that must never be, and nothing where nothing was."""

from dataclasses import replace

import pytest

from e2e.chaos.judge import (
    MOST_REQUESTS,
    SETTLED_WITHIN_S,
    Act,
    Evidence,
    Released,
    Sighting,
    figures_of,
    judge,
    told,
)
from e2e.internet.records import Connection, Message
from e2e.load.ledger import Entry, Kill

FIRST, SECOND = "203.0.113.140", "203.0.113.141"


def entry(number: int) -> Entry:
    """An accepted message."""
    return Entry(
        stream="chaos-codes", message_id=f"<{number}@x>", correlation_id=str(number), sender="otp@codes.example.com",
        recipient=f"u{number}@d0.bulk-g.example", body_sha256="same", scheduled=float(number), sent=float(number),
        replied=number + 0.1, outcome="accepted", code=250, text="", tries=1,
    )  # fmt: skip


def arrived(number: int, at: float | None = None, source: str = FIRST, **changes: str) -> Message:
    """It at the ISP."""
    when = number + 0.5 if at is None else at
    opened = when - 0.2
    return Message(
        isp="gmail-like", at=when, received=when, answered=True, source_ip=source, connection=int(when),
        connection_opened=opened, sender="otp@codes.example.com", recipients=(f"u{number}@d0.bulk-g.example",),
        message_id=f"<{number}@x>", correlation_id=str(number), dkim_signed=False, tls=True, size=9,
        body_sha256=changes.get("body_sha256", "same"),
    )  # fmt: skip


def looked(at: float, *holders: tuple[str, str, int]) -> Sighting:
    return Sighting(at, frozenset(holders))


CLEAN = Evidence(
    entries=[entry(number) for number in range(10)],
    records=[arrived(number) for number in range(10)],
    expected_ips={"chaos-codes": frozenset({FIRST, SECOND})},
    sightings=[looked(1.0, (FIRST, "codes-0", 1), (SECOND, "codes-1", 2)), looked(2.0, (FIRST, "codes-0", 3))],
    released=[Released(3.0, "queue-bulk-1", "u1", 0)],
    foreign_before={"configmap/theirs": "1"},
    foreign_after={"configmap/theirs": "1"},
    requests=[0.1 * number for number in range(1000)],
    broken=100,
    rss=[100 * 2**20],
    acts=[Act("kill", 1.0, 2.0, 3.0)],
    kills=12,
    kills_between_requests=9,
)
WRONG = {
    "lost": replace(CLEAN, records=CLEAN.records[1:]),
    "twice_unexplained": replace(CLEAN, records=[*CLEAN.records, arrived(3, at=9.0)]),
    "altered": replace(CLEAN, records=[*CLEAN.records[1:], arrived(0, body_sha256="other")]),
    "wrong_ip": replace(CLEAN, records=[*CLEAN.records[1:], arrived(0, source="192.0.2.11")]),
    "volumes_deleted_with_mail": replace(CLEAN, released=[Released(3.0, "queue-bulk-1", "u1", 1)]),
    "address_in_two_slots": replace(CLEAN, sightings=[looked(1.0, (FIRST, "codes-0", 1), (FIRST, "codes-1", 2))]),
    "foreign_touched": replace(CLEAN, foreign_after={"configmap/theirs": "2"}),
    "requests_most_10s": replace(CLEAN, requests=[0.001 * number for number in range(MOST_REQUESTS + 1)]),
    "rss_most_mib": replace(CLEAN, rss=[100 * 2**20, 257 * 2**20]),
    "acts_not_settled": replace(CLEAN, acts=[Act("kill", 1.0, 2.0, SETTLED_WITHIN_S + 1)]),
    "kills": replace(CLEAN, kills=11),
    "accepted": replace(CLEAN, entries=[], records=[]),
    "sightings": replace(CLEAN, sightings=[looked(1.0)]),
    "volumes_released": replace(CLEAN, released=[]),
    "foreign_objects": replace(CLEAN, foreign_before={}),
    "requests": replace(CLEAN, requests=[]),
    "requests_broken": replace(CLEAN, broken=0),
    "acts": replace(CLEAN, acts=[]),
}


def missed(seen: Evidence) -> set[str]:
    """The figures that are not as asked."""
    return {
        one.name
        for one in figures_of(judge(seen), 12)
        if one.target is not None and (one.value < one.target if one.better == "higher" else one.value > one.target)
    }


def test_nothing_is_found_where_nothing_was() -> None:
    assert missed(CLEAN) == set()
    assert told(judge(CLEAN)) == []


@pytest.mark.parametrize("name", WRONG)
def test_each_fault_is_found_and_told_from_the_others(name: str) -> None:
    found = missed(WRONG[name])

    # an act that took too long is two figures, how many and how long; of no act nothing is known
    beside = {"acts_not_settled": {"settled_most_s"}, "acts": {"settled_most_s"}}
    assert found == {name} | beside.get(name, set())


def test_a_volume_that_nobody_could_look_at_counts_as_one_with_mail() -> None:
    seen = replace(CLEAN, released=[Released(3.0, "queue-bulk-1", "u1", None)])

    assert missed(seen) == {"volumes_deleted_with_mail"}
    assert "gone before" in told(judge(seen))[0]


def test_two_pods_of_one_slot_are_two_that_have_its_address() -> None:
    seen = replace(CLEAN, sightings=[looked(1.0, (FIRST, "codes-0", 1), (FIRST, "codes-0", 2))])

    assert missed(seen) == {"address_in_two_slots"}


def test_an_address_that_passes_from_one_slot_to_another_is_in_one_at_a_time() -> None:
    seen = replace(CLEAN, sightings=[looked(1.0, (FIRST, "codes-0", 1)), looked(1.5, (FIRST, "bulk-0", 2))])

    assert missed(seen) == set()


def test_a_second_copy_is_explained_by_its_relays_kill_and_never_by_an_operators() -> None:
    again = replace(
        CLEAN,
        records=[
            *CLEAN.records,
            arrived(3, at=9.0),
            Connection("gmail-like", 3, FIRST, 40000, "198.51.100.10", 3.3, 3.6, "", "", ""),
        ],
    )

    assert missed(replace(again, kills=20)) == {"twice_unexplained"}
    assert missed(replace(again, relay_kills=[Kill(3.55, FIRST)])) == set()


def test_a_message_that_was_never_accepted_cannot_be_lost() -> None:
    entries = [replace_outcome(one) if one.message_id == "<0@x>" else one for one in CLEAN.entries]

    assert missed(replace(CLEAN, entries=entries, records=CLEAN.records[1:])) == set()


def replace_outcome(one: Entry) -> Entry:
    """It refused."""
    fields = {name: getattr(one, name) for name in one.__struct_fields__}
    return Entry(**(fields | {"outcome": "refused", "code": 451}))
