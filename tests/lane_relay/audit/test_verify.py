"""Every way to tamper with evidence is found, named and placed; what the slot did by its own rules is none."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lane_relay.audit.chain import head_name
from lane_relay.audit.evidence import DirectoryStore, journals
from lane_relay.audit.head import Head, HeadKey, HeadKind, Signed, parse, public_key_id
from lane_relay.audit.segment import Index, index_name, segment_name
from lane_relay.audit.trace import Wanted, trace
from lane_relay.audit.verify import Kind, verify
from tests.lane_relay.audit.making import (
    KEY,
    OTHER_KEY,
    PUBLIC,
    Time,
    fill,
    judge,
    kinds,
    open_journal,
    records_config,
    seal_all,
    sealed_folder,
)

SECOND, THIRD = 6, 11
"""First numbers of the second and third segment of a folder that `sealed_folder` made."""


def _segments(path: Path) -> list[Path]:
    return sorted(path.glob("records-*.jsonl"))


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def _signed(path: Path, number: int) -> Signed:
    return parse((path / head_name(number)).read_bytes())


def _resign(path: Path, at: int, key: HeadKey, /, **changes: object) -> None:
    """Writes a head anew, as somebody with a key would."""
    old = _signed(path, at).head
    values = {name: getattr(old, name) for name in Head.__struct_fields__} | changes
    (path / head_name(at)).write_bytes(key.sign(Head(**values)).line())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 sealed records in 4 segments, nothing wrong."""
    sealed_folder(tmp_path)
    assert [path.name for path in _segments(tmp_path)][1:3] == [segment_name(SECOND), segment_name(THIRD)]
    return tmp_path


def test_what_nobody_touched_is_proven(folder: Path) -> None:
    report = judge(folder)
    assert report.findings == []
    assert report.notes == []
    assert (report.records, report.first_seq, report.last_seq) == (20, 1, 20)
    assert (report.lane, report.slot, report.segments) == ("mail/otp", "otp-0", 4)


def _alter_byte(path: Path) -> None:
    content = bytearray((path / segment_name(SECOND)).read_bytes())
    at = content.index(b"Delivery")
    content[at : at + 8] = b"Rejected"
    (path / segment_name(SECOND)).write_bytes(content)


def _remove_line(path: Path) -> None:
    lines = _lines(path / segment_name(SECOND))
    (path / segment_name(SECOND)).write_bytes(b"".join(lines[:1] + lines[2:]))


def _add_line(path: Path) -> None:
    lines = _lines(path / segment_name(SECOND))
    (path / segment_name(SECOND)).write_bytes(b"".join([*lines, lines[-1]]))


def _lengthen_a_number(path: Path) -> None:
    """To more digits than Python makes a number of."""
    content = (path / segment_name(SECOND)).read_bytes()
    (path / segment_name(SECOND)).write_bytes(content.replace(b'{"seq":8,', b'{"seq":' + b"8" * 5000 + b","))


def _reorder_lines(path: Path) -> None:
    lines = _lines(path / segment_name(SECOND))
    lines[1], lines[2] = lines[2], lines[1]
    (path / segment_name(SECOND)).write_bytes(b"".join(lines))


def _truncate_at_a_line(path: Path) -> None:
    (path / segment_name(SECOND)).write_bytes(b"".join(_lines(path / segment_name(SECOND))[:-1]))


def _truncate_in_a_line(path: Path) -> None:
    (path / segment_name(SECOND)).write_bytes((path / segment_name(SECOND)).read_bytes()[:-7])


def _empty(path: Path) -> None:
    (path / segment_name(SECOND)).write_bytes(b"")


def _remove_segment(path: Path) -> None:
    (path / segment_name(SECOND)).unlink()


def _swap_segments(path: Path) -> None:
    second, third = path / segment_name(SECOND), path / segment_name(THIRD)
    one, other = second.read_bytes(), third.read_bytes()
    second.write_bytes(other)
    third.write_bytes(one)


def _remove_head(path: Path) -> None:
    (path / head_name(3)).unlink()


def _remove_beginning(path: Path) -> None:
    (path / head_name(1)).unlink()
    (path / head_name(2)).unlink()
    (path / segment_name(1)).unlink()


def _swap_heads(path: Path) -> None:
    one, other = (path / head_name(3)).read_bytes(), (path / head_name(4)).read_bytes()
    (path / head_name(3)).write_bytes(other)
    (path / head_name(4)).write_bytes(one)


