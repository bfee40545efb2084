"""What an engine is asked, and what it answers; plain values.

Manifests of an engine carry a name and a spec only: desired state adds namespace, labels and owner, as for every child.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
from lane_operator.inputs import Manifest, NodeFacts

__all__ = ["POD_PORTS", "EngineClaim", "SlotClaim"]

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


@dataclass(frozen=True, slots=True)
class SlotClaim:
    """One slot with its address, and what its engine may need to see."""

    slot: str
    address: PoolAddress | None
    port_block: int | None
    config: EngineConfig
    nodes: Mapping[str, NodeFacts]
    kinds: frozenset[str]
    network: Manifest | None
    """The template that a Multus pool names."""


@dataclass(frozen=True, slots=True)
class EngineClaim:
    """What makes the slot's traffic leave from its address."""

    source: str | None = None
    """What every outbound connection binds; None: the engine translates, or there is no own address."""
    manifests: tuple[Manifest, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    """Of the pod."""
    pod: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the pod's spec; none of them is set elsewhere."""
    node_affinity: Mapping[str, Any] | None = None
    listen_host: str = "::"
    ports: Mapping[str, int] = field(default_factory=lambda: POD_PORTS)
    resolver: str = SIDECAR_RESOLVER
    """Where a resolver sidecar listens."""
