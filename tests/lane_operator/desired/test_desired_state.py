"""A lane's children: what each carries, what changes them, and what a missing reference must not touch."""

import base64
import copy
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from kubernetes import client

from lane_api.conditions import Reason
from lane_api.lane_status import SlotRole
from lane_api.names import ADDRESS_ANNOTATION, LANE_LABEL, MANAGED_BY, NAMESPACE_LABEL, QUEUE_FINALIZER, SLOT_LABEL
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state, secret_needs
from lane_operator.desired.relayconfig import numbered, rendered
from lane_operator.inputs import (
    Assignment,
    Desired,
    ForcedDelivery,
    Lane,
    LaneSenders,
    Manifest,
    References,
    Refusal,
    SecretFacts,
)
from lane_relay.config import parse
from tests.lane_operator import made

MODELS: dict[str, Any] = {
    "StatefulSet": client.V1StatefulSet,
    "PersistentVolumeClaim": client.V1PersistentVolumeClaim,
    "Secret": client.V1Secret,
    "Service": client.V1Service,
    "ServiceAccount": client.V1ServiceAccount,
    "PodDisruptionBudget": client.V1PodDisruptionBudget,
    "ConfigMap": client.V1ConfigMap,
    "NetworkPolicy": client.V1NetworkPolicy,
}
CUSTOM = {
    "CiliumEgressGatewayPolicy",
    "CiliumNetworkPolicy",
    "NetworkAttachmentDefinition",
    "PodMonitor",
    "PrometheusRule",
}
ENGINES = ["ClusterDefault", "HostNetwork", "Multus", "Socks5", "Cilium", "External"]


def desired(of: Lane | None = None, engine: str = "Multus", **changes: Any) -> Desired:
    of = of or made.lane()
    claims = made.assignment(made.claim(0, engine), made.claim(1, engine))
    return desired_state(of, made.references(of, made.pool(engine), **changes), claims, made.SETTINGS)


def child(found: Desired, kind: str, name: str) -> Manifest:
    return next(one for one in found.manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))


def relay_yaml(found: Desired, slot: str = "otp-0") -> str:
    return unpacked(base64.b64decode(child(found, "Secret", f"{slot}-config")["data"]["relay.yaml.gz"]))


def pod(found: Desired, slot: str = "otp-0") -> Manifest:
    spec: Manifest = child(found, "StatefulSet", slot)["spec"]["template"]["spec"]
    return spec


full_lanes = st.builds(
    lambda traffic_class, mode, tls, routes, keys, replicas, suspend, monitoring: made.lane(
        trafficClass=traffic_class,
        replicas=replicas,
        suspend=suspend,
        resolver={"mode": mode} | ({"addresses": ["192.0.2.53"]} if mode == "Addresses" else {}),
        submission={
            "senders": ["@notify.example.com"],
            "tls": {"secretName": "tls"} if tls else {},
            "clients": {"cidrs": ["10.0.0.0/8"]},
            **({"http": {}} if monitoring else {}),
        },
        routes=[
            {
                "domains": [f"{number}.example"],
                "host": "relay.example",
                "tls": "Required",
                "authSecret": f"auth-{number}",
            }
            for number in range(routes)
        ],
        domains=[
            {"name": f"d{number}.example", "dkim": dkim}
            for number, dkim in enumerate([{}, {"mode": "Off"}, {"secretName": "mine", "selector": "s1"}][:keys])
        ],
        monitoring=dict.fromkeys(("podMonitor", "rules", "dashboard"), monitoring),
    ),
    st.sampled_from(["Transactional", "Notification", "Bulk", "Cold"]),
    st.sampled_from(["Sidecar", "Cluster", "Addresses"]),
    st.booleans(),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
)


