"""The control plane's programs, ended and started again one by one; only a cluster of kind `local` has them at hand.

Invariant: whoever ends one starts it again, and `repair` starts whatever does not run: controllers and scheduler end
by themselves when the API server is away for longer than they wait. Before: `e2e.cluster`. After: `acts`.
"""

import shutil
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Final

from e2e.cluster import Cluster, ClusterError
from e2e.cluster.addresses import API_PORT
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.processes import Processes
from e2e.eventually import eventually

__all__ = ["ControlRoom"]

_FOLLOWERS: Final = ("kube-controller-manager", "kube-scheduler", "coredns", "volumes")
"""Programs that remember how far they have read."""
_PORTS: Final = {"etcd": (2379, 2380), "kube-apiserver": (API_PORT,)}


class ControlRoom:
    """Ends and starts; each raises ClusterError where a program does not come up."""

    def __init__(self, cluster: Cluster) -> None:
        if cluster.kind != "local":
            raise ClusterError("the control plane cannot be ended one by one", "use CLUSTER=local")
        self._layout = cluster.layout
        self._cluster = cluster
        self._plane = ControlPlane(cluster.layout)
        self._processes = Processes(cluster.layout.processes)

    def end(self, *programs: str) -> None:
        """Kills these; no error for one that does not run."""
        self._processes.end([one for one in map(self._plane.process, programs) if one], grace=0)
        for program in programs:
            for port in _PORTS.get(program, ()):
                eventually(lambda port=port: self._is_free(port), f"{program} has let go of port {port}", 30)  # type: ignore[misc] # bound at definition

    def _is_free(self, port: int) -> bool:
        """A killed program's threads keep its ports for a moment after its first one has ended."""
        try:
            self._cluster.place("ctl").listener("127.0.0.1", port).close()
        except OSError:
            return False
        return True

    def repair(self) -> None:
        """Starts what does not run; returns when the API server answers."""
        self._plane.start_api_server()
        self._plane.start_controllers()
        self._plane.apply_objects()

    def keep(self, name: str) -> Path:
        """A copy of etcd's data as a crash at this instant would leave it."""
        kept = self._layout.state / f"etcd-{name}"
        shutil.rmtree(kept, ignore_errors=True)
        etcd = self._plane.process("etcd")
        if etcd is None or not etcd.signal(SIGSTOP):
            raise ClusterError("etcd does not run", "run `up`: it repairs what is missing")
        try:
            shutil.copytree(self._layout.state / "etcd", kept)
        finally:
            etcd.signal(SIGCONT)
        return kept

    def restore(self, kept: Path, away: str = "") -> None:
        """Puts a copy back in etcd's place, as after a disaster; whoever remembers newer versions begins anew.

        `away` is a node that does not hear of it, and runs on what it runs until somebody starts it.
        """
        self.end("kube-apiserver", "etcd", *_FOLLOWERS)
        shutil.rmtree(self._layout.state / "etcd")
        kept.rename(self._layout.state / "etcd")
        self.repair()
        for node in self._cluster.nodes:
            self._cluster.stop_node(node)
            if node != away:
                self._cluster.start_node(node)
