"""What an installation decides for all its lanes, by the chart's values; frozen, no I/O.

Part of the values of `inputs`, which names them for all who read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from lane_api.lane_status import SlotImages

__all__ = ["DesiredSettings", "ForcedDelivery", "NetworkPolicies"]


@dataclass(frozen=True, slots=True)
class ForcedDelivery:
    """The mode that the installation forces on every lane."""

    mode: str
    """Redirect or Discard."""
    to: str = ""


@dataclass(frozen=True, slots=True)
class NetworkPolicies:
    """What an installation adds to every lane's NetworkPolicy."""

    closed: tuple[str, ...] = ()
    """Networks of pods and nodes: no mail goes there, only to what a lane names."""
    metrics_from: tuple[str, ...] = ()
    """Namespaces that scrape; empty: everybody may."""
    cluster_dns: tuple[str, ...] = ()
    """Addresses of the cluster's DNS, each as a network of itself, which may be in a closed one."""


@dataclass(frozen=True, slots=True)
class DesiredSettings:
    """What an installation decides for all lanes."""

    relay_image: str
    resolver_image: str
    operator_namespace: str
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    monitoring_labels: Mapping[str, str] = field(default_factory=dict)
    """Extra labels of PodMonitor and PrometheusRule, such as `release: kube-prometheus-stack`."""
    runbook_url: str = "docs/alerts.md"
    """The page that alerts lead to, without an anchor."""
    forced_delivery: ForcedDelivery | None = None
    network_policies: NetworkPolicies | None = field(default_factory=NetworkPolicies)
    """None: lanes get none."""
    images: Mapping[str, SlotImages] = field(default_factory=dict)
    """By slot, of a lane whose slots are not to have the images above, or not yet."""
    image_records: Mapping[str, str] = field(default_factory=dict)
    """By slot, what its workload says of the upgrade that its images came by."""

    @property
    def newest(self) -> SlotImages:
        """What slots are to have in the end."""
        return SlotImages(relay=self.relay_image, resolver=self.resolver_image)
