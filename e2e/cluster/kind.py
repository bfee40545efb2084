"""The kind kind: the same cluster in containers of a Docker engine, for laptops and for CI that has one.

NOT VERIFIED: no Docker engine was at hand where this was written, so nothing in this file has run against one. `up`,
`load`, `kubectl` and the faults that go through `docker exec` need the engine alone; places need Linux and root, as
they enter the containers' network namespaces. Node names are kind's own (`lw-<id>-worker`, `lw-<id>-worker2`, ...).
"""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from e2e.cluster import addresses, audit, cache, programs, render
from e2e.cluster.errors import ClusterError, failed
from e2e.cluster.identity import Layout
from e2e.cluster.images import BASIC, OURS, REGISTRY
from e2e.cluster.place import Place
from e2e.cluster.processes import poll
from e2e.cluster.progress import Say, note, run_shown, step
from e2e.cluster.reading import read

_ADMIN: Final = "/etc/kubernetes/admin.conf"
_VOLUMES: Final = "/var/local-path-provisioner"  # kind's own provisioner keeps volumes there
_DOCKERFILES: Final = {
    "relay": ("lanes/Dockerfile", "relay"),
    "operator": ("operator/Dockerfile", "operator"),
    "unbound": ("lanes/Dockerfile", "unbound"),
}
_CNI_IMAGE: Final = f"{REGISTRY}/cni:1"
_TOOLS: Final = ("docker", "kind", "kubectl", "helm")


