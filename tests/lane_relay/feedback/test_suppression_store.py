"""The suppression list on its volume: what was promised is there after any end, and siblings can follow it."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from lane_api.classes import TrafficClass
from lane_relay.feedback.suppression_store import SuppressionsFailedError, SuppressionsFullError, SuppressionStore
from lane_relay.feedback.suppressions import SHARDS, Reason, Source, Suppressed, pack, unpack

NOW = 1_800_000_000.0


def row(number: int) -> bytes:
    digest = ((number + 1) * 0x9E3779B97F4A7C15F39CC060 % 2**96).to_bytes(12, "big")
    return pack(Suppressed(digest, Reason.COMPLAINT, TrafficClass.BULK, Source.LINK, int(NOW)))


def content(store: SuppressionStore) -> list[bytes]:
    return [store.table.shard(number) for number in range(SHARDS)]


def opened(path: Path, max_rows: int = 1000) -> SuppressionStore:
    return SuppressionStore.open(path, max_rows)


def the_log(path: Path) -> Path:
    """The one log that is there."""
    (found,) = path.glob("log-*")
    return found


async def test_what_add_returned_for_is_there_after_a_kill(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert await store.add([row(number) for number in range(50)]) == 50
    again = opened(tmp_path)  # nothing was closed
    assert content(again) == content(store)
    assert not again.damaged


async def test_many_words_at_once_are_all_kept(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await asyncio.gather(*[store.add([row(number), row(number + 1)]) for number in range(40)])
    await store.close()
    assert opened(tmp_path).table.rows == 41


async def test_a_word_that_is_known_waits_for_the_disk_like_the_first(tmp_path: Path) -> None:
    store = opened(tmp_path)
    first = asyncio.ensure_future(store.add([row(1)]))
    await asyncio.sleep(0)
    assert await store.add([row(1)]) == 0
    assert first.done()


@pytest.mark.parametrize("cut", [1, 13, 25])
async def test_a_torn_end_is_left_out_and_the_rest_stands(tmp_path: Path, cut: int) -> None:
    store = opened(tmp_path)
    await store.add([row(1), row(2)])
    await store.close()
    log = the_log(tmp_path)
    os.truncate(log, log.stat().st_size - cut)
    assert opened(tmp_path).table.rows == 1


async def test_a_flipped_bit_costs_its_row_alone_and_is_counted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([row(1), row(2), row(3)])
    await store.close()
    data = bytearray(the_log(tmp_path).read_bytes())
    data[30] ^= 1
    the_log(tmp_path).write_bytes(data)
    again = opened(tmp_path)
    assert (again.table.rows, again.damaged) == (2, 1)


async def test_a_snapshot_takes_the_place_of_the_logs(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([row(number) for number in range(100)])
    await store.snapshot(NOW)
    await store.add([row(200)])
    await store.close()
    assert [path.name.partition("-")[0] for path in sorted(tmp_path.iterdir())] == ["log", "snapshot"]
    again = opened(tmp_path)
    assert content(again) == content(store)
    assert again.table.rows == 101


async def test_a_kill_between_snapshot_and_the_logs_removal_does_no_harm(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([row(number) for number in range(20)])
    before, log = the_log(tmp_path), the_log(tmp_path).read_bytes()
    await store.snapshot(NOW)
    before.write_bytes(log)
    assert content(opened(tmp_path)) == content(store)


async def test_a_damaged_snapshot_costs_its_shard_alone(tmp_path: Path) -> None:
    store = opened(tmp_path)
    await store.add([row(number) for number in range(100)])
    await store.snapshot(NOW)
    data = bytearray((tmp_path / "snapshot").read_bytes())
    at = data.index(row(7)[:12])
    data[at] ^= 1
    (tmp_path / "snapshot").write_bytes(data)
    again = opened(tmp_path)
    assert again.damaged == 1
    assert 90 <= again.table.rows < 100


async def test_a_failed_fsync_is_told_and_nothing_is_promised_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(tmp_path)

    def fails(_file: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(SuppressionsFailedError, match="Input/output error"):
        await store.add([row(1)])
    monkeypatch.undo()
    with pytest.raises(SuppressionsFailedError):
        await store.add([row(2)])


async def test_a_full_list_says_how_to_make_room(tmp_path: Path) -> None:
    store = opened(tmp_path, max_rows=2)
    await store.add([row(1), row(2)])
    with pytest.raises(SuppressionsFullError, match="maxEntries"):
        await store.add([row(3)])


async def test_a_list_of_another_version_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(b"LWSUPP02" + b"\0" * 100)
    with pytest.raises(Exception, match="another version"):
        opened(tmp_path)


async def follow(store: SuppressionStore, sibling: SuppressionStore, cursor: str, limit: int = 7) -> str:
    while True:
        page = store.page(cursor, limit)
        await sibling.add(page.rows)
        cursor = page.cursor
        if not page.more:
            return cursor


async def test_a_sibling_that_follows_the_cursor_has_the_same_list(tmp_path: Path) -> None:
    store, sibling = opened(tmp_path / "a"), opened(tmp_path / "b")
    await store.add([row(number) for number in range(100)])
    cursor = await follow(store, sibling, "")
    assert content(sibling) == content(store)
    await store.add([row(number) for number in range(100, 130)])
    assert len(store.page(cursor).rows) == 30  # what is new, and nothing else
    cursor = await follow(store, sibling, cursor)
    await store.snapshot(NOW)
    await store.add([row(number) for number in range(130, 140)])
    await follow(store, sibling, cursor)
    assert content(sibling) == content(store)


async def test_a_cursor_of_a_list_that_was_lost_begins_anew(tmp_path: Path) -> None:
    lost, fresh = opened(tmp_path / "a"), opened(tmp_path / "b")
    await lost.add([row(1)])
    await fresh.add([row(2)])
    assert fresh.page(lost.page().cursor).rows == (row(2),)


@pytest.mark.parametrize("cursor", ["nonsense", "log-99-0", "log-", "shard-9999999-1-1", "log--1-2", "shard-1-2"])
async def test_a_cursor_that_is_none_begins_anew(tmp_path: Path, cursor: str) -> None:
    store = opened(tmp_path)
    await store.add([row(1)])
    assert store.page(cursor).rows == (row(1),)


async def test_of_a_list_that_becomes_full_what_it_took_is_there_after_a_kill(tmp_path: Path) -> None:
    store = opened(tmp_path, max_rows=2)
    with pytest.raises(SuppressionsFullError):
        await store.add([row(1), row(2), row(3)])
    again = opened(tmp_path)
    assert again.table.rows == 2
    assert content(again) == content(store)


async def test_words_of_a_full_list_can_be_taken_back(tmp_path: Path) -> None:
    store = opened(tmp_path, max_rows=1)
    await store.add([row(1)])
    word = unpack(row(1))
    assert word is not None
    assert await store.add([pack(replace(word, created=word.created + 1, lifted=True))]) == 1
    (known,) = opened(tmp_path).table.about(word.digest)
    assert known.lifted


def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the volume has no room for another file."""
    real = os.open

    def open_(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", open_)


async def test_without_room_for_a_snapshot_the_log_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(tmp_path)
    await store.add([row(1)])
    full(monkeypatch)
    await store.snapshot(NOW)
    monkeypatch.undo()
    assert await store.add([row(2)]) == 1
    await store.close()
    assert opened(tmp_path).table.rows == 2


async def test_on_a_full_volume_the_list_still_says_who_is_on_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opened(tmp_path)
    await before.add([row(1), row(2)])
    await before.close()
    full(monkeypatch)
    store = opened(tmp_path)
    assert store.table.rows == 2
    with pytest.raises(SuppressionsFailedError, match="No space left"):
        await store.add([row(3)])
    first = store.page()
    assert store.page(first.cursor).rows == ()
    await store.close()


async def test_a_cursor_of_before_a_volume_was_put_back_fits_nothing_of_afterwards(tmp_path: Path) -> None:
    first = opened(tmp_path / "list")
    await first.add([row(0)])
    await first.close()
    shutil.copytree(tmp_path / "list", tmp_path / "snapshot")
    before = opened(tmp_path / "list")
    await before.add([row(number) for number in range(1, 6)])
    cursor = before.page().cursor
    await before.close()
    shutil.rmtree(tmp_path / "list")
    (tmp_path / "snapshot").rename(tmp_path / "list")

    again = opened(tmp_path / "list")
    await again.add([row(number) for number in range(100, 110)])

    assert again.place(cursor) is None
    assert {row(number) for number in range(100, 110)} <= set(again.page(cursor).rows)
    await again.close()
