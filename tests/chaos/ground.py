"""Namespaces of the campaign's own: network, mounts and processes.

Invariant: everything that a campaign starts is below the first process of its process namespace and ends with it; the
network, its rules and its mounts go when the last of them has gone. Nothing of the machine is touched.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
_INSIDE: Final = "LANEWRIGHT_CHAOS_INSIDE"
NETWORK: Final = "198.51.100"
STRANGERS: Final = "10.66"
"""Addresses of clients that the lane does not know."""


def enter(arguments: Sequence[str]) -> None:
    """Becomes `python -m tests.chaos` in namespaces of its own; returns once it is there."""
    if _INSIDE in os.environ:
        for command in (
            ["ip", "link", "set", "lo", "up"],
            ["ip", "addr", "add", f"{NETWORK}.0/24", "dev", "lo"],  # each address of it is ours
            ["ip", "addr", "add", f"{STRANGERS}.0.0/16", "dev", "lo"],
            ["sysctl", "-qw", "net.ipv4.ip_local_port_range=15000 65000", "net.core.somaxconn=8192"],
        ):
            subprocess.run(command, check=True)
        return
    os.chdir(CHECKOUT)
    os.execvpe(
        "unshare",
        [
            "unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child",
            "--mount-proc", sys.executable, "-m", "tests.chaos", *arguments,
        ],
        os.environ | {_INSIDE: "1"},
    )  # fmt: skip


@contextmanager
def small_volume(path: Path, size: str) -> Iterator[None]:
    """A volume of its own at the path, in memory; it goes with the namespace at the latest."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def cut(address: str, *, off: bool) -> None:
    """Packets from and to an address vanish, connections stay half-open; or come through again."""
    for where in ("-s", "-d"):
        subprocess.run(["iptables", "-w", "-A" if off else "-D", "INPUT", where, address, "-j", "DROP"], check=True)
