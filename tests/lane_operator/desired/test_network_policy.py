"""Who may reach a lane's slots and whom they may reach, judged by the rules of networking.k8s.io/v1.

The judge reads the rendered object alone: a rule holds if one of its peers and one of its ports do, rules add up, and
what no rule admits is refused.
"""

import base64
import ipaddress
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from lane_api.names import LANE_LABEL
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, Lane, Manifest, NetworkPolicies, Sharer
from lane_relay.config import parse
from tests.lane_operator import made

SMTP, SMTPS, HTTP, METRICS, ADMIN, FEEDBACK, LINKS = 5587, 5465, 8025, 9590, 9591, 5525, 5580
PODS = "10.244.0.0/16"
CLOSED = NetworkPolicies(closed=(PODS, "2001:db8:f00::/48"), metrics_from=("monitoring",))


@dataclass(frozen=True)
class Peer:
    """Somebody at the other end: an address, or a pod with its labels in a namespace."""

    ip: str = ""
    namespace: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    of: str = ""
    """A label of the namespace, `name=value`."""


STRANGER, STRANGER6 = Peer("198.51.100.7"), Peer("2001:db8::7")
ANY_POD = Peer(namespace="shop", labels=(("app", "web"),))
OPERATOR = Peer(namespace="lanewright-system", labels=(("app.kubernetes.io/name", "lanewright"),))
PROMETHEUS = Peer(namespace="monitoring", labels=(("app", "prometheus"),))


def slot(lane: str = "otp", namespace: str = "mail") -> Peer:
    return Peer(namespace=namespace, labels=((LANE_LABEL, lane),))


def _selects(selector: Manifest, labels: dict[str, str]) -> bool:
    exact = selector.get("matchLabels", {}).items() <= labels.items()
    return exact and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ()))


def _is(peer: Manifest, who: Peer) -> bool:
    if "ipBlock" in peer:
        if not who.ip:
            return False
        address = ipaddress.ip_address(who.ip)
        inside = [address in ipaddress.ip_network(one) for one in peer["ipBlock"].get("except", ())]
        return address in ipaddress.ip_network(peer["ipBlock"]["cidr"]) and not any(inside)
    if not who.namespace:
        return False
    of = dict([who.of.split("=")]) if who.of else {}
    space = {"kubernetes.io/metadata.name": who.namespace, **of}
    there = _selects(peer["namespaceSelector"], space) if "namespaceSelector" in peer else who.namespace == "mail"
    return there and _selects(peer.get("podSelector", {}), dict(who.labels))


def admits(policy: Manifest, way: str, who: Peer, port: int, protocol: str = "TCP") -> bool:
    """Whether a connection is let through: `way` is ingress or egress, `port` the one that a pod listens on."""
    peers = {"ingress": "from", "egress": "to"}[way]
    return any(
        (peers not in rule or any(_is(peer, who) for peer in rule[peers]))
        and ("ports" not in rule or {"protocol": protocol, "port": port} in rule["ports"])
        for rule in policy["spec"][way]
    )


def desired(of: Lane | None = None, engine: str = "Multus", policies: Any = CLOSED, **changes: Any) -> Desired:
    of = of or made.lane()
    claims = made.assignment(made.claim(0, engine), made.claim(1, engine))
    settings = replace(made.SETTINGS, network_policies=policies)
    return desired_state(of, made.references(of, made.pool(engine), **changes), claims, settings)


def found(policies: Desired) -> list[Manifest]:
    return [one for one in policies.manifests if one["kind"] == "NetworkPolicy"]


def policy(of: Lane | None = None, **changes: Any) -> Manifest:
    (only,) = found(desired(of, **changes))
    return only


def test_it_selects_the_slots_of_this_lane_and_holds_both_ways() -> None:
    made_of = policy()

    assert (made_of["apiVersion"], made_of["metadata"]["name"]) == ("networking.k8s.io/v1", "otp")
    assert made_of["spec"]["podSelector"] == {"matchLabels": {LANE_LABEL: "otp"}}
    assert made_of["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert made_of["metadata"]["ownerReferences"][0]["name"] == "otp"


def test_it_comes_before_every_workload() -> None:
    kinds = [one["kind"] for one in desired().manifests]

    assert kinds.index("NetworkPolicy") < kinds.index("StatefulSet")


@pytest.mark.parametrize("who", [STRANGER, STRANGER6, ANY_POD])
def test_everybody_may_submit_where_nobody_is_named_since_they_authenticate(who: Peer) -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "http": {}})

    assert all(admits(policy(of), "ingress", who, port) for port in (SMTP, SMTPS, HTTP))


