"""Which address families mail may leave by; pure.

Before it: the configuration's `egress`. After it: every question for addresses, of mail hosts and of policies' servers.
"""

from lane_api.relayconfig import RelayConfig
from lane_relay.resolve.answers import Family

__all__ = ["families_of"]


def families_of(config: RelayConfig) -> tuple[Family, ...]:
    """The families that our addresses can reach, the first address's first; both where none is known, IPv4 first as the
    one that mail speaks.

    An address that is translated to counts like one that is bound: what leaves by the other family is not proved.
    """
    own = config.egress.source or config.egress.address
    if own is None:
        return (Family.V4, Family.V6)
    ours, other = (Family.V4, Family.V6) if own.version == 4 else (Family.V6, Family.V4)
    return (ours,) if config.egress.second is None else (ours, other)
