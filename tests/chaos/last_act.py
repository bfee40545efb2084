"""What a relay did last before it was killed: the spread of kills over accept, commit, send and settle.

By its own log and journal, whose last record and times of writing are read while it is dead, and by what the ISPs
heard of it: the journal gets the records of a commit when that commit's sync is over.
Pure but for `last_write`. Before: `kills`. After: `figures`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from e2e.internet.records import Message, Refusal
from e2e.internet.records import Record as IspRecord
from lane_relay.spool.files import POSIX_FILES
from lane_relay.spool.format import Kind, Record, SegmentHeader, salt_of, scan
from lane_relay.spool.segments import segment_files, segment_path

Act = Literal["accept", "commit", "send", "settle"]
ACTS: Final[tuple[Act, ...]] = ("accept", "commit", "send", "settle")


@dataclass(frozen=True)
class LastWrite:
    """The end of a killed relay's log."""

    source_ip: str
    killed_at: float
    written_at: float
    """Unix time, as the next one: by the clock of the kernel's ticks, 4 ms at most behind. A sync takes longer."""
    journalled_at: float
    kind: int
    """Of the last record; 0: there is none."""


def last_write(folder: Path, source_ip: str, killed_at: float) -> LastWrite:
    """Reads the segment that was written last, of the spool in a slot's folder; nobody writes meanwhile."""
    spool = folder / "spool"
    journalled = max((one.stat().st_mtime for one in (folder / "records").glob("records-*.jsonl")), default=0.0)
    found = segment_files(POSIX_FILES, spool)
    segments = [segment_path(spool, number, generations[-1]) for number, generations in found.items()]
    newest = max(segments, key=lambda path: path.stat().st_mtime_ns, default=None)
    if newest is None:
        return LastWrite(source_ip, killed_at, 0.0, journalled, 0)
    content = newest.read_bytes()
    header = SegmentHeader.decode(content)
    kind = 0
    if header is not None:
        for one in scan(content, salt_of(header.spool_id, header.number)):
            kind = one.kind if isinstance(one, Record) else kind
    return LastWrite(source_ip, killed_at, newest.stat().st_mtime, journalled, kind)


def last_act(write: LastWrite, said_at: float) -> Act:
    """`said_at`: when an ISP last answered it before the kill.

    commit: the sync of what it wrote last was not over; send: an ISP has answered since that write; else by the record:
    mail that came in, whose client hears of it, or what became of mail.
    """
    if write.journalled_at <= write.written_at:
        return "commit"
    if said_at > write.written_at:
        return "send"
    return "accept" if write.kind == Kind.MESSAGE else "settle"


def spread(writes: Iterable[LastWrite], records: Sequence[IspRecord]) -> dict[str, int]:
    """How many kills hit each act."""
    found: Counter[str] = Counter(dict.fromkeys(ACTS, 0))
    said = [(one.source_ip, one.at) for one in records if isinstance(one, Message | Refusal)]
    for write in writes:
        before = [at for ip, at in said if ip == write.source_ip and at <= write.killed_at]
        found[last_act(write, max(before, default=0.0))] += 1
    return dict(found)
