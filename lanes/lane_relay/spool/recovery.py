"""What a spool's directory holds after any crash: live entries, flags, and where writing goes on.

Sealed segments are known from their footers; any other is read in full. Invariants:
- a last segment whose end was never made durable is cut where its first unsound record begins (the commit that was
  being written; nobody was told that it was durable);
- an unsound record anywhere else is damage: named, counted, and skipped, never silently;
- running recovery again, also after a crash within it, gives the same result.
Before: `segments` has claimed the directory. After: `log` serves what was found; the journal is made complete.
"""

from collections.abc import Iterator
from errno import EDQUOT, ENOSPC
from math import inf
from pathlib import Path
from typing import Final

from lane_relay.errors import SpoolError
from lane_relay.spool.base import JournalSink
from lane_relay.spool.files import Files
from lane_relay.spool.footer import TRAILER_SIZE, Footer, FooterEntry, encode_footer, footer_place, read_footer
from lane_relay.spool.format import (
    FORMAT_VERSION,
    HEADER_SIZE,
    Gap,
    Kind,
    Record,
    SegmentHeader,
    accounting_records,
    parse_record,
    salt_of,
    scan,
)
from lane_relay.spool.found import Damage, Recovered
from lane_relay.spool.ids import stamp_of
from lane_relay.spool.index import LiveIndex, SegmentState
from lane_relay.spool.segments import TEMPORARY, segment_files, segment_path

__all__ = ["ERA", "accounting_after", "era_text", "recover"]

ERA: Final = "era"
"""The flag that remembers the era of ids; see `ids`."""
_STAMP_SHIFT: Final = 48
_NOT_INDEXED: Final = (Kind.RECORD, Kind.FOOTER)


def recover(
    files: Files,
    directory: Path,
    spool_id: bytes,
    journal: JournalSink,
    asked: frozenset[int] = frozenset(),
    now: float = inf,
) -> Recovered:
    """Reads the whole spool and makes the journal complete; `asked` are ids to be looked for.

    What was put off by a clock that was ahead of `now` (Unix time) is due sooner by as much.
    Raises SpoolError for what this program must not touch, OSError from the volume.
    """
    found = Recovered(LiveIndex(), asked=asked, now=now)
    numbers = segment_files(files, directory)
    _remove_leftovers(files, directory, numbers)
    last = max(numbers, default=0)
    for number, generations in numbers.items():
        path = segment_path(directory, number, generations[-1])
        _read_segment(files, path, number, generations[-1], spool_id, found, last=number == last)
    found.last_stamp = _last_stamp(found)
    _complete(journal, files, directory, found, spool_id)
    return found


def era_text(era: int, segment: int) -> str:
    """The flag that remembers an era; segments up to this number were begun before it, by a clock that was ahead."""
    return f"{era} {segment}"


def _last_stamp(found: Recovered) -> int:
    era, before = [int(one) for one in found.flags.get(ERA, "0 0").split()]
    stamp = max(found.last_id >> _STAMP_SHIFT, stamp_of(era, 0))
    begun = (stamp_of(era, ms) for number, ms in found.created_ms.items() if number > before)
    return max(stamp, *begun, 0) + 1


def _complete(journal: JournalSink, files: Files, directory: Path, found: Recovered, spool_id: bytes) -> None:
    """Gives the journal what the log made durable before the crash; numbering goes on after both."""
    synced = found.journal_synced if found.index.segments else journal.last_seq
    missing = journal.reconcile(synced, accounting_after(files, directory, spool_id, synced))
    if missing:
        found.damage.append(Damage("journal", 0, 0, f"{missing} accounting records are neither in it nor in the log"))
    journal.sync()
    found.missing = _should_wait(journal, found) - found.index.live_recipients
    if found.missing and not found.damage:
        found.damage.append(Damage("log", 0, 0, _in_words(found.missing)))
    found.next_seq = max(found.next_seq, journal.last_seq + 1)


