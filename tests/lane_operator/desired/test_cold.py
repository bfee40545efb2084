"""A Cold lane shares a domain or an address with nobody, and is the one that stops."""

import base64
from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.packing import unpacked
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, Lane, LaneDomains
from lane_relay.config import parse
from tests.lane_operator import made

OTP = LaneDomains(("mail", "otp"), "Transactional", ("notify.example.com",))


def cold(domain: str, **changes: Any) -> Lane:
    spec = {"trafficClass": "Cold", "domains": [{"name": domain}], "submission": {"senders": [f"@{domain}"]}}
    return made.lane("outreach", **(spec | changes))


def desired(of: Lane, *others: LaneDomains) -> Desired:
    references = made.references(of, made.pool(), others=others)
    return desired_state(of, references, made.assignment(made.claim(0, name="outreach")), made.SETTINGS)


def delivery(found: Desired) -> str:
    secret = next(one for one in found.manifests if one["kind"] == "Secret")
    return parse(unpacked(base64.b64decode(secret["data"]["relay.yaml.gz"]))).delivery.state


@pytest.mark.parametrize("domain", ["notify.example.com", "example.com", "cold.notify.example.com", "cold.example.com"])
def test_a_cold_lane_on_anothers_domain_takes_mail_and_sends_none(domain: str) -> None:
    found = desired(cold(domain), OTP)

    assert [(refusal.reason, refusal.waiting) for refusal in found.refusals] == [(Reason.DOMAIN_SHARED,) * 2]
    assert "lane mail/otp (Transactional, notify.example.com)" in found.refusals[0].message
    assert "give it a domain of its own" in found.refusals[0].message
    assert delivery(found) == "Suspended"


@pytest.mark.parametrize("domain", ["outreach.example", "notifyexample.com", "example.co.uk"])
def test_a_cold_lane_on_its_own_domain_sends(domain: str) -> None:
    found = desired(cold(domain), OTP)

    assert found.refusals == ()
    assert delivery(found) == "Running"


def test_a_shared_return_path_stops_it_as_well() -> None:
    domain = {"name": "outreach.example", "returnPath": {"domain": "b.example.com"}}
    of = cold("outreach.example", domains=[domain], feedback={})

    (refusal,) = desired(of, OTP).refusals

    assert "Cold mail from b.example.com" in refusal.message
    assert "ISPs judge all of example.com together" in refusal.message


def test_many_others_are_counted_and_one_is_named() -> None:
    others = [LaneDomains(("mail", f"l{number}"), "Bulk", ("example.com",)) for number in range(500)]

    (refusal,) = desired(cold("cold.example.com"), *others).refusals

    assert "lane mail/l0 (Bulk, example.com) and of 499 more" in refusal.message


def test_two_cold_lanes_may_share_a_domain() -> None:
    assert desired(cold("a.example"), LaneDomains(("mail", "more"), "Cold", ("a.example",))).refusals == ()


def test_the_other_lane_never_stops() -> None:
    of = cold("notify.example.com", trafficClass="Bulk")

    assert desired(of, LaneDomains(("mail", "outreach2"), "Cold", ("notify.example.com",))).refusals == ()


def test_on_an_address_that_the_cluster_shares_it_takes_mail_and_sends_none() -> None:
    of = cold("outreach.example")
    references = made.references(of, made.pool("ClusterDefault", classes=["Cold"]))

    found = desired_state(of, references, made.assignment(made.claim(0, name="outreach")), made.SETTINGS)

    assert [(refusal.reason, refusal.waiting) for refusal in found.refusals] == [(Reason.CLASS_MISMATCH,) * 2]
    assert "make the lane with a pool of another engine" in found.refusals[0].message
    assert delivery(found) == "Suspended"


def test_other_classes_may_share_the_clusters_address() -> None:
    of = made.lane()
    references = made.references(of, made.pool("ClusterDefault"))

    assert desired_state(of, references, made.assignment(made.claim(0)), made.SETTINGS).refusals == ()
