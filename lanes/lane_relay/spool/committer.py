"""The one thread that writes the log: group commit.

Everything that arrived during the last commit becomes one append and one fdatasync; then the batch's accounting
records go to the journal; then one call back into the event loop. Invariants: records are written in the order in
which they were said; a commit is written only after the one before it is durable; bytes of a commit that did not fit
are cut off before anything else is written; a failed sync (or any error but a full volume) ends all writing for good.
Before: `log` submits operations. After: `log` is told what became durable, and where.
"""

import errno
import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from msgspec import Struct

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, VolumeFullError
from lane_relay.records import Message
from lane_relay.spool.base import Done, JournalSink
from lane_relay.spool.entries import Groups, Waiting, sender_domain_of
from lane_relay.spool.files import AppendFile, Files
from lane_relay.spool.footer import Footer, FooterEntry, Placed, encode_footer
from lane_relay.spool.format import (
    HEADER_SIZE,
    FlagsIndex,
    Kind,
    MessageIndex,
    SegmentHeader,
    encode,
    encode_accounting,
    encode_message_data,
    id_bytes,
    pack_index,
    salt_of,
    unpack_flags,
)
from lane_relay.spool.room import has_room_again, spare
from lane_relay.spool.segments import RESERVE_NAME, segment_path
from lane_relay.spool.tally import LIVE, live_text

__all__ = ["Barrier", "Committed", "Committer", "Fact", "LogPosition", "Put"]

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_PROBE_EVERY: Final = 0.5
"""Seconds between looks for room while the volume is full or the journal is behind."""


class Put(Struct, frozen=True, gc=False):
    """A message to be stored."""

    message: Message
    record: bytes
    groups: Groups
    done: Done
    size: int
    """About as many bytes as it will take, for the budget."""
    waiting: Waiting | None = None

    @property
    def is_clients(self) -> bool:
        """Not a report of the relay's own."""
        return bool(self.message.client)


class Fact(Struct, frozen=True, gc=False):
    """A settlement, a deferral, accounting records, or the flags."""

    kind: Kind
    index: bytes
    accounting: tuple[bytes, ...]
    home: int = 0
    slot: int = -1
    """Which slot is free once this is durable; -1: none."""
    settled: int = 0
    """Recipients that it settles."""


class Barrier(Struct, frozen=True, gc=False):
    """Somebody waits until everything before it is durable."""

    reached: Callable[[SpoolError | None], None]


Operation = Put | Fact | Barrier


class Committed(Struct, gc=False):
    """What one commit came to; handed to the loop."""

    segment: int = 0
    size: int = 0
    """Of the segment, after the commit."""
    next_seq: int = 1
    opened: Path | None = None
    """The segment was begun with this commit."""
    sealed: tuple[int, int] | None = None
    """Number and size of a segment that was finished before this commit."""
    puts: list[tuple[Put, int, int]] = []
    """With offset and length of their records."""
    facts: list[Fact] = []
    refused: list[Put] = []
    barriers: list[Barrier] = []
    full: bool = False
    error: SpoolError | None = None
    """Why puts were refused."""
    barrier_error: SpoolError | None = None
    """Why barriers were not reached."""
    seconds: float = 0.0
    """What write and sync took; 0 if nothing was written."""
    failed: bool = False
    """Nothing will ever be written again."""


class LogPosition(Struct, frozen=True):
    """Where writing goes on."""

    next_number: int
    next_seq: int
    flags: dict[str, str]
    live: int
    """Recipients that wait."""


class _NoRoomError(Exception):
    """The volume is full; nothing of the commit is in the file."""


