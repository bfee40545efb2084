"""Promise 1 and 2 against power loss: evidence by every legal state of the disk, not by kill -9, which keeps the cache.

Each workload runs once on a simulated disk that records its trace with the promises made on the way; then, for every
point of the trace, the states that the disk may be left in are recovered and judged. The same judge must find fault
with a spool whose disk skips fdatasync, and with one that skips the sync of directories.
"""

import pytest

from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.judge import complaints
from tests.lane_relay.spool.making import SPOOL, open_spool
from tests.lane_relay.spool.workloads import BUDGET, SEGMENT_SIZE, WORKLOADS, Ledger, Workload, settlements


async def _trace(workload: Workload, *, files_synced: bool = True, names_synced: bool = True) -> SimulatedDisk:
    disk = SimulatedDisk()
    disk.syncs_files, disk.syncs_directories = files_synced, names_synced
    spool = open_spool(disk, segment_size=SEGMENT_SIZE, budget=BUDGET)
    ledger = Ledger(spool, disk, SPOOL, disk.mark)
    await workload(ledger)
    await spool.close()
    return disk


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_every_state_after_a_power_loss_keeps_what_was_promised(workload: Workload) -> None:
    disk = await _trace(workload)

    assert complaints(disk, random_images=6) == []


async def test_a_commit_torn_at_any_byte_keeps_what_was_promised() -> None:
    disk = await _trace(settlements)

    assert complaints(disk, random_images=0, every_byte=True) == []


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_the_judge_catches_a_spool_that_skips_fdatasync(workload: Workload) -> None:
    disk = await _trace(workload, files_synced=False)

    assert complaints(disk, random_images=0, stop=True)


@pytest.mark.parametrize("workload", WORKLOADS)
async def test_the_judge_catches_a_spool_that_skips_the_sync_of_its_directory(workload: Workload) -> None:
    disk = await _trace(workload, names_synced=False)

    assert complaints(disk, random_images=0, stop=True)
