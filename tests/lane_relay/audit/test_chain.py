"""The chain on its volume: whole heads, statements before removal, and what a crash or a full volume leaves."""

from hashlib import sha256
from pathlib import Path

import pytest

from lane_relay.account.journal import journal_files
from lane_relay.audit.chain import Chain, day_of, head_files, head_name
from lane_relay.audit.head import Head, HeadKey, HeadKind, parse, public_key
from lane_relay.audit.segment import index_name
from lane_relay.errors import RelayError
from tests.lane_relay.audit.making import KEY, Time, fill, open_journal, record, records_config, seal_all
from tests.lane_relay.spool.disk import SimulatedDisk

RECORDS = Path("/records")


def _heads(disk: SimulatedDisk) -> list[Head]:
    return [parse(disk.read(path)).head for _, path in head_files(disk, RECORDS)]


def _numbers(disk: SimulatedDisk) -> list[int]:
    content = b"".join(disk.read(path) for _, path in journal_files(disk, RECORDS))
    return [int(line.split(b",")[0].removeprefix(b'{"seq":')) for line in content.splitlines()]


def test_a_day_is_closed_before_the_next_ones_first_segment() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk, config=records_config(RECORDS, max_size=2**20))
    fill(journal, 3)
    time.now += 86400
    fill(journal, 3)  # begins another file: the day is another
    seal_all(journal)

    said = [(head.kind, head.day or day_of(head.began or head.at), head.last_seq) for head in _heads(disk)]
    assert said[1:] == [
        (HeadKind.SEGMENT, "2027-01-15", 3),
        (HeadKind.DAY, "2027-01-15", 3),
        (HeadKind.SEGMENT, "2027-01-16", 6),
    ]


def test_an_idle_slot_closes_its_day_too_and_once() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk)
    fill(journal, 3)
    seal_all(journal)
    for _ in range(3):
        time.now += 86400
        journal.tend()
    assert [head.day for head in _heads(disk) if head.kind is HeadKind.DAY] == ["2027-01-15"]


def test_records_are_sealed_when_they_are_old_enough() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, chain = open_journal(RECORDS, time, files=disk, config=records_config(RECORDS, seal_every=60.0))
    fill(journal, 1)
    journal.tend()
    assert not journal.seal_next()
    time.now += 61
    journal.tend()
    assert journal.seal_next()
    assert chain.sealed_seq == 1


def test_what_is_sealed_is_never_written_to_again_also_after_a_restart() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk)
    fill(journal, 2)
    seal_all(journal)
    ((_, sealed),) = journal_files(disk, RECORDS)
    content = disk.read(sealed)

    again, chain = open_journal(RECORDS, time, files=disk)
    assert again.reconcile(0, [(number, record(number)) for number in range(1, 5)]) == 0
    assert disk.read(sealed) == content
    assert _numbers(disk) == [1, 2, 3, 4]
    seal_all(again)
    assert chain.sealed_seq == 4


def test_a_crash_at_any_instant_leaves_a_chain_that_goes_on() -> None:
    """Every image that a power loss may leave: the log holds the records, so journal and chain are whole again."""
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk, config=records_config(RECORDS, max_size=20_000))
    fill(journal, 4)
    while journal.seal_next():
        pass
    fill(journal, 4)
    seal_all(journal)
    log = [(number, record(number)) for number in range(1, 9)]
    seen = indexes = 0
    for _, image in disk.crash_images(2, 7, every_byte=False):
        crashed = SimulatedDisk({path: content for path, content in image.items() if not path.endswith("reserve")})
        kept = set(crashed.names(RECORDS))
        for head in (one for one in _heads(crashed) if one.index_sha256):
            if (name := index_name(head.first_seq)) in kept:  # its name may be lost where the head's is not
                assert sha256(crashed.read(RECORDS / name)).hexdigest() == head.index_sha256
                indexes += 1
        again, chain = open_journal(RECORDS, time, files=crashed, config=records_config(RECORDS, max_size=20_000))
        assert again.reconcile(0, log) == 0
        assert _numbers(crashed) == list(range(1, 9))
        seal_all(again)
        assert chain.sealed_seq == 8
        heads = _heads(crashed)
        assert [head.number for head in heads] == list(range(1, len(heads) + 1))
        segments = [head for head in heads if head.kind is HeadKind.SEGMENT]
        assert [head.first_seq for head in segments[1:]] == [head.last_seq + 1 for head in segments[:-1]]
        seen += 1
    assert seen > 100
    assert indexes > 20


