"""A volume put back from a snapshot: its journal goes on under a name of its own, and both histories are proven."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from structlog.testing import capture_logs

from lane_api.relayconfig import Archive, Webhook
from lane_relay.audit.archive import Archiver
from lane_relay.audit.chain import head_name
from lane_relay.audit.evidence import DirectoryStore, JournalFiles, Store, journals
from lane_relay.audit.head import HeadKind, parse
from lane_relay.audit.stores import open_archive
from lane_relay.audit.trace import Wanted, trace
from lane_relay.audit.unsettled import unsettled
from lane_relay.audit.verify import Kind, Report, verify
from lane_relay.audit.webhook import WebhookSender
from tests.lane_relay.audit.making import (
    KEY,
    PUBLIC,
    Time,
    command,
    fill,
    kinds,
    open_journal,
    public_pem,
    record,
    records_config,
    seal_all,
)
from tests.lane_relay.audit.receiving import Books, Receiver
from tests.lane_relay.audit.s3_server import S3Server, s3_server


class Slot:
    """A slot's records with an archive and a receiver, over several lives of its volume."""

    def __init__(
        self,
        folder: Path,
        archive: dict[str, object],
        receiver: Receiver | None = None,
        key: Ed25519PrivateKey | None = KEY,
    ) -> None:
        self.key = key
        self.time = Time()
        self.folder = folder / "records"
        self.snapshot_folder = folder / "snapshot"
        self.archive = Archive.model_validate(archive)
        self.receiver = receiver
        self.start()

    def start(self) -> None:
        """As at a start, on what the volume has."""
        config = records_config(self.folder, archive=self.archive.model_dump())
        self.journal, self.chain = open_journal(self.folder, self.time, key=self.key, config=config)
        self.journal.reconcile(self.journal.last_seq, [])
        self.archiver = Archiver(self.chain, self.folder, self.journal, self.time.clock, lambda: 0.5)
        self.archiver.apply(self.archive)
        self.sender = WebhookSender(self.chain, self.time.clock, lambda: 0.5, lambda: self.journal.last_seq)
        if self.receiver is not None:
            self.sender.apply(Webhook(url=self.receiver.url))

    def snapshot(self) -> None:
        shutil.copytree(self.folder, self.snapshot_folder)

    def put_back(self) -> None:
        """The volume as it was at the snapshot; some time has passed."""
        self.journal.close()
        shutil.rmtree(self.folder)
        shutil.copytree(self.snapshot_folder, self.folder)
        self.time.now += 100.0
        self.start()

    def sealed(self, count: int, after: str = "") -> None:
        for number in range(self.journal.last_seq + 1, self.journal.last_seq + 1 + count):
            assert self.journal.append(number, [record(number, after=after)])
        seal_all(self.journal)

    def reports(self) -> dict[str, Report]:
        """Of each journal in the archive; that nothing is signed is no finding where there is no key."""
        found = reports(open_archive(self.archive))
        for report in found.values():
            report.findings = [one for one in report.findings if self.key or one.kind is not Kind.UNSIGNED]
        return found


def reports(store: Store) -> dict[str, Report]:
    found: list[JournalFiles] = journals(store.names())
    judged = [verify(store, files, [PUBLIC], around=found) for files in found]
    return {report.journal: report for report in judged}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def folder_slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path, {"path": str(tmp_path / "archive")})


@pytest.fixture
def unsigned_slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path, {"path": str(tmp_path / "archive")}, key=None)


async def test_after_a_snapshot_is_put_back_archive_retention_and_receiver_go_on_and_both_histories_are_proven(
    tmp_path: Path, server: S3Server, receiver: Receiver, http: aiohttp.ClientSession
) -> None:
    books = Books()
    slot = Slot(tmp_path, server.config(server.credentials(tmp_path / "credentials"), "put-back"), receiver)
    slot.sealed(20)
    fill(slot.journal, 3)  # the snapshot has them, and they are not sealed
    assert await slot.archiver.ship()
    assert await slot.sender.send(http) is None
    slot.journal.sync()
    slot.snapshot()
    slot.sealed(10, "snapshot")
    assert await slot.archiver.ship()
    assert await slot.sender.send(http) is None
    assert books.read(receiver.batches) == list(range(1, 34))
    receiver.batches.clear()
    first = slot.chain.journal

    slot.put_back()
    slot.journal.begin_anew()
    slot.sealed(6, "put back")
    assert await slot.archiver.ship(), slot.archiver.failure
    assert (slot.archiver.seq, slot.archiver.number) == (29, slot.chain.last_number)
    assert await slot.sender.send(http) is None
    assert {batch["journal"] for batch in receiver.batches} == {slot.chain.journal} != {first}
    assert books.read(receiver.batches) == list(range(24, 30)), "those of the second life alone, which nobody had"

    found = slot.reports()
    assert list(found) == [first, slot.chain.journal]
    assert [(one.findings, one.first_seq, one.last_seq) for one in found.values()] == [([], 1, 33), ([], 21, 29)]
    assert found[slot.chain.journal].notes == [f"it goes on from journal {first} after entry 5"]
    store = open_archive(slot.archive)
    said = [one["after"] for one in trace(store, Wanted("<25@brand.test>"))]
    assert said == ["snapshot", "put back"]
    assert len(trace(store, Wanted("<22@brand.test>"))) == 1, "one record is told once, though both have it"

    slot.time.now += 400 * 86400.0
    slot.journal.tend()
    assert slot.chain.dropped["Retention"] == 29
    assert slot.chain.unarchived == 0


