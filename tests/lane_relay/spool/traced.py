"""What strace saw of a process's files, replayed onto the simulated disk, whose power losses are then judged.

A call is replayed when it has ended. A sync covers what had ended when it began: what ends meanwhile, in another
thread, is noted after it. A mark is a write to standard output, and counts from its beginning. A call on a file of the
folder that the replay does not know is an error, and so is a file that ends up unlike the real one.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.lane_relay.spool.disk import SimulatedDisk, SimulatedFile

_SYNCS = ("fdatasync", "fsync")
_WRITES = ("pwritev", "pwritev2", "pwrite64")
_OTHERS = ("write", "writev", "openat", "close", "ftruncate", "fallocate")
_NAMES = ("?rename", "renameat", "renameat2", "?unlink", "unlinkat")  # `?`: not on every architecture
STRACE = (
    *("strace", "-f", "-xx", "-s", str(2**24), "-e", "abbrev=none", "-e", "signal=none"),
    *("-e", f"trace={','.join((*_SYNCS, *_WRITES, *_OTHERS, *_NAMES))}", "-o"),
)
"""The command that records; the file and the program come after it."""

_LINE = re.compile(r"(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)", re.DOTALL)
_RESULT = re.compile(r"(.*)\) += (-?\d+|\?)[^=]*", re.DOTALL)
_UNFINISHED = " <unfinished ...>"
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_STANDARD_OUTPUT = 1


class Call(NamedTuple):
    """A system call: as it begins (no result yet), or as it has ended."""

    name: str
    arguments: str
    began: int
    result: int | None

    def strings(self) -> list[bytes]:
        """Its paths or data."""
        return [bytes.fromhex(one.replace("\\x", "")) for one in _STRING.findall(self.arguments)]

    def number(self, position: int) -> int:
        """An argument, counted from either end; no use where strings hold commas, which -xx prevents."""
        return int(self.arguments.split(", ")[position])


def calls(lines: list[str]) -> Iterator[tuple[int, Call]]:
    """Every call twice, at the lines of its beginning and its end."""
    begun: dict[str, tuple[int, str]] = {}
    for at, line in enumerate(lines):
        parts = _LINE.match(line)
        if parts is None:
            continue  # a thread's exit
        thread, resumed, name, rest = parts.groups()
        began = at
        if resumed:
            began, before = begun.pop(thread)
            name, rest = resumed, before + rest
        if rest.endswith(_UNFINISHED):
            arguments = rest.removesuffix(_UNFINISHED)
            begun[thread] = (at, arguments)
            yield at, Call(name, arguments, at, None)
            continue
        ended = _RESULT.fullmatch(rest)
        if ended is None:
            raise ValueError(f"line {at} is not understood: {line[:200]}")
        if not resumed:
            yield at, Call(name, ended[1], began, None)
        yield at, Call(name, ended[1], began, -1 if ended[2] == "?" else int(ended[2]))


class _ReplayedDisk(SimulatedDisk):
    """Notes what ends during a sync of the same file or directory after that sync."""

    def __init__(self) -> None:
        super().__init__()
        self.at = 0
        self._syncing: defaultdict[object, list[int]] = defaultdict(list)
        self._held: defaultdict[object, list[tuple[int, str, tuple[object, ...]]]] = defaultdict(list)

    def sync_begins(self, key: object, began: int) -> None:
        self._syncing[key].append(began)

    def sync_ends(self, key: object, began: int, sync: Callable[[], None]) -> None:
        self._release(key, began)
        sync()
        self._syncing[key].remove(began)
        self._release(key, min(self._syncing[key], default=self.at + 1))

    def note(self, kind: str, *what: object) -> None:
        key = str(Path(str(what[0])).parent) if kind in ("name", "rename", "unname") else what[0]
        if kind in ("mark", "sync", "sync-names") or not self._syncing[key]:
            super().note(kind, *what)
        else:
            self._held[key].append((self.at, kind, what))

    def _release(self, key: object, before: int) -> None:
        while self._held[key] and self._held[key][0][0] < before:
            _, kind, what = self._held[key].pop(0)
            super().note(kind, *what)


class _Replay:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.disk = _ReplayedDisk()
        self._files: dict[int, SimulatedFile] = {}
        self._directories: dict[int, Path] = {}

    def begins(self, call: Call) -> None:
        if call.name == "write" and call.number(0) == _STANDARD_OUTPUT:
            self.disk.mark(tuple(json.loads(call.strings()[0])))
        elif call.name == "close":
            self._files.pop(call.number(0), None)
            self._directories.pop(call.number(0), None)
        elif call.name in _SYNCS and (key := self._key(call)) is not None:
            self.disk.sync_begins(key, call.began)

    def ends(self, call: Call) -> None:
        if call.result == -1:
            if call.name in _SYNCS:
                raise ValueError(f"a sync failed: {call}")
        elif call.name == "openat":
            self._open(call)
        elif call.name.startswith("rename"):
            source, target = (self._path(one) for one in call.strings())
            if source is not None and target is not None:
                self.disk.rename(source, target)
        elif call.name.startswith("unlink"):
            path = self._path(call.strings()[0])
            if path is not None:
                self.disk.unlink(path)
        elif call.name in _SYNCS:
            self._synced(call)
        elif call.number(0) in self._files:
            self._changed(call, self._files[call.number(0)])

    def _key(self, call: Call) -> object:
        file, directory = self._files.get(call.number(0)), self._directories.get(call.number(0))
        return file.inode if file is not None else str(directory) if directory is not None else None

    def _path(self, real: bytes) -> Path | None:
        path = Path(real.decode())
        return Path("/") / path.relative_to(self._folder) if path.is_relative_to(self._folder) else None

    def _open(self, call: Call) -> None:
        path, flags = self._path(call.strings()[0]), call.arguments.split(", ")[2].split("|")
        assert call.result is not None
        if path is None or call.result == -1:
            return
        if "O_TRUNC" in flags:
            raise ValueError(f"not known to the replay: {call}")
        if "O_DIRECTORY" in flags:
            self._directories[call.result] = path
        elif "O_RDWR" in flags or "O_WRONLY" in flags:
            there = str(path) in self.disk.names_now
            self._files[call.result] = self.disk.open(path) if there else self.disk.create(path)

    def _synced(self, call: Call) -> None:
        key = self._key(call)
        if key is None:
            return
        file = self._files.get(call.number(0))
        sync = partial(self.disk.sync_directory, self._directories[call.number(0)]) if file is None else file.sync
        self.disk.sync_ends(key, call.began, sync)

    def _changed(self, call: Call, file: SimulatedFile) -> None:
        if call.name in _WRITES:
            offset = call.number(-2 if call.name == "pwritev2" else -1)
            file.write(offset, b"".join(call.strings())[: call.result])
        elif call.name == "ftruncate":
            file.truncate(call.number(1))
        elif call.name == "fallocate":
            file.grow(call.number(2) + call.number(3))
        else:
            raise ValueError(f"not known to the replay: {call}")


def replayed(trace: Path, folder: Path) -> SimulatedDisk:
    """The disk that a recorded process wrote into an empty folder, its paths beginning at the folder."""
    replay = _Replay(folder)
    for at, call in calls(trace.read_text().splitlines()):
        replay.disk.at = at
        if call.result is None:
            replay.begins(call)
        else:
            replay.ends(call)
    real = {f"/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if replay.disk.image() != real:
        raise ValueError(f"{folder} holds what the trace does not explain, or lacks what it wrote")
    return replay.disk
