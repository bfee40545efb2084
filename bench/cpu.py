"""CPU and memory of a program with all its children, read from the kernel's own accounts.

Invariant: a child that ended is counted through its parent, which waited for it; so only differences of one tree count.
"""

import psutil

__all__ = ["cpu_seconds", "memory_bytes"]


def _tree(root: psutil.Process) -> list[psutil.Process]:
    """The program and all that live below it."""
    return [root, *root.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """User and system seconds of a process tree so far, ended and waited-for children included."""
    total = 0.0
    for process in _tree(psutil.Process(pid)):
        try:
            total += sum(process.cpu_times()[:4])  # user, system, and both of waited-for children
        except psutil.NoSuchProcess:  # its parent has its time now
            continue
    return total


def memory_bytes(pid: int) -> int:
    """Proportional set size of a process tree: shared pages once."""
    total = 0
    for process in _tree(psutil.Process(pid)):
        try:
            total += process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue
    return total