@settings(max_examples=25, deadline=None)
@given(of=full_lanes, engine=st.sampled_from(ENGINES))
def test_every_child_is_valid_labelled_owned_and_the_same_twice(of: Lane, engine: str) -> None:
    claims = made.assignment(*(made.claim(index, engine) for index in range(of.spec.replicas)))
    references = made.references(of, made.pool(engine))
    found = desired_state(of, references, claims, made.SETTINGS)

    assert found == desired_state(copy.deepcopy(of), copy.deepcopy(references), claims, made.SETTINGS)
    assert found.complete
    assert bool(found.refusals) is ((of.spec.traffic_class, engine) == ("Cold", "ClusterDefault"))
    names = [(one["kind"], one["metadata"]["name"]) for one in found.manifests]
    assert len(names) == len(set(names))
    for manifest in found.manifests:
        metadata = manifest["metadata"]
        outside = manifest["kind"] == "CiliumEgressGatewayPolicy"  # in no namespace, so nobody's own
        assert (metadata.get("namespace"), metadata["labels"].get(NAMESPACE_LABEL)) == (
            (None, "mail") if outside else ("mail", None)
        )
        assert metadata["labels"].items() >= {**MANAGED_BY, LANE_LABEL: "otp"}.items()
        owners = [owner["uid"] for owner in metadata.get("ownerReferences", [])]
        assert owners == ([] if outside or manifest["kind"] == "PersistentVolumeClaim" else ["uid-1"])
        if manifest["kind"] in MODELS:
            MODELS[manifest["kind"]].model_validate(manifest)
        else:
            assert manifest["kind"] in CUSTOM
        json.dumps(manifest)


@settings(max_examples=25, deadline=None)
@given(of=full_lanes, engine=st.sampled_from(ENGINES))
def test_the_relay_reads_exactly_what_is_rendered(of: Lane, engine: str) -> None:
    claims = made.assignment(made.claim(0, engine))
    found = desired_state(of, made.references(of, made.pool(engine)), claims, made.SETTINGS)
    text = relay_yaml(found)

    config = parse(text)

    assert config == RelayConfig.model_validate(yaml.safe_load(text))
    assert numbered(rendered(config), config.serial) == text
    assert [domain.name for domain in config.domains] == [domain.name for domain in of.spec.domains]
    assert config.generation == of.generation


@settings(max_examples=25, deadline=None)
@given(of=full_lanes, engine=st.sampled_from(ENGINES))
def test_every_path_in_the_configuration_is_mounted(of: Lane, engine: str) -> None:
    found = desired_state(
        of, made.references(of, made.pool(engine)), made.assignment(made.claim(0, engine)), made.SETTINGS
    )
    config, spec = parse(relay_yaml(found)), pod(found)
    paths = [
        config.spool.path,
        config.records.path,
        config.intake.users_dir,
        config.intake.tls and config.intake.tls.key,
        config.admin and config.admin.token_file,
        config.egress.proof and config.egress.proof.key_file,
        config.egress.proxy and config.egress.proxy.auth_dir,
        *(domain.key_file for domain in config.domains if domain.mode == "Sign"),
        *(route.auth_dir for route in config.delivery.routes),
        config.records.signing_key_file,
        config.records.recipients_key_file,
    ]
    mounts = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    volumes = {volume["name"] for volume in spec["volumes"]}

    assert [
        path for path in paths if path and not any(path.startswith(f"{mount}/") or path == mount for mount in mounts)
    ] == []
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes
    projected = {
        f"/etc/lanewright/{volume['name']}/{item['path']}"
        for volume in spec["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
        for item in source["secret"]["items"]
    }
    assert {domain.key_file for domain in config.domains if domain.mode == "Sign"} <= projected
    assert {f"{route.auth_dir}/password" for route in config.delivery.routes if route.auth_dir} <= projected


@pytest.mark.parametrize("engine", ENGINES)
def test_pods_meet_the_restricted_level_of_pod_security(engine: str) -> None:
    spec = pod(desired(engine=engine))

    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert bool(spec.get("hostNetwork")) is (engine == "HostNetwork")
    assert not {"hostPID", "hostIPC"} & spec.keys()
    assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {
        "secret",
        "projected",
        "emptyDir",
        "persistentVolumeClaim",
    }
    for container in (*spec["containers"], *spec["initContainers"]):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container.get("ports", []))


@pytest.mark.parametrize(("traffic_class", "guaranteed"), [("Transactional", True), ("Bulk", False)])
def test_transactional_pods_are_of_guaranteed_qos(traffic_class: str, guaranteed: bool) -> None:
    spec = pod(desired(made.lane(trafficClass=traffic_class)))
    containers = (*spec["containers"], *spec["initContainers"])

    assert all(one["resources"].get("limits") == one["resources"]["requests"] for one in containers) is guaranteed


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"limits": {"connectionsPerIP": 3}},
        {"queue": {"lifetime": "1h"}},
        {"isps": [{"name": "gmail", "connectionsPerIP": 2}]},
        {"submission": {"senders": ["@other.example"], "maxRecipients": 5}},
    ],
    ids=["suspend", "limits", "lifetime", "isps", "submission"],
)
def test_a_change_of_configuration_never_changes_the_pod(change: dict[str, Any]) -> None:
    before, after = desired(), desired(made.lane(**change))

    assert child(before, "StatefulSet", "otp-0") == child(after, "StatefulSet", "otp-0")
    assert before.config_digests != after.config_digests


