"""Proves that nothing was altered or left out between two heads, or says where and how it was.

Every head is checked against the one before and against a key, every segment against its head. What a slot removed by
its own rules is told apart by its signed statements. Pure but for reading the store.
Before: `evidence`. After: `lane-relay audit verify`.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Final
from zlib import crc32

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

from lane_relay.audit.chain import day_of
from lane_relay.audit.continued import Around, goes_on, left_for
from lane_relay.audit.evidence import JournalFiles, Store, expand
from lane_relay.audit.head import Head, HeadKind, Signed, parse, public_key, public_key_id
from lane_relay.audit.segment import Place, load_index, number_of

__all__ = ["Finding", "Kind", "Report", "verify"]

_MOST_RECORDS: Final = 2**22
"""Of one segment: its file ends with 16 MiB, and what is in it has more than four octets a record. A head that speaks
of more was not made by a slot, and may speak of so many that their numbers fit into no memory."""
_NAMED: Final = 5
"""Numbers that one sentence names at most."""


class Kind(StrEnum):
    """What was done to the evidence."""

    ALTERED = "Altered"
    """Bytes of a segment or of a head are others."""
    LINE_REMOVED = "LineRemoved"
    LINE_ADDED = "LineAdded"
    REORDERED = "Reordered"
    TRUNCATED = "Truncated"
    """The end of a segment, or of the chain, is gone."""
    SEGMENT_REMOVED = "SegmentRemoved"
    SEGMENTS_SWAPPED = "SegmentsSwapped"
    HEAD_REMOVED = "HeadRemoved"
    CHAIN_BROKEN = "ChainBroken"
    """A head does not follow from the one before."""
    FOREIGN_KEY = "ForeignKey"
    """Signed by another key than the trusted one."""
    UNSIGNED = "Unsigned"
    SEQUENCE_GAP = "SequenceGap"
    """Numbers are missing between segments."""
    NOTHING = "Nothing"
    """There is no chain to verify."""


class Finding(Struct, frozen=True):
    """One thing that is wrong."""

    kind: Kind
    place: str
    """Name of the file, or of the journal's folder."""
    sentence: str

    def __str__(self) -> str:
        """As people read it."""
        return f"{self.kind}: {self.place}: {self.sentence}"


class Report(Struct):
    """What one journal's evidence came to."""

    folder: str
    lane: str = ""
    slot: str = ""
    journal: str = ""
    continues: list[str] = []
    """Journals of before that the same chain has entries of: the volume was put back from a snapshot."""
    heads: int = 0
    segments: int = 0
    records: int = 0
    """Proven by a head."""
    first_seq: int = 0
    last_seq: int = 0
    key: str = ""
    findings: list[Finding] = []
    notes: list[str] = []
    """What is no fault and should be known."""

    def add(self, kind: Kind, place: str, sentence: str) -> None:
        """One more finding."""
        self.findings.append(Finding(kind, place, sentence))


def verify(
    store: Store,
    files: JournalFiles,
    keys: Sequence[Ed25519PublicKey] = (),
    since: Signed | None = None,
    until: Signed | None = None,
    around: Sequence[JournalFiles] = (),
) -> Report:
    """Judges one journal; `since` and `until` are heads that were kept elsewhere. Raises OSError.

    Without keys the one that the journal itself names is taken, and a note says so. `around`: all journals of the
    store, where one may go on from another.
    """
    report, others = Report(files.folder), Around(store, around)
    chain = _read_chain(store, files, report)
    if not chain:
        if not report.findings:
            report.add(
                Kind.NOTHING,
                files.folder or "the folder",
                "no head is there, so nothing can be proven; a slot seals its first records after audit.sealEvery "
                "(15m)",
            )
        return report
    newest = chain[max(chain)]
    report.lane, report.slot, report.journal = newest.head.lane, newest.head.slot, newest.head.journal
    report.continues = list(dict.fromkeys(one.head.journal for _, one in sorted(chain.items())))[:-1]
    report.heads = len(chain)
    _check_signatures(files, chain, _trusted(chain, keys, report), report)
    _check_links(files, chain, report)
    _check_beginning(files, chain, since, others, report)
    _check_kept(files, chain, since, until, report)
    _check_segments(store, files, [chain[number].head for number in sorted(chain)], others, report)
    return report


