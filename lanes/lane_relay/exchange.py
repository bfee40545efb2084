"""Joins hand-over with this slot's stages: what siblings give goes into spool and queue, what they take is settled.

Before it: `pipeline`, which asks where each routed entry is to leave from. After it: `handover`, `spool`, `account`.
Invariant: without `handover` in the configuration nothing here costs more than one test a message.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from msgspec import Struct

from lane_api.isppolicy import Category
from lane_api.relayconfig import HandOver, RelayConfig, Sibling
from lane_relay.account.settle import Ending, Outcome
from lane_relay.account.settler import Settler
from lane_relay.clock import Clock, rfc3339
from lane_relay.deliver.explain import Place as Waits
from lane_relay.deliver.pacing import Hold, Limit
from lane_relay.errors import ConfigError, SpoolError
from lane_relay.handover.ability import ABILITY_NAME, Abilities
from lane_relay.handover.book import Book, Given, TakenBack
from lane_relay.handover.carriage import Carrier
from lane_relay.handover.carrier import HttpsCarrier
from lane_relay.handover.choose import Place, Whither, choose
from lane_relay.handover.consignment import Answer, Consignment, Parcel, unpack
from lane_relay.handover.doubts import SlotDoubt
from lane_relay.handover.giver import DOWN_S, Giver
from lane_relay.handover.owed import Owed, SlotOwed
from lane_relay.handover.pauses import USUAL, Pauses
from lane_relay.handover.receiver import Receiver
from lane_relay.handover.relief import Relief
from lane_relay.handover.stranded import Stranded
from lane_relay.orders.keeper import WithSibling
from lane_relay.orders.order import Verb
from lane_relay.records import FOREIGN, Message, QueueEntry, Reply, Route
from lane_relay.spool.base import Spool
from lane_relay.spool.entries import Waiting, entries_of

__all__ = ["Exchange", "Neighbourhood", "open_transfers"]

_PORTION: Final = 500
"""Entries between two looks at everything else."""
_LOOK_AGAIN_S: Final = 1.0
_LOOK_AT_SIBLINGS_S: Final = 5.0
_NOWHERE: Final = Route("", "", ())

_log = structlog.get_logger("handover")


def open_transfers(config: RelayConfig) -> Book | None:
    """The transfers that are not over, read before the spool opens; None where the slot has no siblings.

    Raises ConfigError if there are some nevertheless: their mail would leave from here and from the sibling.
    """
    folder = Path(config.spool.path) / "handover"
    if config.handover is not None:
        return Book(folder)
    if in_doubt := sorted(path.name for path in folder.glob("given-*.json")):
        raise ConfigError(
            f"handover: absent, and siblings may have mail of this volume ({len(in_doubt)} transfers in {folder}): "
            "put handover back until GET /v1/slot has no handover.doubts; take-back ends those of a slot that is gone"
        )
    return None


class Neighbourhood(Struct, frozen=True):
    """What the exchange calls of the pipeline; all on the event loop, none blocks."""

    queued: Callable[[QueueEntry], None]
    """An entry of a sibling's mail is on our disk, due at its `due`."""
    accepted: Callable[[int], None]
    """So many recipients came in."""
    resume: Callable[[QueueEntry], None]
    """The entry is ours to send, as if it had just become due."""
    wait: Callable[[QueueEntry], None]
    """The entry is ours, and waits until its `due`."""
    look_again: Callable[[], None]
    """Everything that waits in delivery comes back, as if it had just become due."""
    scheduled: Callable[[int], list[QueueEntry]]
    """Takes so many entries at most out of the schedule, due or not."""
    is_over: Callable[[QueueEntry], bool]
    """The entry's lifetime has passed."""
    is_ordered: Callable[[QueueEntry, str], bool]
    """(entry, envelope sender): an order here stops it, and has it now."""
    unwilling: Callable[[], str]
    """Why nothing can be taken in, or an empty string."""
    quarantined: Callable[[], frozenset[str]]
    """Sites that refuse this slot's address for now; an empty one: all."""