def test_named_namespaces_networks_and_proxies_submit_and_nobody_else() -> None:
    clients = {
        "namespaces": {"matchLabels": {"mail": "yes"}},
        "cidrs": ["192.0.2.9/24"],  # host bits, as the API server takes them
        "proxies": ["2001:db8:1::/64"],
    }
    of = policy(made.lane(submission={"senders": ["@notify.example.com"], "clients": clients}))

    for who in (Peer(namespace="shop", of="mail=yes"), Peer("192.0.2.200"), Peer("2001:db8:1::5")):
        assert admits(of, "ingress", who, SMTP)
        assert admits(of, "ingress", who, SMTPS)
    for who in (ANY_POD, Peer(namespace="shop", of="mail=no"), STRANGER, STRANGER6, slot("other")):
        assert not admits(of, "ingress", who, SMTP)


def test_named_networks_alone_close_the_ports_to_everybody_else() -> None:
    clients = {"cidrs": ["192.0.2.0/24"], "authCidrs": ["2001:db8:2::/64"]}
    of = policy(made.lane(submission={"senders": ["@notify.example.com"], "clients": clients, "http": {}}))

    for port in (SMTP, SMTPS, HTTP):
        assert admits(of, "ingress", Peer("192.0.2.200"), port)
        assert admits(of, "ingress", Peer("2001:db8:2::5"), port)
        assert not any(admits(of, "ingress", who, port) for who in (ANY_POD, STRANGER, STRANGER6))


def test_every_namespace_beside_networks_is_every_pod() -> None:
    clients = {"cidrs": ["192.0.2.0/24"], "namespaces": {"matchLabels": {}}}
    of = policy(made.lane(submission={"senders": ["@notify.example.com"], "clients": clients}))

    assert admits(of, "ingress", ANY_POD, SMTP)
    assert not admits(of, "ingress", STRANGER, SMTP)


def test_a_port_that_nothing_listens_on_is_closed() -> None:
    of = policy()

    assert not any(admits(of, "ingress", STRANGER, port) for port in (HTTP, FEEDBACK, LINKS, 22))


def test_the_admin_port_is_the_operators_and_the_lanes_own() -> None:
    of = policy()

    assert admits(of, "ingress", OPERATOR, ADMIN)
    assert admits(of, "ingress", slot(), ADMIN)
    strangers = (STRANGER, ANY_POD, PROMETHEUS, slot("other"), slot(namespace="shop"), replace(OPERATOR, labels=()))
    assert not any(admits(of, "ingress", who, ADMIN) for who in strangers)


def test_metrics_are_for_the_namespaces_that_scrape_or_for_all_where_none_is_named() -> None:
    of = policy()

    assert admits(of, "ingress", PROMETHEUS, METRICS)
    assert not admits(of, "ingress", ANY_POD, METRICS)
    assert admits(policy(policies=NetworkPolicies()), "ingress", ANY_POD, METRICS)


@pytest.mark.parametrize(("unsubscribe", "links"), [({}, False), ({"unsubscribe": {"url": "https://u.example"}}, True)])
def test_reports_and_links_come_from_anywhere_where_they_are_asked_for(unsubscribe: Any, links: bool) -> None:
    of = policy(made.lane(feedback=unsubscribe))

    assert admits(of, "ingress", STRANGER, FEEDBACK)
    assert admits(of, "ingress", STRANGER6, LINKS) is links


def test_mail_https_and_dns_go_out_and_nothing_else_does() -> None:
    of = policy()

    assert all(admits(of, "egress", who, port) for who in (STRANGER, STRANGER6) for port in (25, 443, 53))
    assert admits(of, "egress", Peer("10.96.0.10"), 53, "UDP")
    assert admits(policy(policies=NetworkPolicies()), "egress", ANY_POD, 53, "UDP")
    assert not any(admits(of, "egress", STRANGER, port) for port in (22, 80, 587, 6443, 9591))
    assert not admits(of, "egress", ANY_POD, 25)


@pytest.mark.parametrize("ip", ["169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254",
                                "10.244.3.9", "2001:db8:f00::9"])  # fmt: skip
def test_no_mail_goes_to_a_clouds_metadata_nor_to_closed_networks(ip: str) -> None:
    of = policy()

    assert not any(admits(of, "egress", Peer(ip), port) for port in (25, 80, 443))
    is_closed = any(ipaddress.ip_address(ip) in ipaddress.ip_network(one) for one in CLOSED.closed)
    assert admits(of, "egress", Peer(ip), 53, "UDP") is not is_closed  # clouds and caches of nodes answer DNS there


