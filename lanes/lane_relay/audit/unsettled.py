"""What was accepted and not settled, by the records that there are: of a slot whose volume is lost, its list of losses.

A recipient is settled by a record of how it ended, or by another slot's record that it took it over. What a slot
recorded after its newest segment there is unknown, so that the list says how far its records reach.
Before it: `evidence`. After it: `lane-relay audit unsettled`.
"""

import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from lane_relay.audit.continued import Around
from lane_relay.audit.evidence import JournalFiles, Store, expand, journals
from lane_relay.audit.record import read_record

__all__ = ["Open", "Reach", "Unsettled", "unsettled"]

_ACCEPTED: Final = "Reception"
_ENDS: Final = frozenset({"Delivery", "Bounce", "Expiration", "Suppression", "HandOver", "AdminAction"})
"""Types of record that are a recipient's last, as `account.log_record` writes them."""
_TAKEN_OVER: Final = "HandOver"
_STARTS: Final = b'{"seq":'


class Open(Struct, frozen=True):
    """One message with recipients of whom no end is on record."""

    slot: str
    id: str
    accepted: float
    """Unix time."""
    sender: str
    recipients: tuple[str, ...]
    """As the records have them: addresses, or digests where the lane hashes them."""
    message_id: str
    correlation_id: str


class Reach(Struct, frozen=True):
    """How far one slot's records go."""

    slot: str
    journal: str
    last_seq: int
    until: float
    """Unix time of the newest record."""


class Unsettled(Struct, frozen=True):
    """Everything that is open, in order of acceptance, and how much is known."""

    messages: tuple[Open, ...]
    reach: tuple[Reach, ...]


def unsettled(store: Store, slot: str = "") -> Unsettled:
    """Of one slot, or of all whose records are there; raises OSError, and ValueError for what cannot be unpacked.

    The other slots' records are read too: they tell what they took over.
    """
    open_now: dict[str, Open] = {}
    taken: dict[str, list[str]] = {}
    reach = []
    found = journals(store.names())
    both_have = Around(store, found).both_have()
    told: set[str] = set()
    """Messages that a journal may tell of which goes on from one that was read."""
    for files in found:
        last: dict[str, Any] = {}
        journal = files.folder.rpartition("/")[2]
        shared = both_have.get(journal, sys.maxsize)
        for record in _records(store, files):
            last, identity = record, record.get("id", "")
            is_accepted = record.get("type") == _ACCEPTED
            if is_accepted and identity in told:
                continue  # it may have ended in the other journal
            if is_accepted and record["seq"] >= shared:
                told.add(identity)
            _read(record, open_now, taken)
        if last and slot in ("", last.get("slot")):
            reach.append(Reach(last.get("slot", ""), journal, last.get("seq", 0), last.get("timestamp", 0.0)))
    for origin, recipients in taken.items():
        for recipient in recipients:
            _settle(open_now, origin, recipient)
    still = [one for one in open_now.values() if slot in ("", one.slot)]
    return Unsettled(tuple(sorted(still, key=lambda one: (one.accepted, one.id))), tuple(reach))


def _read(record: dict[str, Any], open_now: dict[str, Open], taken: dict[str, list[str]]) -> None:
    """One record: a message comes to be open, or one of its recipients has ended."""
    recipients = record.get("recipient") or ()
    recipients = [recipients] if isinstance(recipients, str) else list(recipients)
    identity = record.get("id", "")
    if record.get("type") == _ACCEPTED and identity:
        if record.get("reception_protocol") == _TAKEN_OVER:
            taken.setdefault(record.get("meta", {}).get("origin", ""), []).extend(recipients)
        open_now[identity] = Open(
            record.get("slot", ""),
            identity,
            record.get("created") or record.get("timestamp", 0.0),
            record.get("sender") or "",
            tuple(recipients),
            record.get("message_id", ""),
            record.get("correlation_id", ""),
        )
    elif record.get("type") in _ENDS:
        for recipient in recipients:
            _settle(open_now, identity, recipient)


def _settle(open_now: dict[str, Open], identity: str, recipient: str) -> None:
    """One recipient of a message is done with; once, where it was named twice."""
    known = open_now.get(identity)
    if known is None or recipient not in known.recipients:
        return
    at = known.recipients.index(recipient)
    left = known.recipients[:at] + known.recipients[at + 1 :]
    if left:
        open_now[identity] = msgspec.structs.replace(known, recipients=left)
    else:
        del open_now[identity]


def _records(store: Store, files: JournalFiles) -> Iterator[dict[str, Any]]:
    """Every record of a journal in order; a segment that goes meanwhile was dropped by the slot's own rules."""
    for first in sorted(files.segments):
        name = files.segments[first]
        try:
            content = expand(name, store.read(name))
        except FileNotFoundError:
            continue
        for line in content.splitlines():
            record = read_record(line) if line.startswith(_STARTS) else None
            if record is not None:  # else the end of a segment that a crash cut off
                yield record
