"""What was answered under which idempotency key, for a day, over restarts and kill -9.

A key's entry is written, durably, before the first of its messages is given to the spool, with the ids that they will
have; and again when they are on disk. After a crash between the two, the spool says which of the ids it has stored
(`asked`, `resolve`), which is why the spool keeps everything since the first write until the second (`Spool.keep`).
So a repeated request stores what is missing and nothing else, whatever the instant of the crash.
Invariants: `save` returns when the entry is on stable storage; keys and bodies are known by digests; the file has a
bound, beyond which keys are refused and never forgotten early. The store is SQLite (write-ahead log, synchronous FULL),
written by one thread, which makes one transaction of all that waits, and after a failed one opens the file again before
the next. Beside them stand `claims`: who answers for a key
in a lane of several slots. Before it: `injection`, `witnesses`. After it: the volume.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import structlog
from msgspec import Struct
from msgspec.msgpack import Decoder, Encoder

from lane_api.relayconfig import RelayConfig
from lane_relay.accept.http import claims
from lane_relay.errors import NOT_OURS, SpoolError, SpoolFullError

__all__ = ["KEPT_S", "Entry", "Ledger", "Outcome"]

KEPT_S: Final = 24 * 3600.0
_PAGE: Final = 4096
_SHARE: Final = 32
"""Of the spool's budget, so that a day of keys cannot crowd out mail: 256 MiB of the default 8 GiB, a million keys."""
_LEAST_PAGES: Final = 1024
_MOST_AT_ONCE: Final = 512
_EXPIRE_EVERY_S: Final = 600.0
_EXPIRED_AT_ONCE: Final = 5000

_log = structlog.get_logger("http")


class Outcome(Struct, frozen=True, array_like=True, gc=False):
    """What was decided of one recipient; fields are only ever added at the end, with defaults."""

    id: bytes = b""
    """Of the message, 12 bytes; empty: refused for good."""
    stored: bool = False
    """Known to be on disk."""
    code: int = 0
    text: str = ""
    """Of a refusal."""


class Entry(Struct, frozen=True, array_like=True, gc=False):
    """One key's request; fields are only ever added at the end, with defaults."""

    body: bytes
    """Digest of the request."""
    at: float
    """Unix time of its first message."""
    outcomes: dict[int, Outcome] = {}
    """By the recipient's place in the request; who is not in it may be tried again."""

    @property
    def is_open(self) -> bool:
        """A message of it may or may not be on disk."""
        return any(one.id and not one.stored for one in self.outcomes.values())


class _Ask(Struct, frozen=True, gc=False):
    run: Callable[[sqlite3.Connection], Any]
    answer: "asyncio.Future[Any]"


_encode: Final = Encoder().encode
_decode: Final = Decoder(Entry).decode


