"""The gates of a slot's addresses: one of each family, each with its own proof, and what both come to.

Mail leaves by whichever is proved; a connection by the other family is not begun. What is told of the slot is the worse
of the two, so that an address that cannot be proved shows while the other one works.
Before it: the configuration's `egress`. After it: `deliver`, which asks before each connection, and the report.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Literal, Protocol

from lane_api.relayconfig import Egress
from lane_api.reverse import PtrFinding
from lane_relay.clock import Clock
from lane_relay.egress.prober import Gate, claim_from
from lane_relay.egress.proof import ProofStatus

__all__ = ["Gates", "Named", "Names", "check_egress", "second_of"]


def check_egress(egress: Egress) -> None:
    """Refuses addresses that cannot be proved as they are configured; raises ConfigError."""
    claim_from(egress)
    second = second_of(egress)
    if second is not None:
        claim_from(second)


def second_of(egress: Egress) -> Egress | None:
    """The second address as an egress of its own; its reflectors and their key are the first one's."""
    second = egress.second
    if second is None:
        return None
    return Egress(address=second.address, source=second.source, proxy=second.proxy, proof=egress.proof)


class Named(Protocol):
    """What is known of an address's name."""

    @property
    def finding(self) -> PtrFinding:
        """The last answer."""

    @property
    def detail(self) -> str:
        """For people: what is so, and the fix."""

    @property
    def names(self) -> tuple[str, ...]:
        """What its PTR records hold."""

    @property
    def checked_at(self) -> float:
        """Unix time of the last answer, seconds; 0: never."""


class Names(Protocol):
    """Who knows whether DNS names the addresses rightly (`resolve.reverse`)."""

    on_change: Callable[[], None]
    """Called when it says something else."""

    def apply(self, mode: Literal["Require", "Warn", "Off"], host: str, addresses: tuple[str, ...]) -> None:
        """What to look up: the addresses, and the name that HELO says."""

    def problem(self, address: str) -> str:
        """Why nothing may leave from an address for want of its name, or an empty string."""

    @property
    def state(self) -> Named | None:
        """What is told: of two addresses the worse one's; None: nothing is looked up."""

    async def run(self) -> None:
        """Looks for ever."""


class Gates:
    """Both gates; `run` is their only task. Without a second address all is as with one."""

    def __init__(
        self, egress: Egress, clock: Clock, random: Callable[[], float], names: Names | None = None, host: str = ""
    ) -> None:
        """`host`: what HELO says; without `names` nobody looks it up."""
        self._names = names
        self._look_up(egress, host)
        withheld = names.problem if names is not None else lambda _address: ""
        self._first = Gate(egress, clock, random, withheld=withheld)
        self._second = Gate(self._take_second(egress), clock, random, withheld=withheld)
        if names is not None:
            names.on_change = self._review
        self._were_open = self._open_ones()
        self._told: tuple[object, ...] = ()
        self._first.on_change = self._second.on_change = self._changed
        self.on_change: Callable[[ProofStatus], None] = lambda _status: None
        """Called on the loop whenever what is told changes."""
        self.on_shut: Callable[[], None] = lambda: None
        """Called on the loop when one that was open is not any more, or leads elsewhere."""

    @property
    def status(self) -> ProofStatus:
        """What is told: of one address its proof; of two the worse one's, with a word on the other."""
        first, second = self._first.status, self._second.status
        if not self._has_second:
            return first
        worse, other = (first, second) if not first.may_send or second.may_send else (second, first)
        if worse.may_send and worse.state is other.state:
            return replace(worse, message=f"{worse.message}; {other.message}")
        said = f"mail leaves from {other.address}" if other.may_send else f"nor is {other.address}: {other.message}"
        return replace(worse, message=f"{worse.message} ({said})")

    @property
    def named(self) -> Named | None:
        """What DNS says of the addresses' own names; None: nobody looks."""
        return self._names.state if self._names is not None else None

    @property
    def is_open(self) -> bool:
        """Mail may leave by one family at least."""
        return any(self._open_ones())

    def may_send(self) -> bool:
        """The same; also tells the gates that mail flows."""
        if not self._has_second:
            return self._first.may_send()
        first, second = self._first.may_send(), self._second.may_send()
        return first or second

    def may_send_first(self) -> bool:
        """Mail may leave from the first address."""
        return self._first.is_open

    def leads_to(self, address: str) -> bool:
        """Connections to this address may be begun: the own address of its family is proved."""
        if not self._has_second:
            return True
        return self._second.is_open if (":" in address) is self._second_is_v6 else self._first.is_open

    def shut_seconds(self) -> float:
        """Seconds in this process life during which nothing could leave from the first address."""
        return self._first.shut_seconds()

    def apply(self, egress: Egress, host: str = "") -> None:
        """Takes a new configuration; raises ConfigError. A new address or way shuts its gate until proved."""
        check_egress(egress)
        self._look_up(egress, host)
        second = self._take_second(egress)
        self._first.apply(egress)
        self._second.apply(second)
        self._review()

    async def run(self) -> None:
        """Asks in rounds for ever; cancelling it leaves the gates as they stand."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._first.run())
            group.create_task(self._second.run())
            if self._names is not None:
                group.create_task(self._names.run())

    def _look_up(self, egress: Egress, host: str) -> None:
        """Has the addresses' names looked up anew where they are others."""
        if self._names is not None:
            addresses = tuple(one.address for one in map(claim_from, (egress, second_of(egress) or Egress())))
            self._names.apply(egress.ptr, host, tuple(one for one in addresses if one))

    def _review(self) -> None:
        """The names' word or the configuration is another: whoever is shut by it is, and what is told follows."""
        self._first.review()
        self._second.review()
        self._changed(self.status)

    def _take_second(self, egress: Egress) -> Egress:
        """The second address, which is one without a claim where there is none; notes whether there is, and of which
        family."""
        second = second_of(egress)
        self._has_second = second is not None
        self._second_is_v6 = second is not None and second.address is not None and second.address.version == 6
        return second or Egress()

    def _open_ones(self) -> tuple[bool, bool]:
        return self._first.is_open, self._has_second and self._second.is_open

    def _changed(self, _status: ProofStatus) -> None:
        now, before = self._open_ones(), self._were_open
        self._were_open = now
        if any(was and not still for was, still in zip(before, now, strict=True)):
            self.on_shut()
        status = self.status
        said = (status.state, status.message, now)
        if said != self._told:
            self._told = said
            self.on_change(status)
