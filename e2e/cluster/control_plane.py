"""The control plane: etcd, API server, controllers, scheduler, cluster DNS, local volumes, and a door for people.

Invariant: `start_*` starts only what does not run; identities and configuration are written before.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final

from e2e.cluster import addresses, programs, render
from e2e.cluster.cgroups import CONTROL_WEIGHT, Cgroups
from e2e.cluster.errors import ClusterError, failed
from e2e.cluster.identity import Layout
from e2e.cluster.namespaces import NETNS, inside
from e2e.cluster.processes import Process, Processes, wait_for

PROGRAMS: Final = (
    "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "coredns", "volumes", "door",
)  # fmt: skip
_READY_SECONDS: Final = 90.0


class ControlPlane:
    """Starts and repairs the programs of the `ctl` place."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._processes = Processes(layout.processes)

    def process(self, program: str) -> Process | None:
        """Return one of the control plane's programs if it runs."""
        return self._processes.find(program)

    def write(self) -> None:
        """Write configuration files; pki must be there."""
        layout, server = self._layout, f"https://{addresses.CONTROL}:{addresses.API_PORT}"
        layout.conf.mkdir(parents=True, exist_ok=True)
        for user in ("admin", "kcm", "scheduler"):
            (layout.conf / f"{user}.kubeconfig").write_text(render.kubeconfig(layout.pki, user, server))
        (layout.conf / "audit-policy.json").write_text(render.audit_policy())
        (layout.conf / "Corefile").write_text(render.corefile(layout))
        (layout.conf / "resolv.conf").write_text(f"nameserver {addresses.RESOLVER}\n")
        (layout.conf / "objects.json").write_text(render.objects([*render.storage(), *render.dns_service()]))

    def start_api_server(self) -> None:
        """Start etcd, the API server and the door, and return when the API is ready."""
        layout = self._layout
        # without fsync: the cluster is as mortal as its folder, and etcd must not compete for the disk under test
        self._start("etcd", ["--data-dir", f"{layout.state}/etcd", "--unsafe-no-fsync", "--log-level=warn"])
        self._start("kube-apiserver", render.api_server(layout))
        self._open_door()
        log = layout.log / "kube-apiserver.log"
        error = ClusterError("the API server does not become ready", "read the log; `down` and `up` start afresh", log)
        wait_for(self._api_ready, _READY_SECONDS, error, every=0.2)

    def start_controllers(self) -> None:
        """Start controllers, scheduler and cluster DNS."""
        layout = self._layout
        self._start("kube-controller-manager", render.controller_manager(layout))
        scheduler = [f"--kubeconfig={layout.conf}/scheduler.kubeconfig", "--leader-elect=false",
                     f"--cert-dir={layout.state}/scheduler-serving"]  # fmt: skip
        self._start("kube-scheduler", scheduler)
        self._start("coredns", ["-conf", f"{layout.conf}/Corefile"])

    def apply_objects(self) -> None:
        """Apply what every cluster has: volumes' class, DNS Service, Multus' resource; then start the provisioner."""
        manifest = programs.module_file(self._layout, "multus", "multus-daemonset.yml").read_text()
        definitions = [part for part in manifest.split("\n---") if "kind: CustomResourceDefinition" in part]
        self.kubectl("apply", "--server-side", "-f", "-", stdin="\n---\n".join(definitions))
        self.kubectl("apply", "--server-side", "-f", str(self._layout.conf / "objects.json"))
        self._start("volumes", [f"{self._layout.conf}/admin.kubeconfig", str(self._layout.nodes)])

    def kubectl(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> "subprocess.CompletedProcess[str]":
        """Run kubectl as the cluster's administrator."""
        command = [str(self._layout.bin / "kubectl"), f"--kubeconfig={self._layout.kubeconfig}",
                   f"--cache-dir={self._layout.kubectl_cache}", *arguments]  # fmt: skip
        # it lives for a twentieth of a second: collecting garbage is a fifth of its CPU, and tests start thousands
        env = {**os.environ, "GOGC": "off"}
        done = subprocess.run(command, capture_output=True, text=True, input=stdin, check=False, env=env)
        if check and done.returncode:
            raise failed(f"kubectl {' '.join(arguments[:3])}", done, "is the cluster up? `status` tells")
        return done

    def _api_ready(self) -> bool:
        for program in ("etcd", "kube-apiserver", "door"):
            if not self.process(program):
                raise ClusterError(
                    f"{program} ended",
                    "its last words say why; `down` and `up` start afresh",
                    self._layout.log / f"{program}.log",
                )
        return self.kubectl("get", "--raw", "/readyz", "--request-timeout=2s", check=False).returncode == 0

    def _open_door(self) -> None:
        layout = self._layout
        if self.process("door"):
            return
        port = _free_port(_port_before(layout.kubeconfig))
        script = Path(__file__).with_name("forward.py")
        namespace = NETNS / layout.namespace("ctl")
        command = [
            sys.executable,
            "-I",
            str(script),
            str(namespace),
            addresses.CONTROL,
            str(addresses.API_PORT),
            str(port),
        ]
        self._spawn("door", command)
        text = render.kubeconfig(layout.pki, "admin", f"https://127.0.0.1:{port}", embed=True)
        layout.kubeconfig.touch(mode=0o600)
        layout.kubeconfig.write_text(text)

    def _start(self, program: str, arguments: list[str]) -> None:
        if not self.process(program):
            argv = [str(self._layout.bin / program), *arguments]
            self._spawn(program, inside(self._layout.namespace("ctl"), argv))

    def _spawn(self, program: str, argv: list[str]) -> None:
        groups = Cgroups(self._layout.id).ensure("control", CONTROL_WEIGHT)
        self._processes.spawn(program, argv, self._layout.log / f"{program}.log", groups, cwd=self._layout.state)


def _port_before(kubeconfig: Path) -> int:
    """Return the door's port of an earlier start, so that open shells go on working; 0 if there was none."""
    if not kubeconfig.exists():
        return 0
    server = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["server"]
    return int(server.rpartition(":")[2])


def _free_port(wanted: int) -> int:
    for port in (wanted, 0):
        try:
            with socket.create_server(("127.0.0.1", port)) as probe:
                return int(probe.getsockname()[1])
        except OSError:
            continue
    raise ClusterError("no free port on 127.0.0.1", "end what occupies the ports")
