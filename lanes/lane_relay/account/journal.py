"""The accounting journal: JSON lines in files of their own, under their own budget and retention.

Each line is an accounting record with its sequence number, `{"seq":N,...}`, counted from 1 without holes. Lines come
from the spool's log after they are durable there, and are synced only now and then: after a crash the log completes
the journal, so each number stands exactly once. Files are named by their first number and go oldest first when the
budget or the retention is reached; the journal never takes the spool's room. A file that is finished and synced is
sealed by a head in the chain, on the auditor's thread, and never changes again: not after a crash either.
Before: the spool's committer and tidier call it. After: `audit` seals, archives, searches and sends on the files.
"""

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from errno import EDQUOT, ENOSPC
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from lane_api.relayconfig import Records as RecordsConfig
from lane_relay.account.balance import balance_of
from lane_relay.audit.chain import Chain, day_of
from lane_relay.audit.head import Reason
from lane_relay.audit.segment import Summary, index_name, number_of, segment_name, summarise
from lane_relay.clock import Clock
from lane_relay.errors import RelayError
from lane_relay.spool.base import Balance
from lane_relay.spool.files import POSIX_FILES, AppendFile, Files

__all__ = ["Journal", "journal_files"]

_FULL: Final = (ENOSPC, EDQUOT)
_NAME: Final = re.compile(r"^records-(\d{16})\.jsonl$")
_FILE_SIZE: Final = 16 * 2**20
"""Bytes at which the next file begins; a 64th of the budget if that is less."""
_DAY_S: Final = 86400
_AGES: Final = 8
"""Files that a retention's time is spread over at least: records live at most an eighth longer than it."""


def journal_files(files: Files, directory: Path) -> list[tuple[int, Path]]:
    """(first sequence number, path) of every file, oldest first."""
    found = [(int(matched[1]), directory / name) for name in files.names(directory) if (matched := _NAME.match(name))]
    return sorted(found)


class _Finished(Struct, gc=False, eq=False):
    """A file that nothing is appended to any more."""

    path: Path
    first_seq: int
    size: int
    extra: int
    """Bytes of its index."""
    began: float
    """Unix times."""
    ended: float
    is_sealed: bool


