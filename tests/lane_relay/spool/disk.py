"""A disk in memory that keeps the trace of every write and sync, and gives every state that a power loss may leave.

Model (what POSIX promises and no more): data is durable after a sync of its file, names after a sync of their
directory; until then each sector of each write, each change of length and each name may or may not be there,
in any combination. A rename is one step. Nothing here knows what the spool writes.
"""

import errno
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from lane_relay.spool.files import Volume

SECTOR = 512
NOW = 1_800_000_000.0
"""When all is written that nobody has set another time for."""

Image = dict[str, bytes]
"""Path -> content: what is found after the power loss."""


class _Inode:
    def __init__(self) -> None:
        self.content = bytearray()
        self.path = ""
        self.modified = NOW


class SimulatedFile:
    def __init__(self, disk: "SimulatedDisk", inode: _Inode) -> None:
        self._disk = disk
        self.inode = inode
        self.size = len(inode.content)

    def append(self, parts: Sequence[bytes]) -> None:
        data = b"".join(parts)
        with self._disk.lock_all:
            full = self._disk.full_below and self.inode.path.startswith(self._disk.full_below)
            room = 0 if full else self._disk.room()
            written = data[: max(0, room)]
            self._disk.note("write", self.inode, self.size, bytes(written))
            del self.inode.content[self.size :]
            self.inode.content += written
            self.inode.modified = self._disk.now
            self.size += len(written)
            if len(written) < len(data):
                raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, offset: int, data: bytes) -> None:
        """As pwrite does it; for a trace that was recorded elsewhere."""
        with self._disk.lock_all:
            self._disk.note("write", self.inode, offset, data)
            _apply(self.inode.content, (offset, data))

    def grow(self, size: int) -> None:
        """Room up to this size, of which nothing is a promise."""
        self.inode.content += bytes(max(0, size - len(self.inode.content)))

    def sync(self) -> None:
        if self._disk.fail_sync:
            raise OSError(self._disk.fail_sync, "Input/output error")
        if self._disk.syncs_files:
            self._disk.note("sync", self.inode, 0, b"")

    def truncate(self, size: int) -> None:
        with self._disk.lock_all:
            self._disk.note("truncate", self.inode, size, b"")
            del self.inode.content[size:]
            self.size = size

    def close(self) -> None:
        pass