# --- the chain


def _read_chain(store: Store, files: JournalFiles, report: Report) -> dict[int, Signed]:
    chain = {}
    for number, name in sorted(files.heads.items()):
        try:
            chain[number] = parse(store.read(name))
        except FileNotFoundError:
            continue  # it went while we were looking
        except ValueError as error:
            report.add(Kind.ALTERED, name, str(error))
            continue
        if chain[number].head.number != number:
            report.add(Kind.ALTERED, name, f"it is entry {chain[number].head.number} of the chain and not {number}")
    return chain


def _trusted(chain: dict[int, Signed], keys: Sequence[Ed25519PublicKey], report: Report) -> dict[str, Ed25519PublicKey]:
    if keys:
        return {public_key_id(key): key for key in keys}
    named = next((one.head.public_key for one in chain.values() if one.head.kind is HeadKind.BEGIN), "")
    if not named:
        report.notes.append("no key was given and the journal names none: signatures were not checked; give --key")
        return {}
    try:
        key = public_key(named.encode())
    except ValueError:
        report.notes.append("no key was given and the one that the journal names is none; give --key")
        return {}
    report.notes.append(f"the key {public_key_id(key)} is only what the journal itself names: give --key to be sure")
    return {public_key_id(key): key}


def _check_signatures(
    files: JournalFiles, chain: dict[int, Signed], trusted: dict[str, Ed25519PublicKey], report: Report
) -> None:
    used = list[str]()
    """Keys that signed, in the order in which they came; one that another followed signs no more."""
    for number, signed in chain.items():
        name = files.heads[number]
        if not signed.key:
            report.add(Kind.UNSIGNED, name, f"entry {number} carries no signature: anybody could have written it")
        elif trusted and signed.key not in trusted:
            report.add(
                Kind.FOREIGN_KEY, name, f"entry {number} is signed by key {signed.key}, which is not trusted here"
            )
        elif trusted and not signed.is_signed_by(trusted[signed.key]):
            report.add(Kind.ALTERED, name, f"entry {number} is not what key {signed.key} signed")
        elif signed.key in used[:-1]:
            report.add(
                Kind.FOREIGN_KEY,
                name,
                f"entry {number} is signed by key {signed.key}, which key {used[-1]} had replaced by then",
            )
        elif signed.key not in used:
            used.append(signed.key)
    report.key = ", ".join([*used, *sorted({one.key for one in chain.values()} - {"", *used})])


def _check_links(files: JournalFiles, chain: dict[int, Signed], report: Report) -> None:
    numbers = sorted(chain)
    for before, number in pairwise(numbers):
        name = files.heads[number]
        if number != before + 1:
            missing = _span(before + 1, number - 1)
            if not all(one in files.heads for one in range(before + 1, number)):
                report.add(Kind.HEAD_REMOVED, name, f"entry {missing} before it is missing")
        elif chain[number].head.previous != chain[before].digest:
            report.add(Kind.CHAIN_BROKEN, name, f"entry {number} does not follow from entry {before} as it stands here")
        if chain[number].head.journal != chain[before].head.journal and not goes_on(chain[before], chain[number]):
            report.add(Kind.CHAIN_BROKEN, name, f"entry {number} is of another journal than entry {before}")


def _check_beginning(
    files: JournalFiles, chain: dict[int, Signed], since: Signed | None, others: Around, report: Report
) -> None:
    """The oldest entry is the first, or one that a signed statement or a kept head names."""
    oldest = min(chain)
    if oldest == 1 or any(number < oldest for number in files.heads):
        return
    previous = chain[oldest].head.previous
    # an archive is not the slot's to clean: there only a kept head lets a beginning be gone
    stated = not files.is_archive and any(
        one.head.kept_from > oldest or (one.head.kept_from == oldest and one.head.kept_previous == previous)
        for one in chain.values()
    )
    kept = since is not None and (
        since.head.number == oldest or (since.head.number == oldest - 1 and since.digest == previous)
    )
    if not stated and not kept and not _goes_on_elsewhere(files, chain[oldest], others, report):
        report.add(
            Kind.HEAD_REMOVED,
            files.heads[oldest],
            f"entry {_span(1, oldest - 1)} before it is missing, and no statement says that the slot removed it; "
            "if a lifecycle rule of the archive did, give the head kept from then with --from",
        )


