"""Gives back the room of what is dead: removes segments that nothing needs, rewrites mostly dead ones.

A segment is rewritten beside the old file and takes its place, in its place in the log's order, with only its live
messages and the facts that something still on disk needs; so one message that waits for hours does not pin a volume.
Invariants: a settlement goes only after the record of the message it settles; a file goes only after what replaces it
is durable; nothing goes whose accounting records are not on stable storage in the journal; a segment with damage is
left as it is, for a person to look at. Bounded: one segment at a time, synced in small steps so that the committer's
own syncs stay short. Before: `index` says what is live. After: `log` moves the slots and drops the old file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from lane_relay.spool.files import AppendFile, Files
from lane_relay.spool.footer import Footer, FooterEntry, encode_footer
from lane_relay.spool.format import (
    HEADER_SIZE,
    Gap,
    Kind,
    Record,
    SegmentHeader,
    encode,
    salt_of,
    scan,
    unpack_deferred,
    unpack_message,
    unpack_settled,
)
from lane_relay.spool.index import SegmentState
from lane_relay.spool.segments import TEMPORARY, segment_path

__all__ = ["Cleaned", "choose_dead", "choose_wasteful", "rewrite"]

_STEP: Final = 2**20
"""Bytes between syncs while a segment is rewritten."""


class Cleaned(Struct, frozen=True):
    """A rewritten segment; its file is durable, the old one still there."""

    path: Path
    size: int
    moved: list[tuple[int, int, int, int]]
    """(slot, old offset, new offset, new length) of each live message."""
    homes: set[int]
    kept: int
    cleaned_at: int


def choose_dead(segments: dict[int, SegmentState], kept_from: int | None = None) -> list[SegmentState]:
    """Segments that may be removed whole, in the order in which they must go: each one durably before the next.

    Those numbered `kept_from` and above stay.
    """
    present = set(segments)
    active = max(segments, default=0)
    chosen = []
    for number in sorted(segments):
        if kept_from is not None and number >= kept_from:
            break
        segment = segments[number]
        if number != active and segment.sealed and not segment.damaged and not segment.live:
            if segment.homes & (present - {number}):
                continue
            chosen.append(segment)
            present.discard(number)
    return chosen


def choose_wasteful(
    segments: dict[int, SegmentState], enough: int, kept_from: int | None = None, *, tight: bool = False
) -> SegmentState | None:
    """The segment that gives back most for what has to be copied, if those worth it waste `enough` bytes together.

    Worth it is one that is mostly dead; where room is nearly gone (`tight`) one that gives back a tenth. Segments
    numbered `kept_from` and above stay as they are.
    """
    active = max(segments, default=0)
    last = active - 1 if kept_from is None else min(active, kept_from) - 1
    worth = 10 if tight else 2
    able = [
        one
        for one in segments.values()
        if one.sealed and not one.damaged and one.number <= last and one.waste * worth > one.size
    ]
    if not able or sum(one.waste for one in able) < enough:
        return None
    return max(able, key=lambda one: one.waste / one.size)


def rewrite(
    files: Files,
    segment: SegmentState,
    live: dict[int, int],
    present: dict[int, int],
    spool_id: bytes,
    active: int,
) -> Cleaned | str:
    """Writes the segment's next generation, or says where the segment is damaged; the old file is untouched.

    Raises OSError.
    `live`: offset -> slot; `present`: number -> cleaned_at of all segments; `active`: the one being written now.
    """
    content = files.read(segment.path)
    salt = salt_of(spool_id, segment.number)
    old = SegmentHeader.decode(content)
    records = list(scan(content, salt))
    gap = next((one for one in records if isinstance(one, Gap) and not one.blank), None)
    if old is None or gap is not None:
        at, end = (gap.offset, gap.end) if gap is not None else (0, HEADER_SIZE)
        return f"{segment.path.name} at {at}, {end - at} bytes: no sound record"
    sound = [one for one in records if isinstance(one, Record)]
    missing = set(live) - {one.offset for one in sound}
    if missing:
        return f"{segment.path.name} at {min(missing)}: no sound record"
    generation = segment.generation + 1
    header = SegmentHeader(
        spool_id, segment.number, old.created_ms, old.first_seq, old.journal_synced, generation, active
    )
    path = segment_path(segment.path.parent, segment.number, generation)
    return _write(files, path, header, segment, _needed(sound, segment.number, live, present), live, salt)


def _needed(records: list[Record], number: int, live: dict[int, int], present: dict[int, int]) -> Iterator[Record]:
    """Live messages, and facts about messages whose records are still somewhere."""
    ids = {unpack_message(one.index).id for one in records if one.offset in live}
    for one in records:
        if one.kind == Kind.MESSAGE:
            needed = one.offset in live
        elif one.kind == Kind.SETTLED:
            settled = unpack_settled(one.index)
            if settled.home == number:
                needed = settled.id in ids
            else:
                needed = settled.home in present and not (settled.final and present[settled.home] > number)
        elif one.kind == Kind.DEFERRED:
            deferred = unpack_deferred(one.index)
            needed = deferred.id in ids if deferred.home == number else deferred.home in present
        else:  # flags stand again at the start of every newer segment; accounting is in the journal
            needed = False
        if needed:
            yield one


def _write(
    files: Files,
    path: Path,
    header: SegmentHeader,
    segment: SegmentState,
    needed: Iterator[Record],
    live: dict[int, int],
    salt: int,
) -> Cleaned:
    temporary = path.with_name(path.name + TEMPORARY)
    if temporary.name in files.names(path.parent):
        files.unlink(temporary)
    file = files.create(temporary)
    try:
        moved, homes, kept = _copy(file, header, segment, needed, live, salt)
        size = file.size
    except OSError:
        file.close()
        files.unlink(temporary)
        raise
    file.close()
    files.rename(temporary, path)
    files.sync_directory(path.parent)
    return Cleaned(path, size, moved, homes, kept, header.cleaned_at)


def _copy(
    file: AppendFile,
    header: SegmentHeader,
    segment: SegmentState,
    needed: Iterator[Record],
    live: dict[int, int],
    salt: int,
) -> tuple[list[tuple[int, int, int, int]], set[int], int]:
    moved: list[tuple[int, int, int, int]] = []
    homes: set[int] = set()
    footer = Footer()
    kept = HEADER_SIZE
    parts = [header.encode()]
    at, synced = HEADER_SIZE, 0
    for one in needed:
        data = (one.data,) if one.data else ()
        encoded, length = encode(one.kind, one.index, b"", data, seq=one.seq, count=0, at=at, commit_at=0, salt=salt)
        parts += encoded
        footer.add([FooterEntry(one.kind, at, length, one.index)])
        if one.kind == Kind.MESSAGE:
            moved.append((live[one.offset], one.offset, at, length))
        else:
            kept += length
            home = unpack_settled(one.index).home if one.kind == Kind.SETTLED else unpack_deferred(one.index).home
            homes |= {home} - {segment.number}
        at += length
        if at - synced >= _STEP:
            file.append(parts)
            file.sync()
            parts, synced = [], at
    sealing = encode_footer(footer, seq=segment.next_seq, at=at, salt=salt)
    file.append(parts + sealing)
    file.sync()
    return moved, homes, kept + sum(map(len, sealing))
