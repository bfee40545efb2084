"""Fills a small real volume, settles everything, and goes on: run inside a mount namespace by test_full_volume.py."""

import asyncio
import sys
from pathlib import Path

from lane_relay.errors import SpoolFullError
from lane_relay.records import QueueEntry
from lane_relay.spool.files import POSIX_FILES
from tests.lane_relay.spool.making import message_for, open_spool, put, settle, until


async def main(volume: Path, records: Path) -> None:
    spool = open_spool(POSIX_FILES, spool=volume / "spool", records=records, budget=2**26, segment_size=2**18)
    entries: list[QueueEntry] = []
    try:
        while True:
            entries += await put(spool, message_for(spool, body=b"x" * 50_000))
    except SpoolFullError:
        assert spool.state.full
        assert not spool.state.failed
    for entry in entries:
        settle(spool, entry)
    await spool.flush()
    assert spool.state.live_messages == 0
    await until(lambda: not spool.state.full)
    await put(spool, message_for(spool))
    await spool.close()
    print(f"filled with {len(entries)}, healed")  # what the test reads


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
