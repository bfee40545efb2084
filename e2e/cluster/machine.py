"""The few empty folders of the machine over which nodes mount their own, and who may remove them again.

Programs of a node have paths compiled in (/var/lib/kubelet, /run/containerd, ...). Each node therefore runs in a mount
namespace of its own, where these paths lead into the cluster's state; the machine keeps an empty folder at most.
Invariant: a folder that we made goes with the last cluster of the machine, one that was there before stays.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class MountPoints:
    """The machine's folders that all its clusters share; `run` holds one folder `lw-<id>` a cluster and our record."""

    run: Path = Path("/run")

    def make(self, paths: Iterable[str] = NODE_PATHS) -> None:
        """Make the folders that are missing and remember which they were."""
        with only_one(self._lock):
            made = self._made()
            for path in map(Path, paths):
                missing = [p for p in (path, *path.parents) if not p.exists()]
                path.mkdir(parents=True, exist_ok=True)
                made.extend(str(p) for p in missing)
            self._record.write_text(json.dumps(made))

    def remove(self, of: Path) -> None:
        """Remove what we made if the cluster with the folder `of` was the last one here; full folders stay."""
        with only_one(self._lock):
            if any(p != of for p in self.run.glob("lw-*/")):
                return
            for path in sorted(self._made(), key=len, reverse=True):
                try:
                    Path(path).rmdir()
                except OSError:  # somebody put something there: it is theirs now
                    continue
            self._record.unlink(missing_ok=True)
        self._lock.unlink(missing_ok=True)

    @property
    def _record(self) -> Path:
        return self.run / "lw-machine.json"

    @property
    def _lock(self) -> Path:
        return self.run / "lw-machine.lock"

    def _made(self) -> list[str]:
        return list(json.loads(self._record.read_text())) if self._record.exists() else []
