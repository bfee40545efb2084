"""Records that external-dns is to publish: which, for which domains, and how they are spelled."""

from dataclasses import replace
from typing import Any

import pytest

from lane_api.ippool import IPPoolStatus
from lane_api.names import DNS_ENDPOINT_KIND
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, DkimKey, Manifest
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child

DOMAIN = "notify.example.com"
KEY = "v=DKIM1; k=rsa; p=" + "A" * 392
SECOND = DkimKey("lw1-ed25519", "otp-dkim", "ed25519.key", "v=DKIM1; k=ed25519; p=BBBB")


def desired(
    dns: dict[str, Any] | None = None,
    served: bool = True,
    engine: str = "Multus",
    pool: dict[str, Any] | None = None,
    refers: dict[str, Any] | None = None,
    **more: Any,
) -> Desired:
    path = {"domain": f"b.{DOMAIN}"}
    domains = [
        {"name": DOMAIN, "dns": {"provider": "ExternalDNS"} | (dns or {}), "returnPath": path},
        {"name": "by.example.net"},
    ]
    service = {"type": "LoadBalancer", "hostname": "in.example.com", **more.pop("service", {})}
    addresses = [{"ip": "203.0.113.10", "hostname": "a.example.com"},
                 {"ip": "2001:db8::10", "hostname": "b.example.com", "role": "Standby"}]  # fmt: skip
    of = made.lane(domains=domains, feedback={"service": service}, **more)
    of_pool = made.pool(engine, **({"addresses": addresses} if engine == "Multus" else {}) | (pool or {}))
    key = DkimKey("lw1", "otp-dkim", "private.key", KEY, second=SECOND)
    kinds = made.KINDS | {DNS_ENDPOINT_KIND} if served else made.KINDS - {DNS_ENDPOINT_KIND}
    given = {"dkim": {DOMAIN: key, "by.example.net": key}} | (refers or {})
    references = made.references(of, of_pool, kinds=kinds, **given)
    claims = made.assignment(made.claim(0, engine), made.claim(1, engine))
    return desired_state(of, references, claims, made.SETTINGS)


def records(found: Desired) -> dict[tuple[str, str], str]:
    rows: list[Manifest] = child(found, "DNSEndpoint", "otp")["spec"]["endpoints"]
    assert all(len(row["targets"]) == 1 for row in rows)
    return {(row["dnsName"], row["recordType"]): row["targets"][0] for row in rows}


def test_keys_and_the_return_paths_mx_and_spf_are_published() -> None:
    found = records(desired())

    assert set(found) == ALL, "and nothing of the domain that is published by hand"
    assert found[f"b.{DOMAIN}", "TXT"] == '"v=spf1 ip4:203.0.113.10 ip6:2001:db8::10 -all"'
    assert found[f"b.{DOMAIN}", "MX"] == "10 in.example.com"


def test_a_long_key_is_spelled_in_strings_that_dns_takes_or_as_one_text_where_asked() -> None:
    name = (f"lw1._domainkey.{DOMAIN}", "TXT")
    quoted = records(desired())[name]
    strings = quoted.strip('"').split('" "')

    assert "".join(strings) == KEY
    assert [len(one) for one in strings] == [255, len(KEY) - 255]
    assert records(desired({"text": "Plain"}))[name] == KEY


def test_the_ttl_is_the_one_that_is_asked_for() -> None:
    rows = child(desired({"ttl": 60}), "DNSEndpoint", "otp")["spec"]["endpoints"]
    assert {row["recordTTL"] for row in rows} == {60}


def test_what_is_not_known_is_not_published() -> None:
    kept = records(desired(engine="ClusterDefault", service={"hostname": None}))
    assert set(kept) == {(f"lw1._domainkey.{DOMAIN}", "TXT"), (f"lw1-ed25519._domainkey.{DOMAIN}", "TXT")}


ALL = {
    (f"lw1._domainkey.{DOMAIN}", "TXT"),
    (f"lw1-ed25519._domainkey.{DOMAIN}", "TXT"),
    (f"b.{DOMAIN}", "TXT"),
    (f"b.{DOMAIN}", "MX"),
}


def standing(*rows: tuple[str, str, str]) -> Manifest:
    """The object as an earlier pass made it."""
    endpoints = [{"dnsName": name, "recordType": kind, "recordTTL": 300, "targets": [to]} for name, kind, to in rows]
    return {"metadata": {"name": "otp"}, "spec": {"endpoints": endpoints}}


