"""The DNS of the internet: what the zones say, and real bind9 and unbound that say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.internet import addresses, packages
from e2e.internet.dns import Dns, DnsConfig, DnsError, txt_rdata
from e2e.internet.place import HostPlace
from e2e.internet.zones import zone_files
from lane_operator.blocklists import asker
from lane_operator.deliverability.dnsbl import Answer
from tests.ports import free_port

IP = "127.0.0.1"  # bind9 listens only on addresses that an interface has


def test_every_zone_has_its_soa_and_name_server() -> None:
    for zone, content in zone_files().items():
        assert "@ IN SOA ns1.example.net." in content, zone
        assert "@ IN NS ns1.example.net." in content, zone


def test_every_mail_exchanger_has_an_address_and_a_name_for_it() -> None:
    zones = zone_files()
    for provider in addresses.PROVIDERS:
        assert len(provider.hosts) >= 2
        for host, address in provider.hosts:
            assert f"{host}. IN A {address}\n" in zones["example"]
            assert f"{address.rpartition('.')[2]} IN PTR {host}.\n" in zones["100.51.198.in-addr.arpa"]


def test_no_address_is_used_twice() -> None:
    used = addresses.internet_addresses()

    assert len(set(used) | {addresses.RESOLVER, addresses.DEAD}) == len(used) + 2


def test_at_least_four_isps_take_any_number_of_recipient_domains() -> None:
    wildcards = set(re.findall(r"^\*\.(\S+)\. IN MX", zone_files()["example"], re.MULTILINE))

    assert len(wildcards) >= 6
    assert sum(1 for one in addresses.PROVIDERS if {s.bulk for s in one.mx_sets} & wildcards) >= 4


def test_one_isp_spans_two_mx_sets() -> None:
    assert [len(one.mx_sets) for one in addresses.PROVIDERS].count(2) == 1


def test_a_long_text_is_cut_into_strings_of_255_octets() -> None:
    assert txt_rdata("x" * 300) == f'"{"x" * 255}" "{"x" * 45}"'
    assert txt_rdata('a"b\\') == '"a\\"b\\\\"'


@pytest.fixture(scope="module")
def dns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dns]:
    packages.install()
    folder: Path = tmp_path_factory.mktemp("dns")
    place = HostPlace(folder / "log")
    served = Dns(place, DnsConfig(folder / "conf", IP, IP, free_port(IP), free_port(IP)))
    try:
        served.up()
        yield served
    finally:
        place.end_all()


def test_mx_and_addresses_resolve_through_unbound(dns: Dns) -> None:
    assert sorted(dns.query("gmail-like.example", "MX")) == ["10 mx1.gmail-like.example.", "20 mx2.gmail-like.example."]
    assert dns.query("mx1.gmail-like.example") == ["198.51.100.10"]


def test_any_domain_of_a_bulk_zone_has_that_isps_mail_exchangers(dns: Dns) -> None:
    assert sorted(dns.query("d49999.bulk-c.example", "MX")) == [
        "10 mxa.protect.outlook-like.example.",
        "20 mxb.protect.outlook-like.example.",
    ]


def test_the_peculiar_domains_are_peculiar(dns: Dns) -> None:
    assert dns.query(addresses.NULL_MX_DOMAIN, "MX") == ["0 ."]
    assert dns.query(addresses.IMPLICIT_MX_DOMAIN, "MX") == []
    assert dns.query(addresses.IMPLICIT_MX_DOMAIN) == ["198.51.100.20"]
    assert dns.query(addresses.DEAD_DOMAIN, "MX") == ["10 mx1.dead.example."]
    assert dns.status(addresses.NXDOMAIN, "MX") == "NXDOMAIN"
    assert dns.status(addresses.SERVFAIL_DOMAIN, "MX") == "SERVFAIL"


def test_egress_addresses_have_names_both_ways(dns: Dns) -> None:
    assert dns.query("10.113.0.203.in-addr.arpa", "PTR") == ["out10.example.com."]
    assert dns.query("out10.example.com") == ["203.0.113.10"]


async def test_the_operator_asks_a_blocklist_of_bind9_through_unbound(dns: Dns) -> None:
    ask = asker([IP], dns.config.resolver_port)
    name = "9.113.0.203.dnsbl.example.com"
    assert await ask(name) == Answer()
    dns.publish_address(name, "127.0.0.4")
    assert await ask(name) == Answer(("127.0.0.4",))
    dns.withdraw_address(name)
    assert await ask(name) == Answer()
    assert (await ask(f"2.0.0.127.{addresses.SERVFAIL_DOMAIN}")).failure == "NoNameservers"


def test_a_published_text_is_visible_at_once_also_where_its_absence_was_cached(dns: Dns) -> None:
    name = "s1._domainkey.notify.example.com"
    assert dns.query(name, "TXT") == []
    value = "v=DKIM1; k=rsa; p=" + "A" * 392

    dns.publish_txt(name, value)

    assert "".join(re.findall(r'"([^"]*)"', dns.query(name, "TXT")[0])) == value
    dns.publish_txt(name, "v=DKIM1; p=")
    assert dns.query(name, "TXT") == ['"v=DKIM1; p="']
    dns.withdraw_txt(name)
    assert dns.query(name, "TXT") == []


def test_a_published_host_points_both_ways(dns: Dns) -> None:
    dns.publish_host("mail7.example.org", "203.0.113.77")

    assert dns.query("mail7.example.org") == ["203.0.113.77"]
    assert dns.query("77.113.0.203.in-addr.arpa", "PTR") == ["mail7.example.org."]


def test_an_address_has_another_name_or_none_and_its_host_stays(dns: Dns) -> None:
    dns.publish_host("mail8.example.org", "203.0.113.78")

    dns.publish_reverse("203.0.113.78", "elsewhere.example.org")
    assert dns.query("78.113.0.203.in-addr.arpa", "PTR") == ["elsewhere.example.org."]
    dns.withdraw_reverse("203.0.113.78")
    assert dns.query("78.113.0.203.in-addr.arpa", "PTR") == []
    assert dns.query("mail8.example.org") == ["203.0.113.78"]


def test_a_zone_that_takes_no_updates_refuses_them_with_a_reason(dns: Dns) -> None:
    with pytest.raises(DnsError, match="REFUSED"):
        dns.publish_txt("gmail-like.example", "no")


def test_a_flushed_resolver_asks_again(dns: Dns) -> None:
    dns.publish_txt("ttl.example.com", "one", ttl_s=60)
    assert dns.query("ttl.example.com", "TXT") == ['"one"']

    dns.flush()

    assert dns.query("ttl.example.com", "TXT") == ['"one"']
