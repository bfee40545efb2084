"""The few empty folders of the machine over which nodes mount their own, and who may remove them again.

Programs of a node have paths compiled in (/var/lib/kubelet, /run/containerd, ...). Each node therefore runs in a mount
namespace of its own, where these paths lead into the cluster's state; the machine keeps an empty folder at most.
Invariant: a folder that we made goes with the last cluster of the machine, one that was there before stays.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from e2e.cluster.cache import only_one

NODE_PATHS: Final = (
    "/run/containerd",  # shims' sockets, compiled into containerd
    "/run/netns",  # the pods' network namespaces
    "/var/lib/cni",  # libcni's result cache
    "/var/lib/kubelet",  # also the device manager's socket, compiled in
    "/var/log/containers",
    "/var/log/pods",
)
_MADE: Final = Path("/run/lw-machine.json")
_LOCK: Final = Path("/run/lw-machine.lock")


def make_mount_points(paths: Iterable[str] = NODE_PATHS) -> None:
    """Make the folders that are missing and remember which they were."""
    with only_one(_LOCK):
        made = _made()
        for path in map(Path, paths):
            missing = [p for p in (path, *path.parents) if not p.exists()]
            path.mkdir(parents=True, exist_ok=True)
            made.extend(str(p) for p in missing)
        _MADE.write_text(json.dumps(made))


def remove_mount_points(run: Path) -> None:
    """Remove what we made if `run` belonged to the last cluster here; full folders stay."""
    with only_one(_LOCK):
        if any(p != run for p in Path("/run").glob("lw-*/")):
            return
        for path in sorted(_made(), key=len, reverse=True):
            try:
                os.rmdir(path)  # noqa: PTH106 - fails, as wanted, where somebody put something
            except OSError:
                continue
        _MADE.unlink(missing_ok=True)
    _LOCK.unlink(missing_ok=True)


def _made() -> list[str]:
    return list(json.loads(_MADE.read_text())) if _MADE.exists() else []
