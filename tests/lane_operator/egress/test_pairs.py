"""A slot with an address of each family: what each engine makes of the second, and what the relay is told."""

import json
from dataclasses import replace
from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.ippool import Engine, EngineConfig, PodAnnotation, PoolAddress, SecondAddress, SecondNetwork, Socks5Proxy
from lane_api.names import SECOND_ANNOTATION
from lane_api.relayconfig import Socks5
from lane_operator.egress import SlotClaim
from lane_operator.inputs import NodeFacts
from tests.lane_operator.egress.test_engines import ADDRESS, CONFIG, SLOT, SOCKS, granted, refused

SIX = "2001:db8::10"
NETWORK = SecondNetwork(prefix_length=64, gateway="2001:db8::1")


def paired(slot: SlotClaim = SLOT, config: EngineConfig | None = None, **second: Any) -> SlotClaim:
    """The slot with a second address."""
    assert slot.address is not None
    both = slot.address.model_copy(update={"second": SecondAddress.model_validate({"ip": SIX} | second)})
    return replace(slot, address=both, config=config or CONFIG.model_copy(update={"second": NETWORK}))


def test_multus_gives_the_pod_both_each_with_the_gateway_of_its_network() -> None:
    answer = granted(Engine.MULTUS, paired())
    (manifest,) = answer.manifests

    assert json.loads(manifest["spec"]["config"])["plugins"][0]["ipam"]["addresses"] == [
        {"address": "203.0.113.10/24", "gateway": "203.0.113.1"},
        {"address": f"{SIX}/64", "gateway": "2001:db8::1"},
    ]
    assert (answer.source, answer.second_source) == ("203.0.113.10", SIX)


def test_a_multus_pod_is_made_anew_for_a_second_that_comes_or_goes() -> None:
    alone, both = granted(Engine.MULTUS, SLOT), granted(Engine.MULTUS, paired())

    assert SECOND_ANNOTATION not in alone.annotations
    assert both.annotations[SECOND_ANNOTATION] == SIX


def test_multus_asks_for_the_network_of_a_second() -> None:
    refusal = refused(Engine.MULTUS, paired(config=CONFIG))

    assert refusal.reason is Reason.ENGINE_LIMIT
    assert "engineConfig.second" in refusal.message


@pytest.mark.parametrize("engine", [Engine.MULTUS, Engine.HOST_NETWORK])
def test_behind_a_translation_the_seconds_own_source_is_bound(engine: Engine) -> None:
    assert granted(engine, paired(source="fd00::10")).second_source == "fd00::10"
    assert granted(engine, SLOT).second_source is None


def test_hostnetwork_binds_the_second_and_never_where_the_slot_listens() -> None:
    assert granted(Engine.HOST_NETWORK, paired()).second_source == SIX
    on_six = paired(replace(SLOT, nodes={"node-a": NodeFacts(SIX)}))
    assert "nothing may listen on an egress address" in refused(Engine.HOST_NETWORK, on_six).message


def test_cilium_has_a_policy_for_each_family() -> None:
    first, second = granted(Engine.CILIUM, paired()).manifests

    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("mail.otp-0", "mail.otp-0.second")
    assert second["spec"]["destinationCIDRs"] == ["::/0"]
    assert second["spec"]["egressGateway"]["egressIP"] == SIX
    assert first["spec"] == granted(Engine.CILIUM, SLOT).manifests[0]["spec"]


def test_external_fills_the_second_in_and_leaves_out_what_names_one_that_is_not_there() -> None:
    annotation = PodAnnotation.model_construct(name="cni.projectcalico.org/ipAddrs", value='["{ip}","{second}"]')
    config = EngineConfig(pod_annotations=(annotation,))

    both = granted(Engine.EXTERNAL, paired(config=config)).annotations
    assert both == {annotation.name: f'["203.0.113.10","{SIX}"]'}
    assert granted(Engine.EXTERNAL, replace(SLOT, config=config)).annotations == {}


def test_socks5_goes_through_the_firsts_proxy_unless_the_second_has_its_own() -> None:
    shared = granted(Engine.SOCKS5, paired(SOCKS))
    assert shared.proxy is not None
    assert shared.second_proxy == shared.proxy.model_copy(update={"bound": None})

    own = Socks5Proxy(address="192.0.2.81", port=1081, secret_name="socks-six")
    keys = SOCKS.credentials | {"otp-0.second.username", "otp-0.second.password"}
    answer = granted(Engine.SOCKS5, paired(replace(SOCKS, credentials=keys), proxy=own))
    assert answer.second_proxy == Socks5.model_validate(
        {"host": "192.0.2.81", "port": 1081, "auth_dir": "/etc/lanewright/proxy/second"}
    )
    waiting = refused(Engine.SOCKS5, paired(SOCKS, proxy=own))
    assert f"addresses[{SIX}].second.proxy.secretName" in waiting.message


def test_an_address_knows_what_the_world_sees_of_it() -> None:
    both = paired().address
    assert isinstance(both, PoolAddress)
    assert (ADDRESS.ips, both.ips) == (("203.0.113.10",), ("203.0.113.10", SIX))
