"""The kinds that the operator reads or writes, and how the API spells their paths.

A table, not discovery: what is not listed here we have no rights to. Only whether an optional kind exists is asked.
"""

from dataclasses import dataclass
from typing import Any

from lane_api.names import API_VERSION

__all__ = ["CHILD_KINDS", "OPTIONAL_KINDS", "Kind", "kind_of"]


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def qualified(self) -> str:
        """`Kind.group`, the spelling in `References.kinds`."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def root(self) -> str:
        """The path of the API group and version."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"

    def path(self, namespace: str | None, name: str = "", subresource: str = "") -> str:
        """The URL path of an object, or of the collection when no name is given."""
        parts = [self.root]
        if self.namespaced and namespace:
            parts.append(f"namespaces/{namespace}")
        parts.append(self.plural)
        parts.extend(part for part in (name, subresource) if part)
        return "/".join(parts)


SENDING_LANE = Kind(API_VERSION, "SendingLane", "sendinglanes")
IP_POOL = Kind(API_VERSION, "IPPool", "ippools")
ISP_POLICY = Kind(API_VERSION, "ISPPolicy", "isppolicies")

STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SECRET = Kind("v1", "Secret", "secrets")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
NETWORK_ATTACHMENT = Kind("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition", "network-attachment-definitions")
CILIUM_GATEWAY = Kind("cilium.io/v2", "CiliumEgressGatewayPolicy", "ciliumegressgatewaypolicies", namespaced=False)
CILIUM_POLICY = Kind("cilium.io/v2", "CiliumNetworkPolicy", "ciliumnetworkpolicies")
POD_MONITOR = Kind("monitoring.coreos.com/v1", "PodMonitor", "podmonitors")
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules")
CERTIFICATE = Kind("cert-manager.io/v1", "Certificate", "certificates")
DNS_ENDPOINT = Kind("externaldns.k8s.io/v1alpha1", "DNSEndpoint", "dnsendpoints")

POD = Kind("v1", "Pod", "pods")
NODE = Kind("v1", "Node", "nodes", namespaced=False)
PERSISTENT_VOLUME = Kind("v1", "PersistentVolume", "persistentvolumes", namespaced=False)
WEBHOOK = Kind(
    "admissionregistration.k8s.io/v1",
    "ValidatingWebhookConfiguration",
    "validatingwebhookconfigurations",
    namespaced=False,
)
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
EVENT = Kind("events.k8s.io/v1", "Event", "events")
CUSTOM_RESOURCE = Kind(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", namespaced=False
)

OPTIONAL_KINDS = (
    NETWORK_ATTACHMENT,
    CILIUM_GATEWAY,
    CILIUM_POLICY,
    POD_MONITOR,
    PROMETHEUS_RULE,
    CERTIFICATE,
    DNS_ENDPOINT,
)
"""Kinds that a cluster may lack; what needs them is left out and said so, or refused."""
CHILD_KINDS = (
    STATEFUL_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SECRET,
    VOLUME_CLAIM,
    POD_DISRUPTION_BUDGET,
    NETWORK_POLICY,
    *OPTIONAL_KINDS,
)
"""What a lane is made of; each carries our managed-by label and the lane's."""

_BY_NAME = {
    (kind.api_version, kind.kind): kind
    for kind in (*CHILD_KINDS, SENDING_LANE, IP_POOL, ISP_POLICY, POD, NODE, EVENT, LEASE, PERSISTENT_VOLUME)
}


def kind_of(manifest: dict[str, Any]) -> Kind:
    """The Kind of a manifest; raises KeyError for one that is not in the table (our bug)."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
