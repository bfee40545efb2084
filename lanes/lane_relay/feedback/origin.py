"""Who sent a message that a report is about: looked up in the journal, which knows it long after the spool forgot.

The message's id says when it was accepted, so one or two files are read. Blocks, for a thread. What the journal's
budget or retention has removed is not found, and its bounce is on record all the same.
"""

import re
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from lane_relay.errors import NOT_OURS
from lane_relay.records import FOREIGN, message_id_text, received_at

__all__ = ["Origin", "find_origin", "find_site"]

_NAME: Final = re.compile(r"^records-(\d{16})\.jsonl$")
_DIGEST: Final = re.compile(r"h:[0-9a-f]{32}(?![0-9a-f])")
"""What stands for an address in records; see `audit.recipients`."""
_Kind = TypeVar("_Kind")
_PIECE: Final = 128 * 1024
"""Octets that are searched in one step: half a millisecond at worst (measured; all of a file took 80 ms)."""
_SLACK_S: Final = 120.0
"""A record is written some time after its message's id was made."""


class Origin(Struct, frozen=True):
    """What the Reception says."""

    sender: str = ""
    recipient: str | list[str] = ""
    message_id: str = ""
    correlation_id: str = ""
    meta: dict[str, str] = {}

    @property
    def envid(self) -> str:
        """The sender's name for the transaction, in xtext; empty: it gave none, or one that has its recipient."""
        found = self.meta.get("envid", "")
        return "" if _DIGEST.search(found) else found

    def wants_failures(self, index: int) -> bool:
        """The sender did not ask to hear nothing of failures of this recipient (RFC 3461 section 4.1)."""
        wishes = self._asked("notify", index)
        return not wishes or "FAILURE" in wishes

    def original_at(self, index: int) -> str:
        """The recipient of this index as the sender knew it, as `type;xtext`; empty: not given, or not on record."""
        return self._asked("orcpt", index)

    def _asked(self, name: str, index: int) -> str:
        each = self.meta.get(name, "").split()  # a word for each recipient
        return each[index].removeprefix("-") if index < len(each) else ""

    def submitted_by(self, index: int, recipient: str) -> str:
        """The sender as it was submitted, where records have digests and it is made of its recipient's address (VERP).

        `recipient` is the address of this index, if it is known; empty: the sender cannot be told without it.
        """
        hidden = self.digest_at(index)
        sender = self.sender
        if hidden and recipient:
            sender = sender.replace(hidden, recipient)
            sender = sender.replace(hidden.partition("@")[0], recipient.replace("@", "="))
        return "" if _DIGEST.search(sender) else sender

    def address_at(self, index: int) -> str:
        """The address of the recipient of this index, or empty; records may have digests."""
        found = self.recipient_at(index)
        return "" if _DIGEST.match(found) else found

    def digest_at(self, index: int) -> str:
        """What records have in the place of its address, or empty."""
        found = self.recipient_at(index)
        return found if _DIGEST.match(found) else ""

    def recipient_at(self, index: int) -> str:
        """The recipient of this index as the record has it, or empty."""
        if isinstance(self.recipient, str):
            return self.recipient if index == 0 else ""
        return self.recipient[index] if index < len(self.recipient) else ""


class _Delivery(Struct, frozen=True):
    site: str = ""


def find_origin(directory: Path, message_id: int) -> Origin | None:
    """The Reception of this message, or None if it is not in the journal any more."""
    line = _find(directory, message_id, "Reception")
    return _decoded(line, Origin)


def find_site(directory: Path, message_id: int) -> str:
    """The site of this message's delivery, or empty; of mail that was never accepted here soon."""
    if not message_id & FOREIGN and not _find(directory, message_id, "Reception"):
        return ""
    delivery = _decoded(_find(directory, message_id, "Delivery"), _Delivery)
    return delivery.site if delivery is not None else ""


def _decoded(line: bytes, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(line, type=kind) if line else None
    except NOT_OURS:
        return None


def _find(directory: Path, message_id: int, kind: str) -> bytes:
    """The first record of this type about the message, or nothing."""
    wanted = f'"id":"{message_id_text(message_id)}"'.encode()
    marker = f'"type":"{kind}"'.encode()
    accepted, is_foreign = received_at(message_id), bool(message_id & FOREIGN)  # a sibling's was received here later
    files = sorted((int(name[1]), path) for path in directory.iterdir() if (name := _NAME.match(path.name)))
    for _, path in files:
        try:
            if path.stat().st_mtime + _SLACK_S < accepted:
                continue  # its last record is older
            found = _look(path, wanted, marker)
            if found:
                return found
            if kind == "Reception" and not is_foreign and _first_time(path) > accepted + _SLACK_S:
                return b""  # the others begin later still
        except (OSError, ValueError):  # removed meanwhile, or empty
            continue
    return b""


def _look(path: Path, wanted: bytes, marker: bytes) -> bytes:
    """In pieces of whole lines: what searches in one step holds the interpreter's lock, and with it the loop."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            piece += file.readline()
            at = piece.find(wanted)
            while at >= 0:
                end = piece.find(b"\n", at)
                line = piece[piece.rfind(b"\n", 0, at) + 1 : end if end >= 0 else len(piece)]
                if marker in line:
                    return line
                at = piece.find(wanted, at + len(wanted))
    return b""


def _first_time(path: Path) -> float:
    with path.open("rb") as file:
        matched = re.search(rb'"timestamp":(\d{1,12})(?!\d)', file.readline(65536))
    return float(matched[1]) if matched else 0.0
