"""A process that stores and settles messages until it is killed, and says on standard output what it was promised."""

import asyncio
import itertools
import os
import sys
from pathlib import Path

from lane_relay.spool.files import POSIX_FILES
from lane_relay.spool.log import SegmentSpool
from tests.lane_relay.spool.making import message_for, open_spool, put, settle


def _say(what: str, message_id: int) -> None:
    os.write(1, f"{what} {message_id:024x}\n".encode())


async def _one_sender(spool: SegmentSpool, number: int) -> None:
    for turn in itertools.count():
        (entry,) = await put(spool, message_for(spool, body=bytes([65 + number]) * (3000 + turn % 7)))
        _say("stored", entry.id)
        if turn % 3:
            _say("settling", entry.id)
            settle(spool, entry)
        if turn % 10 == 9:
            await spool.flush()
            _say("flushed", entry.id)


async def main(directory: Path) -> None:
    spool = open_spool(
        POSIX_FILES, spool=directory / "spool", records=directory / "records", segment_size=2**18, budget=2**28
    )
    async with asyncio.TaskGroup() as senders:
        for number in range(12):
            senders.create_task(_one_sender(spool, number))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
