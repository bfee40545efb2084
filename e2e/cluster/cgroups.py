"""Control groups of one cluster: weights for fair measurements, and the certain way to find every process.

Tree, the same in every hierarchy: lw-<id>/{control, <node>/system, <node>/pods, work/<name>}.
Invariant: a process of the cluster is in a leaf below lw-<id>; whatever is still in there at the end is ours to end.
Weights are cgroup v2's (1 to 10000, 100 is neutral); cgroup v1 gets the same proportions as cpu.shares.
"""

import os
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster.processes import poll, started_at

ROOT: Final = Path("/sys/fs/cgroup")
# what a kubelet wants to find, k8s.io/kubernetes/pkg/kubelet/cm/cgroup_manager_linux.go
V1: Final = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "hugetlb", "systemd")
V2: Final = ("cpu", "cpuset", "memory", "pids", "io", "hugetlb")
CONTROL_WEIGHT: Final = 200
NODE_WEIGHT: Final = 400
WORK_WEIGHT: Final = 100  # of one program among the others of its kind
ALL_WORK_WEIGHT: Final = (
    800  # ISPs and generators together as much as two nodes: a starved ISP would look like a slow lane
)


def shares(weight: int) -> int:
    """Return cgroup v1's cpu.shares (2 to 262144, 1024 neutral) for a v2 weight (1 to 10000, 100 neutral)."""
    return max(2, min(262144, weight * 1024 // 100))


@dataclass(frozen=True)
class Cgroups:
    """The control groups of the cluster with this id."""

    id: str
    root: Path = ROOT

    @property
    def unified(self) -> bool:
        """Whether the machine has cgroup v2 only."""
        return (self.root / "cgroup.controllers").exists()

    def hierarchies(self) -> list[Path]:
        """Return the top of every hierarchy that counts."""
        if self.unified:
            return [self.root]
        # cpu and cpuacct may be one mount with two names
        found = {(self.root / c).resolve() for c in V1 if (self.root / c / "cgroup.procs").exists()}
        return sorted(found)

    def name(self, leaf: str) -> str:
        """Return the path of a group inside a hierarchy, as a kubelet's cgroupRoot wants it."""
        return f"/lw-{self.id}/{leaf}"

    def folders(self, leaf: str) -> list[Path]:
        """Return the folders of one group, one a hierarchy."""
        return [top / f"lw-{self.id}" / leaf for top in self.hierarchies()]

    def ensure(self, leaf: str, weight: int) -> list[Path]:
        """Make a group with this weight in every hierarchy and return its folders."""
        for top in self.hierarchies():
            at = top
            for part in (f"lw-{self.id}", *Path(leaf).parts):
                _allow_children(at, unified=self.unified)
                at = at / part
                at.mkdir(exist_ok=True)
                _inherit_cpuset(at)
            self._weigh(at, weight)
        return self.folders(leaf)

    def _weigh(self, folder: Path, weight: int) -> None:
        for file, value in (("cpu.weight", weight), ("cpu.shares", shares(weight))):
            if (folder / file).exists():
                (folder / file).write_text(str(value))

    def weights(self) -> Iterator[tuple[str, str]]:
        """Yield (group, weight) of the cluster as a whole, the top groups and the work in them, for `status`."""
        tops = [top for top in self.hierarchies() if self.unified or (top / "cpu.shares").exists()][:1]
        for top in tops:
            whole = top / f"lw-{self.id}"
            parts = [sorted(whole.glob(f"{pattern}/")) for pattern in ("*", "*/system", "*/pods", "work/*")]
            for folder in (whole, *(one for found in parts for one in found)):
                for file in ("cpu.weight", "cpu.shares"):
                    if (folder / file).exists():
                        yield str(folder.relative_to(top)), f"{file} {(folder / file).read_text().strip()}"

    def members(self) -> set[int]:
        """Return the pids of all processes in the cluster's groups."""
        pids: set[int] = set()
        for folder in self._all_folders():
            try:
                pids.update(int(pid) for pid in (folder / "cgroup.procs").read_text().split())
            except OSError:  # the group went away while we looked
                continue
        pids.discard(os.getpid())
        return pids

    def kill(self, seconds: float = 10.0) -> bool:
        """Kill all processes of the cluster, also those that appear meanwhile; False if some are left."""

        def none_left() -> bool:
            alive = [pid for pid in self.members() if started_at(pid) is not None]
            for pid in alive:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not alive

        return poll(none_left, seconds)

    def remove(self) -> bool:
        """Remove the groups, children first; False if one is still busy."""
        return poll(lambda: not any(_stays(folder) for folder in self._all_folders()), 10)

    def tops(self) -> list[Path]:
        """Return the cluster's top group in every hierarchy, there or not."""
        # beside cgroup v1 there may be an empty v2 tree, in which runc makes groups, too
        return [top / f"lw-{self.id}" for top in (*self.hierarchies(), self.root / "unified")]

    def remove_leaf(self, leaf: str) -> None:
        """Remove one group that is empty; a busy one stays until the cluster goes."""
        for folder in self.folders(leaf):
            _stays(folder)

    def _all_folders(self) -> list[Path]:
        return [d for top in self.tops() for d in _deepest_first(top)]


def _deepest_first(top: Path) -> Iterable[Path]:
    return [Path(folder) for folder, _, _ in os.walk(top, topdown=False)]


def _stays(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _allow_children(folder: Path, *, unified: bool) -> None:
    if not unified:
        return
    offered = (folder / "cgroup.controllers").read_text().split()
    for controller in (c for c in V2 if c in offered):
        (folder / "cgroup.subtree_control").write_text(f"+{controller}")


def _inherit_cpuset(folder: Path) -> None:
    for file in ("cpuset.cpus", "cpuset.mems"):
        own, parent = folder / file, folder.parent / file
        # on v1 a group without cpus accepts no process; on v2 an empty file means "as the parent"
        if (
            own.exists()
            and parent.exists()
            and not (folder / "cgroup.controllers").exists()
            and not own.read_text().strip()
        ):
            own.write_text(parent.read_text())
