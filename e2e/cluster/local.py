"""The local kind: a real Kubernetes on one Linux machine, as root, without a container engine or a registry.

Order of `up`: packages, programs, images, namespaces, identities; then API server and nodes side by side; then
objects. Invariant: every part is started only if it is missing, so `up` is also the repair; `down` ends what is in the
records and in the cluster's control groups, and nothing else.
"""

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import Any

from e2e import figures
from e2e.cluster import addresses, audit, cache, images, machine, oci, prerequisites, programs
from e2e.cluster.cgroups import Cgroups
from e2e.cluster.control_plane import PROGRAMS as CONTROL_PROGRAMS
from e2e.cluster.control_plane import ControlPlane
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Layout
from e2e.cluster.namespaces import Network, exists
from e2e.cluster.node import PROGRAMS as NODE_PROGRAMS
from e2e.cluster.node import Node
from e2e.cluster.pki import Authority
from e2e.cluster.place import Place, place
from e2e.cluster.processes import Processes, wait_for
from e2e.cluster.progress import note, step, took
from e2e.cluster.reading import read

_NODES_READY_SECONDS = 120.0
_NOT_READY = (
    "read the kubelet's log; where that is empty, other clusters of this machine may have used up "
    "fs.inotify.max_user_instances (often 128; each cluster of two nodes needs 24): take one down, or raise it"
)