class SimulatedDisk:
    """The Files seam over memory."""

    def __init__(self, image: Image | None = None, *, capacity: int = 2**40) -> None:
        self.lock_all = threading.RLock()
        self.capacity = capacity
        self.now = NOW
        """Unix time of what is written from now on."""
        self.fail_sync = 0
        self.fail_reads: list[int] = []
        """Error numbers of the next reads, one each."""
        self.full_below = ""
        """A directory whose volume has no room."""
        self.syncs_files = True
        self.syncs_directories = True
        self.names_now: dict[str, _Inode] = {}
        self.trace: list[tuple[object, ...]] = []
        self.start = dict(image or {})
        self.start_inodes: dict[str, _Inode] = {}
        self.reserved: dict[str, int] = {}
        for path, content in self.start.items():
            inode = _Inode()
            inode.content[:] = content
            self.names_now[path] = self.start_inodes[path] = inode

    def note(self, kind: str, *what: object) -> None:
        with self.lock_all:
            self.trace.append((kind, *what))

    def mark(self, what: object) -> None:
        """Something was promised to somebody at this point of the trace."""
        self.note("mark", what)

    def room(self) -> int:
        return self.capacity - sum(len(i.content) for i in self.names_now.values()) - sum(self.reserved.values())

    def image(self) -> Image:
        """What is on the disk if nothing is lost."""
        with self.lock_all:
            return {path: bytes(inode.content) for path, inode in self.names_now.items()}

    # --- the seam ---

    def make_directory(self, path: Path) -> None:
        pass

    def names(self, directory: Path) -> list[str]:
        with self.lock_all:
            found = [*self.names_now, *self.reserved]
            return [Path(path).name for path in found if Path(path).parent == directory]

    def size(self, path: Path) -> int:
        return len(self._inode(path).content)

    def modified(self, path: Path) -> float:
        return self._inode(path).modified

    def read(self, path: Path, offset: int = 0, length: int = -1) -> bytes:
        content = self._inode(path).content
        if self.fail_reads:
            raise OSError(self.fail_reads.pop(0), "cannot be read")
        return bytes(content[offset:] if length < 0 else content[offset : offset + length])

    def create(self, path: Path) -> SimulatedFile:
        with self.lock_all:
            if str(path) in self.names_now:
                raise FileExistsError(errno.EEXIST, "exists", str(path))
            inode = self.names_now[str(path)] = _Inode()
            inode.path = str(path)
            self.note("name", str(path), inode)
            return SimulatedFile(self, inode)

    def open(self, path: Path) -> SimulatedFile:
        return SimulatedFile(self, self._inode(path))

    def rename(self, source: Path, target: Path) -> None:
        with self.lock_all:
            inode = self.names_now.pop(str(source))
            self.names_now[str(target)] = inode
            self.note("rename", str(source), str(target), inode)

    def unlink(self, path: Path) -> None:
        with self.lock_all:
            if self.reserved.pop(str(path), None) is None:
                if str(path) not in self.names_now:
                    raise FileNotFoundError(errno.ENOENT, "missing", str(path))
                del self.names_now[str(path)]
                self.note("unname", str(path))

    def sync_directory(self, directory: Path) -> None:
        if self.syncs_directories:
            self.note("sync-names", str(directory))

    def reserve(self, path: Path, size: int) -> None:
        with self.lock_all:
            if str(path) not in self.reserved:
                if self.room() < size:
                    raise OSError(errno.ENOSPC, "No space left on device")
                self.reserved[str(path)] = size

    def volume(self, directory: Path) -> Volume:
        with self.lock_all:
            return Volume(self.capacity, max(0, self.room()))

    def lock(self, path: Path) -> SimulatedFile:
        return SimulatedFile(self, _Inode())

    def _inode(self, path: Path) -> _Inode:
        with self.lock_all:
            if str(path) not in self.names_now:
                raise FileNotFoundError(errno.ENOENT, "missing", str(path))
            return self.names_now[str(path)]

    # --- power loss ---

    def power_loss(self, mode: str, chance: random.Random, happened: int) -> Image:
        """What may be found if the power goes after so much of the trace; `mode`: which of what is not synced yet."""
        state = _Durable(self)
        for event in self.trace[:happened]:
            state.happen(event)
        return state.image(mode, chance)

    def crash_images(
        self, random_images: int, seed: int, *, every_byte: bool, after_syncs: bool = False
    ) -> Iterator[tuple[int, Image]]:
        """(length of the trace that had happened, image) for every point of the trace.

        At each point: nothing unsynced survived; everything did; the last write is torn at each byte (or around each
        sector's end) with what came before it there, and not there; names lost while data survived, and the reverse;
        and `random_images` more, in which each sector, length and name goes its own way. What a sync leaves is what may
        be there just before it: it is given again only with `after_syncs`, for tests that go on from there.
        """
        chance = random.Random(seed)
        state = _Durable(self)
        yield 0, state.image(None, chance)
        for at, event in enumerate(self.trace):
            state.happen(event)
            if event[0] in ("mark", "sync", "sync-names"):
                if after_syncs:
                    yield at + 1, state.image("none", chance)
                continue
            for image in state.images(random_images, chance, every_byte=every_byte):
                yield at + 1, image

    def marks(self) -> list[tuple[int, object]]:
        """(length of the trace before it, what was promised)."""
        return [(at, event[1]) for at, event in enumerate(self.trace) if event[0] == "mark"]


