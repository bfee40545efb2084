"""Promises 1 and 2 against power loss, by the operating system's own calls: the spool's real files under strace.

test_power_loss.py judges what the spool asks of its files; here, what those files ask of the kernel is recorded from a
process of its own, replayed onto the simulated disk and given to the same judge. It must find losses where the same
process's fdatasync, or its fsync of directories, does nothing.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from e2e.internet import packages
from tests.lane_relay.spool.disk import SimulatedDisk
from tests.lane_relay.spool.judge import complaints
from tests.lane_relay.spool.traced import STRACE, replayed
from tests.lane_relay.spool.workloads import WORKLOADS, Workload, puts, rotation

ROOT = Path(__file__).parents[3]


def _recorded(folder: Path, workload: Workload, *without: str) -> SimulatedDisk:
    """The trace of a process that runs the workload, calls of `os` left out of it."""
    packages.install(packages.STRACE)
    trace, disk = folder / "trace", folder / "disk"
    for name in ("spool", "records"):  # a slot's volume is there before its relay
        (disk / name).mkdir(parents=True)
    writer = [sys.executable, "-m", "tests.lane_relay.spool.traced_writer", str(disk), workload.__name__, *without]
    subprocess.run([*STRACE, str(trace), *writer], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=120)
    return replayed(trace, disk)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_state_after_a_power_loss_keeps_what_was_promised(tmp_path: Path, workload: Workload) -> None:
    disk = _recorded(tmp_path, workload)

    assert [mark for _, mark in disk.marks() if isinstance(mark, tuple) and mark[0] == "stored"]
    assert complaints(disk, random_images=2) == []


@pytest.mark.parametrize("workload", [puts, rotation])
@pytest.mark.parametrize("call", ["fdatasync", "fsync"])
def test_the_judge_finds_messages_lost_by_files_that_skip_a_sync(tmp_path: Path, workload: Workload, call: str) -> None:
    disk = _recorded(tmp_path, workload, call)

    assert [one for one in complaints(disk, random_images=0) if ": lost [" in one]


def test_a_sync_covers_only_what_had_ended_when_it_began(tmp_path: Path) -> None:
    def hexed(text: str) -> str:
        return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'

    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_bytes(b"12")
    lines = [
        f"1 openat(AT_FDCWD, {hexed(str(tmp_path / 'disk' / 'a'))}, O_RDWR|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 5",
        f"1 pwritev2(5, [{{iov_base={hexed('1')}, iov_len=1}}], 1, 0, 0) = 1",
        "2 fdatasync(5 <unfinished ...>",
        f"1 pwrite64(5, {hexed('2')}, 1, 1)      = 1",
        f"1 write(1, {hexed(json.dumps(['stored', 7]))}, 13 <unfinished ...>",
        "2 <... fdatasync resumed>)          = 0",
        "1 <... write resumed>)              = 13",
    ]
    (tmp_path / "trace").write_text("\n".join(lines))

    disk = replayed(tmp_path / "trace", tmp_path / "disk")

    assert [event[0] for event in disk.trace] == ["name", "write", "mark", "sync", "write"]
    assert [event[-1] for event in disk.trace if event[0] == "write"] == [b"1", b"2"]


def test_what_the_trace_does_not_explain_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").touch()
    (tmp_path / "trace").touch()

    with pytest.raises(ValueError, match="the trace does not explain"):
        replayed(tmp_path / "trace", tmp_path / "disk")
