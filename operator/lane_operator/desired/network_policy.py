"""The NetworkPolicy of a lane: who may reach its slots, and whom they may reach; pure.

Invariants: what a slot's configuration names is open to it, whatever else is closed; the policy holds only where the
cluster's network enforces such objects, so the relay's own client list and TLS stand without it. It follows the slots'
configurations (`reached`) and goes before their workloads. A lane with a slot in its node's network gets none:
Kubernetes leaves open what a policy does there, and the slot's ports are not those of a pod.
"""

from collections.abc import Iterable
from ipaddress import ip_network

from lane_api.names import (
    ADMIN_PORT,
    FEEDBACK_PORT,
    HTTP_PORT,
    LANE_LABEL,
    METRICS_PORT,
    PORT_NAMES,
    SMTP_PORT,
    SMTPS_PORT,
    UNSUBSCRIBE_PORT,
)
from lane_operator.desired.reached import Sink
from lane_operator.inputs import Claim, Lane, Manifest, NetworkPolicies, References

__all__ = ["CLOUD_NETWORKS", "network_policy", "unfenced"]

CLOUD_NETWORKS = (
    "169.254.0.0/16",  # link-local: metadata and credentials of AWS, Azure, Google, Oracle, and others
    "100.100.100.200/32",  # Alibaba Cloud's
    "168.63.129.16/32",  # Azure's host
    "fe80::/10",
    "fd00:ec2::254/128",  # AWS's by IPv6
    "fd20:ce::254/128",  # Google's by IPv6
)
"""Never reached but for DNS: they hand out a node's credentials, and no mail server lives there."""
_DNS_PORTS, _OPENSHIFT_DNS = (53,), 5353  # policies are asked about the pod behind the Service, which listens there
_MAIL_PORT = 25
_HTTPS_PORT = 443  # MTA-STS policies, buckets
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_CLUSTER_DNS = ("kube-system", {"k8s-app": "kube-dns"})  # as kubeadm and every large distribution label it
_OPERATOR = {"app.kubernetes.io/name": "lanewright"}  # of the chart's Deployment


def unfenced(lane: Lane, claims: Iterable[Claim], settings: NetworkPolicies | None) -> str:
    """Why `clients.namespaces` keeps nobody out, with the fix; empty where it does or is not asked for."""
    if lane.spec.submission.clients.namespaces is None:
        return ""
    if settings is None:
        fix = "set networkPolicies.enabled in the chart's values"
        return f"submission.clients.namespaces keeps nobody out, since NetworkPolicies are switched off: {fix}"
    if _in_a_nodes_network(claims):
        fix = "choose another engine for the pool, or close the slots' ports on the nodes"
        return f"submission.clients.namespaces keeps nobody out of slots in their nodes' network: {fix}"
    return ""


def network_policy(
    lane: Lane,
    references: References,
    claims: Iterable[Claim],
    sinks: Iterable[Sink],
    settings: NetworkPolicies | None,
    operator_namespace: str,
    *,
    is_direct: bool = True,
) -> Manifest | None:
    """The policy; None where none is to be made. `sinks` are what all slots' configurations name; `is_direct`: some
    slot sends mail itself, not through a proxy."""
    if settings is None or _in_a_nodes_network(claims):
        return None
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": lane.name},
        "spec": {
            "podSelector": {"matchLabels": {LANE_LABEL: lane.name}},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": _ingress(lane, references, settings, operator_namespace),
            "egress": _egress(lane, references, sorted(set(sinks)), settings, is_direct=is_direct),
        },
    }


def _in_a_nodes_network(claims: Iterable[Claim]) -> bool:
    return any(claim.port_block is not None for claim in claims)


def _ingress(lane: Lane, references: References, settings: NetworkPolicies, operator_namespace: str) -> list[Manifest]:
    spec = lane.spec
    submission = [SMTP_PORT, SMTPS_PORT] + ([HTTP_PORT] if spec.submission.http is not None else [])
    operator = {"namespaceSelector": _named(operator_namespace), "podSelector": {"matchLabels": _OPERATOR}}
    # a neighbour in its node's network comes from an address that no selector names; TLS asks it for its certificate
    admin = [] if _outside_ports(references) else [operator, _slots(lane, references)]
    metrics = [{"namespaceSelector": _named(name)} for name in settings.metrics_from]
    rules = [
        _rule("from", _clients(lane), submission),
        _rule("from", admin, [ADMIN_PORT]),
        _rule("from", metrics, [METRICS_PORT]),
    ]
    if spec.feedback is not None:  # of the whole internet
        links = [UNSUBSCRIBE_PORT] if spec.feedback.unsubscribe is not None else []
        rules.append(_rule("from", [], [FEEDBACK_PORT, *links]))
    return rules


