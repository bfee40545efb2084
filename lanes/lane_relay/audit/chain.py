"""The chain of a journal on its volume: one small file a head, written whole or not at all.

Invariants: numbers have no holes, also where a journal goes on from another; a head is durable before what it speaks
of changes (records are removed only after the statement that says so); the newest statement names the oldest entry that
must still be there. A small reserve keeps room for a statement on a full volume.
Before: `account.journal` seals and drops. After: `archive`, `/v1` and `verify` read the files.
"""

import re
import secrets
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Final

import structlog

from lane_relay.audit.head import Continued, Head, HeadKey, HeadKind, Reason, Signed, key_text, parse
from lane_relay.audit.segment import Summary
from lane_relay.clock import Clock
from lane_relay.errors import RelayError
from lane_relay.spool.files import Files

__all__ = ["Chain", "day_of", "head_files", "head_name"]

_NAME: Final = re.compile(r"^head-(\d{10})\.json$")
_PART: Final = ".part"
NAME_FILE: Final = "journal"
"""Holds the identity of a journal that has no entry yet: what is sent on from it names it before the first seal."""
_IDENTITY: Final = re.compile(rb"^\d{8}T\d{6}Z-[0-9a-f]{8}$")
RESERVE_NAME: Final = "reserve"
RESERVE_SIZE: Final = 64 * 2**10
_FULL: Final = (ENOSPC, EDQUOT)

_log = structlog.get_logger("audit")


def head_name(number: int) -> str:
    """The file of a head."""
    return f"head-{number:010d}.json"


def head_files(files: Files, directory: Path) -> list[tuple[int, Path]]:
    """(number, path) of every head, oldest first."""
    return sorted((int(found[1]), directory / name) for name in files.names(directory) if (found := _NAME.match(name)))