def _alter_head(path: Path) -> None:
    content = (path / head_name(3)).read_bytes()
    (path / head_name(3)).write_bytes(content.replace(b'"slot":"otp-0"', b'"slot":"otp-1"'))


def _break_head(path: Path) -> None:
    (path / head_name(3)).write_bytes(b'{"head":')


def _sign_with_another_key(path: Path) -> None:
    previous = ""
    for number in range(1, 6):
        _resign(path, number, HeadKey(OTHER_KEY), previous=previous)
        previous = _signed(path, number).digest


def _take_signatures_off(path: Path) -> None:
    previous = ""
    for number in range(1, 6):
        _resign(path, number, HeadKey(None), previous=previous)
        previous = _signed(path, number).digest


def _break_the_chain(path: Path) -> None:
    _resign(path, 3, HeadKey(KEY), previous="0" * 64)


def _speak_of_more_than_a_segment_holds(path: Path) -> None:
    _resign(path, 3, HeadKey(None), last_seq=10**15)
    _alter_byte(path)


def _leave_a_segment_out(path: Path) -> None:
    """With the lane's own key: numbers still show it."""
    (path / segment_name(SECOND)).unlink()
    for number in (4, 5):
        (path / head_name(number - 1)).write_bytes((path / head_name(number)).read_bytes())
        _resign(path, number - 1, HeadKey(KEY), number=number - 1, previous=_signed(path, number - 2).digest)
    (path / head_name(5)).unlink()


def _slip_a_file_in(path: Path) -> None:
    (path / segment_name(SECOND + 1)).write_bytes(b'{"seq":7,"type":"Delivery"}\n')


@pytest.mark.parametrize(
    ("tamper", "kind", "place", "words"),
    [
        (_alter_byte, "Altered", segment_name(SECOND), "bytes were altered between records 6 and 10"),
        (_remove_line, "LineRemoved", segment_name(SECOND), "record 7 is missing"),
        (_add_line, "LineAdded", segment_name(SECOND), "lines that were not in it, with number 10"),
        (_lengthen_a_number, "Altered", segment_name(SECOND), "bytes were altered between records 6 and 10"),
        (_reorder_lines, "Reordered", segment_name(SECOND), "record 8 stands where 7 was"),
        (_truncate_at_a_line, "Truncated", segment_name(SECOND), "ends after record 9, and its last was 10"),
        (_truncate_in_a_line, "Truncated", segment_name(SECOND), "ends after record 9, and its last was 10"),
        (_empty, "Truncated", segment_name(SECOND), "ends after record 5"),
        (_remove_segment, "SegmentRemoved", head_name(3), "records 6 to 10 is missing, and no statement"),
        (_swap_segments, "SegmentsSwapped", segment_name(SECOND), "records 11 to 15 in place of 6 to 10"),
        (_remove_head, "HeadRemoved", head_name(4), "entry 3 before it is missing"),
        (_remove_beginning, "HeadRemoved", head_name(3), "entry 1 to 2 before it is missing, and no statement"),
        (_swap_heads, "Altered", head_name(3), "it is entry 4 of the chain and not 3"),
        (_alter_head, "Altered", head_name(3), "entry 3 is not what key"),
        (_break_head, "Altered", head_name(3), "no head of a chain"),
        (_sign_with_another_key, "ForeignKey", head_name(1), "which is not trusted here"),
        (_take_signatures_off, "Unsigned", head_name(1), "carries no signature"),
        (_break_the_chain, "ChainBroken", head_name(3), "entry 3 does not follow from entry 2"),
        (lambda path: _resign(path, 3, HeadKey(None), began=1e18), "Altered", head_name(3), "no head of a chain"),
        (_speak_of_more_than_a_segment_holds, "Altered", segment_name(SECOND), "more than a segment holds"),
        (_leave_a_segment_out, "SequenceGap", head_name(3), "records 6 to 10 are in no segment"),
        (_slip_a_file_in, "LineAdded", segment_name(SECOND + 1), "no head speaks of it"),
    ],
)
def test_tampering_is_found_named_and_placed(
    folder: Path, tamper: Callable[[Path], None], kind: str, place: str, words: str
) -> None:
    tamper(folder)
    findings = [(finding.kind, finding.place, finding.sentence) for finding in judge(folder).findings]
    assert any(found == kind and where == place and words in said for found, where, said in findings), findings