class Ledger:
    """The keys of one slot."""

    def __init__(self, folder: Path, *, spool_bytes: int, now: Callable[[], float]) -> None:
        """Opens the file, making it where there is none; blocks. Raises SpoolError if it cannot be used."""
        self._now = now
        self._asks: SimpleQueue[_Ask | None] = SimpleQueue()
        self._failed: SpoolError | None = None
        self._thread: threading.Thread | None = None
        self._expire_at = 0.0
        self._is_full = False
        self._is_closed = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._path, self._pages = folder / "keys.sqlite", max(_LEAST_PAGES, spool_bytes // _SHARE // _PAGE)
            self._database = _opened(self._path, self._pages)
            _sync_folder(folder)
            _sync_folder(folder.parent)
        except (OSError, sqlite3.Error) as failed:
            raise SpoolError(f"{folder} cannot be used: {failed}") from failed

    @classmethod
    def of(cls, config: RelayConfig, now: Callable[[], float]) -> "Ledger | None":
        """The slot's ledger; None where no request ever came in by HTTP and none will. Blocks; raises SpoolError."""
        folder = Path(config.spool.path) / "http"
        if config.intake.http is None and not folder.exists():
            return None
        return cls(folder, spool_bytes=config.spool.max_size, now=now)

    # -- at the start, before the loop serves anybody

    def asked(self) -> frozenset[int]:
        """Ids of which the ledger does not know whether they were stored."""
        return frozenset(
            int.from_bytes(one.id, "big")
            for _, entry in self._open_entries()
            for one in (entry.outcomes.values() if entry is not None else ())
            if one.id and not one.stored
        )

    def resolve(self, was_stored: Callable[[int], bool]) -> None:
        """Writes down what the spool says of them; blocks. Raises SpoolError."""
        changes = [
            (key, _resolved(entry, was_stored) if entry is not None else None) for key, entry in self._open_entries()
        ]
        try:
            with self._database:
                for key, entry in changes:
                    if entry is not None:
                        _write(self._database, key, entry)
                    else:  # its requests are refused until it is a day old
                        self._database.execute("UPDATE keys SET open = 0 WHERE key = ?", (key,))
        except sqlite3.Error as failed:
            raise SpoolError(f"idempotency keys cannot be kept: {failed}") from failed
        if changes:
            _log.info("requests that were cut off", keys=len(changes))
        self._thread = threading.Thread(target=self._run, name="keys", daemon=True)
        self._thread.start()

    def _open_entries(self) -> list[tuple[bytes, Entry | None]]:
        """None: it is damaged."""
        rows = self._database.execute("SELECT key, entry FROM keys WHERE open = 1").fetchall()
        return [(key, _read(entry)) for key, entry in rows]

    # -- while the relay runs

    @property
    def failed(self) -> str:
        """Why keys cannot be kept since the last write; empty: they can."""
        return str(self._failed or "")

    async def look(self, key: bytes) -> Entry | None:
        """What is known of a key, if it is not older than a day; raises SpoolError, also for what the disk damaged."""
        least = self._now() - KEPT_S

        def run(database: sqlite3.Connection) -> tuple[Any] | None:
            found: tuple[Any] | None = database.execute(
                "SELECT entry FROM keys WHERE key = ? AND at > ?", (key, least)
            ).fetchone()
            return found

        row = await self._ask(run)
        entry = _read(row[0]) if row is not None else None
        if row is not None and entry is None:
            _log.error("what was done under an idempotency key is damaged, its requests are refused for a day")
            raise SpoolError("what was done under this key is damaged")
        return entry

    async def save(self, key: bytes, entry: Entry) -> None:
        """Keeps an entry, or forgets it if it has no message; returns when that is on stable storage.

        Raises SpoolFullError if there is no room for it, SpoolError if nothing can be kept now: whether it was is not
        known then.
        """
        await self._ask(lambda database: _write(database, key, entry))

    async def claim(self, key: bytes, *, asker: str, owner: str, here: str) -> str:
        """Who owns the key in the lane, see `claims.settle`; it is on stable storage then. Raises SpoolError."""
        settle = partial(claims.settle, key=key, asker=asker, owner=owner, here=here, now=self._now(), kept_s=KEPT_S)
        found: str = await self._ask(settle)
        return found

    async def lane_for(self, slots: tuple[str, ...]) -> float:
        """Seconds for which the lane has had these slots and no others, see `claims`. Raises SpoolError."""
        since: float = await self._ask(partial(claims.lane_since, slots=slots, now=self._now()))
        return self._now() - since

    async def _ask(self, run: Callable[[sqlite3.Connection], Any]) -> Any:
        if self._is_closed:
            raise SpoolError("idempotency keys are closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asks.put(_Ask(run, answer))
        return await answer

    def close(self) -> None:
        """Ends the thread after all that waits; blocks."""
        self._is_closed = True
        if self._thread is not None:
            self._asks.put(None)
            self._thread.join()
        else:
            self._database.close()

    # -- the thread

    def _run(self) -> None:
        going = True
        while going:
            batch, going = self._next()
            if batch:
                self._transact(batch)
            self._expire()
        self._database.close()

    def _next(self) -> tuple[list[_Ask], bool]:
        """All that waits, at least one."""
        batch: list[_Ask] = []
        one = self._asks.get()
        while one is not None:
            batch.append(one)
            if self._asks.empty() or len(batch) >= _MOST_AT_ONCE:
                return batch, True
            one = self._asks.get()
        return batch, False

    def _transact(self, batch: list[_Ask]) -> None:
        """One transaction, and its answers once it is durable; what fails, fails for all of it."""
        answers: list[Any] = []
        try:
            if self._failed is not None:
                self._reopen()
            with self._database:
                answers += [one.run(self._database) for one in batch]
        except sqlite3.OperationalError as failed:
            if failed.sqlite_errorcode == sqlite3.SQLITE_FULL:
                if not self._is_full:
                    _log.error("no room for more idempotency keys: requests with new ones are refused")
                self._is_full = True
                self._fail(batch, SpoolFullError("there are too many idempotency keys of the last 24 h"))
            else:
                self._fail(batch, self._give_up(failed))
        except Exception as failed:  # noqa: BLE001 -- whatever it is: nobody who asked may wait for ever
            self._fail(batch, self._give_up(failed))
        else:
            self._is_full = False
            if self._failed is not None:
                _log.info("idempotency keys can be kept again")
                self._failed = None
            for one, answer in zip(batch, answers, strict=True):
                one.answer.get_loop().call_soon_threadsafe(_answer, one.answer, answer, None)

    def _give_up(self, failed: Exception) -> SpoolError:
        """After a failed write nobody knows what is on disk: nothing more is written over it, see `_reopen`."""
        if self._failed is None:
            _log.error("requests with idempotency keys are refused until they can be kept", reason=str(failed))
        self._failed = SpoolError(f"idempotency keys cannot be kept: {failed}")
        return self._failed

    def _reopen(self) -> None:
        """Reads the file anew and moves what is in its log into it, durably, so that nothing comes to stand in the log
        after what may never have reached the disk. Raises sqlite3.Error or SpoolError while that fails, too.
        """
        self._database.close()
        self._database = _opened(self._path, self._pages)
        if self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            raise SpoolError("somebody else reads their file")

    def _fail(self, batch: Iterable[_Ask], error: SpoolError) -> None:
        for one in batch:
            one.answer.get_loop().call_soon_threadsafe(_answer, one.answer, None, error)

    def _expire(self) -> None:
        """Lets go what is older than a day, some at a time."""
        now = self._now()
        if now < self._expire_at or self._failed is not None:
            return
        try:
            with self._database:
                gone = self._database.execute(
                    "DELETE FROM keys WHERE key IN (SELECT key FROM keys WHERE at <= ? AND open = 0 LIMIT ?)",
                    (now - KEPT_S, _EXPIRED_AT_ONCE),
                ).rowcount
                gone = max(gone, claims.expire(self._database, now=now, kept_s=KEPT_S, most=_EXPIRED_AT_ONCE))
        except sqlite3.Error as failed:
            _log.error("old idempotency keys stay for now", reason=str(failed))
            gone = 0
        self._expire_at = now if gone >= _EXPIRED_AT_ONCE else now + _EXPIRE_EVERY_S


def _answer(future: "asyncio.Future[Any]", value: Any, error: SpoolError | None) -> None:
    if future.done():  # whoever asked is gone
        return
    if error is None:
        future.set_result(value)
    else:
        future.set_exception(error)


def _opened(path: Path, pages: int) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False)
    for setting in (
        f"page_size = {_PAGE}",
        "journal_mode = WAL",
        "synchronous = FULL",  # each commit is fsynced before it returns
        f"max_page_count = {pages}",
        "journal_size_limit = 4194304",
    ):
        database.execute(f"PRAGMA {setting}")
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS keys "
            "(key BLOB PRIMARY KEY, at REAL NOT NULL, open INTEGER NOT NULL, entry BLOB NOT NULL) WITHOUT ROWID"
        )
        database.execute("CREATE INDEX IF NOT EXISTS by_age ON keys (at)")
        database.execute("CREATE INDEX IF NOT EXISTS still_open ON keys (key) WHERE open = 1")
        for statement in claims.TABLE:
            database.execute(statement)
    return database


def _read(content: Any) -> Entry | None:
    """None: it is damaged."""
    try:
        return _decode(content)
    except (*NOT_OURS, TypeError):  # what SQLite takes for another type than it was
        return None


def _write(database: sqlite3.Connection, key: bytes, entry: Entry) -> None:
    """Without a message an entry has nothing to say, and goes."""
    if not any(one.id for one in entry.outcomes.values()):
        database.execute("DELETE FROM keys WHERE key = ?", (key,))
        return
    database.execute(
        "INSERT OR REPLACE INTO keys (key, at, open, entry) VALUES (?, ?, ?, ?)",
        (key, entry.at, int(entry.is_open), _encode(entry)),
    )


def _resolved(entry: Entry, was_stored: Callable[[int], bool]) -> Entry:
    outcomes = {}
    for place, one in entry.outcomes.items():
        if not one.id or one.stored:
            outcomes[place] = one
        elif was_stored(int.from_bytes(one.id, "big")):
            outcomes[place] = Outcome(one.id, stored=True)
    return Entry(entry.body, entry.at, outcomes)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
