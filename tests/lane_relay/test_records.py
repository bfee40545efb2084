"""QueueEntry: what a million of them cost, and the two facts that share a field."""

import sys

from msgspec.structs import replace

from lane_relay.records import QueueEntry


def _entry() -> QueueEntry:
    return QueueEntry(1 << 88, 70_000, "example.com", (0,), 5000, 1.8e9)


def test_an_entry_is_no_larger_than_a_hundred_bytes_beside_what_it_shares() -> None:
    assert sys.getsizeof(_entry()) <= 96  # the allocator's next size is 112


def test_attempts_and_having_been_told_are_kept_apart() -> None:
    entry = _entry()
    assert (entry.attempts, entry.notified) == (0, False)

    entry.attempts += 1
    entry.notified = True
    entry.attempts += 2

    assert (entry.attempts, entry.notified) == (3, True)
    entry.notified = False
    assert (entry.attempts, entry.notified) == (3, False)


def test_a_part_of_an_entry_takes_its_history_along() -> None:
    entry = _entry()
    entry.attempts, entry.notified = 4, True

    part = replace(entry, recipients=(1,))

    assert (part.attempts, part.notified) == (4, True)