def test_an_image_changes_the_pod() -> None:
    of, claims = made.lane(), made.assignment()
    newer = replace(made.SETTINGS, relay_image="lanewright/relay:2")
    found = desired_state(of, made.references(of, made.pool()), claims, newer)

    assert pod(found)["containers"][0]["image"] == "lanewright/relay:2"


def test_the_queue_volume_outlives_its_lane() -> None:
    volume = child(desired(), "PersistentVolumeClaim", "queue-otp-0")["metadata"]

    assert volume["finalizers"] == [QUEUE_FINALIZER]
    assert volume["labels"][SLOT_LABEL] == "otp-0"
    assert volume["annotations"][ADDRESS_ANNOTATION] == "203.0.113.10"
    assert volume["annotations"]["lanewright.dev/pool"] == "mail-pools/trans-pool"
    assert volume["annotations"]["lanewright.dev/class"] == "Transactional"


def test_without_a_pool_nothing_is_made_and_nothing_is_pruned() -> None:
    of = made.lane()
    refusal = Refusal(Reason.POOL_NOT_FOUND, "no pool", waiting=Reason.WAITING_FOR_POOL)
    found = desired_state(of, made.references(of, None), Assignment((), refusal), made.SETTINGS)

    assert not found.complete
    assert found.refusals == (refusal,)
    assert "StatefulSet" not in {one["kind"] for one in found.manifests}


def test_absent_kinds_are_left_out_and_said_so() -> None:
    found = desired(kinds=frozenset({"NetworkAttachmentDefinition.k8s.cni.cncf.io"}))

    assert found.left_out == ("PodMonitor.monitoring.coreos.com", "PrometheusRule.monitoring.coreos.com")
    assert not {"PodMonitor", "PrometheusRule"} & {one["kind"] for one in found.manifests}


@pytest.mark.parametrize(
    ("role", "intake", "delivery"),
    [
        (SlotRole.ACTIVE, "Open", "Running"),
        (SlotRole.DRAINING, "Closed", "Running"),
        (SlotRole.HELD, "Closed", "Held"),
    ],
)
def test_a_slot_that_is_to_go_takes_no_mail(role: SlotRole, intake: str, delivery: str) -> None:
    of = made.lane()
    claims = made.assignment(made.claim(0, role=role))
    config = parse(relay_yaml(desired_state(of, made.references(of, made.pool()), claims, made.SETTINGS)))

    assert (config.intake.state, config.delivery.state) == (intake, delivery)


def test_whether_acts_are_done_or_only_told_reaches_the_relay() -> None:
    assert not parse(relay_yaml(desired(made.lane()))).delivery.observes
    assert parse(relay_yaml(desired(made.lane(automation="Observe")))).delivery.observes


def test_senders_hear_of_late_mail_as_the_lane_has_it() -> None:
    said = parse(relay_yaml(desired(made.lane(queue={"delayNotice": {"after": "30m", "to": "Everybody"}}))))
    plain = parse(relay_yaml(desired()))

    assert (said.delivery.delay_notice.after, said.delivery.delay_notice.unasked) == (1800.0, True)
    assert (plain.delivery.delay_notice.after, plain.delivery.delay_notice.unasked) == (14400.0, False)


def test_an_eviction_budget_is_lifted_slot_by_slot() -> None:
    of = made.lane()
    found = desired_state(
        of, made.references(of, made.pool()), made.assignment(), made.SETTINGS, lifted=frozenset({"otp-1"})
    )

    budgets = {
        one["metadata"]["name"]: one["spec"]["maxUnavailable"] for one in found.manifests if "Budget" in one["kind"]
    }
    assert budgets == {"otp-0": 0, "otp-1": 1}


def test_the_submission_service_asks_for_ports_by_name() -> None:
    spec = child(desired(), "Service", "otp")["spec"]

    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(587, "smtp"), (465, "smtps")]
    assert spec["type"] == "ClusterIP"


