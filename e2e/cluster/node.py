"""One node: a network namespace and a mount namespace with a containerd, a kubelet and a kube-proxy of their own.

Invariant: everything a node writes lies below its folder in the state or below /run/lw-<id>/<node>; paths compiled
into its programs lead there through the node's mount namespace, which dies with the node's last process.
"""

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from signal import SIGKILL
from typing import Final

from e2e.cluster import addresses, render
from e2e.cluster.cgroups import NODE_WEIGHT, Cgroups
from e2e.cluster.errors import ClusterError, failed
from e2e.cluster.identity import Layout
from e2e.cluster.namespaces import inside, node_mounts, node_root_command
from e2e.cluster.processes import Process, Processes, wait_for

PROGRAMS: Final = ("containerd", "kubelet", "kube-proxy")
_START_SECONDS: Final = 60.0
_CRI_ANSWERS: Final = b"Start streaming server"
"""The last that containerd says before."""


class Node:
    """Starts, stops and repairs one node."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.name = name
        self._layout = layout
        self._processes = Processes(layout.processes)
        self._groups = Cgroups(layout.id)

    @property
    def socket(self) -> Path:
        """The socket of the node's containerd."""
        return self._layout.containerd_socket(self.name)

    def process(self, program: str) -> Process | None:
        """Return one of the node's programs, or its `root` (the holder of its mount namespace), if it runs."""
        return self._processes.find(f"{program}-{self.name}")

    def prepare(self) -> None:
        """Write the node's files and make its control groups and mount namespace."""
        folder, conf = self._layout.node(self.name), self._layout.conf
        for sub in ("containerd", "cni", "vol"):
            (folder / sub).mkdir(parents=True, exist_ok=True)
        (self._layout.run / self.name).mkdir(parents=True, exist_ok=True)
        self._groups.ensure(self.name, NODE_WEIGHT)
        self._groups.ensure(f"{self.name}/pods", 100)
        (folder / "cni" / "00-multus.conf").write_text(render.cni(self._layout, self.name))
        (conf / f"containerd-{self.name}.toml").write_text(render.containerd(self._layout, self.name))
        root = self._groups.name(f"{self.name}/pods")
        (conf / f"kubelet-{self.name}.json").write_text(render.kubelet(self._layout, self.name, root))
        server = f"https://{addresses.CONTROL}:{addresses.API_PORT}"
        (conf / f"{self.name}.kubeconfig").write_text(render.kubeconfig(self._layout.pki, self.name, server))
        self._ensure_root()

    def _ensure_root(self) -> None:
        if self.process("root"):
            return
        self.stop()  # what still runs is in a mount namespace that nobody can enter any more
        mounts = node_mounts(self._layout, self.name)
        for source, _ in mounts:
            source.mkdir(parents=True, exist_ok=True)
        command = inside(self._layout.namespace(self.name), node_root_command(mounts))
        log = self._layout.log / f"root-{self.name}.log"
        log.unlink(missing_ok=True)
        self._spawn("root", command)
        error = ClusterError(f"{self.name}: no mount namespace", "run as root with CAP_SYS_ADMIN", log)
        wait_for(lambda: log.read_text().endswith("ready\n"), 10, error, every=0.01)

    def start_runtime(self) -> None:
        """Start containerd and return when pods can run on it."""
        if self.process("containerd"):
            return
        conf = self._layout.conf / f"containerd-{self.name}.toml"
        log = self._layout.log / f"containerd-{self.name}.log"
        before = log.stat().st_size if log.exists() else 0
        self._spawn("containerd", self._entering([shutil.which("containerd") or "containerd", "-c", str(conf)]))
        error = ClusterError(f"{self.name}: containerd's CRI plugin does not come up", "read the log", log)

        def answers() -> bool:
            with log.open("rb") as said:
                said.seek(before)
                return _CRI_ANSWERS in said.read()

        # a kubelet that starts before CRI answers gives up at once; it looks at the containers of before first
        wait_for(answers, _START_SECONDS, error)

    def start_kubelet(self) -> None:
        """Start kubelet and kube-proxy."""
        conf = self._layout.conf
        kubelet = [
            str(self._layout.bin / "kubelet"),
            f"--config={conf}/kubelet-{self.name}.json",
            f"--kubeconfig={conf}/{self.name}.kubeconfig",
            f"--hostname-override={self.name}",
            f"--node-ip={addresses.node_address(self.name)}",
            f"--node-labels=topology.kubernetes.io/zone=z{addresses.node_number(self.name)}",
            "--cert-dir=/var/lib/kubelet/pki",
        ]
        proxy = [
            str(self._layout.bin / "kube-proxy"),
            f"--kubeconfig={conf}/admin.kubeconfig",
            f"--hostname-override={self.name}",
            "--proxy-mode=nftables",
            f"--cluster-cidr={addresses.PODS}",
            "--conntrack-max-per-core=0",  # the limit is the machine's, not ours to change
        ]
        if not self.process("kubelet"):
            self._spawn("kubelet", self._entering(kubelet))
        if not self.process("kube-proxy"):
            self._spawn("kube-proxy", self._entering(proxy))

    def stop(self, *, now: bool = True) -> None:
        """End kubelet, kube-proxy and containerd, at once or politely; the pods' processes run on."""
        found = [p for p in map(self.process, ("kubelet", "kube-proxy", "containerd")) if p]
        self._processes.end(found, grace=0 if now else 5)

    def power_off(self) -> None:
        """End it all at once, the pods' processes as well."""
        tasks = self.tasks()
        self.stop()
        for pid in tasks.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, SIGKILL)

    def abandon(self) -> None:
        """End all of the node's own programs, because its network namespace is gone."""
        self.stop()
        root = self.process("root")
        if root:
            self._processes.end([root], grace=0)

    def ctr(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run containerd's client on this node's Kubernetes containers."""
        command = ["ctr", "-a", str(self.socket), "-n", "k8s.io", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise failed(f"{self.name}: ctr {arguments[0]}", done, "is the node started? `status` tells")
        return done

    def tasks(self) -> dict[str, int]:
        """Return the machine's pid of each running container, by container id."""
        rows = [line.split() for line in self.ctr("tasks", "ls").stdout.splitlines()[1:]]
        return {row[0]: int(row[1]) for row in rows if row[2] == "RUNNING"}

    def _entering(self, argv: list[str]) -> list[str]:
        root = self.process("root")
        if root is None:
            raise ClusterError(f"{self.name} has no mount namespace", "run `up`: it repairs what is missing")
        net = inside(self._layout.namespace(self.name), argv)
        return [net[0], net[1], f"--mount=/proc/{root.pid}/ns/mnt", *net[2:]]

    def _spawn(self, program: str, argv: list[str]) -> None:
        name = f"{program}-{self.name}"
        groups = self._groups.ensure(f"{self.name}/system", 100)
        self._processes.spawn(name, argv, self._layout.log / f"{name}.log", groups, cwd=Path("/"))