def _goes_on_elsewhere(files: JournalFiles, oldest: Signed, others: Around, report: Report) -> bool:
    """Whether an archive's folder begins where another journal's does not end: it goes on from that one."""
    if not files.is_archive:
        return False
    before = others.goes_on_from(files, oldest)
    if before is not None:
        report.notes.append(f"it goes on from journal {before.head.journal} after entry {before.head.number}")
        return True
    continues = oldest.head.continues
    if continues is None or others.lacks(continues):
        return False
    report.notes.append(
        f"it goes on from journal {continues.journal} after entry {continues.number}, which is not among these"
    )
    return True


def _check_kept(
    files: JournalFiles, chain: dict[int, Signed], since: Signed | None, until: Signed | None, report: Report
) -> None:
    """Heads that were kept elsewhere are the ones here."""
    for kept in (since, until):
        if kept is None:
            continue
        number = kept.head.number
        newest, after = left_for(chain, kept.head.journal)
        if not newest:
            report.add(
                Kind.CHAIN_BROKEN,
                files.folder or ".",
                f"the kept head is of journal {kept.head.journal}, and this is journal {report.journal}",
            )
        elif number > newest:
            report.add(
                Kind.TRUNCATED,
                files.heads[newest],
                f"the chain ends with entry {newest}, and the kept head is entry {number}: what came after is gone"
                if not after
                else f"the volume was put back: after entry {newest} journal {after} goes on, and the kept head is "
                f"entry {number} of {kept.head.journal}: only an archive has what came after",
            )
        elif number in chain and chain[number].digest != kept.digest:
            report.add(Kind.ALTERED, files.heads[number], f"entry {number} is not the head that was kept elsewhere")
        elif number not in chain and kept is until:
            report.add(Kind.HEAD_REMOVED, files.folder or ".", f"entry {number}, kept elsewhere, is not here")


# --- the segments


def _check_segments(store: Store, files: JournalFiles, heads: list[Head], others: Around, report: Report) -> None:
    segments = [head for head in heads if head.kind is HeadKind.SEGMENT]
    dropped = [head for head in heads if head.kind is HeadKind.DROPPED]
    by_digest = {head.sha256: head for head in segments}
    for head in segments:
        name = files.segments.get(head.first_seq)
        if name is None:
            _check_absent(files, head, dropped, others, report)
            continue
        _check_place(name, files.heads[head.number], head, report)
        try:
            content = expand(name, store.read(name))
        except FileNotFoundError:
            _check_absent(files, head, dropped, others, report)
            continue
        except ValueError as error:
            report.add(Kind.ALTERED, name, str(error))
            continue
        finding = _judge(name, head, content, by_digest, _check_index(store, files, head, report))
        if finding is not None:
            report.findings.append(finding)
        else:
            report.segments += 1
            report.records += head.last_seq - head.first_seq + 1 - sum(b - a + 1 for a, b in head.gaps)
        for a, b in head.gaps:
            missing = f"records {_span(a, b)} were" if b > a else f"record {a} was"
            report.add(
                Kind.SEQUENCE_GAP, name, f"{missing} not there when it was sealed: lost by damage, or taken out before"
            )
    _check_sequence(files, segments, dropped, report)
    _check_tail(store, files, heads, report)
    if segments:
        report.first_seq, report.last_seq = segments[0].first_seq, segments[-1].last_seq
    report.notes += list(_statements(dropped))


