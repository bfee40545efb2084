"""The few file operations that the spool and the journal are made of, behind one seam.

Invariant: nothing else in `spool/` and `account/journal.py` touches the disk, so that a test which implements this
seam sees every write and every sync, in order. Before: nothing. After: `committer`, `recovery`, `cleaning`, `journal`.
All methods block and raise OSError; they are called from the spool's own threads, or before the loop serves anybody.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

__all__ = ["POSIX_FILES", "AppendFile", "Files", "PosixFiles", "Volume"]

_IOV_MAX: Final = 1024
"""Buffers in one writev; Linux's UIO_MAXIOV."""


class Volume(NamedTuple):
    """What a volume has, in bytes."""

    size: int
    free: int
    """For who is not root."""


class AppendFile(Protocol):
    """A file that only grows at its end, or is cut."""

    size: int
    """Where the next append goes."""

    def append(self, parts: Sequence[bytes]) -> None:
        """Writes all parts; after an OSError any prefix of them may be in the file."""

    def sync(self) -> None:
        """Data and size are on stable storage when it returns."""

    def truncate(self, size: int) -> None:
        """Cuts the file; not durable before `sync`."""

    def close(self) -> None:
        """Gives up the descriptor."""


class Files(Protocol):
    """A file system, as far as a log needs one."""

    def make_directory(self, path: Path) -> None:
        """Makes a directory and its parents where missing."""

    def names(self, directory: Path) -> list[str]:
        """Names of the regular files in a directory."""

    def size(self, path: Path) -> int:
        """Bytes of a file."""

    def modified(self, path: Path) -> float:
        """Unix time of the last write to a file."""

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """Bytes of a file from an offset; fewer than asked for at its end."""

    def create(self, path: Path) -> AppendFile:
        """A new file; FileExistsError if there is one."""

    def open(self, path: Path) -> AppendFile:
        """An existing file, to be appended to."""

    def rename(self, source: Path, target: Path) -> None:
        """Replaces the target in one step; durable after `sync_directory`."""

    def unlink(self, path: Path) -> None:
        """Removes a file; durable after `sync_directory`."""

    def sync_directory(self, directory: Path) -> None:
        """Makes creations, renames and removals in the directory durable."""

    def reserve(self, path: Path, size: int) -> None:
        """Makes a file that holds `size` bytes of the volume; OSError (ENOSPC) if there is no room."""

    def volume(self, directory: Path) -> Volume:
        """What the directory's volume has."""

    def lock(self, path: Path) -> AppendFile:
        """Takes an exclusive lock until `close` or the process's end; BlockingIOError if another holds it."""


class _PosixFile:
    __slots__ = ("_descriptor", "size")

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def append(self, parts: Sequence[bytes]) -> None:
        for first in range(0, len(parts), _IOV_MAX):
            self._append(parts[first : first + _IOV_MAX])

    def _append(self, parts: Sequence[bytes]) -> None:
        wanted = sum(map(len, parts))
        written = os.pwritev(self._descriptor, parts, self.size)
        self.size += written
        if written < wanted:  # a signal or a full volume; the next call says which
            rest = memoryview(b"".join(parts))[written:]
            while rest:
                written = os.pwrite(self._descriptor, rest, self.size)
                self.size += written
                rest = rest[written:]

    def sync(self) -> None:
        os.fdatasync(self._descriptor)

    def truncate(self, size: int) -> None:
        os.ftruncate(self._descriptor, size)
        self.size = size

    def close(self) -> None:
        os.close(self._descriptor)


class PosixFiles:
    """The operating system's file system."""

    def make_directory(self, path: Path) -> None:
        """See Files."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def names(self, directory: Path) -> list[str]:
        """See Files."""
        with os.scandir(directory) as found:
            return [item.name for item in found if item.is_file(follow_symlinks=False)]

    def size(self, path: Path) -> int:
        """See Files."""
        return path.stat().st_size

    def modified(self, path: Path) -> float:
        """See Files."""
        return path.stat().st_mtime

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        """See Files."""
        with path.open("rb", buffering=0) as file:
            if length < 0:
                file.seek(offset)
                return file.read()
            return os.pread(file.fileno(), length, offset)

    def create(self, path: Path) -> AppendFile:
        """See Files."""
        return _PosixFile(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))

    def open(self, path: Path) -> AppendFile:
        """See Files."""
        return _PosixFile(os.open(path, os.O_RDWR | os.O_CLOEXEC))

    def rename(self, source: Path, target: Path) -> None:
        """See Files."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """See Files."""
        path.unlink()

    def sync_directory(self, directory: Path) -> None:
        """See Files."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def reserve(self, path: Path, size: int) -> None:
        """See Files."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    def volume(self, directory: Path) -> Volume:
        """See Files."""
        found = os.statvfs(directory)
        return Volume(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def lock(self, path: Path) -> AppendFile:
        """See Files."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise
        return _PosixFile(descriptor)


POSIX_FILES: Final = PosixFiles()
