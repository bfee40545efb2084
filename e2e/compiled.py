"""The relay's source with its hot modules compiled, for bench, tests and the images of this machine's cluster.

`python -m e2e.compiled` prints the folder, for PYTHONPATH. Invariant: its name in the machine's cache is the hash of
all that went into it, so that an edited checkout never meets an older extension; the checkout itself stays pure.
Before it: `lanes/compile.py`, which compiles. After it: `bench.lanewright`, `cluster.images`, the Makefile.
"""

import compileall
import importlib.util
import os
import platform
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from e2e.cluster import cache
from e2e.cluster.identity import CHECKOUT, caches

__all__ = ["PACKAGES", "source", "why_not"]

PACKAGES: Final = ("crds/lane_api", "lanes/lane_relay")
_COMPILER: Final = "lanes/compile.py"
_KEPT: Final = 8
"""Folders of earlier sources that stay in the cache, some 15 MB each."""


def why_not(checkout: Path = CHECKOUT) -> str:
    """What is missing on this machine for compiling, or empty."""
    spec = importlib.util.spec_from_file_location("lanewright_compile", checkout / _COMPILER)
    if spec is None or spec.loader is None:
        return f"{_COMPILER} is missing"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.why_not())


def source(checkout: Path = CHECKOUT, cached: Path | None = None) -> Path:
    """The folder, built now if it has to be; raises CalledProcessError with the compiler's words on standard error."""
    folder = (caches(os.environ) if cached is None else cached) / "compiled"
    paths = [path for package in PACKAGES for path in (checkout / package).rglob("*.py")]
    files = cache.file_inputs([*paths, checkout / _COMPILER, checkout / "tests/requirements.lock"], checkout)
    key = cache.key([*files, ("python", f"{sys.version} {platform.machine()} {platform.libc_ver()}".encode())])

    def build(half: Path) -> None:
        print("compiling the relay's hot modules (a minute of CPU) ...", file=sys.stderr, flush=True)
        for package in PACKAGES:
            from_here = checkout / package
            shutil.copytree(from_here, half / from_here.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        done = subprocess.run([sys.executable, checkout / _COMPILER, half], capture_output=True, text=True, check=False)
        if done.returncode:
            sys.stderr.write(f"{done.stdout}{done.stderr}")
            done.check_returncode()
        # the others to bytecode, once: a folder in a cache may be run by those who write none
        compileall.compile_dir(half, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        _forget(folder)

    return cache.folder(folder / key, build)


def _forget(folder: Path) -> None:
    """All but the newest: each edit of the relay makes another."""
    whole = sorted((path for path in folder.iterdir() if path.name[0] != "."), key=lambda path: path.stat().st_mtime)
    for path in whole[:-_KEPT]:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    lacking = why_not()
    if lacking:
        sys.exit(f"the relay cannot be compiled here: {lacking}")
    print(source())
