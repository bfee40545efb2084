"""The suppression list on the slot's volume: an append log, and a snapshot that takes its place when it is long.

Files: `snapshot` (whole shards, each with its checksum) and `log-N` (rows, each with its own). A row counts once it is
in a log that was fsynced; the snapshot is written beside, while new rows go to the next log, and only then are the
logs before it removed. So the snapshot may hold what the logs hold too, which does no harm: rows merge.
Invariants: `add` returns when its rows are on stable storage; a failed write or fsync is never retried, the list then
takes no more words in this process's life and says so; a torn or damaged row is left out and counted, the rest stands.
Before it: reports, people, imports, siblings. After it: `SuppressionTable`, which answers from memory. The first log
of a folder has a random number, so that a cursor of a list that was lost fits none that came after it.
"""

import asyncio
import os
import secrets
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from lane_relay.errors import RelayError
from lane_relay.feedback.suppressions import ROW_SIZE, SHARDS, SuppressionTable

__all__ = ["Page", "SuppressionStore", "SuppressionsFailedError", "SuppressionsFullError"]

_MAGIC: Final = b"LWSUPP01"
_STEP_BITS: Final = 20
_RECORD: Final = ROW_SIZE + 4
_SHARD_HEAD: Final = struct.Struct(">II")
LOG_LIMIT: Final = 4 * 2**20
"""Bytes of log at which a snapshot is worth it, where the snapshot is not larger still."""
PAGE_ROWS: Final = 5000

_log = structlog.get_logger("feedback")


class SuppressionsFailedError(RelayError):
    """The volume did not take a row; nothing was promised about it."""


class SuppressionsFullError(RelayError):
    """The list has as many rows as it may have, and none that may go for another."""

    def __init__(self, most: int, left_out: int) -> None:
        super().__init__(f"the suppression list has {most} entries, and none may go for another: raise maxEntries")
        self.left_out = left_out
        """Words that were not taken."""


class Page(Struct, frozen=True):
    """A part of the list, and where to go on."""

    rows: tuple[bytes, ...]
    cursor: str
    """Opaque; asked again with it, a slot gives what came later. A cursor of another life of the list begins anew."""
    more: bool
    """There is more already."""