def _check_place(name: str, beside: str, head: Head, report: Report) -> None:
    """A segment lies beside its head, in an archive in the folder of its day: trace looks for it there alone."""
    folder, day = name.rpartition("/")[0], day_of(head.began or head.at)
    if folder != beside.rpartition("/")[0] or (name.endswith(".zst") and folder.rpartition("/")[2] != day):
        report.add(
            Kind.ALTERED,
            name,
            f"the segment of records {_span(head.first_seq, head.last_seq)} lies elsewhere than in the folder of {day} "
            "beside its head, where trace looks",
        )


def _check_absent(files: JournalFiles, head: Head, dropped: list[Head], others: Around, report: Report) -> None:
    """A segment that is not there: removed by the slot's own rules, and so stated, or by somebody."""
    statement = next(
        (
            one
            for one in [*dropped, *others.dropped(head)]
            if one.first_seq <= head.first_seq and one.last_seq >= head.last_seq
        ),
        None,
    )
    covered = statement is not None and not (files.is_archive and statement.archived)
    if not covered:
        report.add(
            Kind.SEGMENT_REMOVED,
            files.heads[head.number],
            f"the segment of records {_span(head.first_seq, head.last_seq)} is missing, "
            + ("though it was archived" if statement is not None else "and no statement says that the slot removed it"),
        )


def _judge(
    name: str, head: Head, content: bytes, by_digest: dict[str, Head], places: tuple[Place, ...]
) -> Finding | None:
    digest = hashlib.sha256(content).hexdigest()
    if digest == head.sha256:
        return None
    other = by_digest.get(digest)
    if other is not None:
        held = _span(other.first_seq, other.last_seq)
        return Finding(
            Kind.SEGMENTS_SWAPPED, name, f"it holds records {held} in place of {_span(head.first_seq, head.last_seq)}"
        )
    if head.last_seq - head.first_seq >= _MOST_RECORDS:
        span = _span(head.first_seq, head.last_seq)
        return Finding(Kind.ALTERED, name, f"its head speaks of records {span}, more than a segment holds")
    expected = [seq for seq in range(head.first_seq, head.last_seq + 1) if not _within(seq, head.gaps)]
    found = [number_of(line) for line in content.split(b"\n")[:-1]]
    return _by_numbers(name, expected, found, content) or Finding(
        Kind.ALTERED, name, _where_altered(head, content, places)
    )


