"""The archive, in a real S3 server and in a folder: complete, in order, nothing put over, nothing lost by a failure."""

import asyncio
import json
import os
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from lane_api.relayconfig import Archive
from lane_relay.account.journal import Journal
from lane_relay.audit.archive import FIRST_WAIT_S, LONGEST_WAIT_S, Archiver
from lane_relay.audit.chain import Chain, head_name
from lane_relay.audit.evidence import journals
from lane_relay.audit.stores import S3Store, UnavailableError, open_archive
from lane_relay.audit.verify import verify
from tests.lane_relay.audit.making import (
    PUBLIC,
    Time,
    command,
    fill,
    judge,
    open_journal,
    public_pem,
    records_config,
    seal_all,
)
from tests.lane_relay.audit.s3_server import S3Server, s3_server


class Slot:
    """A journal whose records go to an archive."""

    def __init__(self, folder: Path, archive: dict[str, object], **values: object) -> None:
        self.time = Time()
        self.folder = folder
        self.archive = Archive.model_validate(archive)
        self.journal, self.chain = self._opened(values)
        self.archiver = self.new_archiver()

    def _opened(self, values: dict[str, object]) -> tuple[Journal, Chain]:
        config = records_config(self.folder, archive=self.archive.model_dump(), **values)
        return open_journal(self.folder, self.time, config=config)

    def new_archiver(self) -> Archiver:
        """As after a restart."""
        archiver = Archiver(self.chain, self.folder, self.journal, self.time.clock, lambda: 0.5)
        archiver.apply(self.archive)
        return archiver

    def sealed(self, count: int) -> None:
        fill(self.journal, count)
        seal_all(self.journal)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def slot(tmp_path: Path, server: S3Server, request: pytest.FixtureRequest) -> Slot:
    """A slot with a prefix of its own in the bucket."""
    server.way.fault = ""
    credentials = server.credentials(tmp_path / "credentials")
    return Slot(tmp_path / "records", server.config(credentials, f"lanes/{abs(hash(request.node.name))}"))


def _store(slot: Slot) -> S3Store:
    found = open_archive(slot.archive)
    assert isinstance(found, S3Store)
    return found


async def test_everything_sealed_is_in_the_bucket_and_proves_itself_there(slot: Slot) -> None:
    slot.sealed(20)
    assert await slot.archiver.ship()

    names = sorted(await asyncio.to_thread(lambda: list(_store(slot).names())))
    place = f"mail/otp/otp-0/{slot.chain.journal}/2027-01-15/"
    assert all(name.startswith(place) for name in names)
    assert names[0] == place + head_name(1)
    assert sum(name.endswith(".jsonl.zst") for name in names) == 4
    report = judge(_store(slot))
    assert (report.findings, report.records, report.last_seq) == ([], 20, 20)
    assert (slot.archiver.seq, slot.archiver.number) == (20, 5)


async def test_the_command_verifies_a_bucket(slot: Slot, tmp_path: Path, server: S3Server) -> None:
    slot.sealed(20)
    assert await slot.archiver.ship()
    (tmp_path / "lane.pub").write_bytes(public_pem())
    s3 = slot.archive.s3
    assert s3 is not None
    access = ["--endpoint", server.endpoint, "--credentials", s3.credentials_dir, "--key", tmp_path / "lane.pub"]
    done = await asyncio.to_thread(command, "audit", "verify", f"s3://{s3.bucket}/{s3.prefix}", *access)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proven records 1 to 20" in done.stdout


async def test_what_the_slot_dropped_is_still_in_the_archive_and_proves_itself(slot: Slot) -> None:
    slot.sealed(20)
    assert await slot.archiver.ship()
    for _ in range(20):
        slot.sealed(20)
        assert await slot.archiver.ship()
    assert slot.chain.dropped_seq > 100
    report = judge(_store(slot))
    assert (report.findings, report.records, report.first_seq) == ([], 420, 1)
    assert slot.chain.unarchived == 0


async def test_tampering_in_the_bucket_is_found(slot: Slot, server: S3Server) -> None:
    slot.sealed(20)
    assert await slot.archiver.ship()
    s3 = slot.archive.s3
    assert s3 is not None
    own = {name: path for name, path in server.objects().items() if name.startswith(s3.prefix)}
    segments = sorted(name for name in own if name.endswith(".zst"))
    content = own[segments[1]].read_bytes()
    own[segments[1]].unlink()
    assert [str(one.kind) for one in judge(_store(slot)).findings] == ["SegmentRemoved"]

    own[segments[1]].write_bytes(content[:-3] + b"xyz")
    assert [str(one.kind) for one in judge(_store(slot)).findings] == ["Altered"]

    own[segments[1]].write_bytes(own[segments[2]].read_bytes())
    assert [str(one.kind) for one in judge(_store(slot)).findings] == ["SegmentsSwapped"]

    own[segments[1]].write_bytes(content)
    heads = sorted(name for name in own if name.rpartition("/")[2].startswith("head-"))
    own[heads[0]].unlink()
    assert [str(one.kind) for one in judge(_store(slot)).findings] == ["HeadRemoved"]


