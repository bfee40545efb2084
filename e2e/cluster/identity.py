"""Which cluster this is and where its things lie.

Invariant: every name that leaves the checkout (namespace, cgroup, folder under /run) carries the cluster's id,
so that two checkouts, or a demo left running and a test run, never meet. Nothing here touches the machine.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from e2e.cluster.errors import ClusterError

CHECKOUT = Path(__file__).resolve().parents[2]


class Purpose(StrEnum):
    """What a checkout has a cluster for: what the demo has left running is in no test's way, nor a test in its."""

    LOOK = ""
    """`make cluster`, `make demo`: to look at and to try things."""
    TESTS = "t"
    BENCH = "b"


def cluster_id(checkout: Path, environment: Mapping[str, str], purpose: Purpose = Purpose.LOOK) -> str:
    """Return CLUSTER_ID, or 6 hex digits of a hash of the checkout's path and the purpose's letter."""
    given = environment.get("CLUSTER_ID", "")
    if not given:
        return hashlib.sha256(str(checkout).encode()).hexdigest()[:6] + purpose
    # 10 characters keep cgroup, namespace and socket names inside every limit of the kernel
    if not re.fullmatch(r"[a-z0-9]{1,10}", given):
        raise ClusterError(f"CLUSTER_ID={given!r} is not a name", "use 1 to 10 of a-z and 0-9")
    return given


def beside(environment: Mapping[str, str], worker: str, checkout: Path = CHECKOUT) -> dict[str, str]:
    """The environment of one of several test processes (`gw0`, `gw1`; empty: the only one): a cluster of its own.

    The first has the cluster that an only one has, so that a run by itself may take it over.
    """
    if worker in ("", "gw0"):
        return dict(environment)
    own = cluster_id(checkout, environment, Purpose.TESTS)[:7] + worker.removeprefix("gw")
    return {**environment, "CLUSTER_ID": own}


def node_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the node names of NODES: a number (`3`) or names (`n1 n2`); two nodes by default."""
    given = environment.get("NODES", "2").replace(",", " ").split()
    names = tuple(f"n{i + 1}" for i in range(int(given[0]))) if len(given) == 1 and given[0].isdigit() else tuple(given)
    if not names or len(set(names)) != len(names) or not all(re.fullmatch(r"n([1-9]|[1-3][0-9])", n) for n in names):
        raise ClusterError(
            f"NODES={environment.get('NODES')!r} names no nodes", 'use a number, or "n1 n2 n3" up to n39'
        )
    return names


@dataclass(frozen=True)
class Layout:
    """Where one cluster's files lie."""

    id: str
    checkout: Path
    caches: Path

    @property
    def state(self) -> Path:
        """Everything that `down` may delete."""
        return self.checkout / "build" / "cluster" / self.id

    @property
    def run(self) -> Path:
        """Sockets; short, because the kernel stops a socket's path at 107 bytes."""
        return Path(f"/run/lw-{self.id}")

    @property
    def postfix(self) -> Path:
        """Queues of the internet's Postfixes: their daemons give up their privileges and may not reach the checkout."""
        return Path(f"/var/tmp/lw-{self.id}-postfix")

    @property
    def log(self) -> Path:
        """One log a program."""
        return self.state / "log"

    @property
    def processes(self) -> Path:
        """One record a running program."""
        return self.state / "processes"

    @property
    def pki(self) -> Path:
        """The cluster's own certificate authority and what it signed."""
        return self.state / "pki"

    @property
    def conf(self) -> Path:
        """Rendered configuration files."""
        return self.state / "conf"

    @property
    def bin(self) -> Path:
        """Links to the programs of this cluster, for a user's PATH."""
        return self.state / "bin"

    @property
    def cni_bin(self) -> Path:
        """Links to the CNI plugins that containerd may run."""
        return self.state / "cni-bin"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig for users and tests in the machine's own network namespace."""
        return self.state / "kubeconfig"

    @property
    def kubectl_cache(self) -> Path:
        """What kubectl remembers of the API, kept out of the user's home."""
        return self.state / "kubectl-cache"

    @property
    def audit_log(self) -> Path:
        """One JSON event a line for every write the API server answered."""
        return self.log / "audit.jsonl"

    @property
    def nodes(self) -> Path:
        """The folders of all nodes."""
        return self.state / "nodes"

    def node(self, name: str) -> Path:
        """Return the folder of one node: volumes, logs of its pods, containerd's root."""
        return self.nodes / name

    def namespace(self, place: str) -> str:
        """Return the name under /run/netns of one place of the cluster."""
        return f"lw-{self.id}-{place}"

    def containerd_socket(self, node: str) -> Path:
        """Return the socket on which a node's containerd listens."""
        return self.run / node / "containerd.sock"


def caches(environment: Mapping[str, str]) -> Path:
    """Return the folder that all checkouts of this machine share (XDG base directory specification)."""
    return Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lanewright"


def layout(
    environment: Mapping[str, str] | None = None, checkout: Path = CHECKOUT, purpose: Purpose = Purpose.LOOK
) -> Layout:
    """Return the layout of this checkout's cluster."""
    environment = os.environ if environment is None else environment
    return Layout(cluster_id(checkout, environment, purpose), checkout, caches(environment))