def _by_numbers(name: str, expected: list[int], found: list[int], content: bytes) -> Finding | None:
    """What the lines' numbers alone show."""
    if len(found) < len(expected) and found == expected[: len(found)]:
        last = found[-1] if found else expected[0] - 1
        return Finding(Kind.TRUNCATED, name, f"it ends after record {last}, and its last was {expected[-1]}")
    if not content.endswith(b"\n"):
        return Finding(Kind.TRUNCATED, name, f"its last line, after record {found[-1] if found else 0}, is cut")
    missing = sorted(set(expected) - set(found))
    if missing and len(found) < len(expected):
        return Finding(Kind.LINE_REMOVED, name, f"record {_some(missing)} is missing")
    if len(found) > len(expected):
        extra = sorted(set(found) - set(expected)) or sorted(seq for seq, count in Counter(found).items() if count > 1)
        return Finding(Kind.LINE_ADDED, name, f"there are lines that were not in it, with number {_some(extra)}")
    if found != expected and sorted(found) == expected:
        at = next(at for at, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
        return Finding(Kind.REORDERED, name, f"record {found[at]} stands where {expected[at]} was")
    return None


def _where_altered(head: Head, content: bytes, places: tuple[Place, ...]) -> str:
    """Between which records a byte is another, as far as the index tells."""
    for at, place in enumerate(places):
        end = places[at + 1].offset if at + 1 < len(places) else len(content)
        if crc32(content[place.offset : end]) != place.check:
            last = places[at + 1].first_seq - 1 if at + 1 < len(places) else head.last_seq
            return f"bytes were altered between records {place.first_seq} and {last}"
    return f"bytes were altered between records {head.first_seq} and {head.last_seq}"


def _check_index(store: Store, files: JournalFiles, head: Head, report: Report) -> tuple[Place, ...]:
    """The places that it tells, if it is the one that the head names; one may be missing, and old heads name none."""
    name = files.indexes.get(head.first_seq)
    if name is None or not head.index_sha256:
        return ()
    try:
        content = store.read(name)
    except FileNotFoundError:
        return ()
    if hashlib.sha256(content).hexdigest() != head.index_sha256:
        report.add(
            Kind.ALTERED,
            name,
            f"it is not the index that was made of records {_span(head.first_seq, head.last_seq)}: trace does without",
        )
    index = load_index(content, head.index_sha256)
    return index.places if index is not None else ()


def _check_sequence(files: JournalFiles, segments: list[Head], dropped: list[Head], report: Report) -> None:
    for before, head in pairwise(segments):
        first, last = before.last_seq + 1, head.first_seq - 1
        if first <= last and not any(one.first_seq <= first and one.last_seq >= last for one in dropped):
            report.add(
                Kind.SEQUENCE_GAP, files.heads[head.number], f"records {_span(first, last)} are in no segment before it"
            )
        elif first > last + 1:
            report.add(Kind.CHAIN_BROKEN, files.heads[head.number], f"it begins before record {before.last_seq}")


def _check_tail(store: Store, files: JournalFiles, heads: list[Head], report: Report) -> None:
    """Files that are not sealed: nothing proves them but their numbers."""
    sealed = max((head.last_seq for head in heads if head.kind in (HeadKind.SEGMENT, HeadKind.DROPPED)), default=0)
    known = {head.first_seq for head in heads if head.kind is HeadKind.SEGMENT}
    newest = next((head for head in reversed(heads) if head.kind is HeadKind.DROPPED), None)
    seq = sealed
    for first, name in sorted(files.segments.items()):
        if first in known:
            continue
        if first <= sealed and (newest is None or newest.first_seq != first):
            report.add(Kind.LINE_ADDED, name, "no head speaks of it, though its numbers are sealed")
            continue
        try:
            content = expand(name, store.read(name))
        except FileNotFoundError:
            continue
        except ValueError as error:
            report.add(Kind.ALTERED, name, str(error))
            continue
        if first <= sealed and newest is not None:
            _check_returned(name, content, newest, report)
            continue
        *lines, torn = content.split(b"\n")
        for line in lines:
            if number_of(line) != seq + 1:
                report.add(Kind.SEQUENCE_GAP, name, f"record {seq + 1} is missing")
                return
            seq += 1
        if torn:
            report.notes.append(
                f"{name}: what follows record {seq} is no whole line: being written, or cut off by a crash"
            )
    if seq > sealed:
        report.notes.append(f"records {_span(sealed + 1, seq)} are not sealed yet, so not proven")


def _check_returned(name: str, content: bytes, statement: Head, report: Report) -> None:
    """A file that is there though the newest statement says that it goes: a crash may have come between."""
    records = f"records {_span(statement.first_seq, statement.last_seq)}"
    if not statement.sha256:
        report.notes.append(f"{name}: the slot was to remove it and it is there; nothing proves it, and trace skips it")
    elif hashlib.sha256(content).hexdigest() == statement.sha256:
        report.notes.append(f"{name}: {records} are there still: a crash came between the statement and their removal")
    else:
        report.add(Kind.ALTERED, name, f"it is not the segment of {records} that the slot was to remove")


def _statements(dropped: list[Head]) -> Iterator[str]:
    """What the slot itself removed, in all."""
    if dropped:
        newest = dropped[-1]
        parts = ", ".join(f"{count} by {reason}" for reason, count in sorted(newest.dropped.items()))
        yield f"the slot removed records up to {newest.last_seq} by its own rules: {parts}"
        if newest.unarchived:
            yield f"{newest.unarchived} of these were never archived: they are lost"


def _within(seq: int, gaps: Iterable[tuple[int, int]]) -> bool:
    return any(first <= seq <= last for first, last in gaps)


def _span(first: int, last: int) -> str:
    return str(first) if first == last else f"{first} to {last}"


def _some(numbers: list[int]) -> str:
    rest = len(numbers) - _NAMED
    return ", ".join(map(str, numbers[:_NAMED])) + (f" and {rest} more" if rest > 0 else "")
