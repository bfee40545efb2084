"""What each sibling can send now, as it says itself: mail that only one that can send may get goes to no other.

Invariant: what a sibling has not said is taken as able, so that one of another release, or one that was not asked yet,
gets what it got before; whether it can be reached is found out by offering. Before it: `exchange`, which looks now and
then. After it: `choose`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from msgspec import DecodeError, Struct, ValidationError
from msgspec.json import Decoder

from lane_relay.errors import RelayError

__all__ = ["ABILITY_NAME", "Abilities", "Ability"]

ABILITY_NAME: Final = "ability"
"""Under which a sibling tells it."""
_WITHIN_S: Final = 5.0


class Ability(Struct, frozen=True):
    """One slot's."""

    sends: bool = True
    """Its egress is proved, and nobody has stopped delivery."""
    stopped: tuple[str, ...] = ()
    """Sites to which a reply rule has stopped it or slows it down; an empty one: all."""

    def is_for(self, site: str) -> bool:
        """Mail for this site leaves from there now."""
        return self.sends and site not in self.stopped and "" not in self.stopped


_decode: Final = Decoder(Ability).decode


class Abilities:
    """Of all siblings."""

    def __init__(self, fetch: Callable[[str], Awaitable[bytes]]) -> None:
        """`fetch(slot)`: what the sibling says; raises RelayError."""
        self._fetch = fetch
        self._known: dict[str, Ability] = {}

    def can_send(self, slot: str, site: str) -> bool:
        """As far as it has said."""
        known = self._known.get(slot)
        return known is None or known.is_for(site)

    async def look(self, slots: Iterable[str]) -> None:
        """Asks these, all at once."""
        await asyncio.gather(*[self._ask(slot) for slot in slots])

    async def _ask(self, slot: str) -> None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._known[slot] = _decode(await self._fetch(slot))
        except (RelayError, TimeoutError, DecodeError, ValidationError):
            self._known.pop(slot, None)
