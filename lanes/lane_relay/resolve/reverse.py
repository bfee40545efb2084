"""Whether the PTR record of an egress address names the slot, and the slot's name leads back to the address.

Receivers look up who connects (forward-confirmed reverse DNS) and compare it with what HELO says; a missing PTR record
is the commonest cause of refusals. It is looked up until it is right, then once an hour, past every cache of this
process. With mode Require an address whose record is not right sends nothing, as one that is not proved.
Invariant: an outage of DNS changes nothing; only an answer of the name's own servers does.
Before it: configuration and `answers`. After it: the egress gates, which ask for each address, and `/v1`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Final, Literal

from msgspec import Struct
from msgspec.structs import replace

from lane_api.reverse import PtrFinding
from lane_relay.clock import Clock
from lane_relay.resolve.answers import Answer, Status
from lane_relay.resolve.due import keep_looking

__all__ = ["AskReverse", "Mode", "ReverseState", "ReverseWatch", "judge_reverse"]

AskReverse = Callable[[str, str], Awaitable[tuple[Answer[str], Answer[str]]]]
"""(address, host) -> the address's PTR records, and the host's addresses of that family."""
Mode = Literal["Require", "Warn", "Off"]

_UNTIL_RIGHT_S: Final = 15.0
_WHEN_RIGHT_S: Final = 3600.0
_WORST_FIRST: Final = (*tuple(PtrFinding)[1:], PtrFinding.CONFIRMED)


class ReverseState(Struct, frozen=True):
    """What is known of one address."""

    finding: PtrFinding = PtrFinding.UNCHECKED
    detail: str = "the PTR record has not been looked up yet"
    """For people: what is so, and which record to set to what."""
    names: tuple[str, ...] = ()
    """That the PTR records hold."""
    checked_at: float = 0.0
    """Unix time of the last answer, seconds; 0: never."""


def judge_reverse(address: str, host: str, named: Answer[str], back: Answer[str]) -> ReverseState:
    """What the answers come to, `checked_at` left open; `named`: PTR records, `back`: the host's addresses."""
    kind, where = ("AAAA", "AAAA records") if ":" in address else ("A", "A records")
    names = tuple(sorted(name.rstrip(".").lower() for name in named.records))
    if not named.is_definite:
        return ReverseState(PtrFinding.UNANSWERED, f"DNS does not answer for PTR {address} ({named.status})")
    if named.status is not Status.FOUND:
        record = ip_address(address).reverse_pointer
        return ReverseState(
            PtrFinding.NO_PTR,
            f"{address} has no PTR record: have whoever gives you the address (the provider's or cloud's reverse DNS) "
            f"set PTR {record} = {host}",
        )
    if host.lower() not in names:
        return ReverseState(
            PtrFinding.HELO_MISMATCH,
            f"the PTR record of {address} says {', '.join(names)}, HELO says {host}: have whoever gives you the "
            f"address set the record to {host}, or give the address the hostname {names[0]} in its pool",
            names,
        )
    if not back.is_definite:
        return ReverseState(PtrFinding.UNANSWERED, f"DNS does not answer for {kind} {host} ({back.status})", names)
    if ip_address(address) not in {ip_address(one) for one in back.records}:
        has = f"has the {where} {', '.join(sorted(back.records))}" if back.records else f"has no {kind} record"
        return ReverseState(
            PtrFinding.NO_WAY_BACK,
            f"the PTR record of {address} says {host}, which {has}: publish {kind} {host} = {address}",
            names,
        )
    return ReverseState(PtrFinding.CONFIRMED, f"PTR {address} = {host} and {kind} {host} = {address}", names)


class ReverseWatch:
    """Looks up the addresses in use; `run` is its only task. `ask` must go past caches."""

    def __init__(self, ask: AskReverse, clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._mode: Mode = "Off"
        self._host = ""
        self._states: dict[str, ReverseState] = {}
        self._due: dict[str, float] = {}
        self._changed = asyncio.Event()
        self.on_change: Callable[[], None] = lambda: None
        """Called on the loop when another finding holds, or another mode."""

    def apply(self, mode: Mode, host: str, addresses: tuple[str, ...]) -> None:
        """What to look up, and what for; what is known of addresses that stay, under the same name, is kept."""
        known = self._states if host == self._host else {}
        wanted = addresses if mode != "Off" else ()
        self._states = {one: known.get(one, ReverseState()) for one in wanted}
        self._due = {one: self._due[one] if one in known else 0.0 for one in wanted}
        self._mode, self._host = mode, host
        self._changed.set()

    def problem(self, address: str) -> str:
        """Why nothing may leave from an address for want of its name, or an empty string."""
        if self._mode != "Require":
            return ""
        state = self._states.get(address, ReverseState())
        return "" if state.finding is PtrFinding.CONFIRMED else state.detail

    @property
    def state(self) -> ReverseState | None:
        """What is told: of two addresses the worse one's; None: nothing is looked up."""
        return min(self._states.values(), key=lambda one: _WORST_FIRST.index(one.finding), default=None)

    async def run(self) -> None:
        """Looks for ever; ends by cancellation."""
        await keep_looking(lambda: self._due, self._changed, self._clock.monotonic, self.look, _WHEN_RIGHT_S)

    async def look(self, address: str) -> None:
        """Looks once."""
        host = self._host
        found = judge_reverse(address, host, *await self._ask(address, host))
        before = self._states.get(address)
        if before is None or host != self._host:
            return  # changed while we asked; the new one is due at once
        if found.finding is PtrFinding.UNANSWERED and before.checked_at:
            after = before
        elif found.finding is PtrFinding.UNANSWERED:
            after = found
        else:
            after = replace(found, checked_at=self._clock.now())
        self._states[address] = after
        right = found.finding is PtrFinding.CONFIRMED
        self._due[address] = self._clock.monotonic() + (_WHEN_RIGHT_S if right else _UNTIL_RIGHT_S)
        if (after.finding, after.detail) != (before.finding, before.detail):
            self.on_change()