class Exchange:
    """Hand-over of one slot."""

    def __init__(
        self,
        book: Book,
        config: RelayConfig,
        spool: Spool,
        settler: Settler,
        clock: Clock,
        around: Neighbourhood,
        way: Carrier | None = None,
        pauses: Pauses = USUAL,
    ) -> None:
        """Blocks for what a crash left open; raises OSError. `way`: how mail goes to siblings, if not by HTTPS."""
        if config.handover is None or config.admin is None:  # `config` refuses the first without the second
            raise ValueError("hand-over needs handover and admin")
        self._config = config
        self._spool = spool
        self._settler = settler
        self._clock = clock
        self._around = around
        self._pauses = pauses
        self.carrier = HttpsCarrier(config.handover, config.admin.tls, config.slot.name)
        self.neighbours = HttpsCarrier(_neighbours(config), config.admin.tls, config.slot.name)
        """The way to slots of other lanes, whose suppression lists this one shares."""
        self.receiver = Receiver(book, self, clock.now)
        self.giver = Giver(book, self, way or self.carrier, config.slot.name, clock, pauses)
        self._owed = Owed(book, self.receiver, way or self.carrier, lambda: [one.slot for one in self._siblings()])
        self._abilities = Abilities(self._ability_of)
        self._emptying = asyncio.Event()
        self._changed = asyncio.Event()
        self._stranded = Stranded(self, pauses)
        self.relief = Relief(self._abilities, self.giver.is_up, around.quarantined, around.look_again)
        """What a quarantine of our address stops here and a standby slot sends."""
        self.relief.apply(config.handover)

    def apply(self, config: RelayConfig) -> None:
        """Another configuration: who the siblings are, what goes to them."""
        self._config = config
        if config.handover is not None and config.admin is not None:
            self.carrier.apply(config.handover, config.admin.tls)
            self.relief.apply(config.handover)
            self.neighbours.apply(_neighbours(config), config.admin.tls)
        if config.delivery.transfers:
            self._emptying.set()
        else:
            self._emptying.clear()
        self._changed.set()

    def look_again(self) -> None:
        """An order was given: what has no way comes by it."""
        self._changed.set()

    @property
    def ways(self) -> tuple[HttpsCarrier, HttpsCarrier]:
        """To the siblings, and to slots of other lanes that share the suppression list."""
        return self.carrier, self.neighbours

    @property
    def given(self) -> int:
        """Entries that siblings have taken over."""
        return self.giver.parcels

    @property
    def taken(self) -> int:
        """Parcels taken over from siblings."""
        return self.receiver.parcels

    @property
    def taking(self) -> int:
        """Transfers that are coming in."""
        return self.receiver.under_way

    @property
    def waiting(self) -> int:
        """Entries on their way to a sibling."""
        return self.giver.waiting + len(self._stranded)

    @property
    def stranded(self) -> int:
        """Those of them that must not leave from here while no sibling can take them."""
        return len(self._stranded)

    @property
    def unrelieved(self) -> int:
        """Sites that refuse our address, to which nobody sends in its place now."""
        return len(self.relief.unrelieved())

    @property
    def unreadable(self) -> int:
        """Entries that cannot go to a sibling, for the disk does not give their message."""
        return self.giver.unreadable

    @property
    def in_doubt(self) -> int:
        """Transfers whose sibling has not answered yet."""
        return len(self.giver.doubts)

    @property
    def doubts(self) -> list[SlotDoubt]:
        """The same by sibling, with the reason."""
        return self.giver.doubts.by_slot()

    @property
    def owed(self) -> list[SlotOwed]:
        """What siblings may still ask about that they gave, by sibling."""
        return self._owed.by_slot()

    @property
    def orders(self) -> Mapping[Verb, WithSibling]:
        """What a person may order about a sibling that is gone for good."""
        return {Verb.TAKE_BACK: self.take_back_from, Verb.FORGET: self.forget_for}

    async def take_back_from(self, slot: str, owner: str, reason: str) -> int:
        """See Doubts.take_back."""
        return await self.giver.doubts.take_back(slot, owner, reason)

    async def forget_for(self, slot: str, owner: str, reason: str) -> int:
        """Forgets what is owed to a sibling that is gone for good, on record; how many transfers they are.

        Raises NothingToForgetError while the sibling answers, or if it is owed nothing; SpoolError.
        """
        transfers = await self._owed.unasked(slot)
        said = (
            f"forget {len(transfers)} transfers of slot {slot}, that it may still ask about: what it has in doubt then "
            "leaves twice, if it comes back and takes it back"
        )
        self._spool.record([self._settler.writer.admin_action(said, owner, reason, self._clock.now())])
        await self._spool.flush()
        await self._owed.forget(transfers)
        return len(transfers)

    def places(self) -> Iterator[Waits]:
        """Where entries are that go to a sibling, or should, and what holds them there."""
        for doubt in self.giver.doubts.all:
            to = doubt.given.to
            detail = (
                f"slot {to} has not said since {rfc3339(doubt.given.at)} whether it has this mail "
                f"({doubt.said or 'it is being asked'}): bring that slot back; if it is gone for good, give the order "
                f"take-back with sibling {to}, and the mail may leave twice"
            )
            yield Waits("InDoubt", _NOWHERE, Hold(Limit.SIBLING, detail=detail), tuple(doubt.entries))
        for slot, entries in self.giver.waiting_for():
            yield Waits("HandingOver", _NOWHERE, Hold(Limit.SIBLING, detail=f"on its way to slot {slot}"), entries)
        if self._stranded:
            detail = "it must not leave from here, and no sibling can be reached"
            yield Waits("HandingOver", _NOWHERE, Hold(Limit.SIBLING, detail=detail), self._stranded.entries)

    @property
    def is_emptying(self) -> bool:
        """All mail of this slot is to go to its siblings."""
        return self._emptying.is_set()

    def ours(self, found: list[QueueEntry]) -> list[QueueEntry]:
        """Of what recovery found, what no transfer in doubt is about."""
        return [mine for entry in found if (mine := self.giver.withhold(entry)) is not None]

    async def run(self) -> None:
        """Works for ever; ends by cancellation."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.giver.run())
            group.create_task(self._empty())
            group.create_task(self._forget_stale())
            group.create_task(self._watch_abilities())
            group.create_task(self._stranded.watch())
            group.create_task(self._owed.watch())
            group.create_task(self.relief.watch())
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(DOWN_S):
                        await self._changed.wait()
                if self._changed.is_set() or self.has_sibling:
                    self._changed.clear()
                    await self._stranded.choose_again()

    async def _watch_abilities(self) -> None:
        """Knows what siblings can send, where some mail goes only to one that can."""
        while True:
            if self._config.warmup is not None or any(one.role == "Standby" for one in self._siblings()):
                await self._abilities.look([one.slot for one in self._siblings() if self.giver.is_up(one.slot)])
            await asyncio.sleep(_LOOK_AT_SIBLINGS_S)

    async def _ability_of(self, slot: str) -> bytes:
        body, _ = await self.carrier.fetch(slot, ABILITY_NAME, {})
        return body

    async def _forget_stale(self) -> None:
        while True:
            await asyncio.sleep(self._pauses.stale)
            try:
                await self.receiver.forget_stale(self._clock.now())
            except OSError as error:
                _log.exception("stale transfers stay in the book", reason=str(error))

    async def _empty(self) -> None:
        """Hands over what waits for its time as well, while this slot is to be emptied, and what waits in delivery
        because no sibling could be reached, were it for an instant only."""
        could, setbacks = False, 0
        while True:
            await self._emptying.wait()
            can = self.has_sibling
            if can and not (could and setbacks == self.giver.setbacks):
                self._around.look_again()
            could, setbacks = can, self.giver.setbacks
            entries = self._around.scheduled(_PORTION) if can else []
            for entry in entries:
                self._around.resume(entry)
            await asyncio.sleep(0 if entries else _LOOK_AGAIN_S)

    @property
    def has_sibling(self) -> bool:
        """One at least can be offered something."""
        return any(one.role != "Leaving" and self.giver.is_up(one.slot) for one in self._siblings())

    def _siblings(self) -> tuple[Sibling, ...]:
        return self._config.handover.siblings if self._config.handover is not None else ()

    async def close(self) -> None:
        """Ends the connections to siblings."""
        await self.carrier.close()
        await self.neighbours.close()

    # -- what the pipeline asks

    def sends_here(self, entry: QueueEntry, policy: str, site: str = "", *, has_room: bool = True) -> bool:
        """Whether the entry leaves from this slot; else it is on its way to a sibling, or waits for one.

        `has_room`: today's warm-up allows another recipient at this ISP.
        """
        place = self._whither(entry, policy, site, has_room)
        if place is Place.HERE:
            return True
        if isinstance(place, str):
            self._abilities.gave(place, policy, len(entry.recipients))
            self.giver.give(entry, place)
        else:
            self._stranded.add(entry)
        return False

    def would_leave(self, entry: QueueEntry, policy: str, site: str) -> bool:
        """Whether `sends_here` would say no to an entry without room."""
        return self._whither(entry, policy, site, has_room=False) is not Place.HERE

    def _whither(self, entry: QueueEntry, policy: str, site: str, has_room: bool) -> Whither:
        return choose(
            self._config,
            entry.id,
            policy,
            is_up=self.giver.is_up,
            came_from_sibling=bool(entry.id & FOREIGN),
            has_budget=has_room,
            can_send=lambda slot: self._abilities.can_send(slot, site, policy),
            is_quarantined=self.relief.is_promised and self.relief.is_quarantined(site),
            was_tried=entry.attempts > 0,
        )

    # -- what the receiver needs

    def new_id(self, received_at: float) -> int:
        """See receiver.Store."""
        return self._spool.foreign_id(received_at)

    def store(self, parcel: Parcel, spool_id: int, giver: str, stored: Callable[[SpoolError | None], None]) -> None:
        """See receiver.Store."""
        message, waiting, now = unpack(parcel, spool_id), None, self._clock.now()
        if parcel.attempts or parcel.notified or parcel.due > now:
            waiting = Waiting(parcel.due, parcel.attempts, parcel.notified, now)
        record = self._settler.writer.taken_over(message, now, giver, parcel.origin)
        self._spool.put(message, record, partial(self._stored, message, parcel, stored), waiting)

    def _stored(
        self,
        message: Message,
        parcel: Parcel,
        stored: Callable[[SpoolError | None], None],
        location: int,
        error: SpoolError | None,
    ) -> None:
        if error is None:
            self._around.accepted(len(message.envelope.recipients))
            for entry in entries_of(message, location, parcel.due):
                entry.attempts, entry.notified = parcel.attempts, parcel.notified
                self._around.queued(entry)
        stored(error)

    def keep(self) -> Callable[[], None]:
        """See Spool.keep."""
        return self._spool.keep()

    def was_stored(self, spool_id: int) -> bool:
        """See Spool.was_stored."""
        return self._spool.was_stored(spool_id)

    def unwilling(self) -> str:
        """See receiver.Store."""
        if self._config.delivery.transfers:
            return "this slot is being emptied itself"
        return self._around.unwilling()

    # -- what the giver needs

    async def load(self, entry: QueueEntry) -> Message:
        """See Spool.load."""
        return self._spool.cached(entry) or await self._spool.load(entry)

    def handed_over(self, entry: QueueEntry, message: Message, to: str, their_id: str) -> None:
        """See giver.Home."""
        reply = Reply(250, (f"2.0.0 slot {to} has it as {their_id}",))
        ending = Ending(entry.recipients, Outcome.HANDED_OVER, reply, Category.OTHER)
        self._settler.end(entry, message, (ending,))

    def take_back(self, entry: QueueEntry) -> None:
        """See giver.Home; what is not due yet goes on only to another sibling, and else keeps its time."""
        if entry.due > self._clock.now() and not (self.is_emptying and self.has_sibling):
            self._around.wait(entry)
        else:
            self._around.resume(entry)

    def is_ordered(self, entry: QueueEntry, message: Message) -> bool:
        """See giver.Home."""
        return self._around.is_ordered(entry, message.envelope.sender)

    def is_over(self, entry: QueueEntry) -> bool:
        """See stranded.Home."""
        return self._around.is_over(entry)

    def is_late(self, entry: QueueEntry) -> bool:
        """See stranded.Home."""
        return self._clock.now() >= self._settler.late_at(entry)

    def tell_late(self, entry: QueueEntry, message: Message, why: str) -> None:
        """See Settler.on_late."""
        self._settler.on_late(entry, message, why)

    def report_unknown(self, entry: QueueEntry, message: Message, why: str) -> Message | None:
        """See Settler.report_unknown."""
        return self._settler.report_unknown(entry, message, why)

    def deposit(self, report: Message, done: Callable[[SpoolError | None], None]) -> None:
        """See Settler.deposit."""
        self._settler.deposit(report, done)

    def note_taken_back(self, transfer: str, given: Given, order: TakenBack) -> None:
        """See giver.Home."""
        said = (
            f"take-back {transfer}: {len(given.parcels)} messages whose transfer to slot {given.to} is in doubt; what "
            "that slot had taken leaves twice"
        )
        record = self._settler.writer.admin_action(said, order.owner, order.reason, self._clock.now())
        self._spool.record([record])
        _log.warning("a transfer is taken back", transfer=transfer, slot=given.to, owner=order.owner)

    async def flush(self) -> None:
        """See Spool.flush."""
        await self._spool.flush()

    # -- what `/v1/handover` does

    async def take(self, transfer: str, consignment: Consignment) -> Answer:
        """See Receiver.take."""
        return await self.receiver.take(transfer, consignment)

    async def ask(self, transfer: str, giver: str) -> Answer:
        """See Receiver.ask."""
        return await self.receiver.ask(transfer, giver)

    def forget(self, transfer: str, giver: str) -> Awaitable[None]:
        """See Receiver.forget."""
        return self.receiver.forget(transfer, giver)

    def open_with(self, slot: str) -> tuple[str, ...]:
        """See Giver.open_with."""
        return self.giver.open_with(slot)

    def knows(self, giver: str, names: tuple[str, ...]) -> bool:
        """The giver is a sibling, and its certificate is for one of these names."""
        return any(one.slot == giver and (one.name or one.host) in names for one in self._siblings())

    def shares_list(self, giver: str, names: tuple[str, ...]) -> bool:
        """As `knows`, for slots of other lanes that share the suppression list."""
        return any(one.slot == giver and (one.name or one.host) in names for one in _neighbours(self._config).siblings)


def _neighbours(config: RelayConfig) -> HandOver:
    """The slots of other lanes in the form in which siblings are reached."""
    if config.handover is None or config.suppression is None:
        return HandOver(ca_file=config.handover.ca_file if config.handover is not None else "")
    found = config.suppression.neighbours
    return HandOver(
        ca_file=config.handover.ca_file,
        siblings=tuple(Sibling(slot=one.slot, host=one.host, name=one.name, port=one.port) for one in found),
    )
