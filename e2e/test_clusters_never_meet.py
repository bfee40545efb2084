"""Two clusters on one machine: neither sees the other, and the one that is taken down leaves nothing behind."""

import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.cluster import Cluster, open_cluster
from e2e.eventually import eventually

pytestmark = pytest.mark.cluster


@pytest.fixture
def other(cluster: Cluster) -> Iterator[Cluster]:
    """A second cluster of one node, beside the one that all tests share."""
    name = f"t{secrets.token_hex(3)}"
    found, _ = open_cluster({**os.environ, "CLUSTER_ID": name, "CLUSTER": cluster.kind, "NODES": "1"})
    try:
        found.up()
        yield found
    finally:
        found.down()


def _traces(cluster: Cluster) -> list[str]:
    """Return what on this machine bears the cluster's name, looked up without the cluster's own records."""
    name = cluster.layout.id
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    groups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/lw-{name}")]
    spaces = [str(p) for p in Path("/run/netns").glob(f"lw-{name}*")]
    folders = [str(p) for p in (cluster.layout.run, cluster.layout.state) if p.exists()]
    folders += map(str, Path("/var/tmp").glob(f"lw-{name}*"))
    return [*mounts, *groups, *spaces, *folders, *_processes(name)]


def _processes(name: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if f"lw-{name}" in command or f"/cluster/{name}/" in command:
            found.append(command)
    return found


def _uid(cluster: Cluster) -> str:
    return str(cluster.get("namespace", "kube-system")["metadata"]["uid"])


def test_two_clusters_of_equal_addresses_never_meet(cluster: Cluster, other: Cluster) -> None:
    before = _uid(cluster)
    assert _uid(other) != before
    cluster.place("net").add_address("198.51.100.98")
    reached = other.place("net").run(["ip", "-o", "addr", "show", "dev", "eth0"]).stdout
    assert "198.51.100.98" not in reached
    other.down()
    assert _uid(cluster) == before
    assert cluster.running()


@pytest.mark.long("e2e/test_clusters_never_meet.py")
def test_a_cluster_taken_down_with_pods_running_leaves_nothing(other: Cluster) -> None:
    image = "lanewright.local/busybox:1"
    other.kubectl("run", "running", f"--image={image}", "--restart=Never", "--", "sleep", "3600")
    phase = "{.status.phase}"
    eventually(lambda: other.kubectl("get", "pod", "running", "-o", f"jsonpath={phase}") == "Running", "the pod runs")
    (other.layout.postfix / "plain" / "queue").mkdir(parents=True)  # as the internet's Postfixes leave it
    assert _traces(other)
    other.down()
    assert _traces(other) == []


def test_up_repairs_what_was_killed_and_keeps_the_rest(other: Cluster) -> None:
    uid = _uid(other)
    for line in [row for row in other.status() if row[0] in ("etcd", "coredns", "kubelet-n1", "containerd-n1")]:
        os.kill(int(line[2].removeprefix("pid ")), signal.SIGKILL)
    eventually(lambda: not other.running(), "it is seen to be broken")
    other.up()
    assert other.running()
    assert _uid(other) == uid
