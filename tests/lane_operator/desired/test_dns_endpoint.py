"""Records that external-dns is to publish: which, for which domains, and how they are spelled."""

from typing import Any

from lane_api.names import DNS_ENDPOINT_KIND
from lane_operator.desired import desired_state
from lane_operator.inputs import Desired, DkimKey, Manifest
from tests.lane_operator import made
from tests.lane_operator.desired.test_desired_state import child

DOMAIN = "notify.example.com"
KEY = "v=DKIM1; k=rsa; p=" + "A" * 392
SECOND = DkimKey("lw1-ed25519", "otp-dkim", "ed25519.key", "v=DKIM1; k=ed25519; p=BBBB")


def desired(dns: dict[str, Any] | None = None, served: bool = True, engine: str = "Multus", **more: Any) -> Desired:
    path = {"domain": f"b.{DOMAIN}"}
    domains = [
        {"name": DOMAIN, "dns": {"provider": "ExternalDNS"} | (dns or {}), "returnPath": path},
        {"name": "by.example.net"},
    ]
    service = {"type": "LoadBalancer", "hostname": "in.example.com", **more.pop("service", {})}
    addresses = [{"ip": "203.0.113.10", "hostname": "a.example.com"},
                 {"ip": "2001:db8::10", "hostname": "b.example.com", "role": "Standby"}]  # fmt: skip
    of = made.lane(domains=domains, feedback={"service": service}, **more)
    pool = made.pool(engine, **({"addresses": addresses} if engine == "Multus" else {}))
    key = DkimKey("lw1", "otp-dkim", "private.key", KEY, second=SECOND)
    kinds = made.KINDS | {DNS_ENDPOINT_KIND} if served else made.KINDS - {DNS_ENDPOINT_KIND}
    references = made.references(of, pool, kinds=kinds, dkim={DOMAIN: key, "by.example.net": key})
    claims = made.assignment(made.claim(0, engine), made.claim(1, engine))
    return desired_state(of, references, claims, made.SETTINGS)


def records(found: Desired) -> dict[tuple[str, str], str]:
    rows: list[Manifest] = child(found, "DNSEndpoint", "otp")["spec"]["endpoints"]
    assert all(len(row["targets"]) == 1 for row in rows)
    return {(row["dnsName"], row["recordType"]): row["targets"][0] for row in rows}


def test_keys_and_the_return_paths_mx_and_spf_are_published() -> None:
    found = records(desired())

    assert set(found) == {
        (f"lw1._domainkey.{DOMAIN}", "TXT"),
        (f"lw1-ed25519._domainkey.{DOMAIN}", "TXT"),
        (f"b.{DOMAIN}", "TXT"),
        (f"b.{DOMAIN}", "MX"),
    }, "and nothing of the domain that is published by hand"
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
