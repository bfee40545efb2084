"""The cluster's Go programs, built from pinned modules: `modules/<name>/{go.mod,go.sum}` say what and from what.

Invariant: a program's place in the cache is the hash of its go.mod, go.sum, build flags and, where it is ours, its Go
files; go.sum's hashes are checked by Go itself. Nothing of another's module is kept in this repository. Needs a Go
compiler only when something is not built yet.
"""

import json
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.cluster import cache, prerequisites
from e2e.cluster.errors import ClusterError, failed
from e2e.cluster.identity import Layout
from e2e.cluster.progress import run_shown, step

MODULES: Final = Path(__file__).with_name("modules")
KUBERNETES: Final = "1.35.4"  # the last minor that accepts containerd 1.x, which is what Debian 12 ships
_VERSION: Final = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Module:
    """One Go module file of ours and the programs that it builds."""

    name: str
    programs: tuple[tuple[str, str], ...]  # (program's name, Go package)
    expect: str  # how long the first build takes on 2 cores
    ld_flags: str = "-s -w"
    files: tuple[tuple[str, str, str], ...] = ()  # (module path, file in it, name in the cache)

    def inputs(self, folder: Path = MODULES) -> list[tuple[str, bytes]]:
        """Return what decides about the built programs."""
        here = folder / self.name
        files = cache.file_inputs([here / "go.mod", here / "go.sum", *sorted(here.glob("*.go"))], folder)
        return [*files, ("flags", repr((self.programs, self.ld_flags, self.files, platform.machine())).encode())]


def _kubernetes() -> Module:
    major, minor, _ = KUBERNETES.split(".")
    flags = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
    names = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
    # Debian's etcd 3.4 is too old: without watch progress the API server never becomes ready
    programs = (*((n, f"k8s.io/kubernetes/cmd/{n}") for n in names), ("etcd", "go.etcd.io/etcd/server/v3"))
    return Module(
        "kubernetes",
        programs,
        "6 min the first time",
        " ".join(["-s -w", *(f"-X {_VERSION}.{k}={v}" for k, v in flags.items())]),
    )


def _one(name: str, package: str, expect: str) -> Module:
    return Module(name, ((name, package),), expect)