@pytest.mark.parametrize(
    ("allowed", "kept"),
    [
        (None, ALL),
        (("*",), ALL),
        (("example.com",), ALL),
        (("example.org", DOMAIN), ALL),
        ((f"b.{DOMAIN}",), {(f"b.{DOMAIN}", "TXT"), (f"b.{DOMAIN}", "MX")}),
        (("otify.example.com", "com.example", "x"), set()),
        ((), set()),
    ],
)
def test_a_namespace_has_records_published_of_the_domains_that_are_its_own_alone(
    allowed: tuple[str, ...] | None, kept: set[tuple[str, str]]
) -> None:
    found = desired(refers={"publishable": allowed})
    made_any = "DNSEndpoint" in {one["kind"] for one in found.manifests}
    assert (set(records(found)) if made_any else set()) == kept
    assert bool(found.unpublishable) == (kept != ALL)
    if not kept:
        assert f"asked for no records of {DOMAIN}, b.{DOMAIN}: the chart's value dns.domains" in found.unpublishable
        assert "for namespace mail" in found.unpublishable


def test_what_stands_there_of_a_name_that_is_not_allowed_is_neither_changed_nor_withdrawn() -> None:
    before = ((f"lw1._domainkey.{DOMAIN}", "TXT", "the key before"), ("mail.bank.example", "TXT", "of no domain here"))
    found = desired(refers={"publishable": (f"b.{DOMAIN}",), "dns_endpoint": standing(*before)})
    assert set(records(found)) == {(f"b.{DOMAIN}", "TXT"), (f"b.{DOMAIN}", "MX"), before[0][:2]}
    assert records(found)[before[0][:2]] == "the key before"
    assert DOMAIN in found.unpublishable


def test_a_key_that_cannot_be_read_now_and_a_pool_that_is_gone_take_no_record_out_of_dns() -> None:
    before = ((f"lw0._domainkey.{DOMAIN}", "TXT", "key"), (f"b.{DOMAIN}", "TXT", "spf"), ("x.example", "TXT", "other"))
    found = records(desired(refers={"dkim": {}, "pool": None, "dns_endpoint": standing(*before)}))
    assert found == {before[0][:2]: "key", before[1][:2]: "spf", (f"b.{DOMAIN}", "MX"): "10 in.example.com"}


@pytest.mark.parametrize("closed", [{"allowedNamespaces": {}}, {"classes": ["Bulk"]}])
def test_no_address_of_a_pool_that_is_closed_to_the_lane_is_told_but_its_own(closed: dict[str, Any]) -> None:
    standing_spf = standing((f"b.{DOMAIN}", "TXT", "spf"))
    assert (f"b.{DOMAIN}", "TXT") not in records(desired(pool=closed, refers={"dns_endpoint": standing_spf}))
    rows = [
        {"ip": "203.0.113.10", "lane": "mail/otp", "slot": "otp-0"},
        {"ip": "203.0.113.11", "lane": "mail/other", "slot": "other-0"},
        {"ip": "203.0.113.12", "lane": "mail/otp", "slot": "otp-1", "releasedAt": "2026-11-23T07:00:00Z"},
        {"ip": "2001:db8::10"},
    ]
    status = IPPoolStatus.model_validate({"addresses": rows})
    still = replace(made.pool(**closed), status=status)
    assert records(desired(refers={"pool": still}))[f"b.{DOMAIN}", "TXT"] == '"v=spf1 ip4:203.0.113.10 -all"'


def test_it_outlives_its_lane_as_the_keys_do() -> None:
    metadata = child(desired(), "DNSEndpoint", "otp")["metadata"]
    assert "ownerReferences" not in metadata
    assert metadata["labels"]["lanewright.dev/lane"] == "otp"


def test_the_mxs_name_is_given_to_the_balancer_whose_address_it_is_to_be() -> None:
    def name(**service: Any) -> str | None:
        metadata = child(desired(service=service), "Service", "otp-feedback")["metadata"]
        found: str | None = metadata.get("annotations", {}).get("external-dns.alpha.kubernetes.io/hostname")
        return found

    assert name() == "in.example.com"
    assert name(type="ClusterIP") is None
    assert name(annotations={"external-dns.alpha.kubernetes.io/hostname": "mine.example.com"}) == "mine.example.com"


def test_where_the_kind_is_absent_it_is_left_out_and_named() -> None:
    found = desired(served=False)
    assert found.left_out == (DNS_ENDPOINT_KIND,)
    assert "DNSEndpoint" not in {one["kind"] for one in found.manifests}
    assert not found.refusals