class SuppressionStore:
    """The list of one slot; all methods but `open` are called on the event loop."""

    def __init__(self, directory: Path, max_rows: int) -> None:
        """Use `open`."""
        self.table = SuppressionTable()
        self.damaged = 0
        """Rows that could not be read back."""
        self.failed = ""
        """Why it takes no more words, or empty."""
        self._directory = directory
        self._max_rows = max_rows
        self._number = 0
        self._file = -1
        self._size = 0
        self._snapshot_bytes = 0
        self._older_bytes = 0
        """Of the logs before this process's."""
        self._waiting: list[tuple[bytes, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._disk = threading.Lock()

    @classmethod
    def open(cls, directory: str | Path, max_rows: int) -> "SuppressionStore":
        """Reads the list; blocks. Raises RelayError if it cannot be read; if nothing can be written it has `failed`."""
        store = cls(Path(directory), max_rows)
        try:
            store._directory.mkdir(parents=True, exist_ok=True)
            store._read_snapshot()
            for number in store._logs():
                store._read_log(number)
        except OSError as failed:
            raise RelayError(f"suppressions {directory} cannot be used: {failed}") from failed
        try:
            # with a step that no other life of a volume put back takes, so that no cursor of before fits a log of after
            store._begin_log(max(store._logs(), default=secrets.randbits(40)) + 1 + secrets.randbits(_STEP_BITS))
        except OSError as failed:  # a full volume: who is on the list is not mailed all the same
            store.failed = f"the suppression list cannot be written: {failed}"
            _log.error("suppressions failed", reason=store.failed)
            store._number = max(store._logs(), default=0)  # siblings read on from there
            store._size = store._older_bytes and store._log_path(store._number).stat().st_size
        return store

    def apply(self, max_rows: int) -> None:
        """Another bound, from the next row on."""
        self._max_rows = max_rows

    # -- words

    async def add(self, rows: Iterable[bytes]) -> int:
        """Takes words in and returns how many were news, when they are on the volume; raises the errors above.

        Of a list that is full, what it has room for is on the volume as well.
        """
        if self.failed:
            raise SuppressionsFailedError(self.failed)
        news, left_out = [], 0
        for row in rows:
            if self.table.rows >= self._max_rows and not self.table.knows(row):
                left_out += 1  # what is known may still be taken back, or said again
            elif self.table.merge(row):
                news.append(row + zlib.crc32(row).to_bytes(4, "big"))
        if news or self._waiting or self._writer is not None:  # what is known may still be on its way to the disk
            done = asyncio.get_running_loop().create_future()
            self._waiting.append((b"".join(news), done))
            if self._writer is None:
                self._writer = asyncio.get_running_loop().create_task(self._write())
            await done
        if left_out:
            raise SuppressionsFullError(self._max_rows, left_out)
        return len(news)

    async def _write(self) -> None:
        """Writes what waits, one fsync for all that came meanwhile."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    await asyncio.to_thread(self._append, b"".join(data for data, _ in batch))
                except OSError as failed:
                    self.failed = f"the suppression list cannot be written: {failed}"
                    _log.error("suppressions failed", reason=self.failed)
                except Exception as broken:  # noqa: BLE001 -- or whoever waits for these words would wait for ever
                    self.failed = f"the suppression list cannot be written: {broken!r}"
                    _log.error("suppressions failed", reason=self.failed, exc_info=broken)
                for _, done in batch:
                    if done.cancelled():
                        continue
                    if self.failed:
                        done.set_exception(SuppressionsFailedError(self.failed))
                    else:
                        done.set_result(None)
        finally:
            self._writer = None

    def _append(self, data: bytes) -> None:
        if self.failed:
            raise OSError(self.failed)
        with self._disk:
            if data:
                _write_all(self._file, data)
                os.fsync(self._file)
                self._size += len(data)

    # -- reading on

    @property
    def end(self) -> tuple[int, int]:
        """The place behind the last row on the volume: log and offset; places compare as what was said."""
        return self._number, self._size

    def place(self, cursor: str) -> tuple[int, int] | None:
        """The place up to which whoever has this cursor has every row; None: not all of any place."""
        kind, _, rest = cursor.partition("-")
        numbers = [int(part) for part in rest.split("-") if part.isdecimal() and len(part) < 16]
        if kind == "log" and len(numbers) == 2 and self._has(numbers[0], numbers[1]):
            return numbers[0], numbers[1]
        return None

    def page(self, cursor: str = "", limit: int = PAGE_ROWS) -> Page:
        """The rows behind a cursor; empty: from the beginning. Rows may come twice, which merging does not mind."""
        kind, _, rest = cursor.partition("-")
        numbers = [int(part) for part in rest.split("-") if part.isdecimal() and len(part) < 16]
        if kind == "shard" and len(numbers) == 3 and numbers[0] < SHARDS:
            return self._shard_page(numbers[0], numbers[1], numbers[2], limit)
        place = self.place(cursor)
        if place is not None:
            return self._log_page(*place, limit)
        return self._shard_page(0, self._number, self._size, limit)

    def _has(self, number: int, offset: int) -> bool:
        try:
            return not offset % _RECORD and offset <= self._log_path(number).stat().st_size
        except OSError:
            return False

    def _shard_page(self, first: int, number: int, offset: int, limit: int) -> Page:
        rows: list[bytes] = []
        shard = first
        while shard < SHARDS and len(rows) < limit:
            whole = self.table.shard(shard)
            rows += [whole[at : at + ROW_SIZE] for at in range(0, len(whole), ROW_SIZE)]
            shard += 1
        if shard < SHARDS:
            return Page(tuple(rows), f"shard-{shard}-{number}-{offset}", more=True)
        return Page(tuple(rows), f"log-{number}-{offset}", more=number < self._number or offset < self._size)

    def _log_page(self, number: int, offset: int, limit: int) -> Page:
        is_current = number == self._number
        with self._log_path(number).open("rb") as file:
            file.seek(offset)
            end = self._size if is_current else file.seek(0, os.SEEK_END)
            file.seek(offset)
            data = file.read(max(0, min(limit * _RECORD, end - offset)))
        whole = len(data) - len(data) % _RECORD
        rows = tuple(row for row in _records(data[:whole]) if row is not None)
        offset += whole
        if not is_current and (offset + _RECORD > end or not whole):
            number, offset = min(one for one in self._logs() if one > number), 0
        more = number < self._number or offset < self._size
        return Page(rows, f"log-{number}-{offset}", more)

    # -- the snapshot

    @property
    def wants_snapshot(self) -> bool:
        """The log has become long."""
        return not self.failed and self._size + self._older_bytes > max(LOG_LIMIT, self._snapshot_bytes // 2)

    async def snapshot(self, now: float) -> None:
        """Writes the list in one piece and drops the logs before it; a failure leaves all as it was but for the log."""
        try:
            before = await asyncio.to_thread(self._next_log)
            for number in range(SHARDS):
                self.table.forget_dead(number, now)
                if number % 8 == 0:  # of five million words some milliseconds
                    await asyncio.sleep(0)
            await asyncio.to_thread(self._write_snapshot, before)
        except OSError as failed:
            _log.error("suppressions: no snapshot, the log grows on", reason=str(failed))

    def _next_log(self) -> int:
        with self._disk:
            before, file = self._number, self._file
            self._begin_log(max(self._logs()) + 1)
            os.close(file)
        return before

    def _write_snapshot(self, before: int) -> None:
        path, fresh = self._directory / "snapshot", self._directory / "snapshot.new"
        size = 0
        with fresh.open("wb") as file:
            file.write(_MAGIC)
            for number in range(SHARDS):
                rows = self.table.shard(number)  # one copy under the interpreter's lock: a shard never changes in it
                file.write(_SHARD_HEAD.pack(len(rows), zlib.crc32(rows)) + rows)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        fresh.replace(path)
        _sync_directory(self._directory)
        self._snapshot_bytes, self._older_bytes = size, 0
        for number in self._logs():
            if number <= before:
                self._log_path(number).unlink()

    async def close(self) -> None:
        """Waits for what is being written, and gives up the file."""
        while self._writer is not None:
            await asyncio.wait([self._writer])
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # -- opening

    def _logs(self) -> list[int]:
        names = (path.name.removeprefix("log-") for path in self._directory.glob("log-*"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _log_path(self, number: int) -> Path:
        return self._directory / f"log-{number}"

    def _begin_log(self, number: int) -> None:
        """If it cannot be begun, the one before stays in use."""
        file = os.open(self._log_path(number), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        try:
            _sync_directory(self._directory)
        except OSError:
            os.close(file)
            raise
        self._number, self._size, self._file = number, 0, file

    def _read_snapshot(self) -> None:
        try:
            data = (self._directory / "snapshot").read_bytes()
        except FileNotFoundError:
            return
        if data[: len(_MAGIC)] != _MAGIC:
            raise OSError(f"{self._directory}/snapshot is of another version: use the relay's image of that release")
        at = len(_MAGIC)
        for number in range(SHARDS):
            if len(data) - at < _SHARD_HEAD.size:
                self.damaged += 1
                break
            length, checksum = _SHARD_HEAD.unpack_from(data, at)
            at += _SHARD_HEAD.size
            rows = data[at : at + length]
            at += length
            if len(rows) == length and length % ROW_SIZE == 0 and zlib.crc32(rows) == checksum:
                self.table.load_shard(number, rows)
            else:
                self.damaged += 1
        self._snapshot_bytes = len(data)

    def _read_log(self, number: int) -> None:
        data = self._log_path(number).read_bytes()
        self._older_bytes += len(data)
        for row in _records(data):  # behind a torn end there is nothing that was ever promised
            if row is None:
                self.damaged += 1
            else:
                self.table.merge(row)


def _records(data: bytes) -> Iterator[bytes | None]:
    """The rows of a log, None for each that does not check."""
    for at in range(0, len(data) - _RECORD + 1, _RECORD):
        row = data[at : at + ROW_SIZE]
        yield row if zlib.crc32(row).to_bytes(4, "big") == data[at + ROW_SIZE : at + _RECORD] else None


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