class LocalCluster:
    """The local kind of cluster; see kinds.Cluster for what its methods promise."""

    kind = "local"

    def __init__(self, layout: Layout, nodes: tuple[str, ...]) -> None:
        self.layout = layout
        self.nodes = _recorded_nodes(layout) or nodes
        self._network = Network(layout)
        self._control = ControlPlane(layout)
        self._processes = Processes(layout.processes)
        self._groups = Cgroups(layout.id)

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    def node(self, name: str) -> Node:
        """Return one of the nodes; raises ClusterError for a name that is none."""
        if name not in self.nodes:
            raise ClusterError(f"no node {name}", f"the nodes are {' '.join(self.nodes)}")
        return Node(self.layout, name)

    def running(self) -> bool:
        return not self._missing() and self._nodes_ready()

    def up(self) -> None:
        prerequisites.require_root()
        with cache.only_one(self.layout.state.parent / f".{self.layout.id}.lock"):
            if self.running():
                note(f"cluster {self.layout.id} is already up: {' '.join(self.nodes)}")
                return
            began = time.monotonic()
            fresh = not self.layout.kubeconfig.exists()
            self._bring_up()
            seconds = time.monotonic() - began
            note(f"cluster {self.layout.id} is up after {took(seconds)}: {' '.join(self.nodes)}")
            if fresh and not self._built_something and len(self.nodes) == 2:  # the figure is of the default cluster
                figures.record(
                    "e2e.json", "cluster_up_s", round(seconds, 1), "s", 60, "lower", "python -m e2e.cluster up"
                )

    def _bring_up(self) -> None:
        layout = self.layout
        layout.log.mkdir(parents=True, exist_ok=True)
        before = _cached(layout)
        prerequisites.ensure_packages(layout)
        programs.ensure(layout)
        basic = [i for name in images.BASIC for i in images.Images(layout).build(name)]
        self._built_something = _cached(layout) != before
        with step("namespaces, switch, identities"):
            self._lay_ground()
        with step("API server and nodes") as say, ThreadPoolExecutor() as pool:
            say("etcd, API server, containerd")
            nodes = [pool.submit(self._start_runtime, name, basic) for name in self.nodes]
            self._control.start_api_server()
            self._control.start_controllers()
            for future in nodes:
                future.result()
            say("kubelets")
            for name in self.nodes:
                self.node(name).start_kubelet()
            self._control.apply_objects()
        with step("nodes Ready, cluster DNS answers") as say:
            self._wait_whole(say)

    def _lay_ground(self) -> None:
        layout = self.layout
        (layout.state / "nodes.json").write_text(json.dumps(self.nodes))
        layout.run.mkdir(parents=True, exist_ok=True)
        machine.MountPoints().make()
        self._end_what_lost_its_place()
        self._network.ensure(self.nodes)
        Authority(layout.pki).ensure(self.nodes)
        self._control.write()
        layout.cni_bin.mkdir(exist_ok=True)
        for plugin in (*Path("/usr/lib/cni").iterdir(), layout.bin / "multus"):
            link = layout.cni_bin / plugin.name
            if not link.is_symlink():
                link.symlink_to(plugin)

    def _end_what_lost_its_place(self) -> None:
        """End programs whose network namespace lost its name: they run where nothing can reach them."""
        if not exists(self.layout.namespace("ctl")):
            self._processes.end([p for p in map(self._control.process, CONTROL_PROGRAMS) if p])
        for name in self.nodes:
            if not exists(self.layout.namespace(name)):
                self.node(name).abandon()

    def _start_runtime(self, name: str, basic: list[oci.Image]) -> None:
        node = self.node(name)
        node.prepare()
        node.start_runtime()
        _import(node, basic)

    def _wait_whole(self, say: Callable[[str], None]) -> None:
        for name in self.nodes:
            say(name)
            log = self.layout.log / f"kubelet-{name}.log"
            error = ClusterError(f"node {name} does not become Ready", _NOT_READY, log)
            wait_for(lambda name=name: self._node_ready(name), _NODES_READY_SECONDS, error, every=0.2)  # type: ignore[misc] # bound at definition
        say("cluster DNS")
        error = ClusterError("cluster DNS does not answer", "read its log", self.layout.log / "coredns.log")
        ready = f"http://{addresses.CONTROL}:8181/ready"
        check = ["busybox", "wget", "-q", "-O", "-", ready]
        wait_for(lambda: self.place("ctl").run(check, check=False).returncode == 0, 30, error, every=0.2)
        say("default service account")  # no pod is accepted before it is there
        log = self.layout.log / "kube-controller-manager.log"
        error = ClusterError("the controllers make no service account", "read their log", log)
        account = ("get", "serviceaccount", "default", "-n", "default")
        wait_for(lambda: self._control.kubectl(*account, check=False).returncode == 0, 60, error, every=0.2)
        if self._missing():
            program = self._missing()[0]
            raise ClusterError(f"{program} does not run", "read its log", self.layout.log / f"{program}.log")

    def _missing(self) -> list[str]:
        control = [p for p in CONTROL_PROGRAMS if not self._control.process(p)]
        nodes = [
            f"{p}-{n}" for n in self.nodes for p in ("root", *NODE_PROGRAMS) if not Node(self.layout, n).process(p)
        ]
        spaces = [s for s in map(self.layout.namespace, ("fab", "ctl", "net", *self.nodes)) if not exists(s)]
        return [*spaces, *control, *nodes]

    def _nodes_ready(self) -> bool:
        return all(self._node_ready(name) for name in self.nodes)

    def _node_ready(self, name: str) -> bool:
        path = '{.status.conditions[?(@.type=="Ready")].status}'
        done = self._control.kubectl("get", "node", name, "-o", f"jsonpath={path}", "--request-timeout=3s", check=False)
        return done.stdout == "True"

    def down(self) -> None:
        prerequisites.require_root()
        with cache.only_one(self.layout.state.parent / f".{self.layout.id}.lock"):
            if not self._traces():
                note(f"cluster {self.layout.id} is not up")
                return
            with step(f"cluster {self.layout.id} down"):
                self._take_down()
        (self.layout.state.parent / f".{self.layout.id}.lock").unlink(missing_ok=True)
        if not any(self.layout.state.parent.iterdir()):
            self.layout.state.parent.rmdir()

    def _take_down(self) -> None:
        recorded = self._processes.all()
        self._processes.end([p for p in recorded if not p.name.startswith("root-")], grace=2)
        left = [] if self._groups.kill() else [f"processes {sorted(self._groups.members())}"]
        self._processes.end(recorded, grace=1)
        self._network.remove()
        if not self._groups.remove():
            left.append("control groups")
        shutil.rmtree(self.layout.run, ignore_errors=True)
        shutil.rmtree(self.layout.state, ignore_errors=True)
        shutil.rmtree(self.layout.postfix, ignore_errors=True)
        machine.MountPoints().remove(self.layout.run)
        left += self._traces()
        if left:
            raise ClusterError(f"left behind: {', '.join(left)}", "run `down` once more")

    def _traces(self) -> list[str]:
        """Return what of this cluster is on the machine."""
        layout = self.layout
        folders = [str(p) for p in (layout.state, layout.run, layout.postfix, *self._groups.tops()) if p.exists()]
        spaces = [p.name for p in Path("/run/netns").glob(f"lw-{layout.id}-*")]
        mounts = [
            m for m in Path("/proc/mounts").read_text().splitlines() if f"{layout.state}/" in m or f"{layout.run}/" in m
        ]
        return [*folders, *spaces, *mounts]

    def status(self) -> list[tuple[str, str, str]]:
        rows = [("cluster", f"{self.kind} {self.layout.id}", str(self.kubeconfig))]
        if not self.layout.state.exists():
            return [*rows, ("state", "down", "`up` starts it")]
        recorded = self._processes.all()
        rows += [(p.name, "runs" if p.alive() else "ENDED", f"pid {p.pid}") for p in recorded]
        named = {p.name for p in recorded}
        rows += [(name, "MISSING", "`up` repairs it") for name in self._missing() if name not in named]
        rows += [
            (f"node {n}", "Ready" if self._node_ready(n) else "NOT READY", addresses.node_address(n))
            for n in self.nodes
        ]
        return [*rows, *(("weight", group, weight) for group, weight in self._groups.weights())]

    def build(self, names: Sequence[str]) -> dict[str, str]:
        builder = self._builder()
        return {name: builder.build(name)[-1].reference for name in names}

    def _builder(self) -> images.Images:
        """Builds also where no cluster ever was."""
        prerequisites.require_root()
        prerequisites.ensure_packages(self.layout)
        return images.Images(self.layout)

    def load(self, names: Sequence[str]) -> dict[str, str]:
        began = time.monotonic()
        builder = self._builder()
        wanted = {name: builder.build(name) for name in names}
        flat = [image for built in wanted.values() for image in built]
        with step(f"loading {' '.join(names)} on {' '.join(self.nodes)}") as say, ThreadPoolExecutor() as pool:
            sent = list(pool.map(lambda n: _import(self.node(n), flat), self.nodes))
            say("done")
        note(f"{sum(sent) / 1e6:.1f} MB of layers sent, {took(time.monotonic() - began)} in total")
        return {name: built[-1].reference for name, built in wanted.items()}

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self._control.kubectl(*arguments, stdin=stdin, check=check).stdout

    def get(self, *arguments: str) -> Any:
        return read(self.kubeconfig, *arguments)

    def program(self, name: str) -> Path:
        return programs.path(self.layout, name)

    def place(self, name: str) -> Place:
        return place(self.layout, name)

    def add_address(self, node: str, address: str) -> None:
        self.place(node).add_address(address)

    def remove_address(self, node: str, address: str) -> None:
        self.place(node).remove_address(address)

    def cut_link(self, node: str) -> None:
        self._network.link(node, up=False)

    def restore_link(self, node: str) -> None:
        self._network.link(node, up=True)

    def stop_node(self, node: str) -> None:
        self.node(node).stop()

    def power_off(self, node: str) -> None:
        self.node(node).power_off()

    def start_node(self, node: str) -> None:
        found = self.node(node)
        found.start_runtime()
        found.start_kubelet()

    def pause_api_server(self) -> None:
        self._signal_api_server(SIGSTOP)

    def resume_api_server(self) -> None:
        self._signal_api_server(SIGCONT)

    def _signal_api_server(self, number: int) -> None:
        process = self._control.process("kube-apiserver")
        if not process or not process.signal(number):
            raise ClusterError("the API server does not run", "run `up`: it repairs what is missing")

    def container_pid(self, namespace: str, pod: str, container: str) -> int:
        found = self.get("pod", pod, "-n", namespace)
        statuses = {s["name"]: s.get("containerID", "") for s in found["status"].get("containerStatuses", [])}
        wanted = statuses.get(container, "").removeprefix("containerd://")
        tasks = self.node(found["spec"]["nodeName"]).tasks()
        if wanted not in tasks:
            raise ClusterError(f"{namespace}/{pod}: container {container} does not run", f"it has {sorted(statuses)}")
        return tasks[wanted]

    def volume_path(self, namespace: str, claim: str) -> Path:
        name = self.get("pvc", claim, "-n", namespace)["spec"].get("volumeName")
        if not name:
            raise ClusterError(f"{namespace}/{claim} is not bound", "wait until its pod runs")
        spec = self.get("pv", name)["spec"]
        return Path((spec.get("hostPath") or spec["local"])["path"])

    def audit_offset(self) -> int:
        return self.layout.audit_log.stat().st_size if self.layout.audit_log.exists() else 0

    def writes(self, *, offset: int = 0, user: str | None = None, leases: bool = False) -> list[audit.Request]:
        return audit.writes(self.layout.audit_log, offset=offset, user=user, leases=leases)

    def requests(self, *, offset: int = 0, user: str | None = None) -> list[audit.Request]:
        return audit.requests(self.layout.audit_log, offset=offset, user=user)


