"""What a quarantine of this slot's address stops here, and a standby slot sends in its place.

The relay stops what an ISP refuses at once, by itself; who stands in says the configuration alone. What waits here for
a stopped site looks for its way again when a stand-in can send it: when one is named, comes back, or has room again.
Before it: `exchange`. After it: `choose`, through the exchange; the dispatcher, whose mail looks again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from lane_api.relayconfig import HandOver, Sibling
from lane_relay.handover.ability import Abilities

__all__ = ["Relief"]

_LOOK_EVERY_S: Final = 1.0
_NONE: Final[frozenset[str]] = frozenset()


class Relief:
    """Of one slot; all on the event loop."""

    def __init__(
        self,
        abilities: Abilities,
        is_up: Callable[[str], bool],
        quarantined: Callable[[], frozenset[str]],
        look_again: Callable[[], None],
    ) -> None:
        """`quarantined()`: sites that refuse this address, an empty one: all. `look_again()`: see Neighbourhood."""
        self._abilities = abilities
        self._is_up = is_up
        self._quarantined = quarantined
        self._look_again = look_again
        self._siblings: tuple[Sibling, ...] = ()
        self._relieved: frozenset[str] = frozenset()
        self.is_promised = False
        """Some sibling stands in for us."""

    def apply(self, handover: HandOver) -> None:
        """Another configuration: who stands in."""
        self._siblings = handover.siblings
        self.is_promised = any(one.stands_in for one in self._siblings)

    def is_quarantined(self, site: str) -> bool:
        """The site refuses this slot's address."""
        sites = self._quarantined()
        return site in sites or "" in sites

    def unrelieved(self) -> frozenset[str]:
        """Sites that refuse this address, to which nobody sends in its place now."""
        return self._quarantined() - self._now()

    def is_relieved(self, site: str) -> bool:
        """A slot that stands in for us can send to this site now."""
        return any(one.stands_in and self._can(one, site) for one in self._siblings)

    def has_standby(self, site: str) -> bool:
        """A slot in standby could send to this site now, if it came to that."""
        return any(one.role == "Standby" and self._can(one, site) for one in self._siblings)

    def look(self) -> None:
        """Has what waits look again, where some of it has a way that it had not."""
        now = self._now()
        gained, self._relieved = now - self._relieved, now
        if gained:
            self._look_again()

    async def watch(self) -> None:
        """Looks, for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY_S)

    def _now(self) -> frozenset[str]:
        return frozenset(site for site in self._quarantined() if self.is_relieved(site)) if self.is_promised else _NONE

    def _can(self, sibling: Sibling, site: str) -> bool:
        """It is there, and mail for the site leaves from it; a site with a policy has its name."""
        return self._is_up(sibling.slot) and self._abilities.can_send(sibling.slot, site, site)
