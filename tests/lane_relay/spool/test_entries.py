"""Entries of a message: what equal ones share."""

from lane_relay.records import Envelope, Message
from lane_relay.spool.entries import entries_of


def _sized(size: int) -> Message:
    return Message(size, Envelope("a@sender.example", ("b@example.com",)), b"x" * size)


def test_equal_sizes_domains_and_indexes_are_one_object_for_all_entries() -> None:
    (one,) = entries_of(_sized(5000), 1, 1.0)
    (other,) = entries_of(_sized(5000), 2, 1.0)

    assert one.size == 5000
    assert one.size is other.size
    assert one.domain is other.domain
    assert one.recipients is other.recipients


def test_of_more_sizes_than_are_kept_each_is_still_its_own() -> None:
    sizes = [next(iter(entries_of(_sized(size), 1, 1.0))).size for size in range(1000, 1_000_000, 50_001)]

    assert sizes == list(range(1000, 1_000_000, 50_001))
