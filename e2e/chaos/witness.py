"""Those who look all the time: at the egress addresses of the relays that run, at queue volumes, at operators' memory.

Invariant: they read the machine itself (/proc, the volumes' folders) and go on while the API server does not answer;
what they could not see is said, never assumed. Before: the cluster. After: `judge`.
"""

import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from e2e.chaos.judge import Released, Sighting
from e2e.cluster import Cluster, ClusterError
from e2e.cluster.addresses import EGRESS
from e2e.cluster.cgroups import Cgroups
from e2e.cluster.processes import started_at
from e2e.cluster.reading import Reader
from lane_api.names import QUEUE_FINALIZER
from tests.chaos.census import copies

__all__ = ["Addresses", "Memory", "Volumes", "Witness", "local_addresses"]

_EVERY_S: Final = 0.25
_LOCAL = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")
_PREFIX: Final = EGRESS.rpartition(".")[0] + "."


def local_addresses(trie: str) -> frozenset[str]:
    """The egress addresses among a network namespace's own, from its /proc/PID/net/fib_trie."""
    return frozenset(one for one in _LOCAL.findall(trie) if one.startswith(_PREFIX))


class Witness:
    """One look after the other, in a thread of its own, until it is dismissed."""

    def __init__(self, name: str, look: Callable[[], None], every: float = _EVERY_S) -> None:
        self.failed: str = ""
        """Why it sees nothing any more, or empty."""
        self._look, self._every = look, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def dismiss(self) -> None:
        """Looks for the last time."""
        self._stop.set()
        self._thread.join(90)

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._every):
                self._look()
        except Exception as error:  # noqa: BLE001 - a witness that fell asleep must be known, whatever it was
            self.failed = repr(error)


class _Programs:
    """The processes in pods of one kind, told by their command line, which is read once a process."""

    def __init__(self, cluster: Cluster, word: str) -> None:
        groups = Cgroups(cluster.layout.id)
        folders = [one for node in cluster.nodes for one in groups.folders(f"{node}/pods")]
        # one hierarchy is enough, and walking all ten of cgroup v1 is a third of a core
        self._folders = [one for one in folders if groups.unified or (one / "cpu.shares").exists()]
        self._word = word.encode()
        self._known: dict[tuple[int, int], bool] = {}

    def pids(self) -> list[int]:
        """Those that live."""
        found = []
        for pid in self._members():
            started = started_at(pid)
            if started is None:
                continue
            if (pid, started) not in self._known:
                try:
                    line = Path(f"/proc/{pid}/cmdline").read_bytes()
                except OSError:
                    continue
                if b"runc" in line or not line:  # about to become another program
                    continue
                self._known[pid, started] = self._word in line
            if self._known[pid, started]:
                found.append(pid)
        return found

    def _members(self) -> list[int]:
        found: list[int] = []
        for folder in self._folders:
            for group, _, _ in os.walk(folder):
                try:
                    found += [int(one) for one in Path(group, "cgroup.procs").read_text().split()]
                except OSError:  # the group went away meanwhile
                    continue
        return found


class Addresses:
    """Which slot has which egress address."""

    def __init__(self, cluster: Cluster) -> None:
        self.sightings: list[Sighting] = []
        self._relays = _Programs(cluster, "lane-relay")

    def look(self) -> None:
        """Notes who had an address before and after this instant: two that are in one sighting had it together."""
        first = self._holders()
        at = time.time()
        self.sightings.append(Sighting(at, first & self._holders()))

    def _holders(self) -> frozenset[tuple[str, str, int]]:
        found: set[tuple[str, str, int]] = set()
        for pid in self._relays.pids():
            try:
                trie = Path(f"/proc/{pid}/net/fib_trie").read_text()
                space = os.stat(f"/proc/{pid}/ns/net").st_ino  # noqa: PTH116 - Path.stat would do the same
                slot = _environment(pid).get("HOSTNAME", "")
            except OSError:  # ended meanwhile
                continue
            found.update((address, slot.removesuffix("-0"), space) for address in local_addresses(trie))
        return frozenset(found)


class Memory:
    """What the operators' processes hold in memory."""

    def __init__(self, cluster: Cluster) -> None:
        self.rss: list[int] = []
        self._operators = _Programs(cluster, "lane-operator")
        self._page = os.sysconf("SC_PAGE_SIZE")

    def look(self) -> None:
        """Notes the resident bytes of each."""
        for pid in self._operators.pids():
            try:
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            except (OSError, IndexError):
                continue
            if pages:
                self.rss.append(pages * self._page)


class Volumes:
    """Which queue volumes are let go, and what was on them then."""

    def __init__(self, cluster: Cluster, namespace: str, aside: Path) -> None:
        self.released: list[Released] = []
        self.misses = 0
        """Looks that the API server did not answer."""
        self._reader = Reader(cluster.kubeconfig)
        self._nodes, self._namespace, self._aside = cluster.layout.nodes, namespace, aside
        self._guarded: dict[str, tuple[str, str]] = {}
        """By the claim's uid: its name, its volume."""

    def look(self) -> None:
        """Notes the claims that lost their guard since the last look."""
        try:
            claims = self._reader.get("persistentvolumeclaims", "-n", self._namespace)["items"]
        except ClusterError:
            self.misses += 1
            return
        guarded = {}
        for one in claims:
            if QUEUE_FINALIZER in one["metadata"].get("finalizers", ()) and one["spec"].get("volumeName"):
                guarded[one["metadata"]["uid"]] = (one["metadata"]["name"], one["spec"]["volumeName"])
        for uid, (name, volume) in self._guarded.items():
            if uid not in guarded:
                self.released.append(Released(time.time(), name, uid, self._live(volume)))
        self._guarded = guarded

    def _live(self, volume: str) -> int | None:
        """Recipients that wait on a volume, from a copy that is made at once; None where it is gone."""
        found = list(self._nodes.glob(f"*/vol/{volume}_*"))
        if not found:
            return None
        copy = self._aside / volume
        shutil.rmtree(copy, ignore_errors=True)
        try:
            shutil.copytree(found[0], copy, symlinks=True)
        except (FileNotFoundError, shutil.Error):  # it is being removed
            return None
        if not (copy / "spool").exists():  # no relay ever ran on it
            return 0
        (copy / "records").mkdir(exist_ok=True)
        mine, leaving = copies(copy)
        return mine.total() + leaving.total()


def _environment(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
    return dict(one.split("=", 1) for one in text.split("\0") if "=" in one)