class Journal:
    """See lane_relay.spool.base.JournalSink."""

    def __init__(self, config: RecordsConfig, clock: Clock, files: Files, chain: Chain | None) -> None:
        """Use `open`."""
        self._chain = chain
        self._directory = Path(config.path)
        self._clock = clock
        self._files = files
        self.apply(config)
        self._lock = threading.Lock()
        """Appends come from the committer, syncs from the tidier as well."""
        self._file: AppendFile | None = None
        self._unsynced: list[AppendFile] = []
        """Files that were finished but not synced."""
        self._new_name = False
        self._older: deque[_Finished] = deque()
        """Oldest first; the sealed ones come before the others."""
        self._older_bytes = 0
        self._current = self._directory
        self._began = 0.0
        """Unix time of the current file's beginning."""
        self._began_seq = 1
        """Its first number."""
        self._last_seq = 0
        self._synced_seq = 0
        self._archived_seq = 0
        self._archived_number = 0

    @classmethod
    def open(
        cls, config: RecordsConfig, clock: Clock, files: Files = POSIX_FILES, chain: Chain | None = None
    ) -> "Journal":
        """Opens the directory; blocks. RelayError if it cannot be used. Without a chain nothing is sealed."""
        journal = cls(config, clock, files, chain)
        try:
            files.make_directory(journal._directory)
            journal._find_end()
        except OSError as error:
            raise RelayError(f"records {config.path} cannot be used: {error}") from error
        return journal

    def apply(self, config: RecordsConfig) -> None:
        """Another budget and retention, from the next record on."""
        self._budget = config.max_size
        self._retention = config.retention
        self._file_size = max(1, min(_FILE_SIZE, config.max_size // 64))
        self._longest = min(config.retention / _AGES, config.seal_every)
        self._wants_archive = config.archive is not None

    @property
    def last_seq(self) -> int:
        """See JournalSink."""
        return self._last_seq

    @property
    def synced_seq(self) -> int:
        """See JournalSink."""
        return self._synced_seq

    @property
    def disk_bytes(self) -> int:
        """Bytes of all files."""
        chained = self._chain.disk_bytes if self._chain is not None else 0
        return self._older_bytes + chained + (self._file.size if self._file else 0)

    @property
    def budget_bytes(self) -> int:
        """Beyond which the oldest files go."""
        return self._budget

    def append(self, first_seq: int, records: Sequence[bytes]) -> bool:
        """See JournalSink."""
        lines = b"".join([_line(seq, record) for seq, record in enumerate(records, first_seq)])
        with self._lock:
            if not self._append(first_seq, lines):
                return False
            self._last_seq = first_seq + len(records) - 1
        return True

    def sync(self) -> None:
        """See JournalSink."""
        with self._lock:
            self._sync()

    def _sync(self) -> None:
        last = self._last_seq
        while self._unsynced:
            finished = self._unsynced[0]
            finished.sync()
            finished.close()
            del self._unsynced[0]
        if self._file is not None and last > self._synced_seq:
            self._file.sync()
        if self._new_name:
            self._files.sync_directory(self._directory)
            self._new_name = False
        self._synced_seq = last

    def tend(self) -> None:
        """Finishes a file that is old enough, and removes what the retention lets go; blocks, raises OSError.

        Also where nothing is written any more; called every few seconds, off the hot path.
        """
        with self._lock:
            if self._file is not None and self._is_finished(self._file):
                self._finish(self._file)
            if self._chain is not None:
                self._chain.refill_reserve()
                if self._file is None and self._first_unsealed() is None:
                    self._chain.close_day(day_of(self._clock.now()))
            self._drop_old()

    def finish(self) -> None:
        """Ends the current file, whatever its age, so that it can be sealed: a slot that drains or stops; blocks."""
        with self._lock:
            if self._file is not None and self._file.size:
                self._finish(self._file)

    def seal_next(self) -> bool:
        """Seals the oldest file that is finished and not sealed; False if there is none. Blocks, raises OSError.

        Reading and hashing need no lock: the file never changes again.
        """
        with self._lock:
            segment = self._first_unsealed()
            if segment is None or self._chain is None:
                return False
            self._sync()
        summary = summarise(partial(self._files.read, segment.path), segment.first_seq)
        self._keep_index(segment, summary)
        with self._lock:
            if segment in self._older and not segment.is_sealed:
                self._seal(segment, summary)
            self._drop_old()
        return True

    def archived(self, seq: int, number: int) -> None:
        """Records up to this one, and entries of the chain up to this number, are in the archive."""
        self._archived_seq, self._archived_number = seq, number

    def begin_anew(self) -> None:
        """What is not sealed yet, and all that comes, is of another journal; blocks, raises OSError."""
        with self._lock:
            if self._chain is not None:
                self._chain.begin_anew()

    def close(self) -> None:
        """See JournalSink."""
        with self._lock:
            if self._file is not None:
                self._finish(self._file)
            self._sync()

    # --- after a crash ---

    def reconcile(self, synced: int, records: Iterable[tuple[int, bytes]]) -> int:
        """See JournalSink."""
        waiting = deque(records)
        with self._lock:
            self._keep_sound(synced, waiting)
        missing = 0
        for seq, record in waiting:
            if seq <= self._last_seq:
                continue
            missing += seq - self._last_seq - 1
            if not self.append(seq, [record]):
                raise OSError(ENOSPC, "no room for the accounting records that a crash kept back")
        return missing

    def balance(self, after: int) -> Balance:
        """See JournalSink."""
        found = journal_files(self._files, self._directory)
        later = [path for at, (_, path) in enumerate(found) if at + 1 == len(found) or found[at + 1][0] > after + 1]
        return balance_of((line for path in later for line in self._files.read(path).split(b"\n")[:-1]), after)

    def _find_end(self) -> None:
        """Notes the files and the last whole line; what a crash did to the end is for `reconcile`."""
        found = journal_files(self._files, self._directory)
        names = set(self._files.names(self._directory))
        dropped = self._chain.dropped_seq if self._chain is not None else 0
        for at, (first, path) in enumerate(found):
            if at + 1 < len(found) and found[at + 1][0] <= dropped + 1:  # a crash came after the statement
                self._files.unlink(path)
                if index_name(first) in names:
                    self._files.unlink(self._directory / index_name(first))
                self._new_name = True
                continue
            modified = self._files.modified(path)
            index = self._directory / index_name(first)
            extra = self._files.size(index) if index.name in names else 0
            sealed = self._chain is not None and first <= self._chain.sealed_seq
            self._older.append(_Finished(path, first, self._files.size(path), extra, modified, modified, sealed))
            self._older_bytes += self._older[-1].size + extra
            self._last_seq = max(self._last_seq, first - 1)
        if self._chain is not None:
            self._last_seq = max(self._last_seq, self._chain.sealed_seq)
        if self._older:
            for line in self._files.read(self._older[-1].path).split(b"\n")[:-1]:
                self._last_seq = max(self._last_seq, number_of(line))

    def _keep_sound(self, synced: int, waiting: deque[tuple[int, bytes]]) -> None:
        """Cuts the journal where it first differs from the log, or is torn, after the number that was synced."""
        if self._chain is not None:
            synced = max(synced, self._chain.sealed_seq, self._chain.dropped_seq)  # sealed means durable
            while waiting and waiting[0][0] <= synced:
                waiting.popleft()
        found = [(one.first_seq, one.path) for one in self._older]
        later = [item for at, item in enumerate(found) if at + 1 == len(found) or found[at + 1][0] > synced + 1]
        if self._chain is not None and later and waiting and synced < waiting[0][0] < later[0][0]:
            # names, too, are durable only with a sync: the crash took a file and left the ones after it
            for _, path in reversed(later):
                self._forget(path)
            later = []
        self._last_seq = max(synced, later[0][0] - 1) if later else synced
        for position, (first, path) in enumerate(later):
            content = self._files.read(path)
            start = _after(content, synced) if first <= synced else 0
            keep = self._sound_until(content, start, waiting)
            following = later[position + 1][0] if position + 1 < len(later) else 0
            if keep == len(content) and following == self._last_seq + 1:
                continue
            for _, stale in reversed(later[position + 1 :]):
                self._forget(stale)
            if self._older[-1].is_sealed:
                return  # what is sealed is never written to again
            if keep:
                self._resume(path, keep, len(content))
            else:
                self._forget(path)
            return

    def _sound_until(self, content: bytes, at: int, waiting: deque[tuple[int, bytes]]) -> int:
        while (end := content.find(b"\n", at)) >= 0:
            line = content[at:end]
            seq = self._last_seq + 1
            if number_of(line) != seq:
                break
            while waiting and waiting[0][0] < seq:
                waiting.popleft()
            if waiting and waiting[0][0] == seq and _line(*waiting[0]) != line + b"\n":
                break
            self._last_seq = seq
            at = end + 1
        return at

    def _forget(self, path: Path) -> None:
        gone = self._older.pop()
        self._older_bytes -= gone.size + gone.extra
        self._files.unlink(path)
        self._new_name = True

    def _resume(self, path: Path, keep: int, size: int) -> None:
        file = self._files.open(path)
        if keep != size:
            file.truncate(keep)
        gone = self._older.pop()
        self._older_bytes -= gone.size + gone.extra
        self._began, self._began_seq = gone.began, gone.first_seq
        self._file, self._current = file, path

    # --- writing ---

    def _append(self, first_seq: int, lines: bytes) -> bool:
        while True:
            try:
                file = self._room(first_seq)
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                file = None
            if file is not None:
                size = file.size
                try:
                    file.append([lines])
                except OSError as error:
                    file.truncate(size)
                    if error.errno not in _FULL:
                        raise
                else:
                    self._drop_old()
                    return True
            if not self._older:
                return False
            self._drop_oldest(Reason.VOLUME_FULL)

    def _room(self, first_seq: int) -> AppendFile:
        if self._file is not None and self._is_finished(self._file):
            self._finish(self._file)
        if self._file is None:
            path = self._directory / segment_name(first_seq)
            self._file = self._files.create(path)
            self._current = path
            self._began, self._began_seq = self._clock.now(), first_seq
            self._new_name = True
        return self._file

    def _is_finished(self, file: AppendFile) -> bool:
        """Whether the next record begins another file: this one is long, or would keep old records beside new ones."""
        if file.size >= self._file_size:
            return True
        now = self._clock.now()
        return file.size > 0 and (now - self._began > self._longest or now // _DAY_S > self._began // _DAY_S)

    def _finish(self, file: AppendFile) -> None:
        self._unsynced.append(file)
        self._older.append(
            _Finished(self._current, self._began_seq, file.size, 0, self._began, self._clock.now(), is_sealed=False)
        )
        self._older_bytes += file.size
        self._file = None

    # --- sealing and dropping ---

    def _first_unsealed(self) -> "_Finished | None":
        """Looked for from the end: there may be tens of thousands that are sealed."""
        found = None
        for one in reversed(self._older):
            if one.is_sealed:
                break
            found = one
        return found

    def _keep_index(self, segment: "_Finished", summary: Summary) -> None:
        """Beside the segment, and durable before the head that names it; without one it is only slower to search."""
        path = self._directory / index_name(segment.first_seq)
        content = summary.index.encode()
        with suppress(FileNotFoundError):
            self._files.unlink(path)
        try:
            file = self._files.create(path)
            try:
                file.append([content])
                file.sync()
            finally:
                file.close()
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self._files.unlink(path)
            return
        with self._lock:
            segment.extra = len(content)
            self._older_bytes += len(content)

    def _seal(self, segment: "_Finished", summary: Summary) -> None:
        if self._chain is not None:
            self._chain.seal(segment.first_seq, summary, segment.began, segment.ended)
            segment.is_sealed = True

    def _drop_old(self) -> None:
        oldest_kept = self._clock.now() - self._retention
        while self._older:
            if self.disk_bytes > self._budget:
                self._drop_oldest(Reason.BUDGET)
            elif self._older[0].ended < oldest_kept and (not self._wants_archive or self._is_archived()):
                self._drop_oldest(Reason.RETENTION)
            else:
                return

    def _is_archived(self) -> bool:
        return self._archived_seq >= self._last_of_oldest()

    def _last_of_oldest(self) -> int:
        if len(self._older) > 1:
            return self._older[1].first_seq - 1
        return self._began_seq - 1 if self._file is not None else self._last_seq

    def _drop_oldest(self, reason: Reason) -> None:
        """The statement first, then the file; on a volume without room for a statement the file's room is taken."""
        oldest = self._older[0]
        if self._chain is None:
            self._remove(oldest)
            return
        summary = None if oldest.is_sealed else self._summary(oldest)
        try:
            self._state(oldest, summary, reason)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            last = self._last_of_oldest()
            self._remove(oldest)
            self._state(oldest, summary, reason, last)
        else:
            self._remove(oldest)

    def _summary(self, segment: "_Finished") -> Summary | None:
        try:
            return summarise(partial(self._files.read, segment.path), segment.first_seq)
        except OSError:  # it cannot be read: it goes unsealed, and the statement names its numbers
            return None

    def _state(self, oldest: "_Finished", summary: Summary | None, reason: Reason, last: int = 0) -> None:
        if self._chain is None:
            return
        last = last or self._last_of_oldest()
        if summary is not None and not oldest.is_sealed:
            self._seal(oldest, summary)
        archived = self._archived_seq >= last
        lost = self._wants_archive and not archived
        keep = self._archived_number + 1 if self._wants_archive else self._chain.last_number + 2
        self._chain.drop(oldest.first_seq, last, reason, archived=archived, lost=lost, keep=keep)

    def _remove(self, oldest: "_Finished") -> None:
        self._older.popleft()
        self._older_bytes -= oldest.size + oldest.extra
        self._files.unlink(oldest.path)
        with suppress(FileNotFoundError):
            self._files.unlink(self._directory / index_name(oldest.first_seq))
        self._new_name = True


def _line(seq: int, record: bytes) -> bytes:
    return b'{"seq":%d,%b\n' % (seq, record[1:])


def _after(content: bytes, synced: int) -> int:
    """Where the line with this number ends; what follows it may be anything.

    It is not looked for inside records, since JSON escapes line ends. If the line is not there, though it was durable,
    nothing is cut off.
    """
    mark = b'{"seq":%d,' % synced
    at = 0 if content.startswith(mark) else content.find(b"\n" + mark) + 1
    if at == 0 and not content.startswith(mark):
        return content.rfind(b"\n") + 1
    return content.find(b"\n", at) + 1
