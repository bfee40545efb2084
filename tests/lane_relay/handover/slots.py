"""Two slots on simulated disks, and a wire between them that can be cut."""

import asyncio
import errno
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from lane_api.relayconfig import RelayConfig
from lane_relay.account.counters import Counters
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.clock import Clock
from lane_relay.errors import SpoolError
from lane_relay.exchange import Exchange, Neighbourhood
from lane_relay.handover.book import Book
from lane_relay.handover.carriage import NotNowError, NotSentError, UnansweredError
from lane_relay.handover.consignment import Answer, Consignment, Parcel, decode, encode
from lane_relay.handover.giver import Giver
from lane_relay.handover.pauses import USUAL
from lane_relay.handover.receiver import InDoubtError, Receiver
from lane_relay.records import Message, QueueEntry
from lane_relay.spool.entries import entries_of
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import CLOCK, NOW, open_spool, record_of

BOOK = Path("/book")


class Disk(SimulatedDisk):
    """One that has no room for the answer about a transfer while the test says so."""

    fail_rename = 0
    """An errno."""
    keeps_answers = True
    forgets = True
    """Files of transfers can be taken away."""
    refused = 0
    writing: Callable[[str], None] = staticmethod(lambda _name: None)
    """Called with the name of each file that is about to be there."""

    def rename(self, source: Path, target: Path) -> None:
        self.writing(target.name)
        if self.fail_rename:
            raise OSError(self.fail_rename, "rename")
        is_answer = target.name.startswith("received") and target.name in self.names(target.parent)
        if is_answer and not self.keeps_answers:
            self.refused += 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        if not self.forgets and path.parent == BOOK and path.suffix == ".json":
            self.refused += 1
            raise OSError(errno.EIO, "Input/output error")
        super().unlink(path)


class Faulty(Exchange):
    """A slot's own exchange, with the faults of its disk that the test asks for."""

    slot: "Slot"

    def store(self, parcel: Parcel, spool_id: int, giver: str, stored: Callable[[SpoolError | None], None]) -> None:
        slot = self.slot
        if slot.fails_after is not None:
            slot.fails_after -= 1
            if slot.fails_after < 0:
                raise SpoolError("the spool is full")
        slot.disk.fail_sync = errno.EIO if slot.sync_fails else 0

        def answered(error: SpoolError | None) -> None:
            slot.disk.fail_sync = 0  # a failed fsync is told once (Linux), and the book's own are others
            stored(error)

        super().store(parcel, spool_id, giver, answered)

    async def load(self, entry: QueueEntry) -> Message:
        self.slot.loads[entry.id] += 1
        if entry.id in self.slot.unreadable:
            raise SpoolError("the message is damaged")
        return await super().load(entry)


