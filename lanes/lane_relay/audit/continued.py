"""Journals that go on from another one: each volume that is put back from a snapshot begins one.

The volume has both in one chain, for the numbers go on. An archive has them in folders of their own, and the journal of
before may have gone on there, too: up to the entry that the Begin names both are one history, and then there are two.
Pure but for reading the store. Before: `evidence`. After: `verify`.
"""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

from lane_relay.audit.evidence import JournalFiles, Store
from lane_relay.audit.head import Continued, Head, HeadKind, Signed, parse

__all__ = ["Around", "goes_on", "left_for"]


def goes_on(before: Signed, after: Signed) -> bool:
    """Whether an entry begins a journal that goes on from just this entry of another."""
    return after.head.continues == Continued(before.head.journal, before.head.number, before.digest)


def left_for(chain: Mapping[int, Signed], journal: str) -> tuple[int, str]:
    """(number of the last entry of a journal, the journal that goes on from there or empty) in a volume's chain."""
    last = max((number for number, one in chain.items() if one.head.journal == journal), default=0)
    after = chain.get(last + 1)
    return last, after.head.journal if after is not None else ""


class _Later(Struct, frozen=True):
    """What a journal that goes on from another says of it."""

    until: int
    """The last entry that both have."""
    dropped: tuple[Head, ...]


class Around:
    """The other journals of the same store, looked at only where a journal goes on from another."""

    def __init__(self, store: Store, journals: Sequence[JournalFiles]) -> None:
        """`journals`: all of the store."""
        self._store = store
        self._journals = journals
        self._later: dict[str, list[_Later]] = {}

    def goes_on_from(self, files: JournalFiles, first: Signed) -> Signed | None:
        """The entry before a folder's first one, in another folder; raises OSError."""
        number = first.head.number - 1
        found = (self._entry(one, number) for one in self._journals if one.folder != files.folder)
        return next((one for one in found if one is not None and one.digest == first.head.previous), None)

    def lacks(self, continues: Continued) -> bool:
        """Whether the journal that was gone on from is there without that entry, which it had; raises OSError."""
        for files in self._journals:
            if files.folder.rpartition("/")[2] != continues.journal or not files.heads:
                continue
            return min(files.heads) <= continues.number
        return False

    def dropped(self, head: Head) -> list[Head]:
        """Statements of removal about an entry's records in the journals that go on from its own; raises OSError."""
        if head.journal not in self._later:
            self._later[head.journal] = list(self._after(head.journal, ()))
        return [one for later in self._later[head.journal] if head.number <= later.until for one in later.dropped]

    def both_have(self) -> dict[str, int]:
        """Journal -> the record from which on others that go on from it may have the same records; raises OSError."""
        found: dict[str, int] = {}
        for files in self._journals:
            begin = self._begin(files)
            if begin is not None and begin.continues is not None:
                first = min(files.segments, default=begin.first_seq)
                found[begin.continues.journal] = min(found.get(begin.continues.journal, first), first)
        return found

    def _after(self, journal: str, seen: tuple[str, ...]) -> Iterator[_Later]:
        for files in self._journals:
            begin = self._begin(files)
            if begin is None or begin.continues is None or begin.continues.journal != journal or begin.journal in seen:
                continue
            entries = (self._entry(files, number) for number in sorted(files.heads))
            dropped = tuple(one.head for one in entries if one is not None and one.head.kind is HeadKind.DROPPED)
            yield _Later(begin.continues.number, dropped)
            for later in self._after(begin.journal, (*seen, journal)):
                yield _Later(min(later.until, begin.continues.number), later.dropped)

    def _begin(self, files: JournalFiles) -> Head | None:
        """The Begin of a folder that goes on from another: its first entry but for such as the journal before had."""
        for number in sorted(files.heads):
            if number == 1:
                return None
            entry = self._entry(files, number)
            if entry is None:
                return None
            if entry.head.kind is HeadKind.BEGIN:
                return entry.head
            if entry.head.journal == files.folder.rpartition("/")[2]:
                return None
        return None

    def _entry(self, files: JournalFiles, number: int) -> Signed | None:
        name = files.heads.get(number)
        try:
            return parse(self._store.read(name)) if name is not None else None
        except (FileNotFoundError, ValueError):
            return None
