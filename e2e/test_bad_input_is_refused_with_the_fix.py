"""Each input that design calls bad is refused by the API server itself, with a message that names the fix.

Nothing of ours runs here but the CustomResourceDefinitions: what they refuse never reaches the operator.
"""

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.bad_input import (
    BAD_ENGINES,
    GOOD_ENGINES,
    NAMESPACE,
    Change,
    Manifest,
    drop,
    lane,
    policy,
    pool,
    put,
)
from e2e.cluster.errors import ClusterError
from e2e.cluster.kinds import Cluster
from e2e.release import OPERATOR_NAMESPACE, RELEASE

pytestmark = pytest.mark.cluster

DEFINITIONS = sorted((Path(__file__).parents[1] / "crds").glob("*.yaml"))


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[Cluster]:
    for definition in DEFINITIONS:
        cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(definition))
        cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(definition))
        # as the chart installs them, which takes over none that another hand made
        cluster.kubectl("label", "--overwrite", "-f", str(definition), "app.kubernetes.io/managed-by=Helm")
        release = (f"meta.helm.sh/release-name={RELEASE}", f"meta.helm.sh/release-namespace={OPERATOR_NAMESPACE}")
        cluster.kubectl("annotate", "--overwrite", "-f", str(definition), *release)
    cluster.kubectl("create", "namespace", NAMESPACE)
    for manifest in (lane("kept"), pool("kept"), policy("kept")):
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(manifest))
    yield cluster
    # the lane is nobody's yet, but an operator that is running has given it its finalizer
    cluster.kubectl("-n", NAMESPACE, "annotate", "lane", "--all", "lanewright.dev/release=keep-volumes")
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s")


