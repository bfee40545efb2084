"""A process that runs one workload on the operating system's files, and says each mark in a write of its own.

`python -m tests.lane_relay.spool.traced_writer FOLDER WORKLOAD [CALL...]`: each CALL of `os` does nothing
once the spool is open.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from lane_relay.spool.files import POSIX_FILES
from tests.lane_relay.spool.making import open_spool
from tests.lane_relay.spool.workloads import BUDGET, SEGMENT_SIZE, WORKLOADS, Ledger, Mark, Workload


def _say(mark: Mark) -> None:
    os.write(1, json.dumps(mark).encode() + b"\n")


async def main(folder: Path, workload: Workload, without: list[str]) -> None:
    spool = open_spool(
        POSIX_FILES,
        spool=folder / "spool",
        records=folder / "records",
        segment_size=SEGMENT_SIZE,
        budget=BUDGET,
    )
    for call in without:
        setattr(os, call, lambda _: None)
    await workload(Ledger(spool, POSIX_FILES, folder / "spool", _say))
    await spool.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), next(one for one in WORKLOADS if one.__name__ == sys.argv[2]), sys.argv[3:]))
