"""One message's whole life, in order, from records wherever they lie.

Asked with a Message-ID, a correlation id, a spool id or a recipient. An index says of each sealed segment that it
surely holds nothing of the kind, and is believed if it is the one that the segment's head names; the others are
searched for the words as bytes, and only what is found is decoded.
A spool id also tells when it was made: what is older is not read. Pure but for reading the store.
Before: `evidence`. After: `lane-relay trace`, `GET /v1/trace`.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import msgspec
from msgspec import Struct

from lane_relay.audit.evidence import JournalFiles, Store, expand, journals
from lane_relay.audit.head import Head, HeadKind, parse
from lane_relay.audit.record import read_record
from lane_relay.audit.segment import load_index
from lane_relay.records import received_at

__all__ = ["MOST_MESSAGES", "Wanted", "as_table", "trace"]

MOST_MESSAGES: Final = 100
"""Messages that one question finds at most, the newest: a recipient may have had thousands."""
_SPOOL_ID: Final = re.compile(r"^[0-9a-f]{24}$")
_NAMED: Final = (b'"message_id":', b'"correlation_id":', b'"id":')
_DAY_S: Final = 2 * 86400.0
"""A day's segment begins on that day, and ends soon after it."""
_EARLY_S: Final = 3600.0
"""Clocks may have stepped back by so much."""


class Wanted(Struct, frozen=True):
    """What is asked for; at least one of both."""

    id: str = ""
    recipients: tuple[str, ...] = ()
    """One recipient in each form in which records may have it: an address, its digest where the lane hashes them."""


def trace(store: Store, wanted: Wanted) -> list[dict[str, Any]]:
    """The records of every message that fits, in order of time; empty if there is none. Raises OSError.

    With an id and a recipient: that recipient's records of the message, and what is about the message as a whole. A
    Message-ID may come without its angle brackets, as many tools show it.
    """
    lines = _found(store, wanted)
    if not lines and "@" in wanted.id and not wanted.id.startswith("<"):
        return _found(store, msgspec.structs.replace(wanted, id=f"<{wanted.id}>"))
    return lines


def _found(store: Store, wanted: Wanted) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for files in journals(store.names()):
        search = _Search(store, files)
        for seq, record in search.records(wanted):
            found[files.folder, seq] = record
    alike = {msgspec.json.encode(record): record for record in found.values()}  # a journal and one that goes on from it
    lines = sorted(alike.values(), key=lambda record: (record.get("timestamp", 0.0), record.get("seq", 0)))
    if not wanted.id or not wanted.recipients:
        return lines
    return [line for line in lines if not line.get("recipient") or _has_recipient(wanted.recipients)(line)]


class _Search:
    """One journal; a segment's bytes are held one at a time, its index only while it is asked."""

    def __init__(self, store: Store, files: JournalFiles) -> None:
        self._store = store
        self._files = files
        self._heads = _Heads(store, files)
        self._segments = sorted(files.segments)
        self._content: tuple[int, bytes] = (0, b"")

    def records(self, wanted: Wanted) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number, record) of everything that belongs to what is asked for."""
        if _SPOOL_ID.fullmatch(wanted.id):
            ids = [wanted.id]
        else:
            alone, ids = self._named(wanted)
            yield from alone
        oldest = min((received_at(int(one, 16)) for one in ids), default=0.0) - _EARLY_S
        for first in self._segments:
            if not ids or self._ended(first) < oldest:
                continue
            for one in self._held(first, ids):
                needle = b'"id":"%b"' % one.encode()
                yield from _decoded(self._read(first), needle, _has_id(one))

    def _named(self, wanted: Wanted) -> tuple[list[tuple[int, dict[str, Any]]], list[str]]:
        """(records that fit and belong to no message, ids of the messages that fit, the newest)."""
        keys = [wanted.id] if wanted.id else list(wanted.recipients)
        if wanted.id:
            needles, fits = [name + msgspec.json.encode(wanted.id) for name in _NAMED], _has_name(wanted.id)
        else:
            needles, fits = [msgspec.json.encode(key) for key in keys], _has_recipient(wanted.recipients)
        alone: list[tuple[int, dict[str, Any]]] = []
        ids: set[str] = set()
        for first in reversed(self._segments):
            if len(ids) >= MOST_MESSAGES:
                break
            if not self._held(first, keys):
                continue
            for needle in needles:
                for seq, record in _decoded(self._read(first), needle, fits):
                    if record.get("id"):
                        ids.add(record["id"])
                    else:
                        alone.append((seq, record))
        return alone, sorted(ids)[-MOST_MESSAGES:]

    def _held(self, first: int, keys: list[str]) -> list[str]:
        """Those of the keys that a segment may hold; none of a file whose numbers are sealed and no head's."""
        name, head = self._files.indexes.get(first), self._heads.of_segment(first)
        if head is None:
            return keys if self._heads.leave_open(first) else []
        if name is None:
            return keys
        try:
            index = load_index(self._store.read(name), head.index_sha256) if head.index_sha256 else None
        except FileNotFoundError:
            index = None
        return [key for key in keys if index is None or index.may_hold(key)]

    def _ended(self, first: int) -> float:
        """When a segment ended at the latest, by its day's folder; infinite where it lies in none."""
        day = self._files.segments[first].rpartition("/")[0].rpartition("/")[2]
        try:
            return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() + _DAY_S
        except ValueError:
            return float("inf")

    def _read(self, first: int) -> bytes:
        if self._content[0] != first:
            name = self._files.segments[first]
            try:
                content = expand(name, self._store.read(name))
            except (FileNotFoundError, ValueError):  # dropped meanwhile, or damaged: `verify` speaks of that
                content = b""
            self._content = first, content
        return self._content[1]