def _recorded_nodes(layout: Layout) -> tuple[str, ...]:
    path = layout.state / "nodes.json"
    return tuple(json.loads(path.read_text())) if path.exists() else ()


def _cached(layout: Layout) -> set[str]:
    return {str(p) for p in layout.caches.glob("*/*") if not p.name.startswith(".")}


def _import(node: Node, wanted: Sequence[oci.Image]) -> int:
    """Send a node the images that it lacks, without the layers that it has; returns the layers' bytes sent."""
    listed = node.ctr("images", "ls", "name~=lanewright.local").stdout.split()
    missing = [i for i in wanted if not (i.reference in listed and i.digest in listed)]
    if not missing:
        return 0
    present = set(node.ctr("content", "ls", "-q").stdout.split())
    command = ["ctr", "-a", str(node.socket), "-n", "k8s.io", "images", "import", "--no-unpack", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as importing:
        assert importing.stdin is not None
        assert importing.stdout is not None
        try:
            sent = oci.write_archive(missing, importing.stdin, present)
            importing.stdin.close()
        except BrokenPipeError:
            sent = 0
        said = importing.stdout.read().decode(errors="replace")
    if importing.returncode:
        raise ClusterError(
            f"{node.name} refuses the images: {said.strip()[-400:]}",
            "is there space on the disk? `down` and `up` start afresh",
        )
    return sent
