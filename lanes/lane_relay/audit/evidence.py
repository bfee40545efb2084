"""Kept evidence as its readers see it: a folder of records, or an archive with the journals of many slots.

Every store is a flat list of names and a way to read one; what belongs together follows from the names alone:
`[.../JOURNAL/[YYYY-MM-DD/]]head-N.json`, `records-N.jsonl[.zst]`, `records-N.idx`. Nothing is ever written here.
Before: the volume, `archive`. After: `verify`, `trace`.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Protocol

import zstandard
from msgspec import Struct

__all__ = ["DirectoryStore", "JournalFiles", "Store", "expand", "journals"]

_HEAD: Final = re.compile(r"^head-(\d{10})\.json$")
_SEGMENT: Final = re.compile(r"^records-(\d{16})\.jsonl(\.zst)?$")
_INDEX: Final = re.compile(r"^records-(\d{16})\.idx$")
_DAY: Final = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_LARGEST: Final = 2**30
"""Bytes that one segment may have unpacked; ours have 16 MiB and one batch."""


class Store(Protocol):
    """Where evidence lies; methods block."""

    def names(self) -> Iterable[str]:
        """Every name below, with `/` between folders; raises OSError."""

    def read(self, name: str) -> bytes:
        """Its content; FileNotFoundError if it is gone, else OSError."""


class DirectoryStore:
    """A folder with all below it."""

    def __init__(self, path: Path) -> None:
        """Raises NotADirectoryError at once."""
        if not path.is_dir():
            raise NotADirectoryError(f"{path} is no folder")
        self._path = path

    def names(self) -> Iterable[str]:
        """See Store."""
        for folder, _, files in os.walk(self._path, onerror=_raise):
            inside = Path(folder).relative_to(self._path)
            for name in files:
                yield str(inside / name)

    def read(self, name: str) -> bytes:
        """See Store."""
        return (self._path / name).read_bytes()


class JournalFiles(Struct):
    """The names of one journal's evidence."""

    folder: str
    """Empty: the store's own."""
    heads: dict[int, str] = {}
    """By number."""
    segments: dict[int, str] = {}
    """By first sequence number; also those that are not sealed yet."""
    indexes: dict[int, str] = {}

    @property
    def is_archive(self) -> bool:
        """Whether it was put there by an archive: only what is sealed, and nothing removed by the slot's own rules."""
        return any(name.endswith(".zst") for name in self.segments.values()) or any(
            _DAY.match(name.rpartition("/")[0].rpartition("/")[2]) for name in self.heads.values()
        )


def journals(names: Iterable[str]) -> list[JournalFiles]:
    """What belongs together, by folder."""
    found: dict[str, JournalFiles] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        parent, _, last = folder.rpartition("/")
        folder = parent if _DAY.match(last) else folder
        for pattern, kind in ((_HEAD, "heads"), (_SEGMENT, "segments"), (_INDEX, "indexes")):
            if matched := pattern.match(base):
                files = found.setdefault(folder, JournalFiles(folder))
                getattr(files, kind)[int(matched[1])] = name
    return [found[folder] for folder in sorted(found)]


def expand(name: str, content: bytes) -> bytes:
    """A segment's records; raises ValueError for what was not packed by us."""
    if not name.endswith(".zst"):
        return content
    try:
        return zstandard.ZstdDecompressor().decompress(content, max_output_size=_LARGEST)
    except zstandard.ZstdError as error:
        raise ValueError(f"cannot be unpacked: {error}") from error


def _raise(error: OSError) -> None:
    raise error