@pytest.mark.parametrize("offset", range(0, 1200, 97))
def test_no_byte_of_a_segment_can_be_another(folder: Path, offset: int) -> None:
    path = folder / segment_name(SECOND)
    content = bytearray(path.read_bytes())
    content[offset % len(content)] ^= 0x01
    path.write_bytes(content)
    assert judge(folder).findings


def test_no_byte_of_a_head_can_be_another(folder: Path) -> None:
    path = folder / head_name(3)
    sound = path.read_bytes()
    for offset in range(len(sound) - 1):
        content = bytearray(sound)
        content[offset] ^= 0x01
        path.write_bytes(content)
        assert judge(folder).findings, (offset, content)


@pytest.mark.parametrize("content", [b"\x80", Index(b"", ()).encode(), Index(b"abc", ()).encode()])
def test_an_index_that_is_another_is_tampering_and_places_nothing(folder: Path, content: bytes) -> None:
    (folder / index_name(SECOND)).write_bytes(content)
    report = judge(folder)
    assert [(str(one.kind), one.place) for one in report.findings] == [("Altered", index_name(SECOND))]
    assert "not the index that was made" in report.findings[0].sentence

    _alter_byte(folder)
    report = judge(folder)
    assert [(str(one.kind), one.place) for one in report.findings] == [
        ("Altered", index_name(SECOND)),
        ("Altered", segment_name(SECOND)),
    ]
    assert "between records 6 and 10" in report.findings[1].sentence


def test_a_segment_in_a_folder_where_trace_does_not_look_is_tampering(folder: Path) -> None:
    (folder / "1999-01-01").mkdir()
    (folder / segment_name(SECOND)).rename(folder / "1999-01-01" / segment_name(SECOND))
    (finding,) = judge(folder).findings
    assert (finding.kind, finding.place) == (Kind.ALTERED, f"1999-01-01/{segment_name(SECOND)}")
    assert "trace looks" in finding.sentence


def test_a_missing_index_is_no_tampering(folder: Path) -> None:
    (folder / index_name(SECOND)).unlink()
    assert judge(folder).findings == []


def test_heads_that_name_no_index_are_proven_and_their_index_is_not_believed(folder: Path) -> None:
    """As releases made them that did not write down the index's digest."""
    previous = ""
    for number in range(1, 6):
        _resign(folder, number, HeadKey(KEY), previous=previous, index_sha256="")
        previous = _signed(folder, number).digest
    (folder / index_name(SECOND)).write_bytes(Index(b"", ()).encode())
    report = judge(folder)
    assert (report.findings, report.records) == ([], 20)
    assert [record["seq"] for record in trace(DirectoryStore(folder), Wanted("<8@brand.test>"))] == [8]


def test_a_long_segment_names_the_lines_among_which_a_byte_is_another(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time(), config=records_config(tmp_path, max_size=2**30))
    fill(journal, 10_000)
    seal_all(journal)
    content = (tmp_path / segment_name(1)).read_bytes()
    (tmp_path / segment_name(1)).write_bytes(content.replace(b"<7000@brand", b"<7001@brand"))
    said = judge(tmp_path).findings[0].sentence.split()
    first, last = int(said[-3]), int(said[-1])
    assert first <= 7000 <= last < first + 3000


def test_a_chain_cut_off_at_its_end_is_found_with_a_head_kept_elsewhere(folder: Path) -> None:
    kept = _signed(folder, 5)
    (folder / head_name(5)).unlink()
    (folder / segment_name(16)).unlink()
    assert judge(folder).findings == []  # by itself it is sound: that is what kept heads are for

    report = judge(folder, until=kept)
    assert kinds(report) == ["Truncated"]
    assert "ends with entry 4, and the kept head is entry 5" in report.findings[0].sentence


def test_a_rewritten_chain_is_found_with_a_head_kept_elsewhere(tmp_path: Path) -> None:
    sealed_folder(tmp_path / "old")
    sealed_folder(tmp_path / "new", 21)
    assert judge(tmp_path / "new", until=_signed(tmp_path / "new", 3)).findings == []
    assert "ChainBroken" in kinds(judge(tmp_path / "new", until=_signed(tmp_path / "old", 3)))

    kept = _signed(tmp_path / "old", 5)
    _resign(tmp_path / "old", 5, HeadKey(KEY), at=1.0)
    assert "Altered" in kinds(judge(tmp_path / "old", until=kept))


