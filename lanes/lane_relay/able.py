"""What this slot could send at once of what siblings give it, as its stages say it now; reads and changes nothing.

A sibling keeps what might as well wait with it: for a site that a reply rule stops here, whose day's messages are used
up, whose warm-up has no room, or that a person's order holds. Orders by queue, campaign or sender are not told: they
are about mail that nobody has named yet.
Before it: `pipeline`, when a sibling asks. After it: `handover.ability`.
"""

from collections.abc import Iterable, Mapping

from lane_api.relayconfig import SitePolicy
from lane_relay.deliver.dispatcher import Dispatcher
from lane_relay.deliver.told import stopped_sites
from lane_relay.handover.ability import Ability
from lane_relay.orders.keeper import OrderKeeper
from lane_relay.warmup.warmer import Warmer

__all__ = ["ability_of"]


def ability_of(dispatcher: Dispatcher, warmer: Warmer, orders: OrderKeeper, policies: Iterable[SitePolicy]) -> Ability:
    """`policies` are those in force."""
    sites, held = orders.stops()
    stopped = (*stopped_sites(dispatcher.judgement, dispatcher.sites.values()), *sites)
    limits = {one.name: one.messages_per_day for one in policies if one.messages_per_day is not None}
    rooms = (warmer.rooms(), dispatcher.kept.day_rooms(limits, dispatcher.monotonic()), dict.fromkeys(held, 0))
    return Ability(dispatcher.gate_is_open, stopped, _least(rooms))


def _least(rooms: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The smallest room that anybody says for each ISP."""
    found: dict[str, int] = {}
    for one in rooms:
        for isp, room in one.items():
            found[isp] = min(room, found.get(isp, room))
    return found