def answer(server: Cluster, verb: str, manifest: Manifest) -> str:
    """What the API server says against the object; nothing is stored. Raises AssertionError when it accepts."""
    try:
        server.kubectl(verb, "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))
    except ClusterError as error:
        return str(error)
    raise AssertionError("the API server accepted it")


RETURN_PATH: Manifest = {"domain": "b.notify.example.com"}
LINK: Manifest = {"url": "https://u.notify.example.com"}


def rule_of(action: str, **more: Any) -> Manifest:
    """A reply rule with this action."""
    return {"id": "r", "pattern": "^421", "category": "other", "action": action, "examples": ["421 later"], **more}


NEW: list[tuple[str, Callable[[], Manifest], Change, str]] = [
    (
        "a_reporter_that_is_no_mailbox",
        policy,
        put("reporters", ["Feedback at Yahoo"]),
        "must be a mailbox or a domain in",
    ),
    *((name, pool, change, fix) for name, change, fix in BAD_ENGINES),
    ("an_address_that_is_no_ip", pool, put("addresses.0.ip", "203.0.113"), "must be one IP address, such as"),
    ("an_address_with_a_prefix", pool, put("addresses.0.ip", "203.0.113.0/24"), "without a prefix length"),
    (
        "an_address_twice",
        pool,
        put("addresses", [{"ip": "203.0.113.10", "hostname": h} for h in ("a.example.com", "b.example.com")]),
        "remove the duplicate",
    ),
    (
        "an_ipv6_address_twice_in_two_spellings",
        pool,
        put(
            "addresses",
            [{"ip": ip, "hostname": "a.example.com"} for ip in ("2001:db8::1", "2001:DB8:0:0::1")],
        ),
        "however it is spelled: remove the duplicate",
    ),
    ("a_helo_that_is_no_fqdn", pool, put("addresses.0.hostname", "out1"), "fully qualified host name in lower case"),
    ("a_helo_in_capitals", pool, put("addresses.0.hostname", "Out1.example.com"), "compare it with the PTR record"),
    ("a_source_of_the_other_family", pool, put("addresses.0.source", "2001:db8::9"), "same family as ip"),
    (
        "a_source_twice",
        pool,
        put(
            "addresses",
            [{"ip": f"203.0.113.{last}", "hostname": "a.example.com", "source": "203.0.113.9"} for last in (10, 11)],
        ),
        "each source may stand in a pool once",
    ),
    ("a_prefix_longer_than_its_address", pool, put("engineConfig.prefixLength", 64), "is at most 32"),
    ("a_gateway_of_the_other_family", pool, put("engineConfig.gateway", "2001:db8::1"), "of the addresses' family"),
    ("a_cool_down_for_ever", pool, put("cooldown", "99999999h"), "must be at most 87600h"),
    ("a_port_range_without_room", pool, put("engineConfig.portRange", "20000-20003"), "such as 20000-20999"),
    ("a_network_without_namespace", pool, put("engineConfig.network", "public"), "such as mail/public"),
    ("multus_without_network", pool, drop("engineConfig.network"), "engine Multus needs engineConfig.network"),
    ("hostnetwork_without_node", pool, put("engine", "HostNetwork"), "needs node on every address"),
    (
        "addresses_that_all_stand_by",
        pool,
        put("addresses.0.role", "Standby"),
        "write role: Active on one at least",
    ),
    ("a_release_from_a_class_that_binds_none", pool, put("addresses.0.releasedFrom", "Notification"), '"Bulk", "Cold"'),
    ("a_day_that_is_none", pool, put("addresses.0.startedOn", "2026-11-31"), "startedOn in body must be of type date"),
    ("a_zone_that_no_label_can_say", pool, put("addresses.0.zone", "eu west"), "spec.addresses[0].zone"),
    ("a_role_that_is_none", pool, put("addresses.0.role", "Spare"), 'supported values: "Active", "Standby"'),
    *(
        (
            f"an_archive_at_no_host_{n}",
            lane,
            put("audit.archive", {"s3": {"bucket": "mail-evidence", "secretName": "archive", "endpoint": endpoint}}),
            "spec.audit.archive.s3.endpoint",
        )
        for n, endpoint in enumerate(("http://[::1", "http://", "https:///bucket", "http://s3:port"))
    ),
    ("more_standby_slots_than_there_may_be", lane, put("standbyReplicas", 9), "should be less than or equal to 8"),
    ("clusterdefault_with_addresses", pool, put("engine", "ClusterDefault"), "remove addresses, or choose"),
    ("addresses_without_reflector", pool, drop("verification"), "verification.reflectors needs at least one entry"),
    ("a_reflector_without_its_key", pool, drop("verification.secretName"), "reflectors need secretName"),
    *(
        (f"a_reflector_that_is_no_endpoint_{n}", pool, put("verification.reflectors", [url]), "port from 1 to 65535")
        for n, url in enumerate(("198.51.100.5:25", "tcp://198.51.100.5:70000", "tcp://h:0", "tcp://a/b:25", "tcp://"))
    ),
    ("a_policy_for_a_pattern_of_domains", policy, put("match.domains", ["*.example.com"]), "must be one domain"),
    ("a_policy_for_every_host", policy, put("match", {"mx": ["*"]}), "must be one MX host, or *. and a domain"),
    ("a_pool_that_cold_shares", pool, put("classes", ["Bulk", "Cold"]), "a pool for Cold is for Cold alone"),
    ("a_pool_for_no_class", pool, put("classes", []), "spec.classes"),
    ("a_lane_without_senders", lane, put("submission.senders", []), "spec.submission.senders"),
    (
        "no_sender_of_a_domain",
        lane,
        put("submission.senders", ["@b.example", "@x.notify.example.com"]),
        "is to be among",
    ),
    ("a_sender_without_at", lane, put("submission.senders", ["notify.example.com"]), "must be @domain for every"),
    ("a_redirection_to_nowhere", lane, put("delivery", {"mode": "Redirect"}), "to is the one address of mode Redirect"),
    ("an_address_for_live_mail", lane, put("delivery", {"to": "a@x.example"}), "set it with Redirect, and only then"),
    (
        "a_redirection_to_two",
        lane,
        put("delivery", {"mode": "Redirect", "to": "a@x.example, b@x.example"}),
        "must be one address with its domain in lower case",
    ),
    ("a_balancer_without_network", lane, put("submission.service.proxyProtocol", True), "go together: set both"),
    ("a_balancers_network_alone", lane, put("submission.clients.proxies", ["10.0.0.0/8"]), "go together: set both"),
    (
        "a_reports_balancer_without_network",
        lane,
        put("feedback", {"service": {"proxyProtocol": True}}),
        "go together: set both",
    ),
    ("a_reports_balancers_network_alone", lane, put("feedback", {"proxies": ["10.0.0.0/8"]}), "go together: set both"),
    (
        "a_traffic_policy_of_reports_on_clusterip",
        lane,
        put("feedback", {"service": {"externalTrafficPolicy": "Local"}}),
        "externalTrafficPolicy is for type NodePort or LoadBalancer",
    ),
    (
        "a_load_balancer_class_of_reports_on_nodeport",
        lane,
        put("feedback", {"service": {"type": "NodePort", "loadBalancerClass": "a/b"}}),
        "loadBalancerClass is for type LoadBalancer",
    ),
    (
        "one_port_for_reports_and_links",
        lane,
        put("feedback", {"service": {"port": 80}, "unsubscribe": {"url": "https://u.notify.example.com"}}),
        "service.port 80 is that of unsubscribe links",
    ),
    ("a_tarpit_for_ever", lane, put("submission.limits.tarpit.max", "2m"), "must be at most 60s"),
    ("a_user_twice", lane, put("submission.auth.users", [{"name": "app"}] * 2), "Duplicate value"),
    (
        "a_users_sender_without_at",
        lane,
        put("submission.auth.users", [{"name": "app", "senders": ["nobody"]}]),
        "must be @domain for every",
    ),
    ("a_from_domain_in_capitals", lane, put("domains.0.name", "Notify.Example.com"), "one domain in lower case"),
    ("a_given_key_without_selector", lane, put("domains.0.dkim", {"secretName": "key"}), "needs selector"),
    (
        "a_given_key_that_is_rotated",
        lane,
        put("domains.0.dkim", {"secretName": "key", "selector": "s1", "rotateEvery": "2160h"}),
        "is yours to change: take out rotateEvery",
    ),
    (
        "a_given_selector_that_is_rotated",
        lane,
        put("domains.0.dkim", {"selector": "s1", "rotateEvery": "2160h"}),
        "is yours to change: take out rotateEvery",
    ),
    ("a_key_that_never_signs", lane, put("domains.0.dkim", {"rotateEvery": "0s"}), "must be more than 0s"),
    ("a_lifetime_of_nothing", lane, put("queue.lifetime", "0s"), "must be more than 0s"),
    ("a_retry_without_a_pause", policy, put("retryAfter", "0s"), "must be more than 0s"),
    ("a_queue_for_nothing", lane, put("queue.size", "1Mi"), "must be at least 64Mi"),
    ("no_room_for_a_message", lane, put("submission.maxMessageSize", "0"), "must be at least 64Ki"),
    ("a_resolver_with_a_name", lane, put("resolver.forwardTo", ["ns1.example.com"]), "must be an address, or"),
    (
        "a_resolver_on_no_port",
        lane,
        put("resolver.forwardTo", ["192.0.2.53:70000"]),
        "must be an address, or address:port",
    ),
    ("addresses_for_a_sidecar", lane, put("resolver.addresses", ["192.0.2.53"]), "set mode: Addresses, or remove"),
    ("no_addresses_for_addresses", lane, put("resolver.mode", "Addresses"), "addresses goes with mode Addresses"),
    (
        "forwarding_without_a_sidecar",
        lane,
        put("resolver", {"mode": "Cluster", "forwardTo": ["192.0.2.53"]}),
        "forwardTo is for mode Sidecar",
    ),
    ("more_per_isp_than_over_all", lane, put("limits", {"connectionsPerIP": 300}), "raise the latter"),
    ("records_that_fill_the_volume", lane, put("audit", {"maxSize": "2Gi"}), "lower the first or raise"),
    ("an_alert_after_the_breach", lane, put("slo", {"latency": "10s", "p95Alert": "20s"}), "before the breach"),
    (
        "a_first_retry_after_the_last",
        lane,
        put("queue.retry", {"first": "1h", "max": "5m"}),
        "raise max or lower first",
    ),
    (
        "a_lifetime_without_a_retry",
        lane,
        put("queue", {"lifetime": "10m", "retry": {"first": "10m"}}),
        "raise lifetime or lower retry.first",
    ),
    (
        "a_password_in_the_clear",
        lane,
        put("routes", [{"domains": ["*"], "host": "r.example.com", "tls": "None", "authSecret": "x"}]),
        "sent only over TLS: set tls to Required",
    ),
    (
        "a_password_to_anybody",
        lane,
        put("routes", [{"domains": ["*"], "host": "r.example.com", "tls": "Opportunistic", "authSecret": "x"}]),
        "sent only over TLS: set tls to Required",
    ),
    (
        "a_password_in_the_clear_on_the_way_out",
        lane,
        put("drain.to", {"host": "r.example.com", "tls": "None", "authSecret": "x"}),
        "sent only over TLS: set tls to Required",
    ),
    ("a_campaign_in_all_of_a_sender", lane, put("submission.campaignTag", {}), "set after, before or both"),
    ("one_port_for_two_listeners", lane, put("submission.smtp", {"port": 465}), "must differ"),
    (
        "local_traffic_policy_on_clusterip",
        lane,
        put("submission.service", {"externalTrafficPolicy": "Local"}),
        "set type, or leave it out",
    ),
    (
        "a_load_balancer_class_on_clusterip",
        lane,
        put("submission.service", {"loadBalancerClass": "a/b"}),
        "loadBalancerClass is for type LoadBalancer",
    ),
    (
        "a_certificate_of_two_makers",
        lane,
        put("submission.tls", {"secretName": "mine", "issuerRef": {"name": "ours"}}),
        "secretName is a certificate that you make",
    ),
    ("names_without_an_issuer", lane, put("submission.tls", {"dnsNames": ["a.example.com"]}), "dnsNames are asked of"),
    (
        "a_certificates_name_that_is_none",
        lane,
        put("submission.tls", {"issuerRef": {"name": "ours"}, "dnsNames": ["Not_A.Name"]}),
        "must be one name in lower case",
    ),
    ("a_client_that_is_no_network", lane, put("submission.clients", {"cidrs": ["10.0.0.1"]}), "such as 10.0.0.0/8"),
    ("a_name_with_dots", lane, lambda m: m["metadata"].update(name="a.b"), "at most 48 characters, a letter first"),
    (
        "a_name_that_another_lane_needs",
        lane,
        lambda m: m["metadata"].update(name="otp-slots"),
        "must not end in -slots",
    ),
    ("a_rate_of_0", policy, put("messageRate", "0/s"), "to stop a lane, set spec.suspend: true"),
    ("a_back_off_to_0", policy, put("backoff", {"messageRate": "0/m"}), "to stop a lane, set spec.suspend: true"),
    ("a_connection_limit_of_0", policy, put("connectionsPerIP", 0), "should be greater than or equal to 1"),
    ("a_policy_for_nobody", policy, put("match", {}), "match needs mx, such as"),
    ("a_rule_without_example", policy, put("responses.0.examples", []), "spec.responses[0].examples"),
    (
        "two_rules_of_one_id",
        policy,
        lambda m: m["spec"]["responses"].append(copy.deepcopy(m["spec"]["responses"][0])),
        "an id of its own",
    ),
    *(
        (
            f"{action}_about_a_recipient",
            policy,
            put("responses.0", rule_of(action, scope="Recipient")),
            f"{action} is about",
        )
        for action in ("Backoff", "QuarantineIP", "SuspendDomain", "SuspendSite")
    ),
    (
        "a_trigger_of_no_act",
        policy,
        put("responses.0", rule_of("Retry", trigger={"count": 2, "per": "1h"})),
        "Bounce and Retry are no acts",
    ),
    ("a_ladder_that_falls", pool, put("warmup", {"steps": [100, 50]}), "write the steps in rising order"),
    ("records_sealed_all_the_time", lane, put("audit", {"sealEvery": "1s"}), "must be at least 10s; default 15m"),
    (
        "an_archive_in_two_places",
        lane,
        put("audit", {"archive": {"pvc": {"claimName": "a"}, "s3": {"bucket": "mail-evidence", "secretName": "s3"}}}),
        "name one place: s3 or pvc",
    ),
    ("bounces_for_nobody", lane, put("domains.0.returnPath", RETURN_PATH), "needs somebody who takes its bounces"),
    (
        "a_return_path_that_is_an_author",
        lane,
        put("domains.0.returnPath", {"domain": "notify.example.com", "mode": "Keep"}),
        "returnPath.domain is a From domain of the lane",
    ),
    (
        "bounces_to_no_address",
        lane,
        put("domains.0.returnPath", {**RETURN_PATH, "forward": "Webhook", "webhook": "app.example.com"}),
        "must be an http:// or https:// address",
    ),
    (
        "complaint_thresholds_that_fall",
        lane,
        put("feedback.complaints", {"warn": 0.002, "act": 0.001}),
        "warn, act and stop must rise",
    ),
    ("unsubscribing_nowhere", lane, put("feedback", {"unsubscribe": LINK}), "needs a domain with a returnPath"),
    (
        "an_unsubscribe_link_in_the_clear",
        lane,
        put("feedback", {"unsubscribe": {"url": "http://u.example.com"}}),
        "must be an https:// address without query",
    ),
    ("two_loops_in_one", lane, put("feedback", {"addresses": ["a@b.example, c@d.example"]}), "must be one mailbox"),
    (
        "a_postmaster_that_is_the_lane",
        lane,
        lambda m: m["spec"].update(
            feedback={"postmaster": "me@b.notify.example.com"},
            domains=[{"name": "notify.example.com", "returnPath": RETURN_PATH}],
        ),
        "name a person's mailbox elsewhere",
    ),
    (
        "dane_by_a_resolver_that_nobody_believes",
        lane,
        lambda m: m["spec"].update(outboundTLS="DANE", resolver={"mode": "Cluster"}),
        "or set resolver.trustAD: true",
    ),
]


@pytest.mark.parametrize(("make", "change", "fix"), [case[1:] for case in NEW], ids=[case[0] for case in NEW])
def test_bad_input_is_refused_with_the_fix(
    server: Cluster, make: Callable[[], Manifest], change: Change, fix: str
) -> None:
    manifest = make()
    change(manifest)

    assert fix in answer(server, "create", manifest)


CHANGED: list[tuple[str, Callable[[str], Manifest], Change, str]] = [
    ("a_shrinking_queue", lane, put("queue.size", "1Gi"), "queue.size can only grow"),
    ("a_changed_storage_class", lane, put("queue.storageClassName", "slow"), "queue.storageClassName cannot change"),
    ("a_dropped_storage_class", lane, drop("queue.storageClassName"), "make a second lane with the other class"),
    ("another_pool", lane, put("poolRef.name", "other"), "make a second lane on the other pool"),
    ("a_pool_of_another_namespace", lane, drop("poolRef.namespace"), "poolRef cannot change"),
    ("another_class", lane, put("trafficClass", "Bulk"), "trafficClass cannot change"),
    ("another_engine", pool, put("engine", "HostNetwork"), "make a new pool and a lane on it"),
]


@pytest.mark.parametrize(("make", "change", "fix"), [case[1:] for case in CHANGED], ids=[case[0] for case in CHANGED])
def test_a_change_that_would_lose_mail_is_refused_with_the_fix(
    server: Cluster, make: Callable[[str], Manifest], change: Change, fix: str
) -> None:
    manifest = make("kept")
    change(manifest)

    assert fix in answer(server, "replace", manifest)


def with_ipv6(manifest: Manifest) -> None:
    """The pool's address, prefix and gateway in the other family."""
    put("addresses.0.ip", "2001:db8::10")(manifest)
    put("engineConfig", {"network": "mail/public", "prefixLength": 64, "gateway": "2001:db8::1"})(manifest)


def with_second(manifest: Manifest) -> None:
    """The pool's address gets one of the other family beside it."""
    put("addresses.0.second", {"ip": "2001:db8::10"})(manifest)
    put("engineConfig.second", {"prefixLength": 64, "gateway": "2001:db8::1"})(manifest)


GOOD: list[tuple[str, Callable[[str], Manifest], Change]] = [
    ("a_growing_queue", lane, put("queue.size", "20Gi")),
    ("more_slots", lane, put("replicas", 3)),
    ("other_limits", lane, put("limits", {"connectionsPerIP": 4, "totalConnectionsPerIP": 40})),
    ("another_address", pool, put("addresses.0.ip", "203.0.113.11")),
    ("an_ipv6_pool", pool, with_ipv6),
    ("a_pool_of_pairs", pool, with_second),
    (
        "resolvers_with_ports",
        lane,
        put("resolver.forwardTo", ["192.0.2.53:5300", "[2001:db8::53]:5300", "2001:db8::54"]),
    ),
    ("another_rate", policy, put("messageRate", "20/s")),
]


@pytest.mark.parametrize(("make", "change"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_a_good_change_is_accepted(server: Cluster, make: Callable[[str], Manifest], change: Change) -> None:
    manifest = make("kept")
    change(manifest)

    server.kubectl("replace", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


@pytest.mark.parametrize("change", [case[1] for case in GOOD_ENGINES], ids=[case[0] for case in GOOD_ENGINES])
def test_a_pool_of_each_engine_is_accepted(server: Cluster, change: Change) -> None:
    manifest = pool()
    change(manifest)

    server.kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest))


def test_an_unknown_field_is_refused(server: Cluster) -> None:
    manifest = lane()
    manifest["spec"]["priority"] = 1

    assert 'unknown field "spec.priority"' in answer(server, "create", manifest)


def test_a_lane_that_no_operator_has_seen_is_not_current(server: Cluster) -> None:
    created = server.kubectl("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=json.dumps(lane()))

    assert json.loads(created)["status"] == {"observedGeneration": -1}


def test_a_lane_without_replicas_can_be_scaled(server: Cluster) -> None:
    scale = json.loads(
        server.kubectl("get", "--raw", f"/apis/lanewright.dev/v1alpha1/namespaces/{NAMESPACE}/sendinglanes/kept/scale")
    )

    assert scale["spec"]["replicas"] == 1


def test_every_rule_of_the_definitions_is_tried_here() -> None:
    tried = [case[3] for case in (*NEW, *CHANGED)]
    messages = {
        rule["message"]
        for definition in DEFINITIONS
        for rule in _rules(yaml.safe_load(definition.read_text(encoding="utf-8")))
    }

    assert [message for message in sorted(messages) if not any(fix in message for fix in tried)] == []


def _rules(node: Any) -> Iterator[dict[str, str]]:
    """Every validation rule at or below a part of a definition."""
    if isinstance(node, dict):
        yield from node.get("x-kubernetes-validations", ())
        for child in node.values():
            yield from _rules(child)
    elif isinstance(node, list):
        for child in node:
            yield from _rules(child)
