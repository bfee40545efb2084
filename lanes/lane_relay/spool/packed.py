"""Messages that recovery found and that nobody has asked for yet: a place in some arrays each, about 50 bytes.

They become queue entries a portion at a time, when the pipeline has room for them, so that a relay with a million
queued opens its doors before it has made the second thousand.
Invariants: each message here has recipients in one domain; it is given out once, unless it is `gone`; equal strings,
sizes and tuples are one object in all entries. Before: `recovery` packs them. After: `recovery` gives them out.
"""

from array import array
from collections.abc import Iterator
from itertools import compress, repeat
from sys import intern
from typing import Final

from lane_relay.records import QueueEntry, received_at
from lane_relay.spool.entries import shared_size
from lane_relay.spool.footer import Footer, MessageTag, split_ids

__all__ = ["Packed", "without"]

_PORTION: Final = 2000
_FIRST: Final = (0,)
_from_bytes = int.from_bytes


def without(footer: Footer, gone: set[bytes]) -> None:
    """Takes these messages out of the footer's columns."""
    ids = split_ids(footer.ids)
    kept = [one not in gone for one in ids]
    if all(kept):
        return
    footer.ids = bytearray(b"".join(compress(ids, kept)))
    for name in ("offsets", "lengths", "sizes", "domains", "tags", "expires"):
        column = getattr(footer, name)
        setattr(footer, name, array(column.typecode, compress(column, kept)))


class Packed:
    """The messages of one segment that wait."""

    __slots__ = (
        "_domains",
        "_expires",
        "_gone",
        "_sizes",
        "_slots",
        "campaigns",
        "domains",
        "dues",
        "histories",
        "ids",
        "recipients",
        "senders",
        "tags",
    )

    def __init__(self, footer: Footer, slots: "array[int]") -> None:
        """Takes the footer's columns for its own; `slots` are the messages' places in the index."""
        self.ids = footer.ids
        self._slots = slots
        self._sizes = footer.sizes
        self._domains = footer.domains
        self.tags = footer.tags
        """Of each, its place in `recipients`, `campaigns` and `senders`."""
        self._expires = footer.expires
        self.dues = array("d", bytes(8 * len(slots)))
        """When each is due; 0: it was not put off."""
        self.histories = array("I", bytes(4 * len(slots)))
        """As in QueueEntry; `found` writes both."""
        self._gone = bytearray(len(slots))
        self.domains = [intern(one) for one in footer.domain_names]
        tags: list[MessageTag] = footer.message_tags
        self.campaigns = [intern(campaign) if campaign else "" for campaign, _, _ in tags]
        self.senders = [intern(sender) if sender else "" for _, sender, _ in tags]
        self.recipients = [_FIRST if recipients == _FIRST else recipients for _, _, recipients in tags]

    def __len__(self) -> int:
        return len(self._slots)

    def slot_of(self, row: int) -> int:
        """Its place in the index."""
        return self._slots[row]

    def drop(self, row: int) -> None:
        """It is not given out any more."""
        self._gone[row] = 1

    def entry(self, row: int, now: float) -> QueueEntry:
        """The message in this row, for who finds it now."""
        message_id, tag = _from_bytes(self.ids[12 * row : 12 * row + 12], "big"), self.tags[row]
        return QueueEntry(
            message_id,
            self._slots[row],
            self.domains[self._domains[row]],
            self.recipients[tag],
            shared_size(self._sizes[row]),
            self.dues[row] or min(received_at(message_id), now),
            self.histories[row],
            self.campaigns[tag],
            self.senders[tag],
            self._expires[row] or 0.0,
        )

    def entries(self, now: float) -> Iterator[QueueEntry]:
        """All that are not gone; `now` (Unix time) is when nothing is due later that was never put off."""
        for first in range(0, len(self), _PORTION):
            portion = slice(first, first + _PORTION)
            made = self._portion(portion, now)
            gone = self._gone[portion]
            yield from (entry for entry, is_gone in zip(made, gone, strict=True) if not is_gone) if any(gone) else made

    def _portion(self, portion: slice, now: float) -> list[QueueEntry]:
        ids = [_from_bytes(one, "big") for one in split_ids(self.ids[12 * portion.start : 12 * portion.stop])]
        tags = self.tags[portion]
        sizes = self._sizes[portion]
        shared = {size: shared_size(size) for size in set(sizes)}
        dues = [at if (at := received_at(one)) < now else now for one in ids]
        put_off = self.dues[portion]
        if any(put_off):
            dues = [later or due for later, due in zip(put_off, dues, strict=True)]
        expires = self._expires[portion]
        return list(
            map(
                QueueEntry,
                ids,
                self._slots[portion],
                map(self.domains.__getitem__, self._domains[portion]),
                map(self.recipients.__getitem__, tags),
                map(shared.__getitem__, sizes),
                dues,
                self.histories[portion],
                map(self.campaigns.__getitem__, tags),
                map(self.senders.__getitem__, tags),
                [one or 0.0 for one in expires] if any(expires) else repeat(0.0),
            )
        )