class Slot:
    """One slot: its spool, its book, its exchange, and what it may send."""

    def __init__(self, name: str, image: Image | None = None) -> None:
        self.name = name
        self.disk = Disk(image)
        self.book = Book(BOOK, self.disk)
        self.spool = open_spool(self.disk, asked=self.book.asked, tidy_every=1e9)
        self.sendable: list[QueueEntry] = []
        """What is ours to send, with nobody to ask."""
        self.waiting: list[QueueEntry] = []
        """What is ours, and not due."""
        self.unwilling_because = ""
        self.pauses = USUAL
        """Of the exchange that `giver` makes next."""
        self.sync_fails = False
        """The parcels are written, and nobody knows whether they are on the disk."""
        self.fails_after: int | None = None
        """So many parcels are stored; the rest finds the spool full."""
        self.unreadable: set[int] = set()
        """Ids of messages that the spool cannot give."""
        self.loads: Counter[int] = Counter()
        self.ordered: set[int] = set()
        """Ids of messages that an order is about."""
        self.taken_back: Callable[[QueueEntry], None] = self.sendable.append
        self.over = False
        """The lifetime of its mail has passed."""
        self.reports: list[Message] = []
        """What senders were told."""
        self.refuses_reports = False
        self.exchange = self._exchange(Wire(None), CLOCK)

    def _deposit(self, report: Message, done: Callable[[SpoolError | None], None]) -> None:
        if self.refuses_reports:
            raise SpoolError("the spool is full")

        def stored(_location: int, error: SpoolError | None) -> None:
            if error is None:
                self.reports.append(report)
            done(error)

        self.spool.put(report, record_of("Reception", report.id), stored)

    def _exchange(self, wire: "Wire", clock: Clock) -> Faulty:
        nothing = Surroundings(
            lambda _entry: None, lambda _entry: None, lambda _entry: None, self._deposit,
            lambda _policy, _seconds, _count, _since: None, lambda: 0.5,
        )  # fmt: skip
        config = config_of(self.name)
        around = Neighbourhood(
            queued=self.sendable.append,
            accepted=lambda _count: None,
            resume=self._resume,
            wait=self.waiting.append,
            look_again=lambda: None,
            scheduled=lambda _count: [],
            is_over=lambda _entry: self.over,
            is_ordered=lambda entry, _sender: entry.id in self.ordered,
            quarantined=frozenset,
            unwilling=lambda: self.unwilling_because,
        )
        settler = Settler(self.spool, config, clock, nothing, Counters())
        made = Faulty(self.book, config, self.spool, settler, clock, around, wire, self.pauses)
        made.slot = self
        return made

    def _resume(self, entry: QueueEntry) -> None:
        self.taken_back(entry)

    @property
    def receiver(self) -> Receiver:
        """Its taking side."""
        return self.exchange.receiver

    def giver(self, wire: "Wire", clock: Clock = CLOCK) -> Giver:
        """Its giving side; what a restart found is sorted out."""
        self.exchange = self._exchange(wire, clock)
        self.sendable += self.exchange.ours(list(self.spool.recover()))
        self.exchange.giver.recovered()
        return self.exchange.giver

    def disk_has_transfers(self) -> bool:
        """Some transfer is not over."""
        return any(path.startswith(str(BOOK)) for path in self.disk.image())

    async def bodies(self) -> list[bytes]:
        """The bodies of what it may send."""
        return sorted([(await self.spool.load(entry)).body for entry in self.sendable])


def config_of(name: str) -> RelayConfig:
    """A slot's configuration; nothing of it is opened."""
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": name, "hostname": f"{name}.test"},
            "spool": {"path": "/spool"},
            "records": {"path": "/records"},
            "admin": {
                "listen": {"host": "127.0.0.1", "port": 0},
                "tls": {"certificate": "/crt", "key": "/key"},
                "tokenFile": "/token",
            },
            "handover": {"caFile": "/ca", "siblings": []},
        }
    )


class Wire:
    """The carrier of tests: straight to the receiver, as bytes, with faults."""

    def __init__(self, to: Slot | None) -> None:
        self.to = to
        self.asked = 0
        self.forgotten: list[str] = []
        self.fault = ""
        """Of the next offer: `lost-request`, `lost-answer`, or `late`: it arrives after the question."""
        self.loses_forget = False
        """Nobody hears that a transfer may be forgotten."""
        self.instead: Answer | None = None
        """What the sibling says of everything."""
        self.late: list[tuple[str, bytes]] = []
        self.happens: Callable[[str], None] = lambda _what: None
        self.asking: Callable[[str, str], Awaitable[Answer]] | None = None
        """Who answers questions, if not the sibling."""

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
            raise NotNowError(str(error)) from error
        self.happens("answered")
        if fault == "lost-answer":
            raise UnansweredError("reset")
        return self.instead or answer

    async def ask(self, slot: str, transfer: str) -> Answer:
        self.asked += 1
        if self.asking is not None:
            return await self.asking(slot, transfer)
        try:
            answer = await self._receiver().ask(transfer, "a")
        except InDoubtError as error:
            raise NotNowError(str(error)) from error
        return self.instead or answer

    async def forget(self, slot: str, transfer: str) -> None:
        receiver = self._receiver()
        self.happens("forgetting")
        if self.loses_forget:
            raise UnansweredError("reset")
        self.forgotten.append(transfer)
        try:
            await receiver.forget(transfer, "a")
        except OSError as error:  # a 503
            raise NotNowError(str(error)) from error

    async def given(self, slot: str) -> tuple[str, ...]:
        if self.to is None:
            raise NotSentError("refused")
        self.happens("asked")
        found = self.to.exchange.open_with("b")
        self.happens("told")
        return found


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
