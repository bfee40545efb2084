"""The suppression table: what it answers, and that lists agree however they were merged."""

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.classes import TrafficClass
from lane_api.relayfeedback import SuppressionScope
from lane_relay.feedback.suppressions import (
    ROW_SIZE,
    TOMBSTONE_LIFE_S,
    Reason,
    Source,
    Suppressed,
    SuppressionTable,
    pack,
    unpack,
)

DIGESTS = st.sampled_from([bytes([shard]) * 12 for shard in range(3)] + [b"\x00" * 11 + b"\x01"])
WORDS = st.builds(
    Suppressed,
    DIGESTS,
    st.sampled_from(Reason),
    st.sampled_from(TrafficClass),
    st.sampled_from(Source),
    st.integers(1, 4) | st.just(2**32 - 1),
    st.integers(0, 3),
    st.sampled_from(SuppressionScope),
    st.booleans(),
)


def merged(words: list[Suppressed]) -> list[bytes]:
    table = SuppressionTable()
    for word in words:
        table.merge(pack(word))
    shards = [table.shard(number) for number in range(4096)]
    assert table.rows == sum(map(len, shards)) // ROW_SIZE
    for rows in shards:
        keys = [rows[at : at + 13] for at in range(0, len(rows), ROW_SIZE)]
        assert keys == sorted(set(keys))
    return shards


@given(WORDS)
def test_a_row_says_what_was_packed(word: Suppressed) -> None:
    assert unpack(pack(word)) == word
    assert len(pack(word)) == ROW_SIZE


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=12), st.randoms(use_true_random=False))
def test_lists_that_heard_the_same_words_in_any_order_some_twice_are_equal(
    words: list[Suppressed], random: object
) -> None:
    again = [*words, *words[::2]]
    random.shuffle(again)  # type: ignore[attr-defined]
    assert merged(words) == merged(again)


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=8), st.lists(WORDS, max_size=8))
def test_merging_one_list_into_another_gives_the_same_either_way(
    ours: list[Suppressed], theirs: list[Suppressed]
) -> None:
    def into(first: list[Suppressed], second: list[Suppressed]) -> list[bytes]:
        table = SuppressionTable()
        for word in first:
            table.merge(pack(word))
        other = SuppressionTable()
        for word in second:
            other.merge(pack(word))
        for number in range(4096):
            rows = other.shard(number)
            for at in range(0, len(rows), ROW_SIZE):
                table.merge(rows[at : at + ROW_SIZE])
        return [table.shard(number) for number in range(4096)]

    assert into(ours, theirs) == into(theirs, ours)


@given(WORDS)
def test_a_word_heard_again_is_no_news(word: Suppressed) -> None:
    table = SuppressionTable()
    assert table.merge(pack(word))
    assert not table.merge(pack(word))


CLASSES = (TrafficClass.TRANSACTIONAL, TrafficClass.NOTIFICATION, TrafficClass.BULK, TrafficClass.COLD)


@pytest.mark.parametrize(
    ("reason", "about", "concerned"),
    [
        (Reason.HARD_BOUNCE, TrafficClass.COLD, CLASSES),
        (Reason.MANUAL, TrafficClass.BULK, CLASSES),
        (Reason.COMPLAINT, TrafficClass.TRANSACTIONAL, CLASSES),
        (Reason.COMPLAINT, TrafficClass.NOTIFICATION, CLASSES[1:]),
        (Reason.COMPLAINT, TrafficClass.BULK, CLASSES[2:]),
        (Reason.COMPLAINT, TrafficClass.COLD, CLASSES[3:]),
        (Reason.UNSUBSCRIBE, TrafficClass.TRANSACTIONAL, CLASSES[1:]),
        (Reason.UNSUBSCRIBE, TrafficClass.BULK, CLASSES[2:]),
    ],
)
def test_a_word_concerns_its_class_and_what_is_less_wanted(
    reason: Reason, about: TrafficClass, concerned: tuple[TrafficClass, ...]
) -> None:
    word = Suppressed(b"d" * 12, reason, about, Source.PERSON, 1)
    assert tuple(one for one in CLASSES if word.concerns(one)) == concerned


def test_what_ran_out_or_was_taken_back_is_forgotten_a_year_later_and_not_before() -> None:
    table = SuppressionTable()
    ran_out = Suppressed(b"a" * 12, Reason.HARD_BOUNCE, TrafficClass.BULK, Source.DELIVERY, 100, 200)
    taken_back = Suppressed(b"a" * 12, Reason.MANUAL, TrafficClass.BULK, Source.PERSON, 200, lifted=True)
    stays = Suppressed(b"a" * 12, Reason.COMPLAINT, TrafficClass.BULK, Source.LINK, 100)
    for word in (ran_out, taken_back, stays):
        table.merge(pack(word))
    shard = b"a"[0] << 4 | b"a"[0] >> 4
    table.forget_dead(shard, 200 + TOMBSTONE_LIFE_S - 1)
    assert table.rows == 3
    assert [word for word in table.about(b"a" * 12) if word.is_in_force(300)] == [stays]
    table.forget_dead(shard, 200 + TOMBSTONE_LIFE_S)
    assert list(table.about(b"a" * 12)) == [stays]


def test_a_row_takes_little_more_memory_than_its_octets() -> None:
    table = SuppressionTable()
    word = Suppressed(b"", Reason.MANUAL, TrafficClass.BULK, Source.IMPORT, 1)
    tail = pack(word)[0:]
    digest = 0x9E3779B97F4A7C15F39CC060
    for number in range(60_000):
        table.merge(((number * digest) % 2**96).to_bytes(12, "big") + tail)
    held = sum(sys.getsizeof(shard) for shard in table._shards if shard is not None)
    fixed = 4096 * (sys.getsizeof(bytearray()) + 8)
    assert (held - fixed) / table.rows < 1.3 * ROW_SIZE
