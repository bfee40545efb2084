"""A dispatcher with its far ends: messages from a dict, attempts into a list."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from lane_api.isppolicy import Stage
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.kept_limits import KeptLimits
from lane_relay.deliver.moved import Routes
from lane_relay.deliver.prepared import Signing
from lane_relay.deliver.session_settings import ReturnPaths, Timeouts
from lane_relay.deliver.tls import TlsContexts
from lane_relay.errors import SpoolError
from lane_relay.records import Attempt, Envelope, Hop, Message, QueueEntry, RecipientOptions, Route

BODY = b"From: a@sender.test\r\nTo: b@peer.test\r\nSubject: test\r\n\r\nHello\r\n.dotted\r\n"
SHORT = 0.3
"""Seconds; a stage time limit of tests about silence."""
PATIENT = dict.fromkeys(Stage, 30.0)


def make_config(**delivery: Any) -> RelayConfig:
    """A configuration of a relay that sends from 127.0.0.1, or from `source`, or as `egress` says."""
    egress = delivery.pop("egress", None) or {"source": delivery.pop("source", "127.0.0.1")}
    extra = {name: delivery.pop(name) for name in ("active_bytes",) if name in delivery}
    return RelayConfig.model_validate(
        {
            "lane": {"name": "t"},
            "slot": {"name": "t-0", "hostname": "out.sender.test"},
            "spool": {"path": "/s"},
            "records": {"path": "/r"},
            "egress": egress,
            "delivery": delivery,
            **extra,
        }
    )


@dataclass
class Messages:
    """The far end of the spool: what is `cold` has to be loaded."""

    found: dict[int, Message] = field(default_factory=dict)
    cold: bool = False
    loaded: int = 0
    loading: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Set unless the disk is to take its time."""
    damaged: set[int] = field(default_factory=set)
    lent: int = 0
    """Bytes of what was loaded and is still being sent."""
    lent_most: int = 0

    def lend(self, size: int) -> None:
        """Counts."""
        self.lent += size
        self.lent_most = max(self.lent_most, self.lent)

    def give_back(self, size: int) -> None:
        """Counts."""
        self.lent -= size

    def cached(self, entry: QueueEntry) -> Message | None:
        """At once, unless cold."""
        return None if self.cold or entry.id in self.damaged else self.found[entry.id]

    async def load(self, entry: QueueEntry) -> Message:
        """A turn of the loop later."""
        self.loading += 1
        await asyncio.sleep(0)
        await self.gate.wait()
        self.loading -= 1
        if entry.id in self.damaged:
            raise SpoolError("damaged")
        self.loaded += 1
        return self.found[entry.id]


@dataclass
class Delivery:
    """The dispatcher under test."""

    messages: Messages
    dispatcher: Dispatcher = field(init=False)
    attempts: list[Attempt] = field(default_factory=list)
    rerouted: list[QueueEntry] = field(default_factory=list)
    reroute: Callable[[QueueEntry], None] | None = None
    """Has what asks for its route anew; None: it stays in `rerouted`."""
    late: list[tuple[QueueEntry, str]] = field(default_factory=list)
    gate: bool = True
    kept: str = ""
    """What the next process would find of acts."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _next: int = 0

    def send(
        self,
        route: Route,
        *recipients: str,
        body: bytes = BODY,
        from_domain: str = "sender.test",
        sender: str = "a@sender.test",
        age: float = 0.0,
        campaign: str = "",
        options: tuple[RecipientOptions, ...] = (),
    ) -> QueueEntry:
        """Adds one message for these recipients."""
        self._next += 1
        recipients = recipients or ("b@peer.test",)
        accepted_ms = int((SYSTEM_CLOCK.now() - age) * 1000)
        message = Message(
            (accepted_ms << 48) + self._next, Envelope(sender, recipients, options=options), body,
            client="192.0.2.1", from_domain=from_domain,
        )  # fmt: skip
        self.messages.found[message.id] = message
        entry = QueueEntry(message.id, 0, "peer.test", tuple(range(len(recipients))), len(body), 0.0)
        entry.campaign = campaign
        self.dispatcher.add(entry, route)
        return entry

    def on_attempt(self, attempt: Attempt) -> None:
        """Collects; of an attempt for a part of its recipients the entry stays for the others, as with the settler."""
        self.attempts.append(attempt)
        settled = {result.index for result in attempt.results}
        if len(settled) < len(attempt.entry.recipients):
            attempt.entry.recipients = tuple([one for one in attempt.entry.recipients if one not in settled])
        self._changed.set()

    async def attempted(self, count: int, within: float = 60.0) -> list[Attempt]:
        """The attempts, once there are so many."""
        async with asyncio.timeout(within):
            while len(self.attempts) < count:
                self._changed.clear()
                await self._changed.wait()
        return self.attempts

    def on_reroute(self, entry: QueueEntry) -> None:
        """Collects, or hands on."""
        (self.reroute or self.rerouted.append)(entry)

    def on_late(self, entry: QueueEntry, _message: Message, why: str) -> None:
        """Collects."""
        entry.notified = True
        self.late.append((entry, why))

    def replies(self) -> list[list[str]]:
        """Of each attempt, the replies of its recipients."""
        return [[str(result.reply) for result in attempt.results] for attempt in self.attempts]


async def until(condition: Callable[[], bool], within: float = 60.0) -> None:
    """Returns when the condition holds; fails when it never does."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 -- a condition of many objects has no event of its own
            await asyncio.sleep(0.005)


@asynccontextmanager
async def delivering(
    *,
    timeouts: Timeouts | None = None,
    contexts: TlsContexts | None = None,
    signing: Signing | None = None,
    kept: str = "",
    keep: Callable[[str], None] | None = None,
    clock: Clock = SYSTEM_CLOCK,
    routes: Routes | None = None,
    leads_to: Callable[[str], bool] = lambda _address: True,
    return_paths: ReturnPaths | None = None,
    limits: KeptLimits | None = None,
    **delivery: Any,
) -> AsyncIterator[Delivery]:
    """A running dispatcher."""
    messages = Messages()
    messages.gate.set()
    made = Delivery(messages)
    made.dispatcher = dispatcher = Dispatcher(
        make_config(**delivery),
        bodies=messages,
        on_attempt=lambda attempt: made.on_attempt(attempt),  # noqa: PLW0108 -- a test may put its own in place
        may_send=lambda: made.gate,
        reroute=made.on_reroute,
        on_late=made.on_late,
        clock=clock,
        signing=signing,
        contexts=contexts,
        timeouts=timeouts or Timeouts(stages=PATIENT),
        keep_acts=keep or (lambda text: setattr(made, "kept", text)),
        routes=routes,
        leads_to=leads_to,
        return_paths=return_paths,
        kept=limits,
    )
    made.kept = kept
    dispatcher.judgement.restore(kept)
    dispatcher.start()
    try:
        yield made
    finally:
        await dispatcher.drain(0.2)


def route_to(port: int, *hosts: str, site: str = "peer", policy: str = "", tls: str = "", auth_dir: str = "") -> Route:
    """A route to loopback addresses, each a host of its own."""
    hops = tuple(Hop(f"mx{number}.peer.test", (host,)) for number, host in enumerate(hosts or ("127.0.0.1",)))
    return Route(site, policy, hops, port, tls, auth_dir)
