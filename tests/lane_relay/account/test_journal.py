"""The journal's own budget, retention and numbering, and what it does about its own torn end."""

import json
from pathlib import Path

from lane_api.relayconfig import Records as RecordsConfig
from lane_relay.account.journal import Journal, journal_files
from lane_relay.clock import Clock
from tests.lane_relay.spool.disk import SimulatedDisk

RECORDS = Path("/records")


class Time:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)


def _open(disk: SimulatedDisk, time: Time, *, budget: int = 2**20, retention: float = 3600.0) -> Journal:
    return Journal.open(RecordsConfig(path=str(RECORDS), max_size=budget, retention=retention), time.clock, disk)


def _record(number: int, size: int = 20) -> bytes:
    return json.dumps({"type": "Delivery", "n": number, "pad": "x" * size}).encode()


def _numbers(disk: SimulatedDisk) -> list[int]:
    content = b"".join(disk.read(path) for _, path in journal_files(disk, RECORDS))
    return [json.loads(line)["seq"] for line in content.splitlines()]


def test_lines_are_records_with_their_number_first() -> None:
    disk = SimulatedDisk()
    journal = _open(disk, Time())
    assert journal.append(1, [b'{"type":"Delivery"}', b'{"type":"Bounce"}'])

    ((first, path),) = journal_files(disk, RECORDS)
    assert first == 1
    assert disk.read(path) == b'{"seq":1,"type":"Delivery"}\n{"seq":2,"type":"Bounce"}\n'


def test_the_budget_holds_and_the_oldest_records_go_first() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time, budget=64_000)
    for number in range(1, 2000):
        journal.append(number, [_record(number, 100)])
        assert sum(map(len, disk.image().values())) <= 64_000 + 1000

    numbers = _numbers(disk)
    assert numbers == list(range(numbers[0], 2000))
    assert numbers[0] > 1
    assert len(numbers) > 300


def test_another_budget_holds_from_the_next_record_on() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time, budget=256_000)
    for number in range(1, 2000):
        journal.append(number, [_record(number, 100)])
    assert sum(map(len, disk.image().values())) > 200_000
    journal.apply(RecordsConfig(path=str(RECORDS), max_size=64_000, retention=3600.0))
    journal.append(2000, [_record(2000, 100)])
    assert sum(map(len, disk.image().values())) <= 64_000 + 1000


def test_records_older_than_the_retention_go() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time, budget=64_000, retention=100.0)
    for number in range(1, 31):
        journal.append(number, [_record(number, 100)])
        time.now += 10

    numbers = _numbers(disk)
    assert numbers[-1] == 30
    assert 10 < numbers[0] < 25


def test_a_restart_does_not_make_old_records_young() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time, budget=64_000, retention=100.0)
    for number in range(1, 31):
        journal.append(number, [_record(number, 100)])
    journal.close()
    time.now += 1000.0

    disk.now = time.now
    again = _open(disk, time, budget=64_000, retention=100.0)
    again.append(31, [_record(31)])
    assert _numbers(disk)[-1] == 31
    assert _numbers(disk)[0] > 20


def test_a_slot_that_is_idle_forgets_too() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time, retention=100.0)
    journal.append(1, [_record(1)])
    time.now += 50.0
    journal.tend()
    assert _numbers(disk) == [1]
    time.now += 101.0
    journal.tend()
    assert _numbers(disk) == []
    assert journal.append(2, [_record(2)])
    journal.sync()
    assert _numbers(disk) == [2]


def test_a_volume_without_room_costs_old_records_and_not_new_ones() -> None:
    disk = SimulatedDisk(capacity=20_000)
    journal = _open(disk, Time(), budget=2**16)
    for number in range(1, 400):
        assert journal.append(number, [_record(number, 100)])
    assert _numbers(disk)[-1] == 399


def test_a_volume_with_no_room_at_all_is_said_and_leaves_no_half_line() -> None:
    disk = SimulatedDisk()
    journal = _open(disk, Time())
    journal.append(1, [_record(1)])
    disk.capacity = sum(map(len, disk.image().values())) + 10

    assert not journal.append(2, [_record(2)])
    assert journal.last_seq == 1
    assert _numbers(disk) == [1]
    disk.capacity = 2**20
    assert journal.append(2, [_record(2)])
    assert _numbers(disk) == [1, 2]


def test_what_the_log_has_completes_a_torn_journal() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time)
    journal.append(1, [_record(number) for number in range(1, 6)])
    ((_, path),) = journal_files(disk, RECORDS)
    content = disk.image()[str(path)]
    log = [(number, _record(number)) for number in range(1, 8)]
    for cut in range(len(content)):
        torn = SimulatedDisk({str(path): content[:cut]})
        again = _open(torn, time)
        assert again.reconcile(0, log) == 0
        assert _numbers(torn) == list(range(1, 8))


def test_records_that_neither_journal_nor_log_has_are_counted() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time)
    journal.append(1, [_record(1), _record(2)])

    assert _open(disk, time).reconcile(2, [(6, _record(6))]) == 3


def test_a_journal_that_outlived_its_spool_is_continued() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time)
    journal.append(1, [_record(1), _record(2)])
    again = _open(disk, time)

    assert again.last_seq == 2
    assert again.reconcile(again.last_seq, []) == 0
    again.append(3, [_record(3)])
    assert _numbers(disk) == [1, 2, 3]


def test_a_number_of_more_digits_than_a_record_can_have_is_damage_and_no_end_of_the_relay() -> None:
    disk, time = SimulatedDisk(), Time()
    journal = _open(disk, time)
    journal.append(1, [_record(1), _record(2)])
    ((_, path),) = journal_files(disk, RECORDS)
    content = disk.image()[str(path)]
    for digits in (17, 5000):
        damaged = SimulatedDisk({str(path): content.replace(b'{"seq":2,', b'{"seq":' + b"9" * digits + b",")})
        again = _open(damaged, time)
        assert again.last_seq == 1
        assert again.reconcile(0, [(number, _record(number)) for number in (1, 2, 3)]) == 0
        assert _numbers(damaged) == [1, 2, 3]


def test_synced_means_every_file_it_was_written_to() -> None:
    disk = SimulatedDisk()
    journal = _open(disk, Time(), budget=64_000)
    for number in range(1, 20):
        journal.append(number, [_record(number, 100)])
    files = len(journal_files(disk, RECORDS))
    assert journal.synced_seq == 0
    journal.sync()

    assert files > 1
    assert len({id(event[1]) for event in disk.trace if event[0] == "sync"}) == files
    assert journal.synced_seq == 19
