"""Things that cost minutes to build, kept under a name that is the hash of what they are built from.

Invariant: a name in the cache is whole or absent. A build writes beside it and is renamed when complete, so an
interrupted build leaves nothing under the final name and two builders at once end with one of two equal results.
"""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def key(inputs: Iterable[tuple[str, bytes]]) -> str:
    """Return 16 hex digits over named inputs; order does not matter, names do."""
    digest = hashlib.sha256()
    for name, content in sorted(inputs):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()[:16]


def file_inputs(paths: Iterable[Path], root: Path) -> list[tuple[str, bytes]]:
    """Return files as inputs of a key, named by their path below `root`."""
    return [(str(path.relative_to(root)), path.read_bytes()) for path in paths]


@contextmanager
def only_one(path: Path) -> Iterator[None]:
    """Hold the lock file `path` while the body runs; others wait."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def folder(final: Path, build: Callable[[Path], None]) -> Path:
    """Return `final`, which `build` fills as an empty folder of another name if it is not there yet."""
    if final.exists():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with only_one(final.parent / f".{final.name}.lock"):
        if final.exists():
            return final
        for killed in final.parent.glob(f".half-{final.name}-*"):  # nobody else builds this name while we hold its lock
            shutil.rmtree(killed, ignore_errors=True)
        half = Path(tempfile.mkdtemp(prefix=f".half-{final.name}-", dir=final.parent))
        try:
            build(half)
            half.chmod(0o755)
            os.rename(half, final)  # noqa: PTH104 - the one atomic act
        finally:
            shutil.rmtree(half, ignore_errors=True)
    return final
