"""What each sibling can send now, as it says itself: mail that only one that can send may get goes to no other.

Invariant: what a sibling has not said is taken as able, so that one of another release, or one that was not asked yet,
gets what it got before; whether it can be reached is found out by offering. Before it: `exchange`, which looks now and
then. After it: `choose`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from msgspec import Struct
from msgspec.json import Decoder

from lane_relay.errors import NOT_OURS, RelayError
from lane_relay.metrics import OTHER_POLICY

__all__ = ["ABILITY_NAME", "Abilities", "Ability"]

ABILITY_NAME: Final = "ability"
"""Under which a sibling tells it."""
_WITHIN_S: Final = 5.0


class Ability(Struct, frozen=True):
    """One slot's."""

    sends: bool = True
    """Its egress is proved, and nobody has stopped delivery."""
    stopped: tuple[str, ...] = ()
    """Sites to which a reply rule or a person's order has stopped it or slows it down; an empty one: all."""
    room: dict[str, int] = {}
    """Recipients for whom its warm-up and its day have room, by ISP (`other`: without a policy); none said: no end."""

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
        self._given: dict[tuple[str, str], int] = {}
        """Recipients for (slot, ISP) since it said what it can send."""

    def can_send(self, slot: str, site: str, policy: str = "") -> bool:
        """As far as it has said, and was not given since."""
        known = self._known.get(slot)
        if known is None:
            return True
        isp = policy or OTHER_POLICY
        room = known.room.get(isp)
        return known.is_for(site) and (room is None or room > self._given.get((slot, isp), 0))

    def gave(self, slot: str, policy: str, recipients: int = 1) -> None:
        """Another message goes there, for so many at this ISP."""
        known = self._known.get(slot)
        if known is not None and known.room:
            key = (slot, policy or OTHER_POLICY)
            self._given[key] = self._given.get(key, 0) + recipients

    async def look(self, slots: Iterable[str]) -> None:
        """Asks these, all at once."""
        await asyncio.gather(*[self._ask(slot) for slot in slots])

    async def _ask(self, slot: str) -> None:
        try:
            async with asyncio.timeout(_WITHIN_S):
                self._known[slot] = _decode(await self._fetch(slot))
            self._given = {key: count for key, count in self._given.items() if key[0] != slot}
        except (RelayError, TimeoutError, *NOT_OURS):
            self._known.pop(slot, None)