def _should_wait(journal: JournalSink, found: Recovered) -> int:
    """Recipients that were promised and not done with, whatever the log still holds of them.

    The journal is asked only where the log is damaged, or knows less than the journal was told after it: its end is
    gone.
    """
    live, said = found.index.live_recipients, found.tally.recipients
    if not found.damage and journal.last_seq < found.next_seq:
        return live if said is None else said
    told = journal.balance(found.tally.since_seq - 1)
    if told.whole:
        return found.tally.base + told.recipients
    return max(live, said or 0, told.recipients)


def _in_words(missing: int) -> str:
    if missing > 0:
        return f"{missing} recipients that waited are in no segment: a segment, or the end of one, is gone"
    return f"{-missing} recipients wait again that were done with: a segment, or the end of one, is gone"


def accounting_after(files: Files, directory: Path, spool_id: bytes, after: int) -> Iterator[tuple[int, bytes]]:
    """(sequence number, record) of every accounting record in the log with a higher number, in order."""
    known = [
        (number, segment_path(directory, number, generations[-1]))
        for number, generations in segment_files(files, directory).items()
    ]
    headers = [SegmentHeader.decode(files.read(path, 0, HEADER_SIZE)) for _, path in known]
    for position, (number, path) in enumerate(known):
        following = headers[position + 1] if position + 1 < len(known) else None
        if following is not None and following.first_seq <= after + 1:
            continue
        for record in scan(files.read(path), salt_of(spool_id, number)):
            if isinstance(record, Gap) or not record.count:
                continue
            for seq, line in enumerate(accounting_records(record.accounting), record.seq):
                if seq > after:
                    yield seq, line


def _remove_leftovers(files: Files, directory: Path, numbers: dict[int, list[int]]) -> None:
    """Half-written and replaced files of an interrupted cleaning."""
    stale = [directory / name for name in files.names(directory) if name.endswith(TEMPORARY)]
    for number, generations in numbers.items():
        stale += [segment_path(directory, number, old) for old in generations[:-1]]
    if stale:
        files.sync_directory(directory)  # the newer generation's name must last longer than the older file
        for path in stale:
            files.unlink(path)
        files.sync_directory(directory)


def _read_segment(
    files: Files, path: Path, number: int, generation: int, spool_id: bytes, found: Recovered, *, last: bool
) -> None:
    header = SegmentHeader.decode(files.read(path, 0, HEADER_SIZE))
    _judge_header(header, path, spool_id)
    segment = SegmentState(number, path, found.next_seq)
    segment.generation, segment.size = generation, files.size(path)
    found.index.segments[number] = segment
    found.next_number = number + 1
    if header is not None:
        segment.cleaned_at = header.cleaned_at
        segment.next_seq = max(found.next_seq, header.first_seq)
        found.tally.first_seq = segment.next_seq
        found.journal_synced = max(found.journal_synced, header.journal_synced)
        found.created_ms[number] = header.created_ms
    salt = salt_of(spool_id, number)
    sealed = _from_footer(files, path, segment, salt)
    if sealed is None and header is None and last and _never_used(files, path, salt):
        found.torn_bytes += segment.size
        del found.index.segments[number]
        found.next_number = number
        files.unlink(path)
        files.sync_directory(path.parent)
        return
    if sealed is None:
        sealed = _from_scan(files, path, segment, salt, found, sound_header=header is not None, last=last)
    elif header is None:
        found.damage.append(Damage(path.name, 0, HEADER_SIZE, "segment header is damaged"))
    found.take(sealed, segment)
    found.next_seq = max(found.next_seq, segment.next_seq)


def _judge_header(header: SegmentHeader | None, path: Path, spool_id: bytes) -> None:
    if header is None:
        return
    if header.version > FORMAT_VERSION:
        raise SpoolError(
            f"{path} was written in format {header.version}; this relay knows formats up to {FORMAT_VERSION}: "
            "run the newer image"
        )
    if header.spool_id != spool_id:
        raise SpoolError(f"{path} belongs to another spool ({header.spool_id.hex()})")