class Committer:
    """The thread, its queue and the segment it appends to."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        spool_id: bytes,
        journal: JournalSink,
        clock: Clock,
        loop: AbstractEventLoop,
        tell: Callable[[Committed], None],
        accounting_after: Callable[[int], Iterable[tuple[int, bytes]]],
        position: LogPosition,
        *,
        segment_size: int,
        reserve_size: int,
        budget: int,
    ) -> None:
        """Takes the position that recovery found; `tell` runs on the loop, `accounting_after` re-reads the log."""
        self.budget = budget
        """Bytes that the log may take, whoever writes; may be changed."""
        self._files = files
        self._directory = directory
        self._spool_id = spool_id
        self._journal = journal
        self._clock = clock
        self._loop = loop
        self._tell = tell
        self._accounting_after = accounting_after
        self._segment_size = segment_size
        self._reserve_size = reserve_size
        self._number = position.next_number - 1
        self._next_seq = position.next_seq
        self._flags = pack_index(FlagsIndex(position.flags))
        self._live = position.live
        """Recipients that wait, by what is durable."""
        self._file: AppendFile | None = None
        self._salt = 0
        self._footer = Footer()
        self._fresh = False
        """Nothing of the segment is durable yet: header, flags and first batch are one commit."""
        self._pending: deque[Operation] = deque()
        self._wake: SimpleQueue[bool] = SimpleQueue()
        self._signalled = False
        self._held: list[Fact] = []
        self._full = False
        self._looked = 0.0
        """When it was last looked for room, while there was none; monotonic."""
        self._behind = False
        self._error: SpoolError | None = None
        self._thread = threading.Thread(target=self._run, name="spool-committer", daemon=True)

    def start(self) -> None:
        """Begins to write; the reserve is made first, so a volume that is full already is known to be."""
        self._probe_room()
        self._thread.start()

    @property
    def full(self) -> bool:
        """There is no room for clients' messages, as of the last try."""
        return self._full

    def submit(self, operation: Operation, *, now: bool) -> None:
        """Queues an operation; it waits for company unless `now`."""
        self._pending.append(operation)
        if now:
            self.wake()

    def wake(self) -> None:
        """Everything queued is committed as soon as the thread is free."""
        if not self._signalled:
            self._signalled = True
            self._wake.put(True)

    def stop(self) -> None:
        """Writes what is queued, seals the segment and ends the thread; blocks."""
        self._wake.put(False)
        self._thread.join()

    # --- the thread ---

    def _run(self) -> None:
        going = True
        while going:
            is_short = self._full or self._behind
            try:
                going = self._wake.get(timeout=_PROBE_EVERY if is_short else None)
            except Empty:
                self._recheck()
            self._signalled = False
            self._drain()
            if is_short and self._clock.monotonic() - self._looked >= _PROBE_EVERY:  # it is never idle for as long
                self._recheck()
        self._finish()

    def _drain(self) -> None:
        while count := len(self._pending):
            self._commit([self._pending.popleft() for _ in range(count)])

    def _commit(self, operations: list[Operation]) -> None:
        result = Committed(puts=[], facts=[], refused=[], barriers=[])
        if self._error is None:
            try:
                self._try(operations, result)
            except Exception as error:  # noqa: BLE001 -- the thread's edge: our own mistake leaves nobody waiting
                self._error = SpoolError(f"spool write failed: {error}")
        if self._error is not None:
            result.error, result.barrier_error, result.failed = self._error, self._error, True
            result.puts, result.facts = [], []
            result.refused = [one for one in operations if isinstance(one, Put)]
            result.barriers = [one for one in operations if isinstance(one, Barrier)]
        result.full = self._full
        result.segment, result.next_seq = self._number, self._next_seq
        result.size = self._file.size if self._file is not None else 0
        self._loop.call_soon_threadsafe(self._tell, result)

    def _try(self, operations: list[Operation], result: Committed) -> None:
        work: list[Operation] = [*self._held, *operations] if self._held else operations
        self._held = []
        for client in (True, False):  # clients' messages go first, then reports; facts have whatever there is
            wanted = sum([one.size for one in work if isinstance(one, Put) and one.is_clients is client])
            if wanted and wanted > self._spare(client=client):
                work = self._refuse(work, result, reports=not client)
        try:
            self._write(work, result)
        except _NoRoomError:
            self._without_puts(work, result)

    def _spare(self, *, client: bool) -> int:
        return spare(self._files.volume(self._directory), self.budget, client=client)

    def _refuse(self, work: list[Operation], result: Committed, *, reports: bool) -> list[Operation]:
        """Refuses clients' messages, or reports as well; gives what is left to be done."""
        self._full = True
        result.error = VolumeFullError("the spool's volume is full")
        left: list[Operation] = []
        for one in work:
            if isinstance(one, Put) and (reports or one.is_clients):
                result.refused.append(one)
            else:
                left.append(one)
        return left

    def _without_puts(self, work: list[Operation], result: Committed) -> None:
        """Facts must not be lost: they get the reserve's room; messages are refused."""
        facts = self._refuse(work, result, reports=True)
        self._give_up_reserve()
        try:
            self._write(facts, result)
        except _NoRoomError:
            self._held = [one for one in facts if isinstance(one, Fact)]
            result.facts = []
            result.barriers = [one for one in facts if isinstance(one, Barrier)]
            result.barrier_error = result.error

    def _write(self, operations: list[Operation], result: Committed) -> None:
        result.puts, result.facts, result.barriers = [], [], []
        if all(isinstance(one, Barrier) for one in operations):
            result.barriers = [one for one in operations if isinstance(one, Barrier)]
            return
        file = self._room(result)
        at = file.size
        commit_at = 0 if self._fresh else at
        seq, live = self._next_seq, self._live
        parts: list[bytes] = []
        lines: list[bytes] = []
        facts: list[FooterEntry] = []
        messages: list[Placed] = []
        flags = self._flags
        for one in operations:
            if isinstance(one, Put):
                message = one.message
                kind = Kind.MESSAGE
                data: tuple[bytes, ...] = encode_message_data(message)
                noted = _message_index(message, one.groups, one.waiting)
                index = pack_index(noted)
                records: tuple[bytes, ...] = (one.record,)
                live += len(message.envelope.recipients)
            elif isinstance(one, Fact):
                kind, index, records, data = one.kind, one.index, one.accounting, ()
                result.facts.append(one)
                live -= one.settled
                if kind is Kind.FLAGS:
                    flags = index
            else:
                result.barriers.append(one)
                continue
            encoded, length = encode(
                kind,
                index,
                encode_accounting(records),
                data,
                seq=seq,
                count=len(records),
                at=at,
                commit_at=commit_at,
                salt=self._salt,
            )
            parts += encoded
            lines += records
            if isinstance(one, Put):
                messages.append((at, length, noted))
                result.puts.append((one, at, length))
            elif kind is not Kind.RECORD:
                facts.append(FooterEntry(kind, at, length, index))
            at += length
            seq += len(records)
        result.seconds = self._make_durable(file, parts)
        self._flags, self._live = flags, live
        self._footer.add_messages(messages)
        self._footer.add(facts)
        self._next_seq = seq
        if lines:
            self._account(seq - len(lines), lines)

    def _make_durable(self, file: AppendFile, parts: list[bytes]) -> float:
        """Write and sync; gives the seconds they took."""
        began = self._clock.monotonic()
        self._append(file, parts)
        file.sync()
        self._fresh = False
        return self._clock.monotonic() - began

    def _append(self, file: AppendFile, parts: list[bytes]) -> None:
        start = file.size
        try:
            file.append(parts)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            file.truncate(start)
            raise _NoRoomError from error

    def _account(self, first_seq: int, lines: list[bytes]) -> None:
        if not self._behind:
            self._behind = not self._journal.append(first_seq, lines)

    # --- segments ---

    def _room(self, result: Committed) -> AppendFile:
        if self._file is not None:
            if self._file.size < self._segment_size:
                return self._file
            sealed, self._file = self._file, None
            self._seal(sealed)
            result.sealed = self._number, sealed.size
        self._file = self._begin(self._number + 1)
        self._number += 1
        result.opened = segment_path(self._directory, self._number, 0)
        return self._file

    def _begin(self, number: int) -> AppendFile:
        self._journal.sync()
        path = segment_path(self._directory, number, 0)
        header = SegmentHeader(
            self._spool_id, number, int(self._clock.now() * 1000), self._next_seq, self._journal.synced_seq
        )
        self._salt = salt_of(self._spool_id, number)
        self._footer = Footer()
        said = pack_index(FlagsIndex({**unpack_flags(self._flags).flags, LIVE: live_text(number, self._live)}))
        flags, length = encode(
            Kind.FLAGS,
            said,
            b"",
            (),
            seq=self._next_seq,
            count=0,
            at=HEADER_SIZE,
            commit_at=0,
            salt=self._salt,
        )
        try:
            file = self._files.create(path)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise _NoRoomError from error
        try:
            self._append(file, [header.encode(), *flags])
        except _NoRoomError:
            file.close()
            self._files.unlink(path)
            raise
        # the entry in the directory and the first commit's bytes are both durable before anything is called done
        self._files.sync_directory(self._directory)
        self._footer.add([FooterEntry(Kind.FLAGS, HEADER_SIZE, length, said)])
        self._fresh = True
        return file

    def _seal(self, file: AppendFile) -> None:
        try:
            self._append(file, encode_footer(self._footer, seq=self._next_seq, at=file.size, salt=self._salt))
            file.sync()
        except _NoRoomError:
            pass  # recovery reads the whole segment instead
        finally:
            file.close()

    # --- room ---

    def _recheck(self) -> None:
        """While full or behind: looks whether that is over."""
        if self._error is not None:
            return
        self._looked = self._clock.monotonic()
        if self._held:
            self._commit([])
        try:
            if self._full and not self._held:
                self._probe_room()
            if self._behind:
                self._catch_up()
        except OSError as error:
            self._error = SpoolError(f"spool write failed: {error}")
        self._commit([])

    def _probe_room(self) -> None:
        try:
            self._files.reserve(self._directory / RESERVE_NAME, self._reserve_size)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._full = True
        else:
            volume = self._files.volume(self._directory)
            has_room = spare(volume, self.budget, client=True) > 0
            self._full = not (has_room_again(volume, self.budget) if self._full else has_room)

    def _give_up_reserve(self) -> None:
        if RESERVE_NAME in self._files.names(self._directory):
            self._files.unlink(self._directory / RESERVE_NAME)

    def _catch_up(self) -> None:
        """The journal had no room: what it lacks is still in the log."""
        for seq, record in _unbroken(self._accounting_after(self._journal.last_seq), self._journal.last_seq):
            if not self._journal.append(seq, [record]):
                return
        self._behind = False

    def _finish(self) -> None:
        try:
            if self._file is not None and self._error is None:
                self._seal(self._file)
                self._file = None
            self._journal.close()
        except OSError as error:
            self._error = SpoolError(f"spool write failed: {error}")
            self._loop.call_soon_threadsafe(self._tell, Committed(error=self._error, failed=True))


def _message_index(message: Message, groups: Groups, waiting: Waiting | None) -> MessageIndex:
    sender = sender_domain_of(message.envelope.sender)
    return MessageIndex(
        id_bytes(message.id), len(message.body), groups, message.campaign, sender, message.expires_at, waiting
    )


def _unbroken(records: Iterable[tuple[int, bytes]], last: int) -> Iterator[tuple[int, bytes]]:
    """Only records with higher numbers than `last`."""
    return ((seq, record) for seq, record in records if seq > last)