class _Heads:
    """What a journal's heads say of its segments; read a folder at a time, for an archive has one for each day."""

    def __init__(self, store: Store, files: JournalFiles) -> None:
        self._store = store
        self._files = files
        self._names: dict[str, list[str]] = {}
        """Of the heads, by folder; those that were read are gone from it."""
        for name in files.heads.values():
            self._names.setdefault(_folder(name), []).append(name)
        self._segments: dict[int, Head] = {}
        self._damaged: set[str] = set()
        """Folders with a head that cannot be read: what it was of is shown."""

    def of_segment(self, first: int) -> Head | None:
        """The head of the file that begins with this number; None if there is none beside it."""
        for name in self._names.pop(_folder(self._files.segments[first]), ()):
            head = self._read(name)
            if head is not None and head.kind is HeadKind.SEGMENT:
                self._segments[head.first_seq] = head
        return self._segments.get(first)

    def leave_open(self, first: int) -> bool:
        """Whether a file without a head may hold records of the journal: not sealed yet, or its head is damaged."""
        return _folder(self._files.segments[first]) in self._damaged or first > self._sealed

    @cached_property
    def _sealed(self) -> int:
        """Records up to this one are in the chain, by its newest heads."""
        sealed = 0
        for number in sorted(self._files.heads, reverse=True):
            head = self._read(self._files.heads[number])
            if head is not None:
                sealed = max(sealed, head.first_seq - 1 if head.kind is HeadKind.BEGIN else head.last_seq)
            if head is not None and head.kind is not HeadKind.DROPPED:
                break
        return sealed

    def _read(self, name: str) -> Head | None:
        try:
            return parse(self._store.read(name)).head
        except FileNotFoundError:  # forgotten meanwhile
            return None
        except ValueError:  # `verify` speaks of that
            self._damaged.add(_folder(name))
            return None


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _decoded(
    content: bytes, needle: bytes, fits: Callable[[dict[str, Any]], bool]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each whole line that holds the needle, and fits."""
    at = content.find(needle)
    while at >= 0:
        begin, end = content.rfind(b"\n", 0, at) + 1, content.find(b"\n", at)
        if end < 0:
            return  # not whole: it is being written
        record = read_record(content[begin:end])
        if record is not None and fits(record):
            yield record.get("seq", 0), record
        at = content.find(needle, end)


def _has_id(wanted: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: record.get("id") == wanted


def _has_name(name: str) -> Callable[[dict[str, Any]], bool]:
    return lambda record: name in (record.get("message_id"), record.get("correlation_id"), record.get("id"))


def _has_recipient(recipients: tuple[str, ...]) -> Callable[[dict[str, Any]], bool]:
    def fits(record: dict[str, Any]) -> bool:
        named = record.get("recipient", "")
        return any(one in recipients for one in named) if isinstance(named, list) else named in recipients

    return fits


def as_table(records: list[dict[str, Any]]) -> str:
    """For people: a line of what each message is, then one for each thing that happened to it."""
    lines = []
    shown = None
    for record in sorted(records, key=lambda one: (one.get("id", ""), one.get("timestamp", 0.0), one.get("seq", 0))):
        if record.get("id", "") != shown:
            shown = record.get("id", "")
            lines.append(_heading(record))
        lines.append(_row(record))
    return "\n".join(lines)


def _heading(record: dict[str, Any]) -> str:
    parts = [record.get("id") or "no message", record.get("message_id"), record.get("correlation_id")]
    return f"{'  '.join(part for part in parts if part)}  {record.get('lane', '')} {record.get('slot', '')}".rstrip()


def _row(record: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(record.get("timestamp", 0.0), UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    named = record.get("recipient", "")
    to = ", ".join(named) if isinstance(named, list) else named
    response, peer = record.get("response") or {}, record.get("peer_address") or {}
    source = (record.get("source_address") or {}).get("address")
    host = peer.get("name") or peer.get("addr")
    said = [
        _reply(response) if response else "",
        f"{source or ''} -> {host}" if source and host else (f"from {host}" if host else ""),
        f"rule {record['rule']}" if record.get("rule") else "",
        " ".join(f"{key}={value}" for key, value in (record.get("meta") or {}).items()),
    ]
    return f"  {when}  {record.get('type', ''):16}  {to}  {'; '.join(part for part in said if part)}".rstrip()


def _reply(response: dict[str, Any]) -> str:
    """A reply as the peer said it, with the enhanced code by which ISPs' help pages explain it."""
    parts = response.get("enhanced_code") or {}
    enhanced = ".".join(str(parts[key]) for key in ("class", "subject", "detail") if key in parts)
    return " ".join(part for part in (str(response["code"]), enhanced, response.get("content", "")) if part)