def _from_footer(files: Files, path: Path, segment: SegmentState, salt: int) -> Footer | None:
    tail_at = segment.size - TRAILER_SIZE
    offset = footer_place(files.read(path, tail_at, TRAILER_SIZE), salt) if tail_at > 0 else 0
    if not offset:
        return None
    record = parse_record(files.read(path, offset, segment.size - offset), 0, salt, base=offset)
    footer = read_footer(record) if record is not None else None
    if record is None or footer is None:
        return None
    segment.sealed = True
    segment.next_seq = max(segment.next_seq, record.seq)
    return footer


def _from_scan(
    files: Files,
    path: Path,
    segment: SegmentState,
    salt: int,
    found: Recovered,
    *,
    sound_header: bool,
    last: bool,
) -> Footer:
    content = list(scan(files.read(path), salt))
    records = [one for one in content if isinstance(one, Record)]
    gaps = [one for one in content if isinstance(one, Gap)]
    if last:
        cut = _torn_at(records, gaps)
        if cut is not None:
            records, gaps = _cut(files, path, segment, found, records, gaps, cut)
    if not sound_header:
        found.damage.append(Damage(path.name, 0, HEADER_SIZE, "segment header is damaged"))
        segment.damaged = True
    for gap in gaps:
        if not gap.blank:
            found.damage.append(Damage(path.name, gap.offset, gap.end - gap.offset, "no sound record"))
            segment.damaged = True
    for one in records:
        segment.next_seq = max(segment.next_seq, one.seq + one.count)
    footer = Footer()
    footer.add(
        [FooterEntry(one.kind, one.offset, one.length, one.index) for one in records if one.kind not in _NOT_INDEXED]
    )
    footer.settle()
    if last:
        _seal(files, path, segment, footer, salt, sound_header=sound_header)
    segment.sealed = True
    return footer


def _never_used(files: Files, path: Path, salt: int) -> bool:
    """The segment's first commit, which its header belongs to, was not made durable."""
    return all(isinstance(one, Gap) or one.commit_at == 0 for one in scan(files.read(path), salt))


def _torn_at(records: list[Record], gaps: list[Gap]) -> int | None:
    """Where the last commit was cut off, if it was.

    A commit is written only after the one before it is durable: a gap at or after the place where the last commit
    found in the file began belongs to that commit or a later one, which nobody was told to be durable.
    """
    if not gaps:
        return None
    began = max((one.commit_at for one in records), default=0)
    return next((gap.offset for gap in gaps if gap.offset >= began), None)


def _cut(
    files: Files,
    path: Path,
    segment: SegmentState,
    found: Recovered,
    records: list[Record],
    gaps: list[Gap],
    cut: int,
) -> tuple[list[Record], list[Gap]]:
    blank = all(gap.blank for gap in gaps if gap.offset >= cut) and all(one.offset < cut for one in records)
    if not blank:
        found.torn_bytes += segment.size - cut
    file = files.open(path)
    try:
        file.truncate(cut)
        file.sync()
    finally:
        file.close()
    segment.size = cut
    return [one for one in records if one.offset < cut], [gap for gap in gaps if gap.offset < cut]


def _seal(files: Files, path: Path, segment: SegmentState, footer: Footer, salt: int, *, sound_header: bool) -> None:
    """Gives the segment that was being written its footer, so that it is never again taken for the last one."""
    if segment.damaged or not sound_header:
        return  # it is read in full each time, so that its damage stays visible
    file = files.open(path)
    try:
        file.append(encode_footer(footer, seq=segment.next_seq, at=segment.size, salt=salt))
        file.sync()
        segment.size = file.size
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        file.truncate(segment.size)  # it is read in full next time
        file.sync()
    finally:
        file.close()