def test_the_volume_has_one_chain_over_both_journals(folder_slot: Slot, tmp_path: Path) -> None:
    slot = folder_slot
    slot.sealed(20)
    slot.snapshot()
    slot.sealed(5)
    later = slot.chain.last
    assert later is not None
    slot.put_back()
    kept = slot.chain.last
    assert kept is not None
    slot.journal.begin_anew()
    slot.sealed(6)
    (report,) = reports(DirectoryStore(slot.folder)).values()
    assert (report.findings, report.records, report.journal) == ([], 26, slot.chain.journal)
    assert report.continues == [kept.head.journal]

    slot.journal.close()
    slot.start()
    assert slot.chain.journals == (kept.head.journal, slot.chain.journal)
    assert [slot.chain.journal_of(seq) for seq in (20, 21)] == [
        (kept.head.journal, 20),
        (slot.chain.journal, slot.chain.journal_of(21)[1]),
    ]
    (tmp_path / "lane.pub").write_bytes(public_pem())
    for head, code, says in ((kept, 0, "proven records 1 to 26"), (later, 1, "the volume was put back")):
        (tmp_path / "head.json").write_bytes(head.line())
        done = command("audit", "verify", slot.folder, "--key", tmp_path / "lane.pub", "--head", tmp_path / "head.json")
        assert done.returncode == code
        assert says in done.stdout


async def _lived_on(slot: Slot) -> None:
    """Twenty records, a snapshot, and ten more; all in the archive."""
    slot.sealed(20)
    assert await slot.archiver.ship()
    slot.snapshot()
    slot.sealed(10, "snapshot")
    assert await slot.archiver.ship()


async def test_what_was_sealed_before_the_relay_heard_of_it_lies_with_the_journal_that_goes_on(
    unsigned_slot: Slot,
) -> None:
    """Without a key nothing in the archive tells whose entries are there."""
    slot = unsigned_slot
    await _lived_on(slot)
    first = slot.chain.journal

    slot.put_back()
    slot.sealed(4, "put back")
    slot.sealed(4, "put back")
    assert not await slot.archiver.ship()
    assert "is there with other content" in slot.archiver.failure
    assert slot.chain.journal == first
    slot.journal.begin_anew()
    await _goes_on(slot)


async def test_a_volume_that_was_set_back_unseen_is_known_by_what_our_own_key_signed_in_the_archive(
    folder_slot: Slot,
) -> None:
    slot = folder_slot
    await _lived_on(slot)
    first = slot.chain.journal

    slot.put_back()
    slot.sealed(4, "put back")
    slot.sealed(4, "put back")
    with capture_logs() as logged:
        assert await slot.archiver.ship(), slot.archiver.failure
    assert [one["event"] for one in logged if one["log_level"] == "error"] == [
        "the volume was set back: its records go on in another journal"
    ]
    assert slot.chain.journals == (first, slot.chain.journal)
    await _goes_on(slot)


async def _goes_on(slot: Slot) -> None:
    """Both histories are proven, with all that the second sealed before and after."""
    slot.sealed(6, "put back")
    assert await slot.archiver.ship(), slot.archiver.failure
    assert slot.archiver.number == slot.chain.last_number
    found = slot.reports()
    assert [kinds(one) for one in found.values()] == [[], []]
    assert [one.last_seq for one in found.values()] == [30, 34]
    assert found[slot.chain.journal].records == 14
    said = [one["after"] for one in trace(open_archive(slot.archive), Wanted("<22@brand.test>"))]
    assert said == ["snapshot", "put back"]
    again = Archiver(slot.chain, slot.folder, slot.journal, slot.time.clock, lambda: 0.5)
    (slot.folder / "archive.json").unlink()
    again.apply(slot.archive)
    assert await again.ship(), "all of it is there already"


