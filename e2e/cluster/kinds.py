"""What every cluster offers, whatever its kind; charts, tests and the demo know nothing else.

`local` (local.py) runs on one Linux machine as root; `kind` (kind.py) where a Docker engine answers. Invariant: a
caller gets a kubeconfig, images, places and faults, and never asks which kind it has.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from e2e.cluster.audit import Request
from e2e.cluster.identity import Layout
from e2e.cluster.place import Place


class Cluster(Protocol):
    """One Kubernetes cluster of this checkout."""

    kind: str
    layout: Layout
    nodes: tuple[str, ...]

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that works in the machine's own network namespace, as administrator."""

    def running(self) -> bool:
        """Tell whether the cluster is up and whole."""

    def up(self) -> None:
        """Bring the cluster up, or repair what is missing of it; raises ClusterError."""

    def down(self) -> None:
        """Remove the cluster and every trace of it; no error when there is none."""

    def status(self) -> list[tuple[str, str, str]]:
        """Return (what, state, detail) rows for people."""

    def build(self, names: Sequence[str]) -> dict[str, str]:
        """Build images, such as `relay`, `operator`, `unbound`; returns name -> reference that changes with content."""

    def load(self, names: Sequence[str]) -> dict[str, str]:
        """Build images and put them on every node; returns name -> reference that changes with the content."""

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl and return its output; raises ClusterError when it fails and `check` is set."""

    def get(self, *arguments: str) -> Any:
        """Return what `kubectl get ... -o json` answers, without a kubectl; raises ClusterError as it fails."""

    def program(self, name: str) -> Path:
        """Return kubectl, helm, or, built when first asked for, etcdutl, kwok or prometheus-operator."""

    def place(self, name: str) -> Place:
        """Return a place: `net` (the internet), `ctl` (the control plane's), or a node's name."""

    def add_address(self, node: str, address: str) -> None:
        """Give a node one more address, for HostNetwork egress from 203.0.113.0/24."""

    def remove_address(self, node: str, address: str) -> None:
        """Take an address from a node."""

    def cut_link(self, node: str) -> None:
        """Cut a node's cable: its pods run on and reach nobody else."""

    def restore_link(self, node: str) -> None:
        """Restore a node's cable."""

    def stop_node(self, node: str) -> None:
        """Kill kubelet, kube-proxy and containerd of a node; its containers run on."""

    def power_off(self, node: str) -> None:
        """As `stop_node`, and what runs in its containers ends at once, too."""

    def start_node(self, node: str) -> None:
        """Start them again; returns when containers can be run."""

    def pause_api_server(self) -> None:
        """Freeze the API server: connections stay open, nothing is answered."""

    def resume_api_server(self) -> None:
        """Let the API server go on."""

    def container_pid(self, namespace: str, pod: str, container: str) -> int:
        """Return the machine's pid of a container's first process, for `kill -9`."""

    def volume_path(self, namespace: str, claim: str) -> Path:
        """Return where a bound claim's files lie on the machine."""

    def audit_offset(self) -> int:
        """Return where the audit log ends now, to count writes from here."""

    def writes(self, *, offset: int = 0, user: str | None = None, leases: bool = False) -> list[Request]:
        """Return the writes the API server answered since `offset`."""

    def requests(self, *, offset: int = 0, user: str | None = None) -> list[Request]:
        """Return whatever it answered since `offset`; reads only of the operators' service accounts."""
