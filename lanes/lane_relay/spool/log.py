"""The spool on disk: a log of segments behind the Spool protocol.

This is the loop's side: it queues operations for the committer, keeps the index, and tells callers what became
durable. Invariant: no method waits for the disk, and nothing is counted stored or gone before it is so on disk.
Before: `accept` and `account` call it. After: `committer` (writes), `recovery` (reads at opening), `cleaning`.
"""

import asyncio
import errno
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import structlog

from lane_api.relayconfig import Spool as SpoolConfig
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, SpoolFullError, VolumeFullError
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.base import DamagedMessageError, Done, JournalSink, SpoolState
from lane_relay.spool.bodies import BodyCache
from lane_relay.spool.committer import Barrier, Committed, Committer, Fact, LogPosition, Put
from lane_relay.spool.entries import Waiting, group_by_domain
from lane_relay.spool.files import POSIX_FILES, AppendFile, Files
from lane_relay.spool.format import (
    DeferredIndex,
    FlagsIndex,
    Kind,
    SettledIndex,
    decode_message,
    id_bytes,
    pack_index,
    parse_record,
    salt_of,
)
from lane_relay.spool.found import Recovered
from lane_relay.spool.ids import SpoolIds
from lane_relay.spool.index import SegmentState
from lane_relay.spool.recovery import ERA, accounting_after, era_text, recover
from lane_relay.spool.room import for_intake, reserve_size, segment_limit
from lane_relay.spool.segments import claim_directory, identity
from lane_relay.spool.tidier import Tidier

__all__ = ["SegmentSpool"]

_log = structlog.get_logger("spool")
_SEGMENT_SIZE: Final = 32 * 2**20
"""Bytes at which a segment is sealed: some thousand messages share the cost of beginning one."""
_LAZY: Final = 0.05
"""Seconds that settlements wait for a put to ride with."""
_TIDY_EVERY: Final = 1.0
"""Seconds between looks for room to give back, while things change."""
_RECORD_OVERHEAD: Final = 256
"""Bytes of a message's record beside body, reception record and recipients."""
_PASSING: Final = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EINTR)
_READ_AGAIN: Final = 0.25
"""Seconds after which a message that could not be read for such a reason is read again."""
_READERS: Final = 2


