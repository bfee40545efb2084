"""Programs that outlive the command that started them, each with a record of who it is.

Invariant: a recorded process is a pid *and* its start time; a pid that the kernel gave to somebody else is never
signalled. The record is written by the child itself before it becomes the program, so none is ever unrecorded.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError

# Joins its cgroups, writes down its pid, and becomes the program: $1 file for the pid, $2 number of cgroups, then them.
_BECOME = (
    'f=$1 n=$2; shift 2; while [ "$n" -gt 0 ]; do echo $$ >"$1/cgroup.procs" || exit 120; shift; n=$((n-1)); done; '
)
_DAEMON = _BECOME + 'echo $$ >"$f.half" && mv "$f.half" "$f" && exec "$@"'
_CHILD = _BECOME + 'exec "$@"'


@dataclass(frozen=True)
class Process:
    """One running program: pid and start time (clock ticks since boot, proc(5) field 22) are its identity."""

    name: str
    pid: int
    started: int
    argv: tuple[str, ...]
    log: str

    def alive(self) -> bool:
        """Tell whether this very process, not a later one of the same pid, still runs."""
        return started_at(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; False when it is gone."""
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:  # nobody, or a thread of somebody else, whose number it is now
            return False
        try:
            # looked up after the handle was taken: from here on the pid cannot become somebody else
            if not self.alive():
                return False
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True


def parse_stat(stat: str) -> tuple[str, int]:
    """Return (state, start time) of a line of /proc/PID/stat; the command in it may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def started_at(pid: int) -> int | None:
    """Return the start time of a live process; None for one that ended, also when nobody has reaped it."""
    try:
        state, started = parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state in "ZX" else started


def in_cgroups(cgroups: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """Return the command that joins `cgroups` and then becomes `argv`, keeping its pid."""
    return ["/bin/sh", "-c", _CHILD, "lw", "-", str(len(cgroups)), *map(str, cgroups), *argv]


class Processes:
    """The programs of one cluster, one record file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> list[Process]:
        """Return every recorded program, oldest first."""
        found = [read(path) for path in self._folder.glob("*.json")] if self._folder.exists() else []
        return sorted((p for p in found if p), key=lambda process: process.started)

    def find(self, name: str) -> Process | None:
        """Return the program of that name if it runs."""
        process = read(self._folder / f"{name}.json")
        return process if process and process.alive() else None

    def spawn(
        self, name: str, argv: Sequence[str], log: Path, cgroups: Sequence[Path], env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Process:  # fmt: skip
        """Start a program that outlives us, its output appended to `log`; raises ClusterError if the name is taken."""
        if self.find(name):
            raise ClusterError(f"a program named {name} already runs", "choose another name, or end that one first")
        self._folder.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        pid_file = self._folder / f"{name}.pid"
        pid_file.unlink(missing_ok=True)
        command = ["setsid", "--fork", "/bin/sh", "-c", _DAEMON, "lw", str(pid_file), str(len(cgroups))]
        with log.open("ab") as out:
            subprocess.run(
                [*command, *map(str, cgroups), *argv],
                check=True, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=env, cwd=cwd,
            )  # fmt: skip
        wait_for(pid_file.exists, 10, ClusterError(f"{name} did not start", "read its log", log), every=0.005)
        pid = int(pid_file.read_text())
        process = Process(name, pid, started_at(pid) or 0, tuple(argv), str(log))
        (self._folder / f"{name}.json").write_text(json.dumps(asdict(process)))
        pid_file.unlink()
        return process

    def end(self, processes: Sequence[Process], grace: float = 5.0) -> None:
        """End programs: politely, then after `grace` seconds for certain; forgets them."""
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 5.0)):
            left = [p for p in processes if p.signal(number)]
            for process in left:
                process.signal(signal.SIGCONT)
            poll(lambda left=left: not any(p.alive() for p in left), seconds)  # type: ignore[misc] # bound at definition
        for process in processes:
            self.forget(process)

    def forget(self, process: Process) -> None:
        """Drop the record of a process that is gone."""
        (self._folder / f"{process.name}.json").unlink(missing_ok=True)


def read(path: Path) -> Process | None:
    """Return a recorded process; None when there is no such record."""
    try:
        row = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return Process(row["name"], row["pid"], row["started"], tuple(row["argv"]), row["log"])


def poll(condition: Callable[[], bool], seconds: float, every: float = 0.05) -> bool:
    """Return whether `condition` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(every)
    return True


def wait_for(condition: Callable[[], bool], seconds: float, error: ClusterError, every: float = 0.05) -> None:
    """Return once `condition` is true; raise `error` after `seconds`."""
    if not poll(condition, seconds, every):
        raise error