def test_what_is_not_sealed_yet_is_said_and_its_numbers_are_checked(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    fill(journal, 10)
    seal_all(journal)
    fill(journal, 3)
    report = judge(tmp_path)
    assert report.findings == []
    assert report.notes == ["records 11 to 13 are not sealed yet, so not proven"]

    path = tmp_path / segment_name(11)
    path.write_bytes(b"".join(_lines(path)[::2]))
    assert kinds(judge(tmp_path)) == ["SequenceGap"]


def test_what_budget_and_retention_removed_is_no_tampering_and_is_said(tmp_path: Path) -> None:
    time = Time()
    journal, chain = open_journal(tmp_path, time, config=records_config(tmp_path, retention=1000.0))
    fill(journal, 400)
    seal_all(journal)
    assert chain.dropped["Budget"] > 50
    time.now += 2000.0
    journal.tend()
    fill(journal, 5)
    seal_all(journal)

    report = judge(tmp_path)
    assert report.findings == []
    assert "by its own rules" in report.notes[-1]
    assert "by Budget" in report.notes[-1]
    assert "by Retention" in report.notes[-1]
    assert chain.oldest_number > 100


def test_a_removed_segment_beside_dropped_ones_is_tampering(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    fill(journal, 400)
    seal_all(journal)
    assert judge(tmp_path).findings == []
    _segments(tmp_path)[0].unlink()
    assert kinds(judge(tmp_path)) == ["SegmentRemoved"]


def test_heads_removed_beyond_what_a_statement_names_are_tampering(tmp_path: Path) -> None:
    journal, chain = open_journal(tmp_path, Time())
    fill(journal, 400)
    seal_all(journal)
    oldest = chain.oldest_number
    first = _signed(tmp_path, oldest).head
    (tmp_path / head_name(oldest)).unlink()
    if first.sha256:
        (tmp_path / segment_name(first.first_seq)).unlink()
    assert "HeadRemoved" in kinds(judge(tmp_path))


def test_a_statement_cannot_be_taken_back(tmp_path: Path) -> None:
    """An older state of the folder is sound by itself, and is found by the head that was kept since."""
    journal, chain = open_journal(tmp_path, Time())
    fill(journal, 40)
    seal_all(journal)
    image = {path: path.read_bytes() for path in tmp_path.iterdir()}
    fill(journal, 10)
    seal_all(journal)
    kept = chain.last
    for path in tmp_path.iterdir():
        path.unlink()
    for path, content in image.items():
        path.write_bytes(content)
    assert judge(tmp_path).findings == []
    assert kinds(judge(tmp_path, until=kept)) == ["Truncated"]


FORGED = b'{"seq":%d,"type":"Delivery","id":"%024x","message_id":"<forged@brand.test>","recipient":"ann@isp.test"}\n'


def _dropping_folder(path: Path) -> list[Head]:
    """60 sealed records of which the budget keeps the newest few; its statements that are kept."""
    journal, _ = open_journal(path, Time(), config=records_config(path, max_size=6000))
    fill(journal, 60)
    seal_all(journal)
    journal.close()
    kept = [parse(head.read_bytes()).head for head in sorted(path.glob("head-*.json"))]
    return [head for head in kept if head.kind is HeadKind.DROPPED]


@pytest.mark.parametrize("which", [0, -1])
def test_a_file_put_where_one_was_dropped_is_tampering_and_trace_shows_nothing_of_it(
    tmp_path: Path, which: int
) -> None:
    statements = _dropping_folder(tmp_path)
    assert len(statements) > 1
    assert judge(tmp_path).findings == []
    first = statements[which].first_seq
    (tmp_path / segment_name(first)).write_bytes(FORGED % (first, first))
    (finding,) = judge(tmp_path).findings
    assert (finding.kind, finding.place) == (Kind.ALTERED if which else Kind.LINE_ADDED, segment_name(first))
    assert trace(DirectoryStore(tmp_path), Wanted("<forged@brand.test>")) == []


def test_a_file_that_a_crash_kept_after_the_statement_that_it_goes_is_no_tampering(tmp_path: Path) -> None:
    journal, chain = open_journal(tmp_path, Time(), config=records_config(tmp_path, max_size=6000))
    fill(journal, 40)
    seal_all(journal)
    before = {path: path.read_bytes() for path in _segments(tmp_path)}
    dropped = chain.dropped_seq
    while chain.dropped_seq == dropped:
        fill(journal, 1)
        seal_all(journal)
    journal.close()
    (gone,) = [path for path in before if not path.exists()]
    gone.write_bytes(before[gone])
    report = judge(tmp_path)
    assert report.findings == []
    assert any(gone.name in note and "a crash came" in note for note in report.notes)


def test_a_statement_without_a_digest_proves_nothing_of_its_file(tmp_path: Path) -> None:
    """As of a file that could not be read, and of releases that wrote no digest into a statement."""
    number = max(head.number for head in _dropping_folder(tmp_path))
    for later in sorted(tmp_path.glob("head-*.json"))[::-1]:
        head = parse(later.read_bytes()).head
        if head.number > number:
            later.unlink()
            (tmp_path / segment_name(head.first_seq)).unlink(missing_ok=True)
    _resign(tmp_path, number, HeadKey(KEY), sha256="")
    first = _signed(tmp_path, number).head.first_seq
    (tmp_path / segment_name(first)).write_bytes(FORGED % (first, first))
    report = judge(tmp_path)
    assert report.findings == []
    assert any(segment_name(first) in note and "nothing proves it" in note for note in report.notes)
    assert trace(DirectoryStore(tmp_path), Wanted("<forged@brand.test>")) == []


def test_a_damaged_head_hides_no_records_of_its_segment(folder: Path) -> None:
    _break_head(folder)
    assert "Altered" in kinds(judge(folder))
    assert [record["seq"] for record in trace(DirectoryStore(folder), Wanted("<8@brand.test>"))] == [8]


def test_a_line_taken_out_before_its_file_was_sealed_is_a_gap(tmp_path: Path) -> None:
    journal, _ = open_journal(tmp_path, Time())
    fill(journal, 3)
    journal.sync()
    path = tmp_path / segment_name(1)
    path.write_bytes(b"".join(_lines(path)[::2]))
    seal_all(journal)
    report = judge(tmp_path)
    assert [(str(one.kind), one.place) for one in report.findings] == [("SequenceGap", segment_name(1))]
    assert "record 2 was not there when it was sealed" in report.findings[0].sentence
    assert report.records == 2


def test_an_end_that_is_no_whole_line_is_said(folder: Path) -> None:
    (folder / segment_name(21)).write_bytes(b'{"seq":21,"type":"Delivery"}\n{"seq":22,"type":"Del')
    report = judge(folder)
    assert report.findings == []
    assert report.notes == [
        f"{segment_name(21)}: what follows record 21 is no whole line: being written, or cut off by a crash",
        "records 21 are not sealed yet, so not proven",
    ]


def _changed_keys(path: Path) -> None:
    """10 records sealed with the lane's first key, then 10 with another."""
    sealed_folder(path, 10)
    journal, _ = open_journal(path, Time(), key=OTHER_KEY)
    assert journal.reconcile(10, []) == 0
    fill(journal, 10)
    seal_all(journal)


def test_a_key_that_was_replaced_signs_nothing_later(tmp_path: Path) -> None:
    _changed_keys(tmp_path)
    path = _segments(tmp_path)[-1]
    path.write_bytes(path.read_bytes().replace(b"Delivery", b"Rejected", 1))
    _resign(tmp_path, 5, HeadKey(KEY), sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    store = DirectoryStore(tmp_path)
    (files,) = journals(store.names())
    report = verify(store, files, [PUBLIC, OTHER_KEY.public_key()])
    assert [(str(one.kind), one.place) for one in report.findings] == [("ForeignKey", head_name(5))]
    old, new = public_key_id(PUBLIC), public_key_id(OTHER_KEY.public_key())
    assert f"signed by key {old}, which key {new} had replaced by then" in report.findings[0].sentence
    assert report.key == f"{old}, {new}"


def test_a_change_of_keys_is_proven_with_both_and_with_neither_alone(tmp_path: Path) -> None:
    _changed_keys(tmp_path)
    store = DirectoryStore(tmp_path)
    (files,) = journals(store.names())
    assert verify(store, files, [PUBLIC, OTHER_KEY.public_key()]).findings == []
    for one in (PUBLIC, OTHER_KEY.public_key()):
        assert {finding.kind for finding in verify(store, files, [one]).findings} == {"ForeignKey"}