@pytest.mark.parametrize("fault", ["refuse", "500", "cut"])
async def test_after_any_failure_all_gets_there_once_the_server_is_back(
    slot: Slot, server: S3Server, fault: str
) -> None:
    slot.sealed(10)
    server.way.fault = fault
    assert not await slot.archiver.ship()
    assert slot.archiver.failures == 1
    assert "cannot be written" in slot.archiver.failure
    slot.time.now += 30.0
    assert slot.archiver.lag_s() == 30.0

    server.way.fault = ""
    assert await slot.archiver.ship()
    assert slot.archiver.failure == ""
    assert slot.archiver.lag_s() == 0.0
    assert judge(_store(slot)).records == 10


async def test_a_server_that_stalls_is_given_up_after_its_time(slot: Slot, server: S3Server) -> None:
    s3 = slot.archive.s3
    assert s3 is not None
    server.way.fault = "stall"
    with pytest.raises(UnavailableError, match="cannot be written"):
        await asyncio.to_thread(S3Store(s3, request_s=0.3).put, "piece", b"content")


async def test_wrong_credentials_name_the_folder_and_new_ones_are_read_without_a_restart(
    slot: Slot, server: S3Server
) -> None:
    s3 = slot.archive.s3
    assert s3 is not None
    folder = Path(s3.credentials_dir)
    server.credentials(folder, secret="mistyped-secret")
    slot.sealed(10)
    assert not await slot.archiver.ship()
    assert f"the credentials in {folder} are refused" in slot.archiver.failure
    assert "mistyped-secret" not in slot.archiver.failure

    (folder / "secret_access_key").unlink()
    assert not await slot.archiver.ship()
    assert "the archive's Secret needs secret_access_key" in slot.archiver.failure

    server.credentials(folder)
    assert await slot.archiver.ship()


async def test_a_restart_goes_on_where_it_was_and_asks_for_the_last_head_alone(slot: Slot, server: S3Server) -> None:
    slot.sealed(10)
    assert await slot.archiver.ship()
    server.way.fault = "refuse"
    again = slot.new_archiver()
    assert (again.seq, again.number) == (10, 3), "what is there stays archived while the server is away"
    assert not await again.ship()
    server.way.fault = ""
    before = server.way.connections
    assert await again.ship()
    assert (again.seq, again.number) == (10, 3)
    assert server.way.connections == before + 1
    assert await again.ship()
    assert server.way.connections == before + 1


async def test_a_bucket_of_the_same_name_elsewhere_is_given_everything_and_believed_in_nothing(
    slot: Slot, server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> None:
    slot.sealed(10)
    assert await slot.archiver.ship()
    assert slot.archive.s3 is not None
    with s3_server(tmp_path_factory.mktemp("elsewhere")) as other:
        moved = slot.archive.s3.model_copy(update={"endpoint": other.endpoint})
        slot.archive = Archive(s3=moved)
        slot.archiver.apply(slot.archive)
        assert (slot.archiver.seq, slot.archiver.number) == (0, 0), "nothing is dropped as archived"
        assert await slot.archiver.ship()
        report = judge(_store(slot))
        assert (report.findings, report.records) == ([], 10)
        assert (slot.archiver.seq, slot.archiver.number) == (10, 3)


async def test_another_folder_under_the_same_path_is_given_everything(tmp_path: Path) -> None:
    """As when `audit.archive.pvc` names another claim: the relay sees the same path."""
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(10)
    assert await slot.archiver.ship()
    (tmp_path / "archive").rename(tmp_path / "before")
    again = slot.new_archiver()
    assert (again.seq, again.number) == (0, 0), "nothing is dropped as archived"
    assert await again.ship()
    report = judge(tmp_path / "archive")
    assert (report.findings, report.records) == ([], 10)


@pytest.mark.parametrize("moved", [False, True], ids=["the same", "another"])
async def test_where_a_release_before_was_is_believed_if_the_archive_says_so(tmp_path: Path, moved: bool) -> None:
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(10)
    assert await slot.archiver.ship()
    old = {"target": str(tmp_path / "archive"), "journal": slot.chain.journal, "number": 3, "seq": 10}
    (slot.folder / "archive.json").write_text(json.dumps(old))
    if moved:
        (tmp_path / "archive").rename(tmp_path / "before")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "archive").rglob("*.json")}
    again = slot.new_archiver()
    assert await again.ship()
    assert (again.seq, again.number) == (10, 3)
    assert judge(tmp_path / "archive").records == 10
    assert times == {path: path.stat().st_mtime_ns for path in times}


