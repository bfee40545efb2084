"""A process is its pid and its start time; a reused pid is somebody else."""

import os
import signal
import subprocess
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.cluster.errors import ClusterError
from e2e.cluster.processes import Process, Processes, parse_stat, poll, started_at


def _sleeper(tmp_path: Path) -> tuple[Processes, Process]:
    processes = Processes(tmp_path / "records")
    return processes, processes.spawn("sleeper", ["sleep", "60"], tmp_path / "log", [])


def test_a_command_with_spaces_and_brackets_does_not_shift_the_start_time() -> None:
    after = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
    assert parse_stat(f"42 (a ) S 9 (b) {after}") == ("S", 4711)


def test_a_spawned_program_is_alive_recorded_and_ended(tmp_path: Path) -> None:
    processes, process = _sleeper(tmp_path)
    assert processes.find("sleeper") == process
    command = Path(f"/proc/{process.pid}/cmdline")
    # the record is written before the child becomes the program
    assert poll(lambda: command.read_bytes() == b"sleep\x0060\x00", 60)
    processes.end([process])
    assert not process.alive()
    assert processes.all() == []


def test_a_pid_that_now_belongs_to_another_process_is_never_signalled(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        mine = Process("gone", other.pid, (started_at(other.pid) or 0) - 1, ("sleep",), "")
        assert not mine.alive()
        assert not mine.signal(signal.SIGKILL)
        Processes(tmp_path).end([mine], grace=0.1)
        assert other.poll() is None
        other.kill()


def test_a_pid_that_now_belongs_to_a_thread_is_of_nobody(tmp_path: Path) -> None:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        assert thread.native_id is not None
        mine = Process("gone", thread.native_id, (started_at(thread.native_id) or 0) - 1, ("sleep",), "")
        assert not mine.signal(signal.SIGKILL)
        Processes(tmp_path).end([mine], grace=0.1)
    finally:
        over.set()
        thread.join()


def test_an_ended_process_that_nobody_reaped_is_not_alive() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    try:
        assert poll(lambda: started_at(pid) is None, 60)
    finally:
        os.waitpid(pid, 0)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    processes, process = _sleeper(tmp_path)
    try:
        with pytest.raises(ClusterError, match="already runs"):
            processes.spawn("sleeper", ["sleep", "60"], tmp_path / "log", [])
    finally:
        processes.end([process])


def test_a_record_of_a_dead_process_does_not_block_its_name(tmp_path: Path) -> None:
    processes, process = _sleeper(tmp_path)
    process.signal(signal.SIGKILL)
    assert poll(lambda: not process.alive(), 60)
    again = processes.spawn("sleeper", ["sleep", "60"], tmp_path / "log", [])
    assert again.pid != process.pid
    processes.end([again])


def test_a_stopped_program_ends_too(tmp_path: Path) -> None:
    processes, process = _sleeper(tmp_path)
    process.signal(signal.SIGSTOP)
    processes.end([process])
    assert not process.alive()


def test_what_a_program_says_is_in_its_log(tmp_path: Path) -> None:
    processes, log = Processes(tmp_path / "records"), tmp_path / "log"
    process = processes.spawn("speaker", ["/bin/sh", "-c", "echo out; echo err >&2"], log, [])
    assert poll(lambda: not process.alive(), 60)
    assert log.read_text() == "out\nerr\n"
    assert replace(process, pid=0).alive() is False
