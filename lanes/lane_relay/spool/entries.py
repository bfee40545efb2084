"""From a message's recipients to its queue entries: one per recipient domain.

Invariant: every recipient is in exactly one entry, and equal domains are one interned string. Before: `accept` has the
envelope. After: the spool stores the groups, the pipeline and recovery make QueueEntry objects of them.
"""

import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import idna
from msgspec import Struct

from lane_relay.records import Message, QueueEntry

__all__ = [
    "Groups",
    "Waiting",
    "domain_of",
    "due_after",
    "entries_of",
    "group_by_domain",
    "sender_domain_of",
    "shared_size",
]

Groups = tuple[tuple[str, tuple[int, ...]], ...]
"""(domain, indexes of the recipients in it), in order of first appearance."""


class Waiting(Struct, frozen=True, array_like=True, gc=False):
    """The state of a message that was attempted elsewhere before it was stored here; on disk in its own record."""

    due: float
    """Unix time of its next attempt, in seconds."""
    attempts: int = 0
    notified: bool = False
    said_at: float = 0.0
    """Unix time at which `due` was decided; 0: not known."""

    def laid_on(self, entry: QueueEntry, now: float) -> None:
        """The entry has this state for who finds it now."""
        entry.due, entry.attempts, entry.notified = due_after(self.due, self.said_at, now), self.attempts, self.notified


_SENDERS: Final = 4096
_SIZES: Final = 65_536
"""Sizes that are kept to be shared: all of those up to 64 KiB have room, with 7 MB if each one of them occurs."""
_FIRST: Final = (0,)
"""Shared by every message with one recipient: a million entries need no million tuples."""


_sizes: dict[int, int] = {}


def shared_size(size: int) -> int:
    """The same number, as one object for all that have it: 32 bytes less for nearly every one of a million entries."""
    known = _sizes.get(size)
    if known is not None:
        return known
    if len(_sizes) < _SIZES:
        _sizes[size] = size
    return size


def due_after(due: float, said_at: float, now: float) -> float:
    """When something is due that was put off until `due` by what the clock said then, for who finds it now.

    A clock that was ahead, and was set right since, makes nothing wait longer than it was to.
    """
    return due - (said_at - now) if said_at > now else due


def domain_of(recipient: str) -> str:
    """Domain of a mailbox in lower case and A-labels (RFC 5890); as given where IDNA refuses it, empty without `@`."""
    _, _, domain = recipient.rpartition("@") if "@" in recipient else ("", "", "")
    lower = domain.lower()
    if lower.isascii():
        return sys.intern(lower)
    try:
        return sys.intern(idna.encode(lower, uts46=True).decode("ascii"))
    except idna.IDNAError:
        return sys.intern(lower)


@lru_cache(maxsize=_SENDERS)
def sender_domain_of(sender: str) -> str:
    """The same of an envelope sender; a lane has few of them, and each message asks twice."""
    return domain_of(sender)


def group_by_domain(recipients: tuple[str, ...]) -> Groups:
    """The recipients' indexes by domain."""
    if len(recipients) == 1:
        return ((domain_of(recipients[0]), _FIRST),)
    found: dict[str, list[int]] = {}
    for index, recipient in enumerate(recipients):
        found.setdefault(domain_of(recipient), []).append(index)
    return tuple((domain, _FIRST if indexes == [0] else tuple(indexes)) for domain, indexes in found.items())


def entries_of(message: Message, location: int, due: float) -> Iterable[QueueEntry]:
    """One entry per recipient domain of a message that was just stored, due at this Unix time."""
    size = shared_size(len(message.body))
    campaign = sys.intern(message.campaign) if message.campaign else ""
    sender = sender_domain_of(message.envelope.sender)
    return [
        QueueEntry(message.id, location, domain, indexes, size, due, 0, campaign, sender, message.expires_at)
        for domain, indexes in group_by_domain(message.envelope.recipients)
    ]