class KindCluster:
    """The kind kind of cluster; see kinds.Cluster for what its methods promise."""

    kind = "kind"

    def __init__(self, layout: Layout, nodes: tuple[str, ...]) -> None:
        self.layout = layout
        self._name = f"lw-{layout.id}"
        self._control = f"{self._name}-control-plane"
        self._net = f"{self._name}-net"
        self.nodes = tuple(f"{self._name}-worker{i + 1 if i else ''}" for i in range(len(nodes)))

    @property
    def kubeconfig(self) -> Path:
        return self.layout.kubeconfig

    def running(self) -> bool:
        if not self.kubeconfig.exists():
            return False
        ready = self._ready_nodes()
        return all(node in ready for node in (self._control, *self.nodes)) and self._container_runs(self._net)

    def _ready_nodes(self) -> set[str]:
        done = self._kubectl("get", "nodes", "-o", "json", "--request-timeout=5s", check=False)
        items = json.loads(done.stdout)["items"] if done.returncode == 0 else []
        return {
            n["metadata"]["name"]
            for n in items
            for c in n["status"]["conditions"]
            if (c["type"], c["status"]) == ("Ready", "True")
        }

    def up(self) -> None:
        for program in _TOOLS:
            if not shutil.which(program):
                fix = f"install {program}, or use CLUSTER=local on Linux as root"
                raise ClusterError(f"{program} is not installed", fix)
        with cache.only_one(self.layout.state.parent / f".{self.layout.id}.lock"):
            if self.running():
                note(f"cluster {self._name} is already up")
                return
            self._create()
            self._join_internet()
            with step("CNI plugins and Multus", "2 min") as say:
                plugins = self._build_plugins(say)
            with step("volumes' class and DNS"):
                self._apply_objects(plugins)
            for node in self.nodes:
                with step(f"Multus on {node}"):
                    self._install_multus(node, plugins)

    def _create(self) -> None:
        self.layout.log.mkdir(parents=True, exist_ok=True)
        self.layout.conf.mkdir(parents=True, exist_ok=True)
        self._link_tools()
        (self.layout.state / "kind").write_text(self.kind)
        (self.layout.conf / "audit-policy.json").write_text(render.audit_policy())
        if self._name in self._run("kind", "get", "clusters").stdout.split():
            for name in (self._control, *self.nodes):
                self._run("docker", "start", name)
        else:
            self._docker_network()
            config = self.layout.conf / "kind.json"
            config.write_text(json.dumps(self.config()))
            command = ["kind", "create", "cluster", "--name", self._name, "--config", str(config),
                       "--kubeconfig", str(self.kubeconfig), "--wait", "180s"]  # fmt: skip
            env = {**os.environ, "KIND_EXPERIMENTAL_DOCKER_NETWORK": self._name}
            with step("kind create cluster", "2 min") as say:
                run_shown(command, say, self.layout.log / "kind.log", fix="read the log; is Docker running?", env=env)
        self._load_basic()

    def _link_tools(self) -> None:
        self.layout.bin.mkdir(parents=True, exist_ok=True)
        for name in ("kubectl", "helm"):
            link = self.layout.bin / name
            link.unlink(missing_ok=True)
            link.symlink_to(shutil.which(name) or name)

    def _docker_network(self) -> None:
        if self._run("docker", "network", "inspect", self._name, check=False).returncode:
            self._run("docker", "network", "create", self._name)

    def config(self) -> dict[str, Any]:
        """Return the configuration for `kind create cluster`."""
        audit_volumes = [
            {
                "name": n,
                "hostPath": f"/lanewright/{n}",
                "mountPath": f"/lanewright/{n}",
                "pathType": "DirectoryOrCreate",
            }
            for n in ("conf", "log")
        ]
        arguments = {
            "audit-policy-file": "/lanewright/conf/audit-policy.json",
            "audit-log-path": f"/lanewright/log/{self.layout.audit_log.name}",
            "audit-log-maxsize": "500",
            "enable-aggregator-routing": "true",
        }
        patch = {"kind": "ClusterConfiguration", "apiServer": {"extraArgs": arguments, "extraVolumes": audit_volumes}}
        mounts = [
            {"hostPath": str(getattr(self.layout, n)), "containerPath": f"/lanewright/{n}"} for n in ("conf", "log")
        ]
        control = {"role": "control-plane", "extraMounts": mounts, "kubeadmConfigPatches": [json.dumps(patch)]}
        workers = [
            {"role": "worker", "extraMounts": [{"hostPath": str(self._volumes(n)), "containerPath": _VOLUMES}]}
            for n in self.nodes
        ]
        networking = {"podSubnet": addresses.PODS, "serviceSubnet": addresses.SERVICES}
        return {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "networking": networking,
            "nodes": [control, *workers],
        }

    def _volumes(self, node: str) -> Path:
        folder = self.layout.node(node) / "vol"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _load_basic(self) -> None:
        recipes = {
            "busybox": "FROM busybox:stable\n",
            "pause": 'FROM busybox:stable\nENTRYPOINT ["sleep","2147483647"]\n',
        }
        for name in BASIC:
            self._run("docker", "build", "-q", "-t", f"{REGISTRY}/{name}:1", "-", stdin=recipes[name])
        self._run("kind", "load", "docker-image", "--name", self._name, *(f"{REGISTRY}/{n}:1" for n in BASIC))

    def _join_internet(self) -> None:
        if not self._container_runs(self._net):
            self._run("docker", "rm", "-f", self._net, check=False)
            self._run(
                "docker", "run", "-d", "--name", self._net, "--network", self._name, "--privileged",
                "--sysctl", "net.ipv4.ip_forward=1", f"{REGISTRY}/pause:1",
            )  # fmt: skip
        for address in (addresses.RESOLVER, addresses.EGRESS_GATEWAY):
            self._exec(self._net, "ip", "addr", "add", f"{address}/24", "dev", "eth0", check=False)
        router = self._address(self._net)
        for node in (self._control, *self.nodes):
            self._exec(node, "ip", "route", "replace", addresses.INTERNET, "via", router)
            self._exec(node, "ip", "route", "replace", addresses.EGRESS, "dev", "eth0")
        for node in self.nodes:
            ranges = self.get("node", node)["spec"]["podCIDR"]
            self._exec(self._net, "ip", "route", "add", ranges, "via", self._address(node), check=False)

    def _apply_objects(self, plugins: Path) -> None:
        not_default = '{"metadata":{"annotations":{"storageclass.kubernetes.io/is-default-class":"false"}}}'
        self.kubectl("patch", "storageclass", "standard", "-p", not_default)
        self.kubectl("apply", "-f", "-", stdin=render.objects(render.storage("rancher.io/local-path")))
        text = self.kubectl("get", "configmap", "coredns", "-n", "kube-system", "-o", "jsonpath={.data.Corefile}")
        text = text.replace("forward . /etc/resolv.conf", f"forward . {addresses.RESOLVER}")
        self.kubectl(
            "patch", "configmap", "coredns", "-n", "kube-system", "-p", json.dumps({"data": {"Corefile": text}})
        )
        manifest = (plugins / "multus-daemonset.yml").read_text()
        definitions = [part for part in manifest.split("\n---") if "kind: CustomResourceDefinition" in part]
        self.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(definitions))

    def _build_plugins(self, say: Say) -> Path:
        recipe, context = Path(__file__).with_name("kind.Dockerfile"), programs.MODULES / "multus"
        build = ["docker", "build", "-t", _CNI_IMAGE, "-f", str(recipe), str(context)]
        run_shown(build, say, self.layout.log / "docker-build-cni.log", fix="read the log")
        made = self._run("docker", "create", _CNI_IMAGE).stdout.strip()
        plugins = self.layout.state / "cni"
        shutil.rmtree(plugins, ignore_errors=True)
        self._run("docker", "cp", f"{made}:/cni", str(plugins))
        self._run("docker", "rm", made)
        return plugins

    def _install_multus(self, node: str, plugins: Path) -> None:
        self._run("docker", "cp", f"{plugins}/.", f"{node}:/opt/cni/bin")
        admin = self._exec(self._control, "cat", _ADMIN).stdout
        self._exec(node, "sh", "-c", "umask 077; cat >/etc/cni/multus.kubeconfig", stdin=admin)
        first = json.loads(self._exec(node, "cat", "/etc/cni/net.d/10-kindnet.conflist").stdout)
        multus = {
            "cniVersion": "0.4.0", "name": "multus", "type": "multus", "kubeconfig": "/etc/cni/multus.kubeconfig",
            "delegates": [first],
        }  # fmt: skip
        self._exec(node, "sh", "-c", "cat >/etc/cni/net.d/00-multus.conf", stdin=json.dumps(multus))

    def down(self) -> None:
        with step(f"cluster {self._name} down"):
            self._run("docker", "rm", "-f", self._net, check=False)
            self._run("kind", "delete", "cluster", "--name", self._name, "--kubeconfig", str(self.kubeconfig))
            self._run("docker", "network", "rm", self._name, check=False)
            shutil.rmtree(self.layout.state, ignore_errors=True)
            shutil.rmtree(self.layout.postfix, ignore_errors=True)

    def status(self) -> list[tuple[str, str, str]]:
        ready = self._ready_nodes() if self.kubeconfig.exists() else set()
        nodes = [(f"node {n}", "Ready" if n in ready else "NOT READY", "") for n in (self._control, *self.nodes)]
        net = ("internet", "runs" if self._container_runs(self._net) else "ENDED", self._net)
        return [("cluster", f"{self.kind} {self._name}", str(self.kubeconfig)), *nodes, net]

    def build(self, names: Sequence[str]) -> dict[str, str]:
        built = {}
        for name in names:
            if name not in OURS:
                raise ClusterError(f"no image is called {name!r}", f"choose from {' '.join(OURS)}")
            file, target = _DOCKERFILES[name]
            tag = f"{REGISTRY}/{name}:dev"
            build = ["docker", "build", "-t", tag, "--target", target, "-f", file, "."]
            with step(f"docker build {name}") as say:
                log = self.layout.log / f"docker-build-{name}.log"
                run_shown(build, say, log, fix="read the log", cwd=self.layout.checkout)
            content = self._run("docker", "image", "inspect", "-f", "{{.Id}}", tag).stdout.strip()
            built[name] = f"{REGISTRY}/{name}:{content.removeprefix('sha256:')[:12]}"
            self._run("docker", "tag", tag, built[name])
        return built

    def load(self, names: Sequence[str]) -> dict[str, str]:
        built = self.build(names)
        for name, reference in built.items():
            with step(f"kind load {name}"):
                tag = f"{REGISTRY}/{name}:dev"
                self._run("kind", "load", "docker-image", "--name", self._name, tag, reference)
        return built

    def program(self, name: str) -> Path:
        found = self.layout.bin / name
        return found if found.exists() else programs.path(self.layout, name)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        return self._kubectl(*arguments, stdin=stdin, check=check).stdout

    def get(self, *arguments: str) -> Any:
        return read(self.kubeconfig, *arguments)

    def place(self, name: str) -> Place:
        container = {"net": self._net, "ctl": self._control}.get(name, name)
        pid = self._run("docker", "inspect", "-f", "{{.State.Pid}}", container).stdout.strip()
        return Place(name, Path(f"/proc/{pid}/ns/net"), self.layout)

    def add_address(self, node: str, address: str) -> None:
        self._exec(node, "ip", "addr", "replace", f"{address}/24", "dev", "eth0")

    def remove_address(self, node: str, address: str) -> None:
        self._exec(node, "ip", "addr", "del", f"{address}/24", "dev", "eth0", check=False)

    def cut_link(self, node: str) -> None:
        self._cable(node, "-I")

    def restore_link(self, node: str) -> None:
        self._cable(node, "-D")

    def _cable(self, node: str, act: str) -> None:
        # dropped before anything else sees them: the interface and its routes stay, as with a pulled cable
        self._exec(node, "iptables", "-t", "raw", act, "PREROUTING", "-i", "eth0", "-j", "DROP")
        self._exec(node, "iptables", "-t", "mangle", act, "POSTROUTING", "-o", "eth0", "-j", "DROP")

    def stop_node(self, node: str) -> None:
        self._exec(node, "systemctl", "stop", "kubelet", "containerd")

    def power_off(self, node: str) -> None:
        self._run("docker", "kill", node)

    def start_node(self, node: str) -> None:
        self._run("docker", "start", node)  # one that runs goes on
        self._exec(node, "systemctl", "start", "containerd", "kubelet")
        if not poll(lambda: self._exec(node, "crictl", "info", check=False).returncode == 0, 60):
            raise ClusterError(f"{node}: containerd does not come back", f"docker exec {node} journalctl -u containerd")

    def pause_api_server(self) -> None:
        self._exec(self._control, "pkill", "-STOP", "kube-apiserver")

    def resume_api_server(self) -> None:
        self._exec(self._control, "pkill", "-CONT", "kube-apiserver")

    def container_pid(self, namespace: str, pod: str, container: str) -> int:
        found = self.get("pod", pod, "-n", namespace)
        ids = {s["name"]: s.get("containerID", "") for s in found["status"].get("containerStatuses", [])}
        node, wanted = found["spec"]["nodeName"], ids.get(container, "").removeprefix("containerd://")
        shown = self._exec(node, "crictl", "inspect", "-o", "go-template", "--template", "{{.info.pid}}", wanted)
        outer = self._run("docker", "inspect", "-f", "{{.State.Pid}}", node).stdout.strip()
        pid = _host_pid(int(shown.stdout), Path(f"/proc/{outer}/ns/pid"))
        if pid is None:
            raise ClusterError(
                f"{namespace}/{pod}: container {container} is not seen from here", "run on the engine's Linux"
            )
        return pid

    def volume_path(self, namespace: str, claim: str) -> Path:
        volume = self.get("pvc", claim, "-n", namespace)["spec"].get("volumeName")
        if not volume:
            raise ClusterError(f"{namespace}/{claim} is not bound", "wait until its pod runs")
        found = self.get("pv", volume)
        inside = Path((found["spec"].get("hostPath") or found["spec"]["local"])["path"])
        terms = found["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
        return self._volumes(terms[0]["matchExpressions"][0]["values"][0]) / inside.relative_to(_VOLUMES)

    def audit_offset(self) -> int:
        return self.layout.audit_log.stat().st_size if self.layout.audit_log.exists() else 0

    def writes(self, *, offset: int = 0, user: str | None = None, leases: bool = False) -> list[audit.Request]:
        return audit.writes(self.layout.audit_log, offset=offset, user=user, leases=leases)

    def requests(self, *, offset: int = 0, user: str | None = None) -> list[audit.Request]:
        return audit.requests(self.layout.audit_log, offset=offset, user=user)

    def _container_runs(self, name: str) -> bool:
        done = self._run("docker", "inspect", "-f", "{{.State.Running}}", name, check=False)
        return done.stdout.strip() == "true"

    def _address(self, container: str) -> str:
        template = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self._run("docker", "inspect", "-f", template, container).stdout.strip()

    def _exec(
        self, container: str, *argv: str, stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        return self._run("docker", "exec", "-i", container, *argv, stdin=stdin, check=check)

    def _kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        command = [str(self.layout.bin / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments]
        return self._run(*command, stdin=stdin, check=check)

    def _run(self, *argv: str, stdin: str | None = None, check: bool = True) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(argv, capture_output=True, text=True, input=stdin, check=False)
        if check and done.returncode:
            raise failed(f"`{' '.join(argv[:4])}`", done, "is Docker running and the cluster up? `status` tells")
        return done


def _host_pid(inner: int, pid_namespace: Path) -> int | None:
    """Return the machine's pid of the process that is `inner` in a container's pid namespace."""
    node = pid_namespace.stat().st_ino
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            numbers = next(line for line in status.read_text().splitlines() if line.startswith("NSpid:")).split()[1:]
            # a pod's process has a pid in the machine, in the node, and perhaps in the pod's own namespace
            if len(numbers) > 1 and int(numbers[1]) == inner and _ancestor_in(status.parent, node):
                return int(numbers[0])
        except (OSError, StopIteration):
            continue
    return None


def _ancestor_in(process: Path, namespace: int) -> bool:
    """Tell whether the process or one of its ancestors lives in the pid namespace with this inode."""
    while process.name not in ("0", "1"):
        if (process / "ns/pid").stat().st_ino == namespace:
            return True
        parent = next(line for line in (process / "status").read_text().splitlines() if line.startswith("PPid:"))
        process = process.parent / parent.split()[1]
    return False
