"""Transfers that are not over yet, one small file each, so that neither side forgets what it has said.

Invariants: a file is whole or absent (written aside, synced, renamed, the directory synced); what a method has written
is on stable storage when it returns. All methods block; they are called in a thread, or before the loop serves anybody.
Before it: `giver` and `receiver`. After it: the volume, beside the spool.
"""

import re
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from lane_relay.errors import NOT_OURS
from lane_relay.spool.files import POSIX_FILES, Files

__all__ = ["Book", "Given", "Received", "TakenBack"]

_NAME: Final = re.compile(r"(given|received)-([0-9a-f]{32})\.json")
_ASIDE: Final = ".tmp"
KEPT_S: Final = 30 * 24 * 3600.0
"""A giver that has not come back for its answer in so long has lost its volume; no lifetime is longer."""


class TakenBack(Struct, frozen=True):
    """A person's decision that a transfer which nobody answers for counts as not taken; it may be wrong."""

    owner: str
    reason: str
    at: float
    """Unix time."""


class Given(Struct, frozen=True):
    """A transfer on its way out: its entries are nobody's to send until the receiver has answered."""

    to: str
    """Name of the receiving slot."""
    parcels: tuple[tuple[str, tuple[int, ...]], ...]
    """Spool id as text and indexes of the recipients, by position."""
    at: float = 0.0
    """Unix time at which it was noted."""
    taken_back: TakenBack | None = None
    """Its entries are ours again, whatever the receiver has."""
    told: tuple[tuple[int, str], ...] = ()
    """(position, spool id of the report) of parcels whose senders hear that nobody knows; empty id: they have, or did
    not want to; else the spool knows."""


class Received(Struct, frozen=True):
    """A transfer that came in."""

    giver: str
    ids: tuple[str, ...]
    """The spool ids under which its parcels are stored, by position; known before anything is."""
    taken: tuple[int, ...] | None = None
    """Absent: it was being stored; the spool knows which of the ids it has."""
    at: float = 0.0
    """Unix time at which it was noted; 0: by a release that did not say."""


_encode: Final = Encoder().encode
_given: Final = Decoder(Given).decode
_received: Final = Decoder(Received).decode


class Book:
    """The files of one slot."""

    def __init__(self, directory: Path, files: Files = POSIX_FILES) -> None:
        """Reads what is there; raises OSError."""
        self._directory = directory
        self._files = files
        self.given: dict[str, Given] = {}
        """By transfer, as the disk has them."""
        self.received: dict[str, Received] = {}
        """By transfer, as the disk has them."""
        files.make_directory(directory)
        for name in files.names(directory):
            if name.endswith(_ASIDE):
                files.unlink(directory / name)
            elif matched := _NAME.fullmatch(name):
                self._read(matched[1], matched[2], directory / name)

    def _read(self, kind: str, transfer: str, path: Path) -> None:
        content = self._files.read(path)
        try:
            if kind == "given":
                self.given[transfer] = _given(content)
            else:
                self.received[transfer] = _received(content)
        except NOT_OURS as error:
            raise OSError(
                f"{path} is damaged ({error}). To start without it move it away: its mail may then leave twice, from "
                "here and from the sibling"
            ) from None

    @property
    def asked(self) -> frozenset[int]:
        """Ids of which the spool is to tell, when it opens, whether they were stored."""
        came_in = [one for found in self.received.values() if found.taken is None for one in found.ids]
        reports = [report for given in self.given.values() for _, report in given.told if report]
        return frozenset(int(one, 16) for one in (*came_in, *reports))

    def put_given(self, transfer: str, given: Given) -> None:
        """Notes a transfer before its first byte leaves."""
        self._write(f"given-{transfer}.json", _encode(given))
        self.given[transfer] = given

    def put_received(self, transfer: str, received: Received) -> None:
        """Notes a transfer before its first message is stored, and again when it is known which were."""
        self._write(f"received-{transfer}.json", _encode(received))
        self.received[transfer] = received

    def drop_given(self, transfer: str) -> None:
        """The transfer is over."""
        self._remove(f"given-{transfer}.json")
        self.given.pop(transfer, None)

    def drop_received(self, transfer: str) -> None:
        """The giver has its answer, on its disk, and will never ask again."""
        self._remove(f"received-{transfer}.json")
        self.received.pop(transfer, None)

    def stale(self, now: float) -> list[str]:
        """Received transfers of which nobody has asked for a month."""
        found = []
        for name in self._files.names(self._directory):
            matched = _NAME.fullmatch(name)
            if matched and matched[1] == "received" and self._files.modified(self._directory / name) < now - KEPT_S:
                found.append(matched[2])
        return found

    def _write(self, name: str, content: bytes) -> None:
        path, aside = self._directory / name, self._directory / (name + _ASIDE)
        file = self._files.create(aside)
        try:
            try:
                file.append([content])
                file.sync()
            finally:
                file.close()
            self._files.rename(aside, path)
        except OSError:
            self._files.unlink(aside)
            raise
        self._files.sync_directory(self._directory)

    def _remove(self, name: str) -> None:
        try:
            self._files.unlink(self._directory / name)
        except FileNotFoundError:
            return
        self._files.sync_directory(self._directory)