class SegmentSpool:
    """See lane_relay.spool.base.Spool."""

    def __init__(
        self,
        config: SpoolConfig,
        journal: JournalSink,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        files: Files,
        lock: AppendFile,
        spool_id: str,
        found: Recovered,
        active_bytes: int,
        segment_size: int,
        tidy_every: float,
    ) -> None:
        """Use `open`."""
        self._directory = Path(config.path)
        self._budget = for_intake(config.max_size)
        self._journal = journal
        self._clock = clock
        self._loop = loop
        self._files = files
        self._lock = lock
        self._spool_id = spool_id
        self._id_bytes = bytes.fromhex(spool_id)
        self._found: Recovered | None = found
        self._stored = frozenset(found.stored)
        self._index = found.index
        self._flags = found.flags
        self._missing = found.missing
        self._damage: list[str] = []
        for one in found.damage:
            self._note_damage(str(one))
        self._ids = SpoolIds(clock.now, int.from_bytes(os.urandom(3), "big"), found.last_stamp, self._on_era)
        self._bodies = BodyCache(active_bytes)
        self._disk_bytes = sum(one.size for one in found.index.segments.values())
        self._queued_bytes = 0
        self._recorded = found.next_seq - 1
        self._commits = 0
        self._commit_s = 0.0
        self._failed: SpoolError | None = None
        self._lazy: asyncio.TimerHandle | None = None
        self._waking = False
        """At the end of this turn of the loop: a thread woken at its first message would take one and leave the rest
        to the next commit, and the two threads would wait for each other's lock at every step."""
        self._closing = False
        self._readers = ThreadPoolExecutor(_READERS, "spool-reader")
        self._tidier = self._make_tidier(config.max_size, segment_size, tidy_every)
        self._committer = self._make_committer(found, segment_size, config.max_size)
        self._committer.start()
        self._full = self._tidier.tight = self._committer.full
        self._tidier.soon()

    def _make_tidier(self, budget: int, segment_size: int, every: float) -> Tidier:
        return Tidier(
            self._files, self._index, self._journal, self._id_bytes, self._loop, budget=budget,
            segment_size=segment_size, every=every, resized=self._on_resized, damaged=self._note_damage,
        )  # fmt: skip

    def _make_committer(self, found: Recovered, segment_size: int, budget: int) -> Committer:
        files, directory, spool_id = self._files, self._directory, self._id_bytes
        return Committer(
            files,
            directory,
            spool_id,
            self._journal,
            self._clock,
            self._loop,
            self._on_committed,
            lambda after: accounting_after(files, directory, spool_id, after),
            LogPosition(found.next_number, found.next_seq, found.flags, found.index.live_recipients),
            segment_size=segment_size,
            reserve_size=reserve_size(budget, files.volume(directory)),
            budget=budget,
        )

    @classmethod
    def open(
        cls,
        config: SpoolConfig,
        journal: JournalSink,
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        active_bytes: int = 64 * 2**20,
        files: Files = POSIX_FILES,
        segment_size: int = _SEGMENT_SIZE,
        tidy_every: float = _TIDY_EVERY,
        asked: frozenset[int] = frozenset(),
    ) -> "SegmentSpool":
        """Locks, recovers and opens the directory; blocks. SpoolError says why it must not or cannot be used.

        `asked` are ids of which `was_stored` is to tell.
        """
        directory = Path(config.path)
        try:
            lock = claim_directory(files, directory)
            try:
                spool_id = identity(files, directory, os.urandom(16).hex()).spool_id
                found = recover(files, directory, bytes.fromhex(spool_id), journal, asked, clock.now())
                return cls(
                    config,
                    journal,
                    clock,
                    loop,
                    files=files,
                    lock=lock,
                    spool_id=spool_id,
                    found=found,
                    active_bytes=active_bytes,
                    segment_size=segment_limit(segment_size, config.max_size, files.volume(directory)),
                    tidy_every=tidy_every,
                )
            except BaseException:
                lock.close()
                raise
        except OSError as error:
            raise SpoolError(f"spool {directory} cannot be used: {error}") from error

    # --- figures ---

    @property
    def spool_id(self) -> str:
        """See Spool."""
        return self._spool_id

    @property
    def state(self) -> SpoolState:
        """See Spool."""
        return SpoolState(
            self._index.live_messages,
            self._index.live_bytes,
            self._disk_bytes,
            self._budget,
            self._bodies.bytes + self._bodies.lent,
            len(self._damage),
            tuple(self._damage[:8]),
            self._full,
            str(self._failed or ""),
            self._commits,
            self._commit_s,
            self._index.live_recipients,
            self._missing,
        )

    @property
    def has_failed(self) -> bool:
        """See Spool."""
        return self._failed is not None

    @property
    def recorded(self) -> int:
        """See Spool."""
        return self._recorded

    def apply(self, config: SpoolConfig, active_bytes: int) -> None:
        """Another budget and another bound on bodies in memory from now on; what is stored stays."""
        self._budget = for_intake(config.max_size)
        self._tidier.budget = self._committer.budget = config.max_size
        self._bodies.resize(active_bytes)

    def new_id(self) -> int:
        """See Spool."""
        return self._ids.new()

    def foreign_id(self, received_at: float) -> int:
        """See Spool."""
        return self._ids.foreign(received_at)

    # --- what is said ---

    def put(self, message: Message, record: bytes, done: Done, waiting: Waiting | None = None) -> None:
        """See Spool."""
        self._refuse_if_failed()
        size = len(message.body) + len(record) + 2 * sum(map(len, message.envelope.recipients)) + _RECORD_OVERHEAD
        if self._full and message.client:
            raise VolumeFullError("the spool's volume is full")
        budget = self._budget if message.client else self._tidier.budget
        if self._disk_bytes + self._queued_bytes + size > budget:
            self._tidier.soon()
            raise SpoolFullError(f"the spool's budget of {budget} bytes is used up")
        self._queued_bytes += size
        groups = group_by_domain(message.envelope.recipients)
        self._committer.submit(Put(message, record, groups, done, size, waiting), now=False)
        if not self._waking:
            self._waking = True
            self._loop.call_soon(self._wake)

    def settle(self, entry: QueueEntry, recipients: tuple[int, ...], records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        slot = entry.location
        home = self._index.home(slot)
        final = not self._index.settle(slot, len(recipients))
        index = pack_index(SettledIndex(id_bytes(entry.id), home, recipients, final))
        if final:
            self._bodies.drop(entry.id)
        self._say(Fact(Kind.SETTLED, index, tuple(records), home, slot if final else -1, len(recipients)))

    def defer(self, entry: QueueEntry, records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        home = self._index.home(entry.location)
        index = pack_index(
            DeferredIndex(
                id_bytes(entry.id), home, entry.recipients, entry.due, entry.attempts, entry.notified, self._clock.now()
            )
        )
        self._bodies.drop(entry.id)
        self._say(Fact(Kind.DEFERRED, index, tuple(records), home))

    def record(self, records: Iterable[bytes]) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self._say(Fact(Kind.RECORD, b"", tuple(records)))

    def set_flag(self, name: str, value: str) -> None:
        """See Spool."""
        self._refuse_if_failed()
        self._set_flag(name, value)

    def _set_flag(self, name: str, value: str) -> None:
        self._flags = {key: held for key, held in self._flags.items() if key != name}
        if value:
            self._flags[name] = value
        self._committer.submit(Fact(Kind.FLAGS, pack_index(FlagsIndex(self._flags)), ()), now=True)

    def _on_era(self, era: int) -> None:
        """On disk before the first message of the era is; a failed spool stores neither."""
        _log.warning("the wall clock was set back", era=era)
        self._set_flag(ERA, era_text(era, max(self._index.segments, default=0)))

    def flag(self, name: str) -> str:
        """See Spool."""
        return self._flags.get(name, "")

    def keep(self) -> Callable[[], None]:
        """See Spool."""
        return self._tidier.keep_from(max(self._index.segments, default=0))

    def was_stored(self, message_id: int) -> bool:
        """See Spool."""
        return message_id in self._stored

    def _wake(self) -> None:
        self._waking = False
        self._committer.wake()

    def _say(self, fact: Fact) -> None:
        self._committer.submit(fact, now=False)
        if self._lazy is None:
            self._lazy = self._loop.call_later(_LAZY, self._say_now)

    def _say_now(self) -> None:
        self._lazy = None
        self._committer.wake()

    def _refuse_if_failed(self) -> None:
        if self._failed is not None:
            raise SpoolError(str(self._failed))
        if self._closing:
            raise SpoolError("the spool is closed")

    # --- what is asked ---

    def recover(self) -> Iterable[QueueEntry]:
        """See Spool."""
        found, self._found = self._found, None
        return found.entries() if found is not None else ()

    def cached(self, entry: QueueEntry) -> Message | None:
        """See Spool."""
        return self._bodies.get(entry.id)

    def lend(self, size: int) -> None:
        """See Spool."""
        self._bodies.lend(size)

    def give_back(self, size: int) -> None:
        """See Spool."""
        self._bodies.give_back(size)

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool."""
        message = self._bodies.get(entry.id)
        while message is None:
            segment, offset, length = self._index.place(entry.location)
            path = segment.path
            try:
                message = await self._loop.run_in_executor(
                    self._readers, self._read, path, segment.number, offset, length
                )
            except OSError as error:
                _log.warning("a message cannot be read for now", id=f"{entry.id:024x}", reason=str(error))
                await asyncio.sleep(_READ_AGAIN)
                continue
            if message is not None and message.id == entry.id:
                break
            message = None
            if self._index.place(entry.location)[0].path == path:  # else it was moved while we read
                raise self._damaged(entry, f"{path.name} at {offset}, {length} bytes: message is not readable")
        return message

    async def peek(self, entry: QueueEntry) -> Message | None:
        """See Spool."""
        message = self._bodies.get(entry.id)
        if message is None:
            try:
                segment, offset, length = self._index.place(entry.location)
                message = await self._loop.run_in_executor(
                    self._readers, self._read, segment.path, segment.number, offset, length
                )
            except (OSError, LookupError):  # its place is free, and its segment may have gone
                return None
        return message if message is not None and message.id == entry.id else None

    def _read(self, path: Path, number: int, offset: int, length: int) -> Message | None:
        """None: what is there is no message. OSError: want of descriptors or memory, which says nothing of the disk."""
        try:
            content = self._files.read(path, offset, length)
        except OSError as error:
            if error.errno in _PASSING:
                raise
            return None
        record = parse_record(content, 0, salt_of(self._id_bytes, number), base=offset)
        return decode_message(record) if record is not None else None

    def _damaged(self, entry: QueueEntry, where: str) -> DamagedMessageError:
        segment = self._index.place(entry.location)[0]
        segment.damaged = True
        self._note_damage(where)
        return DamagedMessageError(where)

    def _note_damage(self, where: str) -> None:
        if where not in self._damage:
            self._damage.append(where)
            _log.error("spool is damaged; the segment stays as it is", where=where)

    async def flush(self) -> None:
        """See Spool."""
        self._refuse_if_failed()
        reached: asyncio.Future[None] = self._loop.create_future()

        def tell(error: SpoolError | None) -> None:
            if reached.done():
                return
            if error is None:
                reached.set_result(None)
            else:
                reached.set_exception(error)

        self._committer.submit(Barrier(tell), now=True)
        await reached

    async def close(self) -> None:
        """See Spool."""
        if self._closing:
            return
        try:
            await self.flush()
        finally:
            self._closing = True
            if self._lazy is not None:
                self._lazy.cancel()
            await self._tidier.stop()
            await self._loop.run_in_executor(None, self._committer.stop)
            await asyncio.sleep(0)  # what the committer said last is heard before the files go
            self._readers.shutdown()
            self._lock.close()
        if self._failed is not None:
            raise self._failed

    # --- what became durable ---

    def _on_committed(self, result: Committed) -> None:
        if result.failed:
            self._failed = result.error
        self._full = self._tidier.tight = result.full
        self._recorded = max(self._recorded, result.next_seq - 1)
        self._account_segment(result)
        if result.puts or result.facts:
            self._commits += 1
            self._commit_s += result.seconds
        for put, offset, length in result.puts:
            self._queued_bytes -= put.size
            recipients = len(put.message.envelope.recipients)
            slot = self._index.add(result.segment, offset, length, recipients)
            if put.waiting is None:  # else others have more use for the room
                self._bodies.offer(put.message)
            self._answer(put, slot, None)
        for fact in result.facts:
            if fact.home and fact.home != result.segment:
                self._index.segments[result.segment].homes.add(fact.home)
            if fact.slot >= 0:
                self._index.free(fact.slot)
        for put in result.refused:
            self._queued_bytes -= put.size
            self._answer(put, 0, result.error)
        for barrier in result.barriers:
            barrier.reached(result.barrier_error)
        if result.facts or result.opened:
            self._tidier.soon()

    def _answer(self, put: Put, slot: int, error: SpoolError | None) -> None:
        """One caller's mistake costs no other its answer: the loop's handler is told of it."""
        try:
            put.done(slot, error)
        except Exception as failed:  # noqa: BLE001 -- the edge of a group commit: whoever else was in it must be answered
            self._loop.call_exception_handler({"message": "what waited for a commit", "exception": failed})

    def _account_segment(self, result: Committed) -> None:
        segments = self._index.segments
        if result.sealed is not None:
            number, size = result.sealed
            self._resize(segments[number], size)
            segments[number].sealed = True
        if result.opened is not None:
            segments[result.segment] = SegmentState(result.segment, result.opened, result.next_seq)
        active = segments.get(result.segment)
        if active is not None and not active.sealed:
            self._resize(active, result.size)
            active.next_seq = result.next_seq

    def _on_resized(self, grown: int) -> None:
        self._disk_bytes += grown

    def _resize(self, segment: SegmentState, size: int) -> None:
        self._disk_bytes += size - segment.size
        segment.size = size
