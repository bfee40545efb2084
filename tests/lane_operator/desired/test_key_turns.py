"""Where a domain's keys are rotated: slots are told of the next key, and no slot restarts for it."""

import base64
from dataclasses import replace
from typing import Any

import yaml

from lane_api.lane_status import KeyPhase
from lane_api.names import DNS_ENDPOINT_KIND
from lane_api.packing import unpacked
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, DkimKey, KeyTurn
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child

DOMAIN = "notify.example.com"
DIR = "/etc/lanewright/dkim"


def key(selector: str, place: int, turn: KeyTurn | None = None) -> DkimKey:
    """A pair of keys in one of the places of a Secret."""
    prefix = "" if place == 1 else f"{place}."
    second = DkimKey(f"{selector}-ed25519", "otp-dkim", f"{prefix}ed25519.key", "k=ed25519", place=place)
    return DkimKey(selector, "otp-dkim", f"{prefix}private.key", f"p={selector}", second, place, turn)


OLD, NEW = key("lw1", 1), key("lw2", 2)
STABLE = replace(OLD, turn=KeyTurn())
PUBLISHING = replace(OLD, turn=KeyTurn(KeyPhase.PUBLISHING, following=NEW))
RETIRING = replace(NEW, turn=KeyTurn(KeyPhase.RETIRING, before=OLD))
RETIRED = replace(NEW, turn=KeyTurn(retired="lw1"))
PHASES = (STABLE, PUBLISHING, RETIRING, RETIRED)


def desired(known: DkimKey) -> Desired:
    of = made.lane(domains=[{"name": DOMAIN, "dns": {"provider": "ExternalDNS"}}])
    kinds = made.KINDS | {DNS_ENDPOINT_KIND}
    references = made.references(of, made.pool(), kinds=kinds, dkim={DOMAIN: known})
    return desired_state(of, references, made.assignment(), made.SETTINGS)


def domain_of(found: Desired) -> Any:
    text = unpacked(base64.b64decode(child(found, "Secret", "otp-0-config")["data"]["relay.yaml.gz"]))
    (domain,) = yaml.safe_load(text)["domains"]
    return domain


def files(found: Desired) -> dict[str, str]:
    """Where a slot sees each entry of the Secret."""
    template = child(found, "StatefulSet", "otp-0")["spec"]["template"]["spec"]
    (volume,) = [one for one in template["volumes"] if one["name"] == "dkim"]
    (source,) = volume["projected"]["sources"]
    return {f"{DIR}/{item['path']}": item["key"] for item in source["secret"]["items"]}


def test_slots_are_told_of_the_next_key_and_sign_with_the_present_one() -> None:
    assert domain_of(desired(PUBLISHING)) == {
        "name": DOMAIN,
        "selector": "lw1",
        "keyFile": f"{DIR}/{DOMAIN}.key",
        "ed25519": {"selector": "lw1-ed25519", "keyFile": f"{DIR}/{DOMAIN}.ed25519"},
        "next": {
            "selector": "lw2",
            "keyFile": f"{DIR}/2/{DOMAIN}.key",
            "ed25519": {"selector": "lw2-ed25519", "keyFile": f"{DIR}/2/{DOMAIN}.ed25519"},
        },
    }


def test_after_the_turn_the_next_key_signs_from_the_file_that_it_has_had() -> None:
    assert domain_of(desired(RETIRING)) == {
        "name": DOMAIN,
        "selector": "lw2",
        "keyFile": f"{DIR}/2/{DOMAIN}.key",
        "ed25519": {"selector": "lw2-ed25519", "keyFile": f"{DIR}/2/{DOMAIN}.ed25519"},
    }


def test_the_pods_are_the_same_in_every_phase_and_find_each_key_where_they_are_told() -> None:
    templates = [child(desired(phase), "StatefulSet", "otp-0")["spec"]["template"] for phase in PHASES]
    assert all(template == templates[0] for template in templates)
    for phase in PHASES:
        found = desired(phase)
        told, there = domain_of(found), files(found)
        assert there[told["keyFile"]] == phase.secret_key
        assert phase.second is not None
        assert there[told["ed25519"]["keyFile"]] == phase.second.secret_key


def test_a_pod_starts_though_one_place_is_empty() -> None:
    template = child(desired(RETIRED), "StatefulSet", "otp-0")["spec"]["template"]["spec"]
    (volume,) = [one for one in template["volumes"] if one["name"] == "dkim"]
    assert volume["projected"]["sources"][0]["secret"]["optional"] is True


def test_keys_that_are_not_rotated_are_mounted_as_ever() -> None:
    assert files(desired(OLD)) == {f"{DIR}/{DOMAIN}.key": "private.key", f"{DIR}/{DOMAIN}.ed25519": "ed25519.key"}


def test_external_dns_publishes_the_next_key_and_keeps_the_one_before_until_it_is_given_up() -> None:
    def published(phase: DkimKey) -> set[str]:
        rows = child(desired(phase), "DNSEndpoint", "otp")["spec"]["endpoints"]
        return {row["dnsName"].partition("._domainkey.")[0] for row in rows}

    both = {"lw1", "lw1-ed25519", "lw2", "lw2-ed25519"}
    assert published(STABLE) == {"lw1", "lw1-ed25519"}
    assert published(PUBLISHING) == published(RETIRING) == both
    assert published(RETIRED) == {"lw2", "lw2-ed25519"}
