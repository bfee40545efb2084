"""The ledger of idempotency keys: on disk when it says so, resolved by the spool, bounded, and gone after a day."""

import asyncio
import os
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lane_relay.accept.http.ledger import KEPT_S, Entry, Ledger, Outcome
from lane_relay.errors import SpoolError, SpoolFullError

ROOT = Path(__file__).parents[4]
NOW = 1_800_000_000.0


class Time:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def opened(
    folder: Path, time: Time | None = None, *, spool_bytes: int = 2**33, stored: frozenset[int] = frozenset()
) -> Ledger:
    ledger = Ledger(folder, spool_bytes=spool_bytes, now=time or Time())
    ledger.resolve(lambda one: one in stored)
    return ledger


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def entry(*ids: int, stored: bool = False, at: float = NOW) -> Entry:
    outcomes = {place: Outcome(one.to_bytes(12, "big"), stored=stored) for place, one in enumerate(ids)}
    return Entry(b"body", at, outcomes)


async def test_what_was_saved_is_found_also_after_a_restart(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    whole = Entry(
        b"body", NOW, {0: Outcome((5).to_bytes(12, "big"), stored=True), 1: Outcome(code=550, text="5.1.3 no")}
    )
    await ledger.save(key(1), whole)
    assert await ledger.look(key(1)) == whole
    assert await ledger.look(key(2)) is None
    ledger.close()
    again = opened(tmp_path)
    assert await again.look(key(1)) == whole
    again.close()


async def test_after_a_crash_the_spool_says_which_messages_there_are(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    await ledger.save(key(1), entry(1, 2, 3))
    await ledger.save(key(2), entry(4, stored=True))
    await ledger.save(key(3), entry(6))
    ledger.close()

    again = Ledger(tmp_path, spool_bytes=2**33, now=Time())
    assert again.asked() == {1, 2, 3, 6}
    again.resolve(lambda one: one in (1, 3))
    found = await again.look(key(1))
    assert found is not None
    assert {place: one.stored for place, one in found.outcomes.items()} == {0: True, 2: True}
    assert not found.is_open
    assert await again.look(key(3)) is None
    assert again.asked() == frozenset()
    again.close()


async def test_a_key_is_forgotten_after_a_day_unless_its_messages_are_unknown(tmp_path: Path) -> None:
    time = Time()
    ledger = opened(tmp_path, time)
    await ledger.save(key(1), entry(1, stored=True))
    time.now += KEPT_S - 1
    assert await ledger.look(key(1)) is not None
    time.now += 2
    assert await ledger.look(key(1)) is None
    await ledger.save(key(2), entry(2, at=NOW))
    await asyncio.gather(*(ledger.look(key(9)) for _ in range(3)))
    ledger.close()
    again = Ledger(tmp_path, spool_bytes=2**33, now=time)
    assert again.asked() == {2}
    again.resolve(lambda _: True)
    again.close()


async def test_keys_beyond_the_bound_are_refused_and_none_is_forgotten_for_them(tmp_path: Path) -> None:
    time = Time()
    ledger = opened(tmp_path, time, spool_bytes=0)
    kept: list[int] = []
    refused = False
    while not refused:
        try:
            await ledger.save(key(len(kept)), entry(*range(1, 300), stored=True))
        except SpoolFullError:
            refused = True
        else:
            kept.append(len(kept))
    assert len(kept) > 100
    assert await ledger.look(key(kept[0])) is not None
    assert await ledger.look(key(kept[-1])) is not None
    time.now += KEPT_S + 601
    await ledger.look(key(0))
    await ledger.save(key(0), entry(1, at=time.now))
    ledger.close()
    assert sum(one.stat().st_size for one in tmp_path.iterdir()) < 16 * 2**20


@pytest.mark.parametrize("content", [b"\xc1", b"", "text", 5])
async def test_an_entry_that_the_disk_damaged_is_refused_for_a_day_and_ends_nothing(
    tmp_path: Path, content: object
) -> None:
    time = Time()
    ledger = opened(tmp_path, time)
    await ledger.save(key(1), entry(1))
    await ledger.save(key(2), entry(2))
    with sqlite3.connect(tmp_path / "keys.sqlite") as database:
        database.execute("UPDATE keys SET entry = ? WHERE key = ?", (content, key(1)))
    with pytest.raises(SpoolError, match="damaged"):
        await ledger.look(key(1))
    assert await ledger.look(key(2)) == entry(2)
    ledger.close()

    again = Ledger(tmp_path, spool_bytes=2**33, now=time)
    assert again.asked() == {2}
    again.resolve(lambda _: True)
    with pytest.raises(SpoolError, match="damaged"):
        await again.look(key(1))
    time.now += KEPT_S + 1
    assert await again.look(key(1)) is None
    again.close()


async def test_a_closed_or_unusable_ledger_says_so(tmp_path: Path) -> None:
    ledger = opened(tmp_path / "a")
    ledger.close()
    with pytest.raises(SpoolError):
        await ledger.look(key(1))
    (tmp_path / "b").write_text("no folder")
    with pytest.raises(SpoolError):
        opened(tmp_path / "b")


async def test_after_a_failed_write_the_file_is_opened_again_and_nothing_that_was_kept_is_missing(
    tmp_path: Path,
) -> None:
    ledger = opened(tmp_path)
    await ledger.save(key(1), entry(1))
    with no_file_may_grow():
        for _ in range(2):
            with pytest.raises(SpoolError, match="cannot be kept"):
                await ledger.save(key(2), entry(*range(500)))
        assert "disk I/O error" in ledger.failed
    await ledger.save(key(3), entry(3))
    assert ledger.failed == ""
    assert await ledger.look(key(1)) == entry(1)
    assert await ledger.look(key(2)) in (None, entry(*range(500))), "half of a transaction"
    ledger.close()
    again = opened(tmp_path)
    assert await again.look(key(3)) is None
    again.close()


@contextmanager
def no_file_may_grow() -> Iterator[None]:
    """Writes beyond the first 4 KiB of any file fail, as on a broken disk (EFBIG; Python ignores the signal)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


WRITER = """
import asyncio, itertools, os, sys
from pathlib import Path
from tests.lane_relay.accept.http.test_ledger import entry, key, opened

async def main():
    ledger = opened(Path(sys.argv[1]))
    async def one(first):
        for number in itertools.count(first, 8):
            await ledger.save(key(number), entry(number + 1))
            os.write(1, b"%d\\n" % number)
    await asyncio.gather(*(one(at) for at in range(8)))

asyncio.run(main())
"""


async def test_what_was_said_to_be_saved_survives_kill_9(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(  # noqa: ASYNC220 -- nothing else runs on the loop
        [sys.executable, "-c", WRITER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, env=environment
    )
    assert child.stdout is not None
    with child.stdout:
        said = [child.stdout.readline() for _ in range(200)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    assert child.wait(60) == -signal.SIGKILL
    ledger = Ledger(tmp_path, spool_bytes=2**33, now=Time())
    assert {int(line) + 1 for line in said if line.endswith(b"\n")} <= ledger.asked()
    ledger.resolve(lambda _: True)
    ledger.close()