def test_a_route_that_stands_twice_goes_the_first_ones_way() -> None:
    of = made.lane(
        routes=[
            {"domains": ["a.example", "b.example"], "host": "one.example"},
            {"domains": ["b.example", "*"], "host": "two.example"},
        ]
    )

    assert [(route.host, route.domains) for route in parse(relay_yaml(desired(of))).delivery.routes] == [
        ("one.example", ("a.example", "b.example")),
        ("two.example", ("*",)),
    ]


def test_a_routes_port_goes_by_its_tls_unless_it_is_named() -> None:
    ports = {"None": 25, "Required": 25, "Implicit": 465}
    routes = [{"domains": [f"{tls.lower()}.example"], "host": "relay.example.net", "tls": tls} for tls in ports]
    named = {"domains": ["own.example"], "host": "relay.example.net", "tls": "Implicit", "port": 4650}
    config = parse(relay_yaml(desired(made.lane(routes=[*routes, named]))))

    assert [route.port for route in config.delivery.routes] == [*ports.values(), 4650]


def test_a_route_s_password_goes_to_a_checked_certificate_only_and_without_one_the_lane_s_word_counts() -> None:
    routes = [
        {"domains": ["a.example"], "host": "one.example", "authSecret": "a"},
        {"domains": ["b.example"], "host": "two.example"},
    ]
    config = parse(relay_yaml(desired(made.lane(routes=routes, outboundTLS="Required"))))

    assert [route.tls for route in config.delivery.routes] == ["Required", None]
    assert config.delivery.outbound_tls == "Required"


@pytest.mark.parametrize("mode", ["Opportunistic", "Required", "MTASTS", "DANE"])
def test_what_tls_has_to_prove_and_whose_word_on_dnssec_counts_reach_the_relay(mode: str) -> None:
    own = parse(relay_yaml(desired(made.lane(outboundTLS=mode)))).delivery
    assert (own.outbound_tls, own.trust_ad) == (mode, True)
    cluster = parse(relay_yaml(desired(made.lane(outboundTLS=mode, resolver={"mode": "Cluster"})))).delivery
    assert cluster.trust_ad is False


def test_every_secret_that_a_pod_mounts_is_asked_for_or_made_by_us() -> None:
    of = made.lane(
        submission={"senders": ["@notify.example.com"], "tls": {"secretName": "t"}, "auth": {"secretName": "u"}},
        routes=[{"domains": ["*"], "host": "r.example", "tls": "Required", "authSecret": "a"}],
        domains=[{"name": "notify.example.com", "dkim": {"secretName": "k", "selector": "s"}}],
    )

    assert secret_needs(of, made.pool()) == ("u", "t", "k", "a", "otp-audit", "otp-proof")
    mounted = json.dumps(pod(desired(of))["volumes"])
    assert all(f'"{name}"' in mounted for name in secret_needs(of, made.pool()))


def test_a_pod_has_the_credentials_of_its_own_proxy_alone() -> None:
    found = desired(engine="Socks5")

    assert secret_needs(made.lane(), made.pool("Socks5"))[-1] == "otp-proxy"
    (volume,) = [one for one in pod(found, "otp-1")["volumes"] if one["name"] == "proxy"]
    assert volume["secret"]["items"] == [
        {"key": "otp-1.username", "path": "username"},
        {"key": "otp-1.password", "path": "password"},
    ]
    proxy = parse(relay_yaml(found, "otp-1")).egress.proxy
    assert proxy is not None
    assert (str(proxy.host), proxy.port, proxy.auth_dir) == ("192.0.2.80", 1081, "/etc/lanewright/proxy")


def test_a_slot_that_lacks_credentials_stays_as_it_is_while_the_others_go_on() -> None:
    of = made.lane()
    references = made.references(of, made.pool("Socks5"))
    facts = SecretFacts("otp-proxy", frozenset({"otp-0.username", "otp-0.password", "otp-1.username"}), "d")
    references = replace(references, secrets={**references.secrets, "otp-proxy": facts})
    claims = made.assignment(made.claim(0, "Socks5"), made.claim(1, "Socks5"))
    found = desired_state(of, references, claims, made.SETTINGS)

    assert [one["metadata"]["name"] for one in found.manifests if one["kind"] == "StatefulSet"] == ["otp-0"]
    (refusal,) = found.refusals
    assert refusal.reason is Reason.SECRET_KEY_MISSING
    assert "Secret socks in the pool's namespace" in refusal.message
    assert "no entry password" in refusal.message