_MULTUS: Final = "gopkg.in/k8snetworkplumbingwg/multus-cni.v4"
_PROMETHEUS: Final = "github.com/prometheus-operator/prometheus-operator"
_PROMETHEUS_CRDS: Final = "example/prometheus-operator-crd/monitoring.coreos.com"
_CILIUM: Final = "github.com/cilium/cilium"
_CILIUM_CRDS: Final = "pkg/k8s/apis/cilium.io/client/crds/v2"
_ALL: Final = (
    _kubernetes(),
    _one("coredns", "github.com/coredns/coredns", "3 min the first time"),
    _one("volumes", "lanewright.dev/e2e/volumes", "1 min the first time"),  # ours: a folder for each claim, at once
    Module("multus", (("multus", f"{_MULTUS}/cmd/multus"),), "1 min the first time",
           files=((_MULTUS, "deployments/multus-daemonset.yml", "multus-daemonset.yml"),)),
    _one("helm", "helm.sh/helm/v3/cmd/helm", "2 min the first time"),
    _one("kwok", "sigs.k8s.io/kwok/cmd/kwok", "2 min the first time"),
    Module("prometheus-operator", (("prometheus-operator", f"{_PROMETHEUS}/cmd/operator"),), "2 min the first time",
           files=((_PROMETHEUS, "bundle.yaml", "bundle.yaml"),)),
    _one("etcdutl", "go.etcd.io/etcd/etcdutl/v3", "1 min the first time"),
    _one("gitops", "lanewright.dev/e2e/gitops", "4 min the first time"),  # ours: what GitOps tools make of an object
    Module("cilium", (), "seconds", files=(
        (_CILIUM, f"{_CILIUM_CRDS}/ciliumegressgatewaypolicies.yaml", "gateway-policies.yaml"),
        (_CILIUM, f"{_CILIUM_CRDS}/ciliumnetworkpolicies.yaml", "network-policies.yaml"))),
    Module("manifests", (("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
                         ("kube-score", "github.com/zegl/kube-score/cmd/kube-score")), "1 min the first time"),
    Module("definitions", (), "seconds", files=(
        ("k8s.io/kubernetes", "api/openapi-spec/swagger.json", "kubernetes.json"),
        ("github.com/cert-manager/cert-manager", "deploy/crds/cert-manager.io_certificates.yaml", "certificates.yaml"),
        ("sigs.k8s.io/external-dns", "config/crd/standard/dnsendpoints.externaldns.k8s.io.yaml", "dnsendpoints.yaml"),
        ("github.com/kedacore/keda/v2", "config/crd/bases/keda.sh_scaledobjects.yaml", "scaledobjects.yaml"),
        (_PROMETHEUS, f"{_PROMETHEUS_CRDS}_podmonitors.yaml", "podmonitors.yaml"),
        (_PROMETHEUS, f"{_PROMETHEUS_CRDS}_prometheusrules.yaml", "prometheusrules.yaml"))),
    _one("versitygw", "github.com/versity/versitygw/cmd/versitygw", "1 min the first time"),
)  # fmt: skip
CATALOGUE: Final = {module.name: module for module in _ALL}
OF_EVERY_CLUSTER: Final = ("kubernetes", "coredns", "volumes", "multus", "helm")


def ensure(layout: Layout, names: tuple[str, ...] = OF_EVERY_CLUSTER) -> None:
    """Build what is not in the cache yet and link every program into the cluster's bin folder."""
    layout.bin.mkdir(parents=True, exist_ok=True)
    for name in names:
        built = _built(layout, CATALOGUE[name])
        for program, _ in CATALOGUE[name].programs:
            _link(built / program, layout.bin / program)


def path(layout: Layout, program: str) -> Path:
    """Return a program of the cluster; kwok, prometheus-operator and etcdutl are built when first asked for."""
    if program in CATALOGUE:
        ensure(layout, (program,))
    found = layout.bin / program
    if not found.exists():
        known = sorted({p for module in _ALL for p, _ in module.programs})
        raise ClusterError(f"no program {program!r} here", f"the cluster must be up; it knows {' '.join(known)}")
    return found


def module_file(layout: Layout, module: str, name: str) -> Path:
    """Return a file that came with a module, such as Multus' manifests."""
    return _built(layout, CATALOGUE[module]) / name


def _built(layout: Layout, module: Module) -> Path:
    key = cache.key(module.inputs())
    return cache.folder(layout.caches / "bin" / f"{module.name}-{key}", lambda half: _build(layout, module, half))


def _build(layout: Layout, module: Module, out: Path) -> None:
    go, log, folder = prerequisites.go(layout), layout.log / f"build-{module.name}.log", MODULES / module.name
    env = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    packages = [package for _, package in module.programs]
    if not packages:  # only files are wanted
        _copy_files(go, folder, module, out)
        return
    with step(f"building {module.name} from Go modules", module.expect) as say:
        build = [str(go), "build", "-v", "-trimpath", "-ldflags", module.ld_flags, "-o", f"{out}/", *packages]
        run_shown(
            build,
            say,
            log,
            fix="check the network and disk space; what is compiled already is kept",
            env=env,
            cwd=folder,
        )
    for program, package in module.programs:
        _rename(out, program, package)
    _copy_files(go, folder, module, out)


def _copy_files(go: Path, folder: Path, module: Module, out: Path) -> None:
    for source, file, name in module.files:
        shutil.copy(_module_folder(go, folder, source) / file, out / name)


def _rename(out: Path, program: str, package: str) -> None:
    parts = [p for p in package.split("/") if not (p.startswith("v") and p[1:].isdigit())]
    if parts[-1] != program:
        (out / parts[-1]).rename(out / program)


def _module_folder(go: Path, folder: Path, module: str) -> Path:
    done = subprocess.run(
        [str(go), "mod", "download", "-json", module], cwd=folder, capture_output=True, text=True, check=False
    )  # checked against go.sum
    if done.returncode:
        raise failed(f"go mod download {module}", done, "check the network; go.sum must know the module")
    return Path(json.loads(done.stdout)["Dir"])


def _link(target: Path, link: Path) -> None:
    if not link.exists() or link.resolve() != target.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(target)
