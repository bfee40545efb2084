"""The accounting journal: JSON lines in files of their own, under their own budget and retention.

Each line is an accounting record with its sequence number, `{"seq":N,...}`, counted from 1 without holes. Lines come
from the spool's log after they are durable there, and are synced only now and then: after a crash the log completes
the journal, so each number stands exactly once. Files are named by their first number and go oldest first when the
budget or the retention is reached; the journal never takes the spool's room.
Before: the spool's committer and tidier call it. After: `trace`, archives and people read the files.
"""

import re
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Final

from lane_api.relayconfig import Records as RecordsConfig
from lane_relay.clock import Clock
from lane_relay.errors import RelayError
from lane_relay.spool.files import POSIX_FILES, AppendFile, Files

__all__ = ["Journal", "journal_files"]

_FULL: Final = (ENOSPC, EDQUOT)
_NAME: Final = re.compile(r"^records-(\d{16})\.jsonl$")
_FILE_SIZE: Final = 16 * 2**20
"""Bytes at which the next file begins; a 64th of the budget if that is less."""
_AGES: Final = 8
"""Files that a retention's time is spread over at least: records live at most an eighth longer than it."""
_SEQ: Final = re.compile(rb'^\{"seq":(\d+),')


def journal_files(files: Files, directory: Path) -> list[tuple[int, Path]]:
    """(first sequence number, path) of every file, oldest first."""
    found = [(int(matched[1]), directory / name) for name in files.names(directory) if (matched := _NAME.match(name))]
    return sorted(found)


class Journal:
    """See lane_relay.spool.base.JournalSink."""

    def __init__(self, config: RecordsConfig, clock: Clock, files: Files) -> None:
        """Use `open`."""
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
        self._older: deque[tuple[Path, int, float]] = deque()
        """(path, size, Unix time of its end) of finished files, oldest first."""
        self._older_bytes = 0
        self._current = self._directory
        self._began = 0.0
        """Unix time of the current file's beginning."""
        self._last_seq = 0
        self._synced_seq = 0

    @classmethod
    def open(cls, config: RecordsConfig, clock: Clock, files: Files = POSIX_FILES) -> "Journal":
        """Opens the directory; blocks. RelayError if it cannot be used."""
        journal = cls(config, clock, files)
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
        return self._older_bytes + (self._file.size if self._file else 0)

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

    def expire(self) -> None:
        """Removes what is older than the retention, also where nothing is written any more; blocks, raises OSError."""
        with self._lock:
            if self._file is not None and self._is_finished(self._file):
                self._finish(self._file)
            self._drop_old()

    def close(self) -> None:
        """See JournalSink."""
        self.sync()
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

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

    def _find_end(self) -> None:
        """Notes the files and the last whole line; what a crash did to the end is for `reconcile`."""
        found = journal_files(self._files, self._directory)
        for first, path in found:
            size = self._files.size(path)
            self._older.append((path, size, self._files.modified(path)))
            self._older_bytes += size
            self._last_seq = max(self._last_seq, first - 1)
        if found:
            for line in self._files.read(found[-1][1]).split(b"\n")[:-1]:
                self._last_seq = max(self._last_seq, _seq_of(line))

    def _keep_sound(self, synced: int, waiting: deque[tuple[int, bytes]]) -> None:
        """Cuts the journal where it first differs from the log, or is torn, after the number that was synced."""
        found = journal_files(self._files, self._directory)
        later = [item for at, item in enumerate(found) if at + 1 == len(found) or found[at + 1][0] > synced + 1]
        self._last_seq = max(synced, later[0][0] - 1) if later else synced
        for position, (first, path) in enumerate(later):
            content = self._files.read(path)
            start = _after(content, synced) if first <= synced else 0
            keep = self._sound_until(content, start, waiting)
            if keep == len(content) and position + 1 < len(later):
                continue
            for _, stale in reversed(later[position + 1 :]):
                self._forget(stale)
            if keep:
                self._resume(path, keep, len(content))
            else:
                self._forget(path)
            return

    def _sound_until(self, content: bytes, at: int, waiting: deque[tuple[int, bytes]]) -> int:
        while (end := content.find(b"\n", at)) >= 0:
            line = content[at:end]
            seq = self._last_seq + 1
            if _seq_of(line) != seq:
                break
            while waiting and waiting[0][0] < seq:
                waiting.popleft()
            if waiting and waiting[0][0] == seq and _line(*waiting[0]) != line + b"\n":
                break
            self._last_seq = seq
            at = end + 1
        return at

    def _forget(self, path: Path) -> None:
        _, size, _ = self._older.pop()
        self._older_bytes -= size
        self._files.unlink(path)
        self._new_name = True

    def _resume(self, path: Path, keep: int, size: int) -> None:
        file = self._files.open(path)
        if keep != size:
            file.truncate(keep)
        _, _, self._began = self._older.pop()
        self._older_bytes -= size
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
            self._drop_oldest()

    def _room(self, first_seq: int) -> AppendFile:
        if self._file is not None and self._is_finished(self._file):
            self._finish(self._file)
        if self._file is None:
            path = self._directory / f"records-{first_seq:016d}.jsonl"
            self._file = self._files.create(path)
            self._current = path
            self._began = self._clock.now()
            self._new_name = True
        return self._file

    def _is_finished(self, file: AppendFile) -> bool:
        """Whether the next record begins another file: this one is long, or would keep old records beside new ones."""
        age = self._clock.now() - self._began
        return file.size >= self._file_size or (file.size > 0 and age > self._retention / _AGES)

    def _finish(self, file: AppendFile) -> None:
        self._unsynced.append(file)
        self._older.append((self._current, file.size, self._clock.now()))
        self._older_bytes += file.size
        self._file = None

    def _drop_old(self) -> None:
        oldest_kept = self._clock.now() - self._retention
        while self._older and (self.disk_bytes > self._budget or self._older[0][2] < oldest_kept):
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        path, size, _ = self._older.popleft()
        self._older_bytes -= size
        self._files.unlink(path)
        self._new_name = True


def _line(seq: int, record: bytes) -> bytes:
    return b'{"seq":%d,%b\n' % (seq, record[1:])


def _seq_of(line: bytes) -> int:
    matched = _SEQ.match(line)
    return int(matched[1]) if matched else 0


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
