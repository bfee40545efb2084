"""kill -9 of a process that stores and settles as fast as it can: what it was promised is there.

This keeps the page cache; power loss is judged in test_power_loss.py.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lane_relay.spool.files import POSIX_FILES
from tests.lane_relay.spool.making import journal_lines, open_spool

ROOT = Path(__file__).parents[3]


def _ledger(directory: Path, lines: int) -> list[tuple[str, int]]:
    """Runs the writer until it has said so many lines, kills it, and reads what it said until it died."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.lane_relay.spool.writer", str(directory)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    with child.stdout:
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    assert child.wait(60) == -signal.SIGKILL
    return [(line.split()[0].decode(), int(line.split()[1], 16)) for line in said if line.endswith(b"\n")]


@pytest.mark.parametrize("lines", [60, 2500])
async def test_a_killed_process_loses_nothing_it_was_promised(tmp_path: Path, lines: int) -> None:
    promised: dict[str, set[int]] = {"stored": set(), "settling": set(), "flushed": set()}
    for _ in range(2):  # the second one begins on what the first one left
        for what, message_id in _ledger(tmp_path, lines):
            promised[what].add(message_id)
    spool = open_spool(POSIX_FILES, spool=tmp_path / "spool", records=tmp_path / "records", budget=2**28)
    live = {entry.id for entry in spool.recover()}
    journal = journal_lines(POSIX_FILES, tmp_path / "records")
    damaged = spool.state.damaged
    await spool.close()

    assert len(promised["stored"]) >= lines // 2
    assert promised["stored"] - promised["settling"] <= live
    assert damaged == 0
    assert [line["seq"] for line in journal] == list(range(1, len(journal) + 1))
    receptions = [int(str(line["id"]), 16) for line in journal if line["type"] == "Reception"]
    assert len(receptions) == len(set(receptions))
    assert promised["stored"] <= set(receptions)
    delivered = {int(str(line["id"]), 16) for line in journal if line["type"] == "Delivery"}
    assert not delivered & live
