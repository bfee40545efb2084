"""What to do when the configuration groups domains into other sites: which entries ask anew, what still counts.

Before it: `dispatcher.apply`, and whoever releases what was held. After it: the router, through `rerouting`.
Invariant: under another word on TLS nothing leaves by a route of before, also not what was on its way from disk.
"""

from collections.abc import Callable, Iterable

from lane_api.relayconfig import RelayConfig
from lane_relay.deliver.held import HeldEntries
from lane_relay.deliver.ready_queue import Destination, ReadyQueue
from lane_relay.deliver.rerouting import Rerouting
from lane_relay.deliver.session import Session

__all__ = ["Regrouping", "foreign_connections", "grouping", "trust"]


def trust(config: RelayConfig) -> object:
    """What decides whether a connection may carry mail: what TLS has to prove, and whose word is taken for it."""
    delivery = config.delivery
    return delivery.outbound_tls, delivery.resolvers, delivery.trust_ad


def grouping(config: RelayConfig) -> object:
    """What decides which site an entry belongs to, and where it goes; compared before and after."""
    delivery = config.delivery
    policies = [(policy.name, policy.mx, policy.domains) for policy in delivery.policies]
    segments = [(one.slot, one.isps) for one in config.handover.siblings] if config.handover is not None else []
    elsewhere = delivery.transfers, config.egress.isps, segments
    egress = config.egress
    return (
        policies,
        delivery.routes,
        (egress.source, egress.address, egress.proxy, egress.second),
        elsewhere,
        trust(config),
    )


def foreign_connections(destination: Destination, sessions: Iterable[Session]) -> int:
    """Open connections to this destination's addresses that an earlier grouping counts for another site."""
    addresses = {target.address for target in destination.targets}
    return sum(
        session.target.address in addresses and session.destination.site is not destination.site for session in sessions
    )


class Regrouping:
    """Takes entries out of where they wait, so that they ask for their route anew."""

    def __init__(
        self,
        sites: dict[str, ReadyQueue],
        held: HeldEntries,
        rerouting: Rerouting,
        unprepare: Callable[[Destination], None],
    ) -> None:
        """`unprepare(destination)`: what is ready there becomes entries again."""
        self._sites = sites
        self._held = held
        self._rerouting = rerouting
        self._unprepare = unprepare

    def held(self, keys: Iterable[str]) -> None:
        """What was held for these."""
        for key in keys:
            self._rerouting.add(self._held.take(key))
        self._rerouting.go_on()

    def everything(self, *, anew: bool = False) -> None:
        """All that waits at sites. `anew`: their destinations are given up, and what comes back there asks as well."""
        for site in self._sites.values():
            for destination in list(site.destinations.values()):
                self._take(destination)
                if anew:
                    site.give_up(destination)
        self._rerouting.go_on()

    def destination(self, destination: Destination) -> None:
        """What waits there."""
        self._take(destination)
        self._rerouting.go_on()

    def _take(self, destination: Destination) -> None:
        self._unprepare(destination)
        self._rerouting.add(list(destination.entries))
        destination.entries.clear()
