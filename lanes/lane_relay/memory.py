"""The process's memory: what Python's collector looks at, and what goes back to the system.

Before it: `pipeline`, once all stages stand; `path`, once all that recovery found is handed on. After it: nothing.
"""

import ctypes
import gc
from typing import Final

__all__ = ["give_back", "settle"]

_LARGE: Final = 256 * 2**10
"""Bytes of a block that has pages of its own and goes back when it is freed; half as many cost 100 KB mail a twelfth of
its rate (bench/NOTES.md)."""
_M_MMAP_THRESHOLD: Final = -3


def settle() -> None:
    """Takes all that is there for the process's life out of the collector's sight, and lets it look less often.

    A message makes hardly any cycles; looking every 700 objects, Python's default, took some 7 % of its CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    _keep_large_blocks_apart()


def _keep_large_blocks_apart() -> None:
    """Messages that were sent leave no holes: glibc raises the size from which a block is given back with each such
    block that is freed, up to 32 MiB, and keeps all below it. mallopt(3); another C library is left as it is.
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_M_MMAP_THRESHOLD, _LARGE)


def give_back() -> None:
    """What recovery needed for itself goes back to the system at once; a C library that cannot do that keeps it.

    malloc_trim(3) of glibc; it takes some milliseconds.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
