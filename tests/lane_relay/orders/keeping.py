"""Orders over a real spool in memory, a real schedule and real held entries; delivery is a list."""

import asyncio
import errno
import json
from collections.abc import AsyncGenerator
from typing import Any, Self

from msgspec.structs import replace

from lane_api.relayconfig import RelayConfig
from lane_relay.account.counters import Counters
from lane_relay.account.screen import Screen
from lane_relay.account.settler import Settler, Surroundings
from lane_relay.clock import Clock
from lane_relay.deliver.explain import Place
from lane_relay.deliver.held import HeldEntries
from lane_relay.orders.book import OrderBook
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.orders.places import Places
from lane_relay.orders.screener import Screener
from lane_relay.records import Envelope, Message, QueueEntry, Route
from lane_relay.schedule.scheduled_queue import ScheduledQueue
from lane_relay.spool.entries import entries_of
from lane_relay.spool.memory import MemorySpool, MemoryVolume
from tests.lane_relay.account.attempts import NOW, config
from tests.lane_relay.account.attempts import message as plain
from tests.lane_relay.spool.making import until

ROUTE = Route("mx.example.com", "example-isp", ())
SOMEWHERE = Place("Scheduled", ROUTE, None, ())


class Rig:
    """One slot as far as orders see it; another one on its volume is the slot after a restart."""

    def __init__(
        self, volume: MemoryVolume | None = None, of: RelayConfig | None = None, *, no_room: bool = False
    ) -> None:
        self.config = of or config()
        self.now = NOW
        self.clock = Clock(now=lambda: self.now, monotonic=lambda: self.now)
        self.spool = MemorySpool(self.clock, asyncio.get_running_loop(), volume)
        self.counters = Counters()
        self.counters.recovered = self.spool.state.live_recipients
        self.schedule = ScheduledQueue()
        self.held = HeldEntries()
        self.delivery: list[QueueEntry] = []
        around = Surroundings(
            self.schedule.add,
            lambda _: None,
            lambda _: None,
            self._deposit,
            lambda *_: None,
            lambda: 0.5,
        )
        self.settler = Settler(self.spool, config(), self.clock, around, self.counters)
        self.book = OrderBook(self.spool)
        self.screener = Screener(Screen(config()), self.book, self.settler, self.clock)
        places = Places(
            self.schedule.sweep,
            self.schedule.add,
            self._look_again,
            self.held.add,
            self._release,
            lambda key: len(self.held.waiting_for(key)),
            lambda site: site == ROUTE.site,
        )
        self.journals = 0
        """Begun since the start."""
        self.no_room = no_room
        self.keeper = OrderKeeper(
            self.spool, self.book, self.settler, self.clock, places, lambda: self.config,
            begin_journal=self._begin_journal,
        )  # fmt: skip
        self._running: asyncio.Task[None] | None = None

    def _begin_journal(self) -> None:
        if self.no_room:
            raise OSError(errno.ENOSPC, "no room")
        self.journals += 1

    async def __aenter__(self) -> Self:
        for entry in self.spool.recover():
            self.schedule.add(entry)
        self._running = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._running is not None
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    def _deposit(self, message: Message, done: Any) -> None:
        self.counters.accepted += len(message.envelope.recipients)
        self.spool.put(message, b"{}", lambda _, error: done(error))

    def _look_again(self) -> None:
        waiting, self.delivery = self.delivery, []
        for key in self.held.keys:
            waiting += self.held.take(key)
        for entry in waiting:
            self.deliver(entry)

    def _release(self, key: str) -> None:
        for entry in list(self.held.take(key)):
            self.deliver(entry)

    def deliver(self, entry: QueueEntry) -> None:
        """Due and routed, as the pipeline hands it on."""
        if self.keeper.is_idle or not self.keeper.takes(entry, ROUTE):
            self.delivery.append(entry)

    async def stored(self, campaign: str = "", *, domain: str = "example.com", sender: str = "a@x.test") -> QueueEntry:
        """A message for one recipient, on disk."""
        envelope = Envelope(sender, (f"ann@{domain}",))
        of = replace(plain(), id=self.spool.new_id(), envelope=envelope, campaign=campaign)
        self.counters.accepted += 1
        self.spool.put(of, b"{}", lambda *_: None)
        await self.spool.flush()
        (entry,) = entries_of(of, 0, self.now)
        return entry

    async def later(self, campaign: str = "", **which: Any) -> QueueEntry:
        """The same, waiting for its next attempt in an hour."""
        entry = await self.stored(campaign, **which)
        entry.due = self.now + 3000
        self.spool.defer(entry, [])
        self.schedule.add(entry)
        return entry

    async def order(self, **said: Any) -> dict[str, Any]:
        """Given; what was answered."""
        body = json.dumps({"owner": "jane", "reason": "why not"} | said).encode()
        (answer,) = await self.keeper.place(body, self.waiting)
        return answer

    async def waiting(self) -> AsyncGenerator[tuple[Place, QueueEntry]]:
        """Every entry, wherever it waits."""
        for portion in self.schedule.portions():
            for entry in portion:
                yield SOMEWHERE, entry
        for entry in [*self.delivery, *(one.entry for key in self.held.keys for one in self.held.waiting_for(key))]:
            yield SOMEWHERE, entry

    async def done(self) -> None:
        """All that was ordered is carried out."""
        await until(self._is_done)

    def _is_done(self) -> bool:
        return self.keeper.is_quiet and all(one["state"] != "working" for one in self.keeper.standing())

    def actions(self) -> list[str]:
        """Of the journal's AdminAction records, in order."""
        records = [json.loads(line) for line in self.spool.volume.records]
        return [record["meta"]["action"] for record in records if record.get("meta")]
