"""What to do when the configuration groups domains into other sites: which entries ask anew, what still counts.

Pure. Before it: `dispatcher.apply`. After it: the router, through the dispatcher's `reroute`.
"""

from collections.abc import Iterable

from lane_api.relayconfig import RelayConfig
from lane_relay.deliver.ready_queue import Destination
from lane_relay.deliver.session import Session

__all__ = ["foreign_connections", "grouping"]


def grouping(config: RelayConfig) -> object:
    """What decides which site an entry belongs to, and where it goes; compared before and after."""
    delivery = config.delivery
    policies = [(policy.name, policy.mx, policy.domains) for policy in delivery.policies]
    segments = [(one.slot, one.isps) for one in config.handover.siblings] if config.handover is not None else []
    elsewhere = delivery.transfers, config.egress.isps, segments
    return policies, delivery.routes, config.egress.source, elsewhere


def foreign_connections(destination: Destination, sessions: Iterable[Session]) -> int:
    """Open connections to this destination's addresses that an earlier grouping counts for another site."""
    addresses = {target.address for target in destination.targets}
    return sum(
        session.target.address in addresses and session.destination.site is not destination.site for session in sessions
    )
