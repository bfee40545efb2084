"""QueueEntry: what a million of them cost, and the two facts that share a field. Envelope: what peers may report."""

import sys

from msgspec.structs import replace

from lane_relay.records import Envelope, Notify, QueueEntry, RecipientOptions


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


def test_mail_with_a_return_path_of_ours_asks_for_reports_of_failure_alone() -> None:
    asked = (Notify.NEVER, Notify.SUCCESS | Notify.DELAY, Notify.FAILURE, Notify.DEFAULT)
    options = tuple(RecipientOptions(one, f"rfc822;{number}@x.test") for number, one in enumerate(asked))
    envelope = Envelope(
        "a@x.test", ("b@y.test", "c@y.test", "d@y.test", "e@y.test"), ret="FULL", envid="Q", options=options
    )

    left = envelope.returning_to("b-1@b.x.test", (0, 1, 3))

    wanted = (Notify.FAILURE, Notify.FAILURE, Notify.FAILURE, Notify.DEFAULT)
    assert (left.sender, left.ret, left.envid) == ("b-1@b.x.test", "HDRS", "Q")
    assert [one.notify for one in left.options] == list(wanted)
    assert [one.orcpt for one in left.options] == [one.orcpt for one in options]


def test_mail_that_asks_for_nothing_asks_for_nothing_with_a_return_path_of_ours() -> None:
    envelope = Envelope("a@x.test", ("b@y.test",))

    assert envelope.returning_to("b-1@b.x.test", (0,)) == replace(envelope, sender="b-1@b.x.test")
