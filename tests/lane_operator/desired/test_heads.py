"""Signed heads of a slot's records, kept where the pod that signs them cannot change them."""

import json

import pytest

from lane_operator.compare import prepared
from lane_operator.desired import desired_state
from lane_operator.desired.heads import DAYS, LONGEST, kept_heads
from lane_operator.inputs import Handed, Manifest
from lane_operator.packed import PackedObject
from tests.lane_operator import made

DAY = 86_400
NOON = 20_785 * DAY + 43_200  # 2026-11-28T12:00:00Z
TODAY = "2026-11-28.json"


def head(number: int, journal: str = "J1", **more: object) -> str:
    return json.dumps({"head": {"journal": journal, "number": number, **more}, "key": "k", "signature": "s"})


def kept(live: Manifest | None, said: str, now: int = NOON) -> dict[str, str]:
    found = kept_heads("otp-0", live, said, now)
    return {} if found is None else dict(found["data"])


def after(*said: tuple[str, int]) -> Manifest | None:
    """The ConfigMap after these words of the slot, each at its time."""
    live = None
    for text, now in said:
        live = kept_heads("otp-0", live, text, now)
    return live


def test_the_newest_head_of_a_day_is_kept_and_written_at_most_once_an_hour() -> None:
    first = after((head(1), NOON))
    assert kept(first, head(2), NOON + 3599) == {TODAY: head(1) + "\n"}
    assert kept(first, head(2), NOON + 3600) == {TODAY: head(2) + "\n"}
    tomorrow = kept(first, head(3), NOON + DAY // 2)
    assert tomorrow == {TODAY: head(1) + "\n", "2026-11-29.json": head(3) + "\n"}


@pytest.mark.parametrize(
    ("said", "taken"),
    [
        (head(8), True),
        (head(7), False),
        (head(7, at=2.0), False),
        (head(3), False),
        (head(1, "J2"), True),
        ("", False),
        ("{}", False),
        ('{"head": 1}', False),
        ("[" * 4000, False),
        (head(9, gaps=[[1, 2]] * LONGEST), False),
    ],
    ids=["further", "the same", "forged", "cut", "new volume", "nothing", "none", "no head", "deep", "long"],
)
def test_a_head_that_does_not_come_after_the_kept_one_covers_nothing(said: str, taken: bool) -> None:
    live = after((head(7), NOON))
    later = kept(live, said, NOON + DAY)
    assert later[TODAY] == head(7) + "\n"
    assert ("2026-11-29.json" in later) == taken


def test_a_new_journal_does_not_let_the_old_one_come_back() -> None:
    live = after((head(7), NOON), (head(1, "J2"), NOON + DAY))
    assert len(kept(live, head(6), NOON + 2 * DAY)) == 2


def test_a_bounded_number_of_days_is_kept_and_words_of_a_hand_among_them_harm_nothing() -> None:
    live = after(*((head(day + 1), NOON + day * DAY) for day in range(DAYS + 5)))
    assert live is not None
    assert len(live["data"]) == DAYS
    live["data"] |= {"mine.txt": "x", "2026-01-01.json": "no head"}
    live["metadata"]["annotations"] = {"lanewright.dev/heads-at": "soon"}
    later = kept(live, head(99), NOON + (DAYS + 4) * DAY)
    assert (len(later), "mine.txt" in later) == (DAYS, False)
    assert later[max(later)] == head(99) + "\n"


def test_a_slot_that_said_one_has_a_map_that_outlives_its_lane_and_one_that_said_nothing_has_none() -> None:
    of, claims = made.lane(), made.assignment(made.claim(0), made.claim(1))
    references = made.references(of, made.pool(), handed={"otp-0": Handed(head=head(1))}, read_at=NOON)
    found = desired_state(of, references, claims, made.SETTINGS)
    (only,) = [one for one in found.manifests if one["metadata"]["name"].endswith("-heads")]
    assert only["metadata"]["name"] == "otp-0-heads"
    assert "ownerReferences" not in only["metadata"]
    assert only["data"] == {TODAY: head(1) + "\n"}


@pytest.mark.parametrize(
    "text",
    ["x" * (LONGEST + 2), head(9, gaps=[[1, 2]] * LONGEST), '{"head":{"journal":"J1","number":1e999}}', "[" * 4000],
    ids=["long", "a long head", "endless", "deep"],
)
def test_what_a_hand_has_written_between_the_days_keeps_no_head_from_its_place(text: str) -> None:
    live = after((head(7), NOON - DAY))
    assert live is not None
    live["data"] |= {"2026-11-20.json": text}
    live["metadata"]["annotations"] = {"lanewright.dev/heads-at": "²" * 9}

    found = kept_heads("otp-0", PackedObject(live).unpacked(), head(8), NOON)

    assert found is not None
    assert prepared(found)["data"][TODAY] == head(8) + "\n"
    assert ("2026-11-20.json" in found["data"]) == (len(text) <= LONGEST)


def test_the_longest_head_stays_where_it_was_put() -> None:
    longest = head(7, more="")
    longest = head(7, more="x" * (LONGEST - len(longest)))
    live = after((longest, NOON))
    assert live is not None

    assert kept(PackedObject(live).unpacked(), head(8), NOON + DAY)[TODAY] == longest + "\n"
