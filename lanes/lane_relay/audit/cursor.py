"""How far one archive is, kept in a file beside the records, and how it is told whether that archive is still the one.

A bucket of the same name may lie with another provider, a claim of another name is mounted under the same path, and a
bucket may be emptied: so the archive itself is asked for the last head that it got. Before: `archive`. After: `stores`.
Invariant: what is believed of an archive without asking it was said of the same endpoint, bucket and prefix.
"""

import hashlib
import json
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from lane_api.relayconfig import Archive
from lane_relay.audit.evidence import Store

__all__ = ["CURSOR_NAME", "Cursor", "keep_cursor", "kept_cursor", "target_of"]

CURSOR_NAME: Final = "archive.json"


class Cursor(Struct, frozen=True):
    """Where one archive is."""

    number: int = 0
    """Of the last entry of the chain that is there."""
    seq: int = 0
    """Every record up to this one is there, or lost and so stated."""
    head: str = ""
    """The name under which that entry is there; empty: kept by a release that did not say."""
    digest: str = ""
    """SHA-256 of its content."""
    is_same_place: bool = False
    """It was kept for this very endpoint; what a folder is, its path does not say."""

    @classmethod
    def at(cls, number: int, seq: int, head: str, content: bytes) -> "Cursor":
        """After this entry."""
        return cls(number, seq, head, hashlib.sha256(content).hexdigest(), is_same_place=True)

    def is_true_of(self, store: Store) -> bool:
        """Whether the archive has that entry; blocks; raises UnavailableError, OSError."""
        try:
            return bool(self.head) and hashlib.sha256(store.read(self.head)).hexdigest() == self.digest
        except FileNotFoundError:
            return False


def kept_cursor(folder: Path, config: Archive, journals: Collection[str]) -> Cursor:
    """What was kept of this archive and one of these journals; else the beginning: putting again does no harm."""
    try:
        kept = json.loads((folder / CURSOR_NAME).read_bytes())
        if kept["target"] != target_of(config) or kept["journal"] not in journals:
            return Cursor()
        if "endpoint" in kept and kept["endpoint"] != _endpoint(config):
            return Cursor()
        number, seq = int(kept["number"]), int(kept["seq"])
        same = config.s3 is not None and "endpoint" in kept
        return Cursor(number, seq, str(kept.get("head", "")), str(kept.get("digest", "")), is_same_place=same)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Cursor()


def keep_cursor(folder: Path, config: Archive, journal: str, cursor: Cursor) -> None:
    """Keeps it; on a full volume not, and then all is put again after a restart."""
    part = folder / (CURSOR_NAME + ".new")
    kept: dict[str, Any] = {"target": target_of(config), "endpoint": _endpoint(config), "journal": journal}
    kept |= {"number": cursor.number, "seq": cursor.seq, "head": cursor.head, "digest": cursor.digest}
    with suppress(OSError):
        part.write_text(json.dumps(kept))
        part.replace(folder / CURSOR_NAME)


def target_of(config: Archive) -> str:
    """As people write it."""
    if config.s3 is not None:
        return "/".join(part for part in (f"s3://{config.s3.bucket}", config.s3.prefix) if part)
    return str(config.path)


def _endpoint(config: Archive) -> str:
    """Whose bucket it is; empty for a folder."""
    return "" if config.s3 is None else f"{config.s3.endpoint or 'AWS'} {config.s3.region}"