def test_no_zones_nameserver_leads_into_a_closed_network_where_the_clusters_dns_and_named_resolvers_answer() -> None:
    named = made.lane(resolver={"forwardTo": ["10.244.9.9"]})
    of = policy(named, policies=replace(CLOSED, cluster_dns=("10.244.0.10/32", "2001:db8:f00::a/128")))
    cluster_dns = Peer(namespace="kube-system", labels=(("k8s-app", "kube-dns"),))

    for protocol in ("UDP", "TCP"):
        for who in (cluster_dns, Peer("10.244.0.10"), Peer("2001:db8:f00::a"), Peer("10.244.9.9"), STRANGER, STRANGER6):
            assert admits(of, "egress", who, 53, protocol), who
        for who in (ANY_POD, Peer(namespace="kube-system"), replace(cluster_dns, namespace="shop"), Peer("10.244.9.8")):
            assert not admits(of, "egress", who, 53, protocol), who


def test_slots_reach_each_other_and_no_other_lane() -> None:
    of = policy()

    assert admits(of, "egress", slot(), ADMIN)
    assert not admits(of, "egress", slot("other"), ADMIN)
    assert not admits(of, "egress", OPERATOR, ADMIN)


def test_lanes_that_share_suppressions_reach_each_other() -> None:
    of = policy(sharers=(Sharer("news", (("news-0", None),)),))

    assert admits(of, "egress", slot("news"), ADMIN)
    assert admits(of, "ingress", slot("news"), ADMIN)
    assert not admits(of, "ingress", STRANGER, ADMIN)


def test_a_sharer_in_its_nodes_network_is_reached_on_its_port_and_let_in_by_certificate_alone() -> None:
    of = policy(sharers=(Sharer("news", (("news-0", 20008),)),))

    assert admits(of, "egress", STRANGER, 20011)
    assert admits(of, "ingress", STRANGER, ADMIN)


NAMED: dict[str, Any] = {
    "routes": [
        {"domains": ["a.example"], "host": "192.0.2.25", "port": 587},
        {"domains": ["b.example"], "host": "smart.example.net", "tls": "Implicit"},
        {"domains": ["c.example"], "host": "sink.shop.svc.cluster.local", "port": 1025},
    ],
    "audit": {
        "archive": {"s3": {"bucket": "evidence", "secretName": "s3", "endpoint": "http://minio.store.svc:9000"}},
        "webhook": {"url": "https://hooks.example.net:8443/in"},
    },
    "domains": [
        {
            "name": "notify.example.com",
            "returnPath": {
                "domain": "b.notify.example.com",
                "forward": "Webhook",
                "webhook": "http://[2001:db8::80]/bounces",
            },
        }
    ],
    "feedback": {},
}


def test_what_the_lane_names_is_open_wherever_it_is() -> None:
    of = policy(made.lane(**NAMED))

    assert admits(of, "egress", Peer("192.0.2.25"), 587)
    assert not admits(of, "egress", Peer("192.0.2.26"), 587)
    for who in (STRANGER, STRANGER6, Peer("10.244.1.1"), ANY_POD):  # a name may lead into the cluster
        assert admits(of, "egress", who, 465)
        assert admits(of, "egress", who, 8443)
    assert admits(of, "egress", ANY_POD, 11025)  # the pod's port behind the Service, which only the pod knows
    assert admits(of, "egress", Peer(namespace="store"), 9000)
    assert not admits(of, "egress", Peer(namespace="store2"), 9000)
    assert admits(of, "egress", Peer("2001:db8::80"), 80)
    assert not admits(of, "egress", Peer("169.254.169.254"), 465)


def _configs(of: Desired) -> list[RelayConfig]:
    secrets = [one for one in of.manifests if one["metadata"]["name"].endswith("-config")]
    return [parse(unpacked(base64.b64decode(one["data"]["relay.yaml.gz"]))) for one in secrets]


def _named_by(tree: Any, key: str = "") -> list[tuple[str, int]]:
    """Every host and port to be connected to in a rendered configuration, found by the look of its values."""
    if isinstance(tree, dict):
        pair = [(tree["host"], tree["port"])] if isinstance(tree.get("host"), str) and "domains" in tree else []
        return pair + [one for name, value in tree.items() if name != "unsubscribe" for one in _named_by(value, name)]
    if isinstance(tree, list):
        return [one for value in tree for one in _named_by(value, key)]
    if isinstance(tree, str) and "://" in tree:
        parts = urlsplit(tree)
        return [(parts.hostname or "", parts.port or {"https": 443, "http": 80, "tcp": 25}[parts.scheme])]
    return []


def test_nothing_that_a_slots_configuration_names_is_closed() -> None:
    whole = desired(made.lane(**NAMED))
    (of,) = found(whole)

    named = {one for config in _configs(whole) for one in _named_by(config.model_dump(mode="json"))}
    assert len(named) == 7  # three routes, reflector, bucket, two webhooks
    for host, port in named:
        try:
            who = Peer(str(ipaddress.ip_address(host)))
        except ValueError:
            who = Peer(namespace=host.split(".")[1]) if ".svc" in host else STRANGER
        assert admits(of, "egress", who, port), (host, port)


