"""What a lane's pods are given: resolver, resources and places, monitoring objects."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from lane_api.endpoints import Nameserver
from lane_api.model import ApiModel, Text, cel

__all__ = ["FreeForm", "Monitoring", "PodSettings", "Resolver"]


FreeForm = Annotated[dict[str, Any], Field(json_schema_extra={"x-kubernetes-preserve-unknown-fields": True})]
"""A part of a pod's own schema, handed on as it is and checked by the API server when the pod is made."""


class Resolver(ApiModel):
    """Which DNS resolver the slots ask."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "self.?mode.orValue('Sidecar') == 'Addresses' ? has(self.addresses) && size(self.addresses) > 0 "
                    ": !has(self.addresses) || size(self.addresses) == 0"
                ),
                "addresses goes with mode Addresses, and only with it: set mode: Addresses, or remove addresses",
            ),
            (
                "!has(self.forwardTo) || size(self.forwardTo) == 0 || self.?mode.orValue('Sidecar') == 'Sidecar'",
                "forwardTo is for mode Sidecar: with mode Addresses name the resolvers in addresses",
            ),
        )
    )

    mode: Literal["Sidecar", "Cluster", "Addresses"] = "Sidecar"
    """Sidecar: a validating unbound in the pod, so that DNS is not shared between lanes either. Cluster: what the pod's
    /etc/resolv.conf names. Addresses: those in `addresses`. Default Sidecar."""
    addresses: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Addresses: `ip` or `ip:port`."""
    forward_to: Annotated[tuple[Nameserver, ...], Field(max_length=8)] = ()
    """For mode Sidecar: forward there instead of asking the root servers, and leave validation to it; for networks
    where port 53 is closed."""
    trust_ad: bool | None = None
    """Believe the resolver that it validated DNSSEC (its AD bit), without which there is no DANE. Say true of others
    only where nobody can come between. With `forwardTo` the sidecar then validates what comes back, and names that the
    public root does not know are gone. Default: true for Sidecar without `forwardTo`, else false."""

    @property
    def validates(self) -> bool:
        """What `trustAD` comes to."""
        return self.trust_ad if self.trust_ad is not None else self.mode == "Sidecar" and not self.forward_to


class PodSettings(ApiModel):
    """Handed on to the slots' pods, which a change restarts one at a time."""

    resources: FreeForm = {}
    """Of the relay container, in place of all of the default: requests of 500m and 512Mi with limits of the same for
    Transactional, of 100m and 256Mi for Notification and Bulk, of 50m and 128Mi for Cold. With limits of cpu and memory
    that are the requests too, the resolver has them as well, and the pod is of QoS Guaranteed. `requests: {}` alone:
    neither has any, and the pod is of QoS BestEffort."""
    node_selector: Annotated[dict[str, Text], Field(max_length=32)] = {}
    """Labels that the node must carry. Default: none."""
    tolerations: Annotated[tuple[FreeForm, ...], Field(max_length=32)] = ()
    """Taints that the slots tolerate. Default: none."""
    topology_spread_constraints: Annotated[tuple[FreeForm, ...], Field(max_length=16)] = ()
    """Beside the preference, always there, for a node of its own and a zone of its own for each slot. Default: none."""
    priority_class_name: Annotated[str, Field(max_length=253)] = ""
    """Default: the cluster's."""


class Monitoring(ApiModel):
    """Which monitoring objects are made, where their kinds exist."""

    pod_monitor: bool = True
    """A PodMonitor that has each slot scraped every 15s. Default true."""
    rules: bool = True
    """A PrometheusRule with the lane's alerts. Default true."""
    dashboard: bool = True
    """A ConfigMap with a dashboard, labelled for Grafana's sidecar. Default true."""
