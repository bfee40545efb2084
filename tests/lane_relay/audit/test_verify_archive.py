"""What an archive is for: nothing that a volume's own rules excuse is excused there; and heads that were kept."""

import asyncio
import shutil
from pathlib import Path

import msgspec
import pytest

from lane_api.relayconfig import Archive
from lane_relay.audit.archive import Archiver
from lane_relay.audit.chain import head_name
from lane_relay.audit.head import HeadKey, HeadKind, Signed, parse
from lane_relay.audit.segment import index_name, segment_name
from tests.lane_relay.audit.making import KEY, Time, fill, judge, open_journal, records_config, seal_all, sealed_folder


async def _archived(folder: Path) -> None:
    """400 records in an archive, of which the volume's budget has kept the newest few."""
    place = Archive(path=str(folder / "archive"))
    config = records_config(folder / "records", archive=place.model_dump())
    time = Time()
    journal, chain = open_journal(folder / "records", time, config=config)
    archiver = Archiver(chain, folder / "records", journal, time.clock, lambda: 0.5)
    archiver.apply(place)
    for _ in range(20):
        fill(journal, 20)
        seal_all(journal)
        assert await archiver.ship()
    assert chain.dropped_seq > 20
    assert chain.oldest_number > 10
    journal.close()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; nothing is changed in it."""
    folder = tmp_path_factory.mktemp("made")
    asyncio.run(_archived(folder))
    assert judge(folder / "archive").findings == []
    assert judge(folder / "records").findings == []
    return folder / "archive"


@pytest.fixture
def archive(made: Path, tmp_path: Path) -> Path:
    """The folder of the day, in an archive of its own."""
    shutil.copytree(made, tmp_path / "archive")
    (folder,) = {path.parent for path in (tmp_path / "archive").rglob("head-*.json")}
    return folder


def _heads(folder: Path) -> dict[int, Signed]:
    found = [parse(path.read_bytes()) for path in sorted(folder.glob("head-*.json"))]
    return {one.head.number: one for one in found}


def _remove_until(folder: Path, number: int) -> None:
    """The beginning up to this entry, with its segments, as a lifecycle rule does it, or somebody."""
    for one, signed in _heads(folder).items():
        if one <= number:
            (folder / head_name(one)).unlink()
        if one <= number and signed.head.kind is HeadKind.SEGMENT:
            (folder / f"{segment_name(signed.head.first_seq)}.zst").unlink()
            (folder / index_name(signed.head.first_seq)).unlink()


def test_the_slots_own_statement_lets_no_beginning_of_its_archive_be_gone(archive: Path) -> None:
    """On the volume the same entries are gone, and no finding: it says so itself."""
    stated = max(one.head.kept_from for one in _heads(archive).values())
    assert stated > 10
    _remove_until(archive, stated - 1)
    (finding,) = judge(archive.parent).findings
    assert (str(finding.kind), finding.place.rpartition("/")[2]) == ("HeadRemoved", head_name(stated))
    assert f"entry 1 to {stated - 1} before it is missing" in finding.sentence


def test_a_segment_that_the_slot_dropped_as_archived_is_missed_in_its_archive(archive: Path) -> None:
    heads = [one.head for one in _heads(archive).values()]
    statement = next(head for head in heads if head.kind is HeadKind.DROPPED)
    assert statement.archived
    gone = next(head for head in heads if head.kind is HeadKind.SEGMENT and head.first_seq == statement.first_seq)
    (archive / f"{segment_name(gone.first_seq)}.zst").unlink()
    (finding,) = judge(archive.parent).findings
    assert (str(finding.kind), finding.place.rpartition("/")[2]) == ("SegmentRemoved", head_name(gone.number))
    assert finding.sentence.endswith("is missing, though it was archived")


@pytest.mark.parametrize("kept", [4, 5], ids=["the_last_that_is_gone", "the_first_that_is_there"])
def test_the_head_kept_from_then_lets_a_lifecycle_rule_have_the_beginning(archive: Path, kept: int) -> None:
    since = _heads(archive)[kept]
    _remove_until(archive, 4)
    assert [str(one.kind) for one in judge(archive.parent).findings] == ["HeadRemoved"]
    assert judge(archive.parent, since=since).findings == []


@pytest.mark.parametrize("kept", [3, 6], ids=["one_before", "one_after"])
def test_a_head_kept_from_another_time_says_nothing_of_the_beginning(archive: Path, kept: int) -> None:
    since = _heads(archive)[kept]
    _remove_until(archive, 4)
    assert [str(one.kind) for one in judge(archive.parent, since=since).findings] == ["HeadRemoved"]


def test_a_kept_head_that_the_oldest_entry_does_not_follow_from_excuses_nothing(archive: Path) -> None:
    """Another history of the same numbers: what is there was begun anew by whoever has the key."""
    other = HeadKey(KEY).sign(msgspec.structs.replace(_heads(archive)[4].head, at=1.0))
    _remove_until(archive, 4)
    assert [str(one.kind) for one in judge(archive.parent, since=other).findings] == ["HeadRemoved"]


def test_entries_of_another_journal_in_a_chain_are_tampering_though_they_follow_and_are_signed(tmp_path: Path) -> None:
    sealed_folder(tmp_path)
    heads = _heads(tmp_path)
    previous = heads[2].digest
    for number in range(3, max(heads) + 1):
        signed = HeadKey(KEY).sign(
            msgspec.structs.replace(heads[number].head, journal="20270115T120000Z-00000000", previous=previous)
        )
        (tmp_path / head_name(number)).write_bytes(signed.line())
        previous = signed.digest
    (finding,) = judge(tmp_path).findings
    assert (str(finding.kind), finding.place) == ("ChainBroken", head_name(3))
    assert "entry 3 is of another journal than entry 2" in finding.sentence
