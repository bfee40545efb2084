"""Names of segment files and the identity of a spool's directory.

Invariant: a directory belongs to one spool, written in a format that this program knows, and to one process at a time.
Before: `files`. After: `recovery`, `committer`, `cleaning`.
"""

import re
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.json import Decoder, encode

from lane_relay.errors import NOT_OURS, SpoolError
from lane_relay.spool.files import AppendFile, Files
from lane_relay.spool.format import FORMAT_VERSION

__all__ = ["RESERVE_NAME", "TEMPORARY", "Identity", "claim_directory", "identity", "segment_files", "segment_path"]

RESERVE_NAME: Final = "reserve"
TEMPORARY: Final = ".tmp"
_IDENTITY: Final = "spool.json"
_LOCK: Final = "lock"
_NAME: Final = re.compile(r"^(\d{12})\.(\d+)\.seg$")


class Identity(Struct, frozen=True):
    """Whose directory it is; the file outlives every segment."""

    format: int
    spool_id: str


def segment_path(directory: Path, number: int, generation: int) -> Path:
    """The file of a segment; a rewritten one has the next generation."""
    return directory / f"{number:012d}.{generation}.seg"


def segment_files(files: Files, directory: Path) -> dict[int, list[int]]:
    """Number -> generations present, both ascending; two generations only after a crash while one was replaced."""
    found: dict[int, list[int]] = {}
    for name in files.names(directory):
        matched = _NAME.match(name)
        if matched:
            found.setdefault(int(matched[1]), []).append(int(matched[2]))
    return {number: sorted(found[number]) for number in sorted(found)}


def claim_directory(files: Files, directory: Path) -> AppendFile:
    """Makes and locks the directory; raises SpoolError if another process works on it."""
    files.make_directory(directory)
    try:
        return files.lock(directory / _LOCK)
    except BlockingIOError as error:
        raise SpoolError(f"spool {directory} is in use by another process") from error


def identity(files: Files, directory: Path, fresh: str) -> Identity:
    """The directory's identity, made with the id `fresh` where there is none; SpoolError for a newer format."""
    path = directory / _IDENTITY
    if _IDENTITY not in files.names(directory):
        if segment_files(files, directory):
            raise SpoolError(f"spool {directory} holds segments but no {_IDENTITY}: restore it, or move them away")
        made = Identity(FORMAT_VERSION, fresh)
        _write(files, path, encode(made))
        return made
    try:
        found = Decoder(Identity).decode(files.read(path))
    except NOT_OURS as error:
        raise SpoolError(f"{path} is not readable: {error}") from error
    if found.format > FORMAT_VERSION:
        raise SpoolError(
            f"spool {directory} was written in format {found.format}; this relay knows formats up to {FORMAT_VERSION}: "
            "run the newer image"
        )
    return found


def _write(files: Files, path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + TEMPORARY)
    if temporary.name in files.names(path.parent):
        files.unlink(temporary)
    file = files.create(temporary)
    try:
        file.append([content])
        file.sync()
    finally:
        file.close()
    files.rename(temporary, path)
    files.sync_directory(path.parent)