def _clients(lane: Lane) -> list[Manifest]:
    """Whoever may submit; nobody in particular where nobody is named, since all who authenticate may."""
    clients = lane.spec.submission.clients
    named = (*clients.cidrs, *clients.auth_cidrs)
    if clients.namespaces is None and not named:
        return []
    peers: list[Manifest] = []
    if clients.namespaces is not None:
        labels = dict(sorted(clients.namespaces.match_labels.items()))
        peers.append({"namespaceSelector": {"matchLabels": labels}})
    networks = dict.fromkeys(str(ip_network(one, strict=False)) for one in (*named, *clients.proxies))
    return [*peers, *({"ipBlock": {"cidr": network}} for network in networks)]


def _egress(
    lane: Lane, references: References, sinks: list[Sink], settings: NetworkPolicies, *, is_direct: bool
) -> list[Manifest]:
    rules = [
        *_dns(settings),
        _rule("to", [{"namespaceSelector": _named("openshift-dns")}], [_OPENSHIFT_DNS], protocols=("UDP", "TCP")),
        _rule("to", [_slots(lane, references)], [ADMIN_PORT]),
    ]
    if is_direct:
        rules.insert(2, _rule("to", _everywhere_but(*CLOUD_NETWORKS, *settings.closed), [_MAIL_PORT, _HTTPS_PORT]))
    outside = _outside_ports(references)
    if outside:
        rules.append(_rule("to", _everywhere_but(*CLOUD_NETWORKS), outside))
    for sink in sinks:
        rules += _to(sink)
    return rules


def _dns(settings: NetworkPolicies) -> list[Manifest]:
    """Nameservers of the whole world, which a resolver of ours asks one by one, and the cluster's own DNS.

    Metadata services stay open here: clouds and caches of nodes answer DNS on their link-local addresses.
    """
    both = ("UDP", "TCP")
    if not settings.closed:
        return [_rule("to", [], _DNS_PORTS, protocols=both)]
    namespace, labels = _CLUSTER_DNS
    own = [
        {"namespaceSelector": _named(namespace), "podSelector": {"matchLabels": labels}},
        *({"ipBlock": {"cidr": one}} for one in settings.cluster_dns),
    ]
    return [_rule("to", [*_everywhere_but(*settings.closed), *own], _DNS_PORTS, protocols=both)]


def _to(sink: Sink) -> list[Manifest]:
    """What the lane's owner names is reached wherever it is, in the cluster as well."""
    protocols = ("UDP", "TCP") if sink.is_dns else ("TCP",)
    if sink.network:
        return [_rule("to", [{"ipBlock": {"cidr": sink.network}}], [sink.port], protocols=protocols)]
    if sink.namespace:  # behind its Service pods listen on ports of their own
        return [{"to": [{"namespaceSelector": _named(sink.namespace)}]}]
    anywhere = [*_everywhere_but(*CLOUD_NETWORKS), {"namespaceSelector": {}}]  # to some networks, pods are no ipBlock
    return [_rule("to", anywhere, [sink.port], protocols=protocols)]


def _outside_ports(references: References) -> list[int]:
    """Admin ports of neighbours in their nodes' network."""
    blocks = {block for sharer in references.sharers for _, block in sharer.slots if block is not None}
    return sorted(block + PORT_NAMES.index("admin") for block in blocks)


def _slots(lane: Lane, references: References) -> Manifest:
    """The lane's own slots, and those of lanes that share its suppressions."""
    lanes = [lane.name, *sorted(sharer.name for sharer in references.sharers)]
    return {"podSelector": {"matchExpressions": [{"key": LANE_LABEL, "operator": "In", "values": lanes}]}}


def _everywhere_but(*closed: str) -> list[Manifest]:
    """Both families, each without its own of these networks."""
    networks = [ip_network(one, strict=False) for one in dict.fromkeys(closed)]
    return [
        {"ipBlock": {"cidr": whole, "except": [str(one) for one in networks if one.version == version]}}
        for version, whole in ((4, "0.0.0.0/0"), (6, "::/0"))
    ]


def _named(namespace: str) -> Manifest:
    return {"matchLabels": {_NAMESPACE_NAME: namespace}}


def _rule(way: str, peers: list[Manifest], ports: Iterable[int], *, protocols: tuple[str, ...] = ("TCP",)) -> Manifest:
    """One rule; without peers it holds for everybody."""
    rule: Manifest = {"ports": [{"protocol": one, "port": port} for port in ports for one in protocols]}
    return {way: peers, **rule} if peers else rule