def test_a_crash_between_statement_and_removal_is_finished_at_the_next_start() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, chain = open_journal(RECORDS, time, files=disk)
    fill(journal, 200)
    seal_all(journal)
    first, path = journal_files(disk, RECORDS)[0]
    content = disk.read(path)
    fill(journal, 60)
    assert chain.dropped_seq >= first
    restored = SimulatedDisk({**disk.image(), str(path): content})

    open_journal(RECORDS, time, files=restored)
    assert path not in [one for _, one in journal_files(restored, RECORDS)]


def test_a_full_volume_still_has_room_for_the_statement() -> None:
    disk, time = SimulatedDisk(capacity=100_000), Time()
    journal, chain = open_journal(RECORDS, time, files=disk, config=records_config(RECORDS, max_size=2**26))
    journal.apply(records_config(RECORDS, max_size=2**17))
    for number in range(1, 600):
        assert journal.append(number, [record(number)])
    assert chain.dropped["VolumeFull"] > 0
    dropped = [head for head in _heads(disk) if head.kind is HeadKind.DROPPED]
    assert dropped[-1].last_seq == _numbers(disk)[0] - 1
    assert _numbers(disk)[-1] == 599


def test_the_archive_is_waited_for_and_what_never_got_there_is_a_stated_loss() -> None:
    disk, time = SimulatedDisk(), Time()
    config = records_config(RECORDS, retention=1000.0, archive={"path": "/archive"})
    journal, chain = open_journal(RECORDS, time, files=disk, config=config)
    fill(journal, 10)
    seal_all(journal)
    time.now += 5000
    journal.tend()
    assert _numbers(disk)[0] == 1  # too old, and not archived yet

    journal.archived(5, 2)
    journal.tend()
    assert _numbers(disk)[0] == 6
    assert chain.unarchived == 0

    fill(journal, 400)
    assert chain.unarchived > 0
    losses = [head for head in _heads(disk) if head.kind is HeadKind.DROPPED and not head.archived]
    assert losses[0].first_seq == 6
    assert losses[-1].unarchived == chain.unarchived == losses[-1].last_seq - 5
    assert chain.oldest_number == 3  # heads that the archive has not are kept, whatever went


def test_records_that_were_lost_before_are_named_in_the_segments_head() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk)
    fill(journal, 2)
    assert journal.reconcile(2, [(5, record(5))]) == 2
    seal_all(journal)
    assert _heads(disk)[-1].gaps == ((3, 4),)


def test_a_damaged_newest_head_stops_the_relay_and_says_what_to_do() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, _ = open_journal(RECORDS, time, files=disk)
    fill(journal, 2)
    seal_all(journal)
    image = disk.image()
    image[str(RECORDS / head_name(2))] = b"{"
    with pytest.raises(RelayError, match="move the folder aside"):
        Chain.open(SimulatedDisk(image), RECORDS, "mail/otp", "otp-0", HeadKey(KEY), time.clock)


def test_a_segment_that_cannot_be_read_goes_with_a_statement_and_stops_nothing() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, chain = open_journal(RECORDS, time, files=disk)
    fill(journal, 200)
    disk.fail_reads = [5]
    fill(journal, 160)
    assert chain.dropped["Budget"] > 0
    dropped = [head for head in _heads(disk) if head.kind is HeadKind.DROPPED]
    assert dropped[-1].last_seq == chain.dropped["Budget"] == _numbers(disk)[0] - 1


def test_a_damaged_head_in_the_middle_stops_no_records() -> None:
    disk, time = SimulatedDisk(), Time()
    journal, chain = open_journal(RECORDS, time, files=disk)
    fill(journal, 100)
    seal_all(journal)
    image = disk.image()
    for number in range(3, chain.last_number):
        image[str(RECORDS / head_name(number))] = b"{"
    damaged = SimulatedDisk(image)
    again, chain = open_journal(RECORDS, time, files=damaged)
    assert again.reconcile(again.last_seq, []) == 0
    fill(again, 400)
    seal_all(again)
    assert chain.dropped["Budget"] > 100
    assert _numbers(damaged)[-1] == 500


def test_a_key_of_a_kind_that_nobody_knows_is_no_key_of_ours() -> None:
    """A journal's own Begin may name one."""
    with pytest.raises(ValueError, match="no Ed25519 public key"):
        public_key(b"-----BEGIN PUBLIC KEY-----\nMAwwBQYDKgMEAwMAYWE=\n-----END PUBLIC KEY-----\n")


@pytest.mark.parametrize("content", [b"{", b'{"head":{"x":' + b"[" * 99_999, b'{"key":"\xff"}'])
def test_what_is_no_head_of_a_chain_is_said_to_be_none(content: bytes) -> None:
    with pytest.raises(ValueError, match="no head of a chain"):
        parse(content)
