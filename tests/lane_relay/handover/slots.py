"""Two slots on simulated disks, and a wire between them that can be cut."""

import asyncio
import errno
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lane_relay.errors import SpoolError
from lane_relay.handover.book import Book
from lane_relay.handover.consignment import Answer, Consignment, Parcel, decode, encode, unpack
from lane_relay.handover.giver import Giver, NotSentError, UnansweredError
from lane_relay.handover.receiver import InDoubtError, Receiver
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.entries import entries_of
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import NOW, open_spool, record_of

BOOK = Path("/book")


class Disk(SimulatedDisk):
    """One that has no room for the answer about a transfer while the test says so."""

    keeps_answers = True
    refused = 0

    def rename(self, source: Path, target: Path) -> None:
        is_answer = target.name.startswith("received") and target.name in self.names(target.parent)
        if is_answer and not self.keeps_answers:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().rename(source, target)


class Slot:
    """One slot: its spool, its book, and what it may send."""

    def __init__(self, name: str, image: Image | None = None) -> None:
        self.name = name
        self.disk = Disk(image)
        self.book = Book(BOOK, self.disk)
        self.spool = open_spool(self.disk, asked=self.book.asked, tidy_every=1e9)
        self.sendable: list[QueueEntry] = []
        """What is ours to send, with nobody to ask."""
        self.unwilling_because = ""
        self.sync_fails = False
        """The parcels are written, and nobody knows whether they are on the disk."""
        self.fails_after: int | None = None
        """So many parcels are stored; the rest finds the spool full."""
        self.receiver = Receiver(self.book, self)
        self.unreadable: set[int] = set()
        """Ids of messages that the spool cannot give."""
        self.loads: Counter[int] = Counter()
        self.taken_back: Callable[[QueueEntry], None] = self.sendable.append

    def giver(self, wire: "Wire") -> Giver:
        """Its giving side; what a restart found is sorted out."""
        giver = Giver(self.book, self, wire, self.name, lambda: 0.0)
        for entry in self.spool.recover():
            mine = giver.withhold(entry)
            if mine is not None:
                self.sendable.append(mine)
        giver.recovered()
        return giver

    def disk_has_transfers(self) -> bool:
        """Some transfer is not over."""
        return any(path.startswith(str(BOOK)) for path in self.disk.image())

    async def bodies(self) -> list[bytes]:
        """The bodies of what it may send."""
        return sorted([(await self.spool.load(entry)).body for entry in self.sendable])

    # -- receiver.Store

    def new_id(self, received_at: float) -> int:
        return self.spool.foreign_id(received_at)

    def store(self, parcel: Parcel, spool_id: int, giver: str, stored: Callable[[SpoolError | None], None]) -> None:
        if self.fails_after is not None:
            self.fails_after -= 1
            if self.fails_after < 0:
                raise SpoolError("the spool is full")
        message = unpack(parcel, spool_id)
        self.disk.fail_sync = errno.EIO if self.sync_fails else 0
        self.spool.put(message, record_of("Reception", spool_id), partial(self._stored, message, parcel, stored))

    def _stored(
        self,
        message: Message,
        parcel: Parcel,
        stored: Callable[[SpoolError | None], None],
        location: int,
        error: SpoolError | None,
    ) -> None:
        self.disk.fail_sync = 0  # a failed fsync is told once (Linux), and the book's own are others
        if error is None:
            self.sendable += entries_of(message, location, parcel.due)
        stored(error)

    def keep(self) -> Callable[[], None]:
        return self.spool.keep()

    def was_stored(self, spool_id: int) -> bool:
        return self.spool.was_stored(spool_id)

    def unwilling(self) -> str:
        return self.unwilling_because

    # -- giver.Home

    async def load(self, entry: QueueEntry) -> Message:
        self.loads[entry.id] += 1
        if entry.id in self.unreadable:
            raise SpoolError("the message is damaged")
        return await self.spool.load(entry)

    def handed_over(self, entry: QueueEntry, message: Message, to: str, their_id: str) -> None:
        self.spool.settle(entry, entry.recipients, [record_of("HandOver", entry.id) for _ in entry.recipients])

    def take_back(self, entry: QueueEntry) -> None:
        self.taken_back(entry)

    async def flush(self) -> None:
        await self.spool.flush()


class Wire:
    """The carrier of tests: straight to the receiver, as bytes, with faults."""

    def __init__(self, to: Slot | None) -> None:
        self.to = to
        self.asked = 0
        self.forgotten: list[str] = []
        self.fault = ""
        """Of the next offer: `lost-request`, `lost-answer`, or `late`: it arrives after the question."""
        self.instead: Answer | None = None
        """What the sibling says of everything."""
        self.late: list[tuple[str, bytes]] = []
        self.happens: Callable[[str], None] = lambda _what: None

    def _receiver(self) -> Receiver:
        if self.to is None:
            raise NotSentError("refused")
        return self.to.receiver

    async def offer(self, slot: str, transfer: str, consignment: Consignment) -> Answer:
        receiver = self._receiver()
        data = encode(consignment)
        self.happens("offered")
        fault, self.fault = self.fault, ""
        if fault == "late":
            self.late.append((transfer, data))
        if fault in ("lost-request", "late"):
            raise UnansweredError("reset")
        found = decode(data)
        assert not isinstance(found, str)
        try:
            answer = await receiver.take(transfer, found)
        except InDoubtError as error:  # a 503
            raise UnansweredError(str(error)) from error
        self.happens("answered")
        if fault == "lost-answer":
            raise UnansweredError("reset")
        return self.instead or answer

    async def ask(self, slot: str, transfer: str) -> Answer:
        self.asked += 1
        try:
            answer = await self._receiver().ask(transfer, "a")
        except InDoubtError as error:
            raise UnansweredError(str(error)) from error
        return self.instead or answer

    async def forget(self, slot: str, transfer: str) -> None:
        receiver = self._receiver()
        self.happens("forgetting")
        self.forgotten.append(transfer)
        await receiver.forget(transfer, "a")


async def stored(slot: Slot, message: Message) -> list[QueueEntry]:
    """Entries of a message that the slot has accepted."""
    done: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def answer(location: int, error: SpoolError | None) -> None:
        if error is None:
            done.set_result(location)
        else:
            done.set_exception(error)

    slot.spool.put(message, record_of("Reception", message.id), answer)
    return list(entries_of(message, await done, NOW))
