"""What an engine is asked, and what it answers; plain values.

Manifests of an engine carry a name and a spec only: desired state adds namespace, labels and owner, as for every child.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from lane_api.conditions import Reason
from lane_api.ippool import EngineConfig, PoolAddress
from lane_api.names import (
    ADMIN_PORT,
    FEEDBACK_PORT,
    HTTP_PORT,
    METRICS_PORT,
    SIDECAR_RESOLVER,
    SMTP_PORT,
    SMTPS_PORT,
    UNSUBSCRIBE_PORT,
)
from lane_api.relayconfig import Socks5
from lane_operator.inputs import Manifest, NodeFacts, Refusal

__all__ = [
    "BY_BINDING",
    "BY_PROOF",
    "NOTICED_LATE",
    "ONE_FAMILY",
    "POD_PORTS",
    "EngineClaim",
    "Limits",
    "SlotClaim",
    "addressless",
    "bound_second",
    "no_right",
]

POD_PORTS: Mapping[str, int] = {
    "smtp": SMTP_PORT,
    "smtps": SMTPS_PORT,
    "metrics": METRICS_PORT,
    "admin": ADMIN_PORT,
    "http": HTTP_PORT,
    "feedback": FEEDBACK_PORT,
    "unsubscribe": UNSUBSCRIBE_PORT,
}
"""Named ports of a pod that has an address of its own; the last three are used where the lane asks for it."""

# words that several engines have for the same limit
ONE_FAMILY: Final = "a slot sends by the family of its address alone, unless that has a second (addresses[].second)"
NOTICED_LATE: Final = (
    "a change behind its back is noticed within 30 s of mail, so that mail of 30 s may leave from elsewhere"
)
BY_PROOF: Final = "a proof every 30 s while mail flows"
BY_BINDING: Final = "getsockname on each connection"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine cannot do, in plain words."""

    source_check: str
    """How it is noticed that mail leaves from another address; empty: it is not."""
    leaks_at_start: bool
    """A pod's first connections may leave from somewhere else; the proof keeps mail from them."""
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """One slot with its address, and what its engine may need to see."""

    namespace: str
    slot: str
    address: PoolAddress | None
    port_block: int | None
    config: EngineConfig
    nodes: Mapping[str, NodeFacts]
    kinds: frozenset[str]
    network: Manifest | None
    """The template that a Multus pool names."""
    pool_namespace: str = ""
    withheld: frozenset[str] = frozenset()
    """Kinds that the chart's values give the operator no rights to."""
    credentials: frozenset[str] = frozenset()
    """Entries of the lane's Secret with what proxies ask for."""
    networks: Mapping[str, Manifest] = field(default_factory=dict)
    """Networks of the slot's own as they stand, by name."""
    network_named: str = ""
    """The one that its workload asks for."""


@dataclass(frozen=True, slots=True)
class EngineClaim:
    """What makes the slot's traffic leave from its address."""

    source: str | None = None
    """What every outbound connection binds; None: the engine translates, or there is no own address."""
    proxy: Socks5 | None = None
    """Through which everything leaves that is to leave from the address."""
    second_source: str | None = None
    """As `source`, of the second address."""
    second_proxy: Socks5 | None = None
    """As `proxy`, of the second address."""
    manifests: tuple[Manifest, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the pod."""
    pod: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod's spec; none of them is set elsewhere."""
    node_affinity: Mapping[str, Any] | None = None
    is_brought_out_elsewhere: bool = False
    """The node that the address names is a gateway: the slot runs on any."""
    listen_host: str = "::"
    ports: Mapping[str, int] = field(default_factory=lambda: POD_PORTS)
    resolver: str = SIDECAR_RESOLVER
    """Where a resolver sidecar listens."""


def bound_second(address: PoolAddress) -> str | None:
    """What connections of the other family bind where the relay binds; None where it has no address of that."""
    second = address.second
    return None if second is None else second.source or second.ip


def no_right(kind: str, value: str) -> Refusal:
    """Why an engine whose objects the operator must not touch brings nothing out; `value`: the chart's value."""
    message = (
        f"the operator has no rights to {kind}, which the pool's engine needs: {value} in the values of the lanewright "
        "chart, or choose another engine for the pool"
    )
    return Refusal(Reason.FORBIDDEN, message, waiting=Reason.FORBIDDEN)


def addressless(slot: SlotClaim) -> Refusal:
    """Why an engine that brings out an address does nothing for this slot."""
    return Refusal(Reason.ENGINE_LIMIT, f"slot {slot.slot} has no address", waiting=Reason.ENGINE_LIMIT)
