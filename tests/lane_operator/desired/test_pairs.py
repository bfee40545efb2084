"""A slot with an address of each family: its configuration, its objects, its status, and Services of both families."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import IPPoolSpec, IPPoolStatus, SecondAddress, Socks5Proxy
from lane_api.lane_status import SlotRole
from lane_api.names import SECOND_ANNOTATION
from lane_operator.desired import desired_state, secret_needs
from lane_operator.desired.kept import kept_config
from lane_operator.indexes import INDEXES, PARTS_BY_ADDRESS, POOLS_BY_ADDRESS, POOLS_BY_NETWORK
from lane_operator.inputs import Assignment, Claim, Desired, Lane, Observation, Pool, References
from lane_operator.status.neighbours import _networks
from lane_operator.status.slots import slot_status
from lane_relay.config import parse
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child, pod, relay_yaml

SIX = "2001:db8::10"
NETWORK = {
    "network": "mail/public",
    "prefixLength": 24,
    "gateway": "203.0.113.1",
    "second": {"prefixLength": 64, "gateway": "2001:db8::1"},
}


def paired(engine: str = "Multus", **second: Any) -> Claim:
    one = made.claim(0, engine)
    assert one.address is not None
    both = one.address.model_copy(update={"second": SecondAddress.model_validate({"ip": SIX} | second)})
    return replace(one, address=both)


def its_pool(engine: str = "Multus", **second: Any) -> Pool:
    listed = {"ip": "203.0.113.10", "hostname": "out0.example.com", "second": {"ip": SIX} | second}
    if engine == "Socks5":
        listed["proxy"] = {"address": "192.0.2.80", "port": 1080, "secretName": "socks"}
    config = {"engineConfig": NETWORK} if engine == "Multus" else {}
    return made.pool(engine, addresses=[listed], **config)


def references(of: Lane, engine: str = "Multus", **second: Any) -> References:
    found = made.references(of, its_pool(engine, **second))
    name = f"{of.name}-proxy"
    if name in found.secrets and (facts := found.secrets[name]) is not None:
        keys = facts.keys | {"otp-0.second.username", "otp-0.second.password"}
        found = replace(found, secrets={**found.secrets, name: replace(facts, keys=keys)})
    return found


def desired(engine: str = "Multus", of: Lane | None = None, **second: Any) -> Desired:
    of = of or made.lane()
    return desired_state(
        of,
        references(of, engine, **second),
        Assignment((paired(engine, **second), made.claim(1, engine))),
        made.SETTINGS,
    )


def test_the_relay_is_told_of_both_and_the_other_slot_of_its_one() -> None:
    found = desired()
    egress = parse(relay_yaml(found)).egress

    assert egress.second is not None
    assert (str(egress.address), str(egress.source)) == ("203.0.113.10", "203.0.113.10")
    assert (str(egress.second.address), str(egress.second.source)) == (SIX, SIX)
    assert parse(relay_yaml(found, "otp-1")).egress.second is None


def test_workload_and_volume_carry_both() -> None:
    found = desired()

    for kind, name in (("StatefulSet", "otp-0"), ("PersistentVolumeClaim", "queue-otp-0")):
        body = child(found, kind, name)
        assert body["metadata"]["annotations"][SECOND_ANNOTATION] == SIX
        assert set(INDEXES[PARTS_BY_ADDRESS][kind](body)) == {"203.0.113.10", SIX}
    assert SECOND_ANNOTATION not in child(found, "StatefulSet", "otp-1")["metadata"]["annotations"]


def test_a_pool_is_found_by_its_seconds() -> None:
    spec = its_pool().spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    body = {"kind": "IPPool", "metadata": {"name": "p", "namespace": "mail"}, "spec": spec}

    assert SIX in set(INDEXES[POOLS_BY_ADDRESS]["IPPool"](body))
    assert "2001:db8::/64" in set(INDEXES[POOLS_BY_NETWORK]["IPPool"](body))
    assert {network for network, _ in _networks(its_pool(), IPPoolStatus())} == {"203.0.113.0/24", "2001:db8::/64"}


def test_what_the_seconds_proxy_asks_for_is_mounted_beside_the_firsts() -> None:
    proxy = {"address": "192.0.2.81", "secretName": "socks-six"}
    found = desired("Socks5", proxy=proxy)
    egress = parse(relay_yaml(found)).egress
    (volume,) = (one for one in pod(found)["volumes"] if one["name"] == "proxy")

    assert egress.second is not None
    assert egress.second.proxy is not None
    assert egress.second.proxy.auth_dir == "/etc/lanewright/proxy/second"
    assert [(one["key"], one["path"]) for one in volume["secret"]["items"]] == [
        ("otp-0.username", "username"),
        ("otp-0.password", "password"),
        ("otp-0.second.username", "second/username"),
        ("otp-0.second.password", "second/password"),
    ]
    policy = str(child(found, "NetworkPolicy", "otp")["spec"]["egress"])
    assert "192.0.2.80/32" in policy
    assert "192.0.2.81/32" in policy


def test_a_seconds_proxy_alone_may_ask_for_a_password() -> None:
    spec = its_pool("Socks5", proxy={"address": "192.0.2.81", "secretName": "six"}).spec
    (one,) = spec.addresses
    bare = one.model_copy(update={"proxy": Socks5Proxy(address="192.0.2.80")})
    pool = replace(its_pool("Socks5"), spec=spec.model_copy(update={"addresses": (bare,)}))

    assert isinstance(pool.spec, IPPoolSpec)
    assert "otp-proxy" in secret_needs(made.lane(), pool)


def test_a_slot_whose_pool_is_gone_keeps_both() -> None:
    of = made.lane()
    config = child(desired(), "Secret", "otp-0-config")
    kept = kept_config(of, replace(references(of), pool=None, configs={"otp-0": config}), replace(paired(), found=True))

    assert kept is not None
    assert kept.egress.second is not None
    assert str(kept.egress.second.source) == SIX


def test_the_status_names_both() -> None:
    slot = slot_status(made.lane(), paired(), Observation(), None)

    assert (slot.ip, slot.second, slot.role) == ("203.0.113.10", SIX, SlotRole.ACTIVE)
    assert slot_status(made.lane(), made.claim(0), Observation(), None).second == ""


def policies(found: Desired) -> dict[str, str]:
    return {
        one["metadata"]["name"]: one["spec"]["ipFamilyPolicy"] for one in found.manifests if one["kind"] == "Service"
    }


def test_services_have_both_families_where_the_cluster_has() -> None:
    of = made.lane(feedback={})

    assert policies(desired(of=of)) == dict.fromkeys(("otp", "otp-slots", "otp-feedback"), "PreferDualStack")


def test_services_of_slots_in_their_nodes_network_have_the_family_that_these_listen_on() -> None:
    of = made.lane(feedback={})
    claims = made.assignment(made.claim(0, "HostNetwork"))
    found = desired_state(of, made.references(of, made.pool("HostNetwork")), claims, made.SETTINGS)

    assert set(policies(found).values()) == {"SingleStack"}


@pytest.mark.parametrize(
    ("service", "wanted"),
    [
        ({"type": "NodePort"}, "PreferDualStack"),
        ({"type": "LoadBalancer"}, "SingleStack"),
        ({"type": "LoadBalancer", "ipFamilyPolicy": "RequireDualStack"}, "RequireDualStack"),
        ({"ipFamilyPolicy": "SingleStack"}, "SingleStack"),
    ],
)
def test_a_service_for_clients_has_what_is_asked_for(service: dict[str, str], wanted: str) -> None:
    of = made.lane(submission={"senders": ["@notify.example.com"], "service": service}, feedback={"service": service})
    found = policies(desired(of=of))

    assert (found["otp"], found["otp-feedback"]) == (wanted, wanted)
    assert found["otp-slots"] == "PreferDualStack"