def day_of(unix: float) -> str:
    """The day (UTC) of a time, YYYY-MM-DD."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")


class Chain:
    """The only writer of heads; called under the journal's lock."""

    def __init__(self, files: Files, directory: Path, lane: str, slot: str, key: HeadKey, clock: Clock) -> None:
        """Use `open`."""
        self._files = files
        self.directory = directory
        self.lane = lane
        self.slot = slot
        self._key = key
        self._clock = clock
        self.last: Signed | None = None
        """The newest entry."""
        self._name = ""
        """Identity of the journal that the first entry is to begin."""
        self._begun: tuple[tuple[int, str], ...] = ()
        """(first record, journal) of each journal that the volume has entries of, oldest first; 0: from the first."""
        self.sealed: dict[int, int] = {}
        """First sequence number -> number of the head of each segment that the volume still has."""
        self.sealed_seq = 0
        """Records up to this one are in the chain."""
        self.dropped_seq = 0
        """Records up to this one were dropped, by statement."""
        self.dropped: Mapping[str, int] = {}
        self.unarchived = 0
        self._oldest = 1
        self._day = ""
        """Of the newest segment, until it is closed."""
        self._has_reserve = False
        self.disk_bytes = 0
        """Of all heads."""

    @classmethod
    def open(cls, files: Files, directory: Path, lane: str, slot: str, key: HeadKey, clock: Clock) -> "Chain":
        """Reads what is there; blocks. RelayError if it cannot be used or the newest head is damaged."""
        chain = cls(files, directory, lane, slot, key, clock)
        try:
            files.make_directory(directory)
            chain._read()
            chain._keep_name()
            chain._keep_reserve()
        except OSError as error:
            raise RelayError(f"records {directory} cannot be used: {error}") from error
        return chain

    @property
    def journal(self) -> str:
        """Identity of the journal that records are written to now."""
        return self.last.head.journal if self.last is not None else self._name

    def journal_of(self, seq: int) -> tuple[str, int]:
        """(identity of the journal that a record is of, the last record that may be of it)."""
        last = sys.maxsize
        for first, journal in reversed(self._begun):
            if first <= seq:
                return journal, last
            last = first - 1
        return self.journal, last

    @property
    def key(self) -> HeadKey:
        """What signs."""
        return self._key

    @property
    def journals(self) -> tuple[str, ...]:
        """All that the volume has entries of, oldest first; the last one is written to."""
        return tuple(journal for _, journal in self._begun) or (self._name,)

    def begin_anew(self) -> None:
        """Another journal goes on from here, since the one that the volume brought may have gone on elsewhere.

        What it brought sealed stays of that one; what it did not is of the new one. Raises OSError.
        """
        self._name = self._new_name()
        if self.last is None:
            with suppress(FileNotFoundError):
                self._files.unlink(self.directory / NAME_FILE)
            self._write_name()
            return
        head = self.last.head
        sealed = max(self.sealed_seq, self.dropped_seq)
        self._add_begin(sealed + 1, Continued(head.journal, head.number, self.last.digest))
        self.sealed_seq = sealed

    def seal(self, first_seq: int, summary: Summary, began: float, ended: float) -> None:
        """The entry of a finished, synced segment; raises OSError."""
        self._begin(first_seq)
        self.close_day(day_of(began))
        signed = self._add(
            HeadKind.SEGMENT,
            first_seq=first_seq,
            last_seq=summary.last_seq,
            size=summary.size,
            sha256=summary.sha256,
            index_sha256=summary.index.sha256,
            began=round(began, 3),
            ended=round(ended, 3),
            gaps=summary.gaps,
        )
        self._day = max(self._day, day_of(began))
        self._note(signed.head)

    def close_day(self, today: str) -> None:
        """Says that a day is over, if the newest segment is of an earlier one; raises OSError."""
        if self._day and self._day < today:
            day, self._day = self._day, ""
            try:
                self._add(HeadKind.DAY, day=day, last_seq=self.sealed_seq)
            except OSError:
                self._day = day
                raise

    def drop(self, first_seq: int, last_seq: int, reason: Reason, *, archived: bool, lost: bool, keep: int) -> None:
        """States that a segment goes; raises OSError.

        `lost`: an archive was to have it and has not. Entries from the number `keep` on stay, whatever else.
        """
        self._begin(first_seq)
        records = last_seq - first_seq + 1
        dropped = {**self.dropped, reason.value: self.dropped.get(reason.value, 0) + records}
        unarchived = self.unarchived + (records if lost else 0)
        oldest = max(self._oldest, min(self.sealed.get(last_seq + 1, self._next_number), keep))
        self._add(
            HeadKind.DROPPED,
            first_seq=first_seq,
            last_seq=last_seq,
            sha256=self._digest_of(first_seq),
            reason=reason,
            archived=archived,
            dropped=dropped,
            unarchived=unarchived,
            kept_from=oldest,
            kept_previous=self._previous_of(oldest),
        )
        self.dropped, self.unarchived, self.dropped_seq = dropped, unarchived, last_seq
        self.sealed.pop(first_seq, None)
        self._forget_before(oldest)

    def read(self, number: int) -> bytes | None:
        """A head's file; None if it is not kept any more."""
        try:
            return self._files.read(self.directory / head_name(number))
        except FileNotFoundError:
            return None

    @property
    def last_number(self) -> int:
        """Of the newest entry; 0 before the first."""
        return self.last.head.number if self.last is not None else 0

    @property
    def oldest_number(self) -> int:
        """Of the oldest entry kept."""
        return self._oldest

    # --- reading back ---

    def _read(self) -> None:
        for name in self._files.names(self.directory):
            if name.endswith(_PART):
                self._files.unlink(self.directory / name)
        found = head_files(self._files, self.directory)
        for number, path in found:
            content = self._files.read(path)
            self.disk_bytes += len(content)
            try:
                signed = parse(content)
            except ValueError as error:
                if number == found[-1][0]:
                    raise RelayError(
                        f"{path} is damaged, and nothing can be chained to it: move the folder aside for "
                        "`lane-relay audit verify` to judge, and start again"
                    ) from error
                _log.error("a head is damaged", path=str(path), reason=str(error))
                continue
            self._take(signed)
        if found:
            self._oldest = found[0][0]

    def _take(self, signed: Signed) -> None:
        head = signed.head
        self._follow(signed)
        match head.kind:
            case HeadKind.SEGMENT:
                self._note(head)
                self._day = max(self._day, day_of(head.began))
            case HeadKind.DAY:
                self._day = ""
            case HeadKind.DROPPED:
                self.dropped, self.unarchived, self.dropped_seq = head.dropped, head.unarchived, head.last_seq
                self.sealed.pop(head.first_seq, None)
            case HeadKind.BEGIN:
                self.sealed_seq = head.first_seq - 1

    def _follow(self, signed: Signed) -> None:
        """This is the newest entry now."""
        self.last, journal = signed, signed.head.journal
        if not self._begun:
            self._begun = ((0, journal),)
        elif journal != self._begun[-1][1]:
            self._begun = (*self._begun, (max(self.sealed_seq, self.dropped_seq) + 1, journal))

    def _note(self, head: Head) -> None:
        self.sealed[head.first_seq] = head.number
        self.sealed_seq = head.last_seq

    # --- writing ---

    @property
    def _next_number(self) -> int:
        return self.last_number + 1

    def _begin(self, first_seq: int) -> None:
        if self.last is None:
            self._add_begin(first_seq, None)
            with suppress(FileNotFoundError):
                self._files.unlink(self.directory / NAME_FILE)

    def _add_begin(self, first_seq: int, continues: Continued | None) -> None:
        public = self._key.public
        key = key_text(public) if public is not None else ""
        self._add(HeadKind.BEGIN, journal=self._name, first_seq=first_seq, continues=continues, public_key=key)

    def _add(self, kind: HeadKind, journal: str = "", **said: Any) -> Signed:
        now = self._clock.now()
        head = Head(
            kind=kind,
            journal=journal or self.journal,
            lane=self.lane,
            slot=self.slot,
            number=self._next_number,
            at=round(now, 3),
            previous=self.last.digest if self.last is not None else "",
            **said,
        )
        signed = self._key.sign(head)
        self._write(head_name(head.number), signed.line())
        self._follow(signed)
        return signed

    def _keep_name(self) -> None:
        """A name for the journal to come, kept until an entry has it; on a full volume for this process alone."""
        path = self.directory / NAME_FILE
        kept = self._files.read(path) if NAME_FILE in self._files.names(self.directory) else b""
        if self.last is not None:
            if kept:
                self._files.unlink(path)
        elif _IDENTITY.match(kept):
            self._name = kept.decode()
        else:
            self._name = self._new_name()
            with suppress(FileNotFoundError):  # torn
                self._files.unlink(path)
            self._write_name()

    def _write_name(self) -> None:
        try:
            self._write_whole(NAME_FILE, self._name.encode())
        except OSError as error:
            if error.errno not in _FULL:
                raise

    def _new_name(self) -> str:
        return datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y%m%dT%H%M%SZ-") + secrets.token_hex(4)

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._write_whole(name, content)
        except OSError as error:
            if error.errno not in _FULL or not self._has_reserve:
                raise
            self._files.unlink(self.directory / RESERVE_NAME)
            self._has_reserve = False
            self._write_whole(name, content)
        self.disk_bytes += len(content)

    def _write_whole(self, name: str, content: bytes) -> None:
        part = self.directory / (name + _PART)
        try:
            file = self._files.create(part)
        except FileExistsError:  # of a try before
            self._files.unlink(part)
            file = self._files.create(part)
        try:
            file.append([content])
            file.sync()
        finally:
            file.close()
        self._files.rename(part, self.directory / name)
        self._files.sync_directory(self.directory)

    def _keep_reserve(self) -> None:
        """Room for the next statement; without it a full volume is only noticed, not stated beforehand."""
        try:
            self._files.reserve(self.directory / RESERVE_NAME, RESERVE_SIZE)
        except OSError as error:
            if error.errno not in _FULL:
                raise
        else:
            self._has_reserve = True

    def refill_reserve(self) -> None:
        """Takes the reserve's room again, where there is some; blocks."""
        if not self._has_reserve:
            self._keep_reserve()

    # --- what need not be kept ---

    def _previous_of(self, number: int) -> str:
        if number == self._next_number:
            return self.last.digest if self.last is not None else ""
        kept = self._kept(number)
        return kept.previous if kept is not None else ""

    def _digest_of(self, first_seq: int) -> str:
        """Of a sealed segment's bytes, by its head; empty where it has none."""
        kept = self._kept(self.sealed.get(first_seq, 0))
        return kept.sha256 if kept is not None else ""

    def _kept(self, number: int) -> Head | None:
        try:
            content = self.read(number)
            return parse(content).head if content is not None else None
        except (OSError, ValueError):  # damaged: `verify` says so, and mail goes on
            return None

    def _forget_before(self, number: int) -> None:
        for old in range(self._oldest, number):
            path = self.directory / head_name(old)
            try:
                size = self._files.size(path)
                self._files.unlink(path)
            except FileNotFoundError:
                continue
            self.disk_bytes -= size
        self._oldest = max(self._oldest, number)