def test_a_cilium_without_network_policies_is_said_so() -> None:
    kinds = made.KINDS - {"CiliumNetworkPolicy.cilium.io"}

    assert "CiliumNetworkPolicy.cilium.io" in desired(engine="Cilium", kinds=kinds).left_out
    assert desired(engine="Multus", kinds=kinds).left_out == ()


def test_references_are_never_changed() -> None:
    of, its_pool = made.lane(), made.pool()
    whole: References = made.references(of, its_pool)
    before = copy.deepcopy(whole)
    desired_state(of, whole, made.assignment(), made.SETTINGS)

    assert whole == before


def test_a_network_with_host_bits_is_the_network_that_it_stands_in() -> None:
    of = made.lane(
        submission={"senders": ["@notify.example.com"], "clients": {"cidrs": ["10.1.2.3/8", "2001:db8::1/32"]}}
    )

    assert yaml.safe_load(relay_yaml(desired(of)))["intake"]["clients"] == ["10.0.0.0/8", "2001:db8::/32"]


def test_the_names_of_header_fields_that_mean_something_reach_the_relay() -> None:
    of = made.lane(
        submission={
            "senders": ["@notify.example.com"],
            "correlationHeader": "X-Order",
            "campaignHeader": "Feedback-ID",
            "campaignTag": {"after": "+"},
        }
    )
    intake = yaml.safe_load(relay_yaml(desired(of)))["intake"]

    assert (intake["correlationField"], intake["campaignField"]) == ("X-Order", "Feedback-ID")
    assert intake["campaignTag"] == {"after": "+"}


def test_rights_of_users_and_limits_of_clients_reach_the_relay() -> None:
    submission = {
        "senders": ["@notify.example.com"],
        "auth": {"users": [{"name": "codes", "senders": ["otp@notify.example.com"], "rate": "600/m"}]},
        "limits": {"sessions": 50, "messageRatePerClient": "10/s", "tarpit": {"max": "5s"}},
    }
    intake = yaml.safe_load(relay_yaml(desired(made.lane(submission=submission))))["intake"]

    assert intake["users"] == [{"name": "codes", "senders": ["otp@notify.example.com"], "rate": "600/m"}]
    assert intake["limits"] == {"sessions": 50, "messageRatePerClient": "10/s", "tarpit": {"max": "5s"}}


@pytest.mark.parametrize(
    ("own", "forced", "in_force"),
    [
        ({}, None, ("Live", "")),
        ({"mode": "Redirect", "to": "own@test.example"}, None, ("Redirect", "own@test.example")),
        ({}, ForcedDelivery("Redirect", "all@test.example"), ("Redirect", "all@test.example")),
        ({"mode": "Redirect", "to": "own@test.example"}, ForcedDelivery("Redirect", "all@test.example"),
         ("Redirect", "all@test.example")),
        ({"mode": "Redirect", "to": "own@test.example"}, ForcedDelivery("Discard"), ("Discard", "")),
        ({"mode": "Discard"}, ForcedDelivery("Redirect", "all@test.example"), ("Discard", "")),
    ],
)  # fmt: skip
def test_what_is_forced_on_all_lanes_wins_over_what_they_say_but_for_discard(
    own: dict[str, str], forced: ForcedDelivery | None, in_force: tuple[str, str]
) -> None:
    of = made.lane(delivery=own)
    references = replace(made.references(of, made.pool()), forced_delivery=forced)
    found = desired_state(of, references, made.assignment(), made.SETTINGS)
    delivery = parse(relay_yaml(found)).delivery

    assert (delivery.mode, delivery.redirect_to) == in_force


def test_the_senders_of_lanes_next_door_reach_the_relay() -> None:
    of = made.lane()
    near = (LaneSenders("news", ("@news.example",)), LaneSenders("empty", ()))
    references = replace(made.references(of, made.pool()), neighbours=near)
    found = desired_state(of, references, made.assignment(), made.SETTINGS)

    assert yaml.safe_load(relay_yaml(found))["intake"]["neighbours"] == [{"lane": "news", "senders": ["@news.example"]}]


def test_balancers_that_speak_for_clients_are_named_to_the_relay() -> None:
    of = made.lane(
        submission={
            "senders": ["@notify.example.com"],
            "service": {"type": "LoadBalancer", "proxyProtocol": True},
            "clients": {"proxies": ["192.0.2.1/24"]},
        }
    )
    assert yaml.safe_load(relay_yaml(desired(of)))["intake"]["proxies"] == ["192.0.2.0/24"]
