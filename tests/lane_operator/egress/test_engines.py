"""Each engine's way to the slot's own source address, and what it says when it has none."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.ippool import Engine, EngineConfig, PoolAddress, Socks5Proxy
from lane_api.names import ALLOWED_ANNOTATION
from lane_api.relayconfig import Socks5
from lane_operator.egress import ENGINES, LIMITS, EngineClaim, SlotClaim
from lane_operator.inputs import NodeFacts, Refusal
from tests.lane_operator import made

ADDRESS = PoolAddress(ip="203.0.113.10", hostname="out1.example.com", node="node-a")
CONFIG = EngineConfig.model_validate({"network": "mail/public", "prefixLength": 24, "gateway": "203.0.113.1"})
SLOT = SlotClaim(
    namespace="mail",
    slot="otp-0",
    address=ADDRESS,
    port_block=20008,
    config=CONFIG,
    nodes={"node-a": NodeFacts("192.0.2.10")},
    kinds=made.KINDS,
    network=made.TEMPLATE,
    pool_namespace="mail-pools",
)


def granted(engine: Engine, slot: SlotClaim = SLOT) -> EngineClaim:
    answer = ENGINES[engine](slot)
    assert isinstance(answer, EngineClaim)
    return answer


def refused(engine: Engine, slot: SlotClaim) -> Refusal:
    answer = ENGINES[engine](slot)
    assert isinstance(answer, Refusal)
    return answer


def attached(template: dict[str, Any] | None = None) -> dict[str, Any]:
    network = made.TEMPLATE if template is None else made.TEMPLATE | {"spec": {"config": json.dumps(template)}}
    (manifest,) = granted(Engine.MULTUS, replace(SLOT, network=network)).manifests
    config: dict[str, Any] = json.loads(manifest["spec"]["config"])
    return config


@pytest.mark.parametrize(("there", "said"), [("ams-1", "in zone ams-1"), ("", "in no zone")])
def test_an_address_that_names_another_zone_than_its_node_has_is_refused_with_the_fix(there: str, said: str) -> None:
    elsewhere = ADDRESS.model_copy(update={"zone": "fra-1"})
    slot = replace(SLOT, address=elsewhere, nodes={"node-a": NodeFacts("192.0.2.10", zone=there)})

    answer = refused(Engine.HOST_NETWORK, slot)

    assert answer.reason is Reason.ENGINE_LIMIT
    assert f"203.0.113.10 is said to live in zone fra-1, and its node node-a is {said}" in answer.message
    assert "correct zone or node of the address" in answer.message


def test_an_address_whose_node_is_in_its_zone_is_brought_out_there() -> None:
    at_home = ADDRESS.model_copy(update={"zone": "fra-1"})
    slot = replace(SLOT, address=at_home, nodes={"node-a": NodeFacts("192.0.2.10", zone="fra-1")})

    assert granted(Engine.HOST_NETWORK, slot).source == "203.0.113.10"


def test_every_engine_has_its_place_in_the_table() -> None:
    assert set(ENGINES) == set(LIMITS) == set(Engine)


def test_clusterdefault_binds_nothing_and_says_what_it_cannot_do() -> None:
    answer = granted(Engine.CLUSTER_DEFAULT, replace(SLOT, address=None, port_block=None))

    assert (answer.source, answer.manifests, answer.pod) == (None, (), {})
    assert "shared" in LIMITS[Engine.CLUSTER_DEFAULT].texts[0]
    assert not LIMITS[Engine.CLUSTER_DEFAULT].source_check


@pytest.mark.parametrize(
    ("internal", "change"),
    [
        ("203.0.113.10", {}),
        ("192.0.2.10", {"source": "192.0.2.10"}),
        ("2001:db8::10", {"ip": "2001:db8::99", "source": "2001:DB8:0::10"}),
    ],
)
def test_hostnetwork_refuses_to_listen_where_mail_leaves_from(internal: str, change: dict[str, str]) -> None:
    address = ADDRESS.model_copy(update=change)
    answer = refused(Engine.HOST_NETWORK, replace(SLOT, address=address, nodes={"node-a": NodeFacts(internal)}))

    assert answer.reason is Reason.ENGINE_LIMIT
    assert "node node-a's internal address" in answer.message
    assert "second address" in answer.message


def test_hostnetwork_binds_the_address_and_listens_on_the_nodes_internal_one_only() -> None:
    answer = granted(Engine.HOST_NETWORK)

    assert answer.source == "203.0.113.10"
    assert answer.listen_host == "192.0.2.10"
    assert answer.pod == {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}


def test_hostnetwork_ports_and_resolver_lie_in_the_slots_own_block() -> None:
    answer = granted(Engine.HOST_NETWORK)
    resolver = int(answer.resolver.rpartition(":")[2])

    assert answer.ports == {
        "smtp": 20008,
        "smtps": 20009,
        "metrics": 20010,
        "admin": 20011,
        "http": 20012,
        "feedback": 20013,
        "unsubscribe": 20014,
    }
    assert resolver not in answer.ports.values()
    assert 20008 <= resolver < 20016


def test_hostnetwork_pods_run_on_the_node_that_holds_the_address() -> None:
    affinity = granted(Engine.HOST_NETWORK).node_affinity
    assert affinity is not None
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]

    assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-a"]}]}


def test_hostnetwork_waits_for_a_node_that_is_not_there() -> None:
    refusal = refused(Engine.HOST_NETWORK, replace(SLOT, nodes={}))

    assert (refusal.reason, refusal.waiting) == (Reason.NODE_NOT_FOUND, Reason.WAITING_FOR_NODE)
    assert "node node-a of address 203.0.113.10" in refusal.message


@pytest.mark.parametrize("engine", [Engine.HOST_NETWORK, Engine.MULTUS])
def test_behind_a_one_to_one_translation_the_inner_address_is_bound(engine: Engine) -> None:
    slot = replace(SLOT, address=ADDRESS.model_copy(update={"source": "10.1.2.3"}))

    assert granted(engine, slot).source == "10.1.2.3"


def test_multus_copies_the_template_with_a_static_address_and_chains_sbr() -> None:
    assert attached() == {
        "cniVersion": "0.3.1",
        "name": "otp-0",
        "plugins": [
            {
                "type": "macvlan",
                "master": "eth1",
                "ipam": {"type": "static", "addresses": [{"address": "203.0.113.10/24", "gateway": "203.0.113.1"}]},
            },
            {"type": "sbr"},
        ],
    }


def test_multus_takes_a_list_of_plugins_and_has_sbr_once() -> None:
    template = {"name": "x", "plugins": [{"type": "bridge", "bridge": "br0"}, {"type": "sbr"}, {"type": "tuning"}]}

    assert [plugin["type"] for plugin in attached(template)["plugins"]] == ["bridge", "tuning", "sbr"]


def test_multus_asks_for_the_slots_own_network_by_annotation() -> None:
    (network,) = granted(Engine.MULTUS).manifests
    name = network["metadata"]["name"]

    assert name.startswith("otp-0-")
    assert granted(Engine.MULTUS).annotations == {"k8s.v1.cni.cncf.io/networks": name}


@pytest.mark.parametrize(
    ("change", "waiting", "fix"),
    [
        ({"kinds": frozenset()}, Reason.WAITING_FOR_ENGINE, "install Multus"),
        ({"network": None}, Reason.WAITING_FOR_ENGINE, "mail/public does not exist, or is out of the operator's reach"),
        ({"network": made.TEMPLATE | {"spec": {}}}, Reason.ENGINE_LIMIT, "no CNI configuration in spec.config to copy"),
        (
            {"network": made.TEMPLATE | {"spec": {"config": "{"}}},
            Reason.ENGINE_LIMIT,
            "no CNI configuration in spec.config to copy",
        ),
        (
            {"network": made.TEMPLATE | {"spec": {"config": "[" * 100_000}}},
            Reason.ENGINE_LIMIT,
            "no CNI configuration in spec.config to copy",
        ),
        (
            {"network": made.TEMPLATE | {"spec": {"config": '{"plugins": 7}'}}},
            Reason.ENGINE_LIMIT,
            "no CNI configuration in spec.config to copy",
        ),
        (
            {"network": made.TEMPLATE | {"spec": {"config": "[]"}}},
            Reason.ENGINE_LIMIT,
            "no CNI configuration in spec.config to copy",
        ),
    ],
    ids=["no-multus", "no-template", "empty", "no-json", "too-deep", "no-list", "no-object"],
)
def test_multus_says_what_is_missing(change: dict[str, Any], waiting: Reason, fix: str) -> None:
    refusal = refused(Engine.MULTUS, replace(SLOT, **change))

    assert refusal.waiting is waiting
    assert fix in refusal.message


@pytest.mark.parametrize(
    ("annotations", "namespace", "is_open"),
    [
        ({}, "mail", True),
        ({}, "mail-pools", False),
        ({ALLOWED_ANNOTATION: "mail-pools"}, "mail-pools", True),
        ({ALLOWED_ANNOTATION: "shop, mail-pools"}, "mail-pools", True),
        ({ALLOWED_ANNOTATION: "*"}, "mail-pools", True),
        ({ALLOWED_ANNOTATION: "mail-pools-2"}, "mail-pools", False),
        ({ALLOWED_ANNOTATION: ""}, "mail-pools", False),
    ],
)
def test_a_template_is_for_pools_of_its_namespace_and_of_those_that_it_names(
    annotations: dict[str, str], namespace: str, is_open: bool
) -> None:
    metadata = {"name": "public", "namespace": "mail", "annotations": annotations}
    slot = replace(SLOT, network=made.TEMPLATE | {"metadata": metadata}, pool_namespace=namespace)

    if is_open:
        assert granted(Engine.MULTUS, slot).manifests
        return
    refusal = refused(Engine.MULTUS, slot)
    assert (refusal.reason, refusal.waiting) == (Reason.FORBIDDEN, Reason.FORBIDDEN)
    assert "mail/public is not for pools of namespace mail-pools" in refusal.message
    assert "annotate it with lanewright.dev/allowed-namespaces=mail-pools" in refusal.message


@pytest.mark.parametrize("engine", [Engine.SOCKS5, Engine.CILIUM, Engine.EXTERNAL])
def test_an_engine_that_translates_binds_nothing(engine: Engine) -> None:
    answer = granted(engine, SOCKS)

    assert answer.source is None
    assert (answer.pod, answer.listen_host) == ({}, "::")
    assert "30 s" in LIMITS[engine].source_check


SOCKS = replace(
    SLOT,
    address=ADDRESS.model_copy(
        update={"proxy": Socks5Proxy(address="192.0.2.80", secret_name="socks"), "source": "10.1.2.3"}
    ),
    port_block=None,
    credentials=frozenset({"otp-0.username", "otp-0.password"}),
)


def test_socks5_hands_the_relay_the_proxy_its_users_folder_and_what_it_binds() -> None:
    assert granted(Engine.SOCKS5, SOCKS).proxy == Socks5.model_validate(
        {"host": "192.0.2.80", "port": 1080, "auth_dir": "/etc/lanewright/proxy", "bound": "10.1.2.3"}
    )
    free = ADDRESS.model_copy(update={"proxy": Socks5Proxy(address="192.0.2.80", port=1081)})
    answer = granted(Engine.SOCKS5, replace(SOCKS, address=free, credentials=frozenset()))
    assert answer.proxy == Socks5.model_validate({"host": "192.0.2.80", "port": 1081})


def test_socks5_waits_for_the_credentials_that_a_proxy_asks_for() -> None:
    refusal = refused(Engine.SOCKS5, replace(SOCKS, credentials=frozenset({"otp-1.username", "otp-1.password"})))

    assert (refusal.reason, refusal.waiting) == (Reason.SECRET_KEY_MISSING, Reason.WAITING_FOR_SECRET)
    assert "Secret socks in the pool's namespace" in refusal.message
    assert "username, password" in refusal.message


def test_cilium_selects_the_slots_pod_by_a_label_that_is_a_part_of_its_identity() -> None:
    (policy,) = granted(Engine.CILIUM).manifests

    assert policy["metadata"]["name"] == "mail.otp-0"
    assert policy["spec"] == {
        "selectors": [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "mail"}},
                "podSelector": {"matchLabels": {"lanewright.dev/slot": "otp-0"}},
            }
        ],
        "destinationCIDRs": ["0.0.0.0/0"],
        "egressGateway": {
            "nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "node-a"}},
            "egressIP": "203.0.113.10",
        },
    }


@pytest.mark.parametrize(
    ("change", "egress_ip", "everywhere"),
    [
        ({"source": "10.1.2.3"}, "10.1.2.3", "0.0.0.0/0"),
        ({"ip": "2001:db8::10"}, "2001:db8::10", "::/0"),
    ],
    ids=["mapped-by-the-cloud", "ipv6"],
)
def test_cilium_translates_to_what_the_gateway_has_for_all_of_its_family(
    change: dict[str, str], egress_ip: str, everywhere: str
) -> None:
    (policy,) = granted(Engine.CILIUM, replace(SLOT, address=ADDRESS.model_copy(update=change))).manifests

    assert policy["spec"]["egressGateway"]["egressIP"] == egress_ip
    assert policy["spec"]["destinationCIDRs"] == [everywhere]


def test_cilium_takes_gateways_by_labels_where_the_address_names_none() -> None:
    nowhere = ADDRESS.model_copy(update={"node": None})
    labelled = EngineConfig.model_validate({"nodeSelector": {"b": "2", "a": "1"}})
    (policy,) = granted(Engine.CILIUM, replace(SLOT, address=nowhere, config=labelled)).manifests

    assert policy["spec"]["egressGateway"]["nodeSelector"] == {"matchLabels": {"a": "1", "b": "2"}}
    assert "engineConfig.nodeSelector" in refused(Engine.CILIUM, replace(SLOT, address=nowhere)).message


def test_cilium_says_what_is_missing() -> None:
    refusal = refused(Engine.CILIUM, replace(SLOT, kinds=frozenset()))

    assert (refusal.reason, refusal.waiting) == (Reason.ENGINE_MISSING, Reason.WAITING_FOR_ENGINE)
    assert "install Cilium with egressGateway.enabled" in refusal.message


def test_external_fills_the_slots_own_into_the_pods_annotations() -> None:
    config = EngineConfig.model_validate(
        {
            "podAnnotations": [
                {"name": "cni.projectcalico.org/ipAddrs", "value": '["{ip}"]'},
                {"name": "egress.example.com/of", "value": "{namespace}/{slot} {other}"},
            ]
        }
    )

    assert granted(Engine.EXTERNAL, replace(SLOT, config=config)).annotations == {
        "cni.projectcalico.org/ipAddrs": '["203.0.113.10"]',
        "egress.example.com/of": "mail/otp-0 {other}",
    }
    assert granted(Engine.EXTERNAL).annotations == {}


@pytest.mark.parametrize("engine", [engine for engine in Engine if engine is not Engine.CLUSTER_DEFAULT])
def test_no_engine_grants_anything_without_an_address(engine: Engine) -> None:
    assert refused(engine, replace(SLOT, address=None)).reason is Reason.ENGINE_LIMIT


@pytest.mark.parametrize(
    ("engine", "kind", "fix"),
    [
        (Engine.HOST_NETWORK, "Node", "set rights.nodes in the values"),
        (Engine.MULTUS, "NetworkAttachmentDefinition.k8s.cni.cncf.io", "add Multus to rights.engines in the values"),
        (Engine.CILIUM, "CiliumEgressGatewayPolicy.cilium.io", "add Cilium to rights.engines in the values"),
    ],
)
def test_a_right_that_the_chart_does_not_give_is_named_as_what_is_missing(engine: Engine, kind: str, fix: str) -> None:
    blind = replace(SLOT, withheld=frozenset({kind}), kinds=SLOT.kinds - {kind}, nodes={}, network=None)
    answer = refused(engine, blind)

    assert (answer.reason, answer.waiting) == (Reason.FORBIDDEN, Reason.FORBIDDEN)
    assert f"no rights to {kind}" in answer.message
    assert fix in answer.message


PAGE = Path(__file__).parents[3] / "docs" / "egress.md"


@pytest.mark.parametrize(
    ("engine", "words"),
    [
        (Engine.MULTUS, ("master", "static", "sbr", "NetworkPolicy")),
        (Engine.HOST_NETWORK, ("portRange", "firewall", "NetworkPolicy", "pod-security.kubernetes.io/enforce")),
    ],
)
def test_what_an_engine_asks_of_nodes_is_said_in_its_limits_and_on_its_page(
    engine: Engine, words: tuple[str, ...]
) -> None:
    page = PAGE.read_text()
    section = page.partition(f"\n## {engine}\n")[2].partition("\n## ")[0]

    for word in words:
        assert any(word in text for text in LIMITS[engine].texts), word
        assert word in section, word