async def test_what_the_second_life_lost_of_the_first_ones_records_is_stated(folder_slot: Slot) -> None:
    slot = folder_slot
    slot.sealed(20)
    slot.snapshot()
    slot.put_back()
    slot.journal.begin_anew()
    slot.sealed(400)  # beyond the budget, and nothing was archived
    assert slot.chain.unarchived > 20
    assert await slot.archiver.ship()
    assert [one.findings for one in slot.reports().values()] == [[], []]


@pytest.mark.parametrize("gone", ["entry", "begin"])
async def test_an_entry_that_is_missing_where_the_histories_part_is_found(
    folder_slot: Slot, tmp_path: Path, gone: str
) -> None:
    slot = folder_slot
    slot.sealed(20)
    slot.snapshot()
    slot.put_back()
    slot.journal.begin_anew()
    number = slot.chain.last_number
    slot.sealed(6)
    assert await slot.archiver.ship()
    (path,) = (tmp_path / "archive").rglob(head_name(number - 1 if gone == "entry" else number))
    path.unlink()
    found = slot.reports()
    assert "HeadRemoved" in kinds(found[slot.chain.journal])

    shutil.rmtree(path.parent.parent)  # a whole journal: only the other one can tell
    notes = [one for report in slot.reports().values() for one in report.notes]
    assert any("which is not among these" in one for one in notes) == (gone == "entry")


def test_a_journal_that_goes_on_from_another_entry_is_found(folder_slot: Slot) -> None:
    slot = folder_slot
    slot.sealed(20)
    slot.snapshot()
    slot.put_back()
    slot.journal.begin_anew()
    slot.sealed(6)
    begin = next(
        path
        for path in sorted(slot.folder.glob("head-*.json"), reverse=True)
        if parse(path.read_bytes()).head.kind is HeadKind.BEGIN
    )
    number = parse(begin.read_bytes()).head.number
    (slot.folder / head_name(number - 1)).write_bytes((slot.snapshot_folder / head_name(number - 2)).read_bytes())
    (report,) = reports(DirectoryStore(slot.folder)).values()
    assert "ChainBroken" in kinds(report)


async def test_a_snapshot_of_before_the_first_seal_gets_a_name_of_its_own(folder_slot: Slot) -> None:
    slot = folder_slot
    fill(slot.journal, 3)
    slot.journal.sync()
    slot.snapshot()
    slot.sealed(4)
    assert await slot.archiver.ship()
    first = slot.chain.journal
    slot.put_back()
    assert slot.chain.journal == first
    slot.journal.begin_anew()
    slot.sealed(2)
    assert await slot.archiver.ship()
    found = slot.reports()
    assert [(one.findings, one.last_seq) for one in found.values()] == [([], 7), ([], 5)]
    assert not any("goes on from" in note for report in found.values() for note in report.notes)


async def test_an_entry_of_another_day_is_met_too_and_the_journal_of_before_stays_whole(unsigned_slot: Slot) -> None:
    """The relay closes the day of the snapshot, days later, before it hears that its volume is a copy."""
    slot = unsigned_slot
    await _lived_on(slot)
    first = slot.chain.journal

    slot.time.now += 3 * 86400.0
    slot.put_back()
    slot.journal.tend()
    assert slot.chain.last is not None
    assert slot.chain.last.head.kind is HeadKind.DAY
    assert not await slot.archiver.ship()
    assert "is there with other content" in slot.archiver.failure
    assert kinds(slot.reports()[first]) == []

    slot.journal.begin_anew()
    slot.sealed(4, "put back")
    assert await slot.archiver.ship()
    assert [(kinds(one), one.last_seq) for one in slot.reports().values()] == [([], 30), ([], 24)]


async def test_what_ended_in_one_history_is_not_unsettled_since_the_other_tells_of_its_acceptance_again(
    folder_slot: Slot,
) -> None:
    slot = folder_slot
    slot.sealed(2)
    for number in (3, 4):
        accepted = record(number, type="Reception", recipient=f"user{number}@isp.test", slot="otp-0")
        assert slot.journal.append(number, [accepted])
    slot.journal.sync()
    slot.snapshot()
    assert slot.journal.append(5, [record(3, type="Delivery", recipient="user3@isp.test", slot="otp-0")])
    seal_all(slot.journal)
    assert await slot.archiver.ship()

    slot.put_back()
    slot.journal.begin_anew()
    slot.sealed(2)
    assert await slot.archiver.ship()
    found = unsettled(open_archive(slot.archive))
    assert [one.recipients for one in found.messages] == [("user4@isp.test",)]