@pytest.mark.parametrize(
    ("resolver", "ip", "port"),
    [({"mode": "Addresses", "addresses": ["192.0.2.53:5300"]}, "192.0.2.53", 5300),
     ({"forwardTo": ["[2001:db8::53]:5301", "192.0.2.54"]}, "2001:db8::53", 5301)],
)  # fmt: skip
def test_a_resolver_on_another_port_is_reached_by_both_protocols(resolver: Any, ip: str, port: int) -> None:
    of = policy(made.lane(resolver=resolver))

    assert admits(of, "egress", Peer(ip), port, "UDP")
    assert admits(of, "egress", Peer(ip), port)
    assert not admits(of, "egress", STRANGER, port)


def test_a_lane_in_its_nodes_network_gets_none_and_says_what_that_leaves_open() -> None:
    clients = {"namespaces": {"matchLabels": {"mail": "yes"}}}
    open_lane = desired(engine="HostNetwork")
    asking = desired(made.lane(submission={"senders": ["@a.example"], "clients": clients}), engine="HostNetwork")

    assert not found(open_lane)
    assert not open_lane.unfenced
    assert not found(asking)
    assert "another engine" in asking.unfenced


def test_switched_off_there_is_none_and_a_lane_that_needs_one_says_so() -> None:
    clients = {"namespaces": {"matchLabels": {"mail": "yes"}}}
    asking = desired(made.lane(submission={"senders": ["@a.example"], "clients": clients}), policies=None)

    assert not found(asking)
    assert "networkPolicies.enabled" in asking.unfenced
    assert not desired(policies=None).unfenced


def test_while_a_slots_needs_cannot_be_read_the_policy_stays_as_it_is() -> None:
    of = made.lane()
    unread = desired_state(of, made.references(of, None), made.assignment(), made.SETTINGS)

    assert not found(unread)
    assert not unread.complete  # so nothing is pruned, the policy that stands neither


def test_a_lane_behind_proxies_reaches_them_and_no_mail_server_itself() -> None:
    of = made.lane(routes=[{"domains": ["*"], "host": "198.51.100.200", "port": 587, "tls": "Required"}])
    proxied = policy(of, engine="Socks5")

    assert all(admits(proxied, "egress", Peer("192.0.2.80"), port) for port in (1080, 1081))
    assert not admits(proxied, "egress", Peer("192.0.2.80"), 25)
    assert not any(admits(proxied, "egress", STRANGER, port) for port in (25, 443, 1080))
    assert not admits(proxied, "egress", Peer("198.51.100.200"), 587)  # the proxy reaches it
    assert not admits(proxied, "egress", Peer("198.51.100.5"), 25)  # nor a reflector
    assert admits(proxied, "egress", STRANGER, 53, "UDP")
    assert admits(proxied, "egress", slot(), ADMIN)


def test_a_bucket_of_aws_is_reached_by_a_lane_behind_proxies_without_its_mail_servers() -> None:
    archive = {"s3": {"bucket": "evidence", "secretName": "s3"}}
    proxied = policy(made.lane(audit={"archive": archive}), engine="Socks5")

    assert admits(proxied, "egress", STRANGER, 443)
    assert not admits(proxied, "egress", STRANGER, 25)


def cilium(**changes: Any) -> list[Manifest]:
    return [one for one in desired(engine="Cilium", **changes).manifests if one["kind"] == "CiliumNetworkPolicy"]


def test_cilium_opens_what_is_named_by_address_to_the_clusters_own_which_no_ipblock_reaches() -> None:
    (made_of,) = cilium()

    assert made_of["metadata"]["name"] == "otp"
    assert made_of["spec"]["endpointSelector"] == {"matchLabels": {LANE_LABEL: "otp"}}
    assert made_of["spec"]["egress"] == [
        {"toEntities": ["cluster"], "toPorts": [{"ports": [{"port": "25", "protocol": "TCP"}]}]}  # the reflector
    ]


def test_cilium_shuts_what_hands_out_credentials_whatever_else_allows_it_but_for_dns() -> None:
    (denied,) = cilium()[0]["spec"]["egressDeny"]

    assert {"169.254.0.0/16", "fd00:ec2::254/128"} <= set(denied["toCIDR"])
    (ports,) = denied["toPorts"]
    assert [(one["port"], one["endPort"]) for one in ports["ports"]] == [("1", 52), ("54", 65535)]
    assert {one["protocol"] for one in ports["ports"]} == {"TCP"}


def test_other_engines_and_switched_off_policies_have_no_policy_of_ciliums() -> None:
    assert not [one for one in desired().manifests if one["kind"] == "CiliumNetworkPolicy"]
    assert cilium(policies=None) == []