async def test_a_lost_cursor_puts_nothing_over(slot: Slot, server: S3Server) -> None:
    slot.sealed(10)
    assert await slot.archiver.ship()
    times = {name: path.stat().st_mtime_ns for name, path in server.objects().items()}
    (slot.folder / "archive.json").unlink()
    again = slot.new_archiver()
    assert again.number == 0
    assert await again.ship()
    assert {name: path.stat().st_mtime_ns for name, path in server.objects().items()} == times


async def test_what_somebody_else_put_under_our_name_is_left_and_said(slot: Slot, server: S3Server) -> None:
    slot.sealed(10)
    store = _store(slot)
    name = f"mail/otp/otp-0/{slot.chain.journal}/2027-01-15/{head_name(1)}"
    await asyncio.to_thread(store.put, name, b"theirs")
    assert not await slot.archiver.ship()
    assert "is there with other content" in slot.archiver.failure
    assert await asyncio.to_thread(store.read, name) == b"theirs"


async def test_a_folder_is_an_archive_as_well(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(20)
    assert await slot.archiver.ship()
    (slot.folder / "archive.json").unlink()
    assert await slot.new_archiver().ship()
    report = judge(tmp_path / "archive")
    assert (report.findings, report.records) == ([], 20)

    (head,) = (tmp_path / "archive").rglob(head_name(2))
    head.write_bytes(b"theirs")
    (slot.folder / "archive.json").unlink()
    again = slot.new_archiver()
    assert not await again.ship()
    assert "is there with other content" in again.failure


async def test_a_day_under_the_name_of_another_is_tampering_for_trace_goes_by_it(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(5)
    assert await slot.archiver.ship()
    (day,) = (tmp_path / "archive").rglob("2027-01-15")
    day.rename(day.with_name("1999-01-01"))
    (finding,) = judge(tmp_path / "archive").findings
    assert str(finding.kind) == "Altered"
    assert "lies elsewhere than in the folder of 2027-01-15" in finding.sentence


async def test_a_folder_that_cannot_be_written_is_said_and_tried_again(tmp_path: Path) -> None:
    (tmp_path / "archive").write_bytes(b"")
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(5)
    assert not await slot.archiver.ship()
    assert "cannot be used" in slot.archiver.failure
    (tmp_path / "archive").unlink()
    assert await slot.archiver.ship()


async def test_another_archive_gets_all_though_it_is_named_while_something_goes_to_the_one_before(
    tmp_path: Path,
) -> None:
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(20)
    segment = min(slot.folder.glob("records-*.jsonl"))
    aside = segment.rename(tmp_path / "aside")
    os.mkfifo(segment)
    going = asyncio.create_task(slot.archiver.ship())
    descriptor = await asyncio.to_thread(os.open, segment, os.O_WRONLY)  # both ends are open: it is being read
    slot.archiver.apply(Archive(path=str(tmp_path / "other")))
    segment.unlink()
    aside.rename(segment)
    os.close(descriptor)
    assert await going
    report = judge(tmp_path / "other")
    assert (report.findings, report.records) == ([], 20)


async def test_a_loss_is_stated_in_the_archive_too(tmp_path: Path) -> None:
    """The archive was away for longer than the budget holds."""
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    slot.sealed(10)
    assert await slot.archiver.ship()
    slot.sealed(400)
    lost = slot.chain.unarchived
    assert lost > 100
    assert await slot.archiver.ship()
    report = judge(tmp_path / "archive")
    assert report.findings == []
    assert f"{lost} of these were never archived: they are lost" in report.notes
    assert report.records == 410 - lost


def test_slots_that_lost_their_archive_at_once_come_back_at_different_times(tmp_path: Path) -> None:
    slot = Slot(tmp_path / "records", {"path": str(tmp_path / "archive")})
    waits = []
    for jitter in (0.0, 0.99):
        archiver = Archiver(slot.chain, slot.folder, slot.journal, slot.time.clock, repeat(jitter).__next__)
        waits.append([archiver._wait(tries) for tries in (1, 2, 10**6)])
    assert waits[0] == [FIRST_WAIT_S / 2, FIRST_WAIT_S, LONGEST_WAIT_S / 2]
    assert all(0.9 * one < late / 2 < one for one, late in zip(*waits, strict=True))


async def test_two_lives_of_a_lane_share_an_archive(tmp_path: Path) -> None:
    for life in ("one", "two"):
        slot = Slot(tmp_path / life, {"path": str(tmp_path / "archive")})
        slot.sealed(10)
        assert await slot.archiver.ship()
    store = open_archive(slot.archive)
    found = journals(store.names())
    assert [verify(store, files, [PUBLIC]).records for files in found] == [10, 10]