class _Durable:
    """What surely survives, and what may."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.data: dict[_Inode, bytes] = {inode: bytes(disk.start[path]) for path, inode in disk.start_inodes.items()}
        self.loose: dict[_Inode, list[tuple[int, bytes | None]]] = {}
        self.names: dict[str, _Inode] = dict(disk.start_inodes)
        self.loose_names: list[tuple[str, str, _Inode | None]] = []

    def happen(self, event: tuple[object, ...]) -> None:
        kind = event[0]
        if kind == "write":
            _, inode, offset, data = event
            assert isinstance(inode, _Inode)
            assert isinstance(offset, int)
            assert isinstance(data, bytes)
            self.loose.setdefault(inode, []).append((offset, data))
        elif kind == "truncate":
            _, inode, size, _ = event
            assert isinstance(inode, _Inode)
            assert isinstance(size, int)
            self.loose.setdefault(inode, []).append((size, None))
        elif kind == "sync":
            inode = event[1]
            assert isinstance(inode, _Inode)
            self.data[inode] = self._applied(inode, None)
            self.loose.pop(inode, None)
        elif kind == "name":
            _, path, inode = event
            assert isinstance(path, str)
            assert isinstance(inode, _Inode)
            self.loose_names.append(("", path, inode))
        elif kind == "rename":
            _, source, target, inode = event
            assert isinstance(source, str)
            assert isinstance(target, str)
            assert isinstance(inode, _Inode)
            self.loose_names.append((source, target, inode))
        elif kind == "unname":
            assert isinstance(event[1], str)
            self.loose_names.append((event[1], "", None))
        elif kind == "sync-names":
            directory = event[1]
            mine = [one for one in self.loose_names if str(Path(one[0] or one[1]).parent) == directory]
            self._name(self.names, mine)
            self.loose_names = [one for one in self.loose_names if one not in mine]

    def images(self, random_images: int, chance: random.Random, *, every_byte: bool) -> Iterator[Image]:
        yield self.image("none", chance)
        yield self.image("all", chance)
        yield self.image("data", chance)
        yield self.image("names", chance)
        for inode, changes in self.loose.items():
            offset, data = changes[-1]
            if data is None:
                continue
            for cut in _cuts(offset, len(data), every_byte=every_byte):
                yield self.image("all", chance, torn={inode: cut})
            yield self.image("names", chance, torn={inode: len(data) // 2})
        for _ in range(random_images):
            yield self.image("some", chance)

    def image(self, mode: str | None, chance: random.Random, torn: dict[_Inode, int] | None = None) -> Image:
        names = dict(self.names)
        if mode in ("all", "names"):
            self._name(names, self.loose_names)
        elif mode == "some":
            self._name(names, [one for one in self.loose_names if chance.random() < 0.5])
        found: Image = {}
        for path, inode in names.items():
            if torn and inode in torn:
                found[path] = self._torn(inode, torn[inode], before=mode == "all")
            elif mode in ("all", "data"):
                found[path] = self._applied(inode, None)
            elif mode == "some":
                found[path] = self._applied(inode, chance)
            else:
                found[path] = self.data.get(inode, b"")
        return found

    def _torn(self, inode: _Inode, cut: int, *, before: bool) -> bytes:
        changes = self.loose[inode]
        offset, data = changes[-1]
        assert data is not None
        content = bytearray(self.data.get(inode, b""))
        if before:
            for change in changes[:-1]:
                _apply(content, change)
        _apply(content, (offset, data[:cut]))
        return bytes(content)

    def _applied(self, inode: _Inode, chance: random.Random | None) -> bytes:
        content = bytearray(self.data.get(inode, b""))
        for offset, data in self.loose.get(inode, []):
            if chance is None:
                _apply(content, (offset, data))
            elif data is None:
                if chance.random() < 0.5:
                    _apply(content, (offset, None))
            else:
                for start, end in _sectors(offset, len(data)):
                    if chance.random() < 0.5:
                        _apply(content, (offset + start, data[start:end]))
        return bytes(content)

    @staticmethod
    def _name(names: dict[str, _Inode], changes: list[tuple[str, str, _Inode | None]]) -> None:
        for source, target, inode in changes:
            if source:
                names.pop(source, None)
            if target and inode is not None:
                names[target] = inode


def _apply(content: bytearray, change: tuple[int, bytes | None]) -> None:
    offset, data = change
    if data is None:
        del content[offset:]
        return
    if len(content) < offset:
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, length: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start < length:
        end = min(length, start + SECTOR - (offset + start) % SECTOR)
        yield start, end
        start = end


def _cuts(offset: int, length: int, *, every_byte: bool) -> list[int]:
    """Where a write may end: any byte, or around the ends of its first and last sectors and some between."""
    if every_byte:
        return list(range(length))
    ends = [end for _, end in _sectors(offset, length)]
    chosen = {*ends[:2], *ends[-3:], *ends[:: max(1, len(ends) // 4)]}
    edges = {end + near for end in chosen for near in (-1, 0, 1)} | {1, 3, 40, length - 9}
    return sorted(cut for cut in edges if 0 < cut < length)
