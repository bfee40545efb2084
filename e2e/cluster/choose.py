"""Which kind of cluster this machine gets."""

import os
import subprocess
from collections.abc import Mapping

from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Purpose, layout, node_names
from e2e.cluster.kind import KindCluster
from e2e.cluster.kinds import Cluster
from e2e.cluster.local import LocalCluster


def engine_answers() -> bool:
    """Tell whether a Docker engine answers; that the client is installed says nothing."""
    try:
        return subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=20).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def choose(environment: Mapping[str, str], *, engine: bool) -> tuple[str, str]:
    """Return (kind, why): CLUSTER forces one, else kind where an engine answers, else local."""
    forced = environment.get("CLUSTER", "")
    if forced in ("kind", "local"):
        return forced, f"CLUSTER={forced}"
    if forced:
        raise ClusterError(
            f"CLUSTER={forced!r} is no kind of cluster", "use CLUSTER=kind or CLUSTER=local, or leave it out"
        )
    return ("kind", "`docker info` answers") if engine else ("local", "no Docker engine answers")


def open_cluster(environment: Mapping[str, str] | None = None, purpose: Purpose = Purpose.LOOK) -> tuple[Cluster, str]:
    """Return this checkout's cluster, running or not, and why it is of its kind."""
    environment = os.environ if environment is None else environment
    where = layout(environment, purpose=purpose)
    recorded = where.state / "kind"
    if recorded.exists() and not environment.get("CLUSTER"):
        kind, why = recorded.read_text().strip(), "that is what runs"
    else:
        kind, why = choose(environment, engine=environment.get("CLUSTER") != "local" and engine_answers())
    nodes = node_names(environment)
    cluster: Cluster = KindCluster(where, nodes) if kind == "kind" else LocalCluster(where, nodes)
    return cluster, why
