"""From answers to hosts and addresses: RFC 5321 section 5.1 and RFC 7505 as tables."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.isppolicy import Category
from lane_api.relayconfig import SitePolicy
from lane_relay.records import Hop, Unroutable
from lane_relay.resolve.answers import Answer, MxRecord, Status
from lane_relay.resolve.mx import MAX_HOSTS, Ourselves, choose_hosts, make_hops
from lane_relay.resolve.site_name import SiteNames, mx_set_name

US = "out.sender.test"


def found(*records: tuple[int, str]) -> Answer[MxRecord]:
    return Answer(Status.FOUND, tuple(MxRecord(*record) for record in records), 300.0)


def hosts_of(answer: Answer[MxRecord], seed: int = 1) -> Any:
    return choose_hosts("d.test", answer, Random(seed), US)


def test_hosts_come_in_the_order_of_their_preference() -> None:
    assert hosts_of(found((30, "c"), (10, "a"), (20, "b"))) == ("a", "b", "c")


def test_equal_preferences_are_shuffled_and_the_others_keep_their_place() -> None:
    orders = {hosts_of(found((10, "a"), (10, "b"), (20, "z")), seed) for seed in range(20)}
    assert orders == {("a", "b", "z"), ("b", "a", "z")}


def test_without_mx_the_domain_itself_is_the_host() -> None:
    assert hosts_of(Answer(Status.NODATA)) == ("d.test",)


@pytest.mark.parametrize(
    ("answer", "code", "enhanced", "category"),
    [
        (found((0, "")), 556, "5.1.10", Category.BAD_DOMAIN),
        (Answer(Status.NXDOMAIN), 550, "5.1.2", Category.BAD_DOMAIN),
        (Answer(Status.SERVFAIL), 451, "4.4.3", Category.DNS_FAILURE),
        (Answer(Status.TIMEOUT), 451, "4.4.3", Category.DNS_FAILURE),
        (found((10, "192.0.2.1")), 550, "5.4.4", Category.BAD_DOMAIN),
        (found((10, "[192.0.2.1]"), (20, "")), 550, "5.4.4", Category.BAD_DOMAIN),
        (found((10, US)), 554, "5.4.6", Category.ROUTING_ERRORS),
        (found((10, US), (10, "a"), (20, "b")), 554, "5.4.6", Category.ROUTING_ERRORS),
    ],
)
def test_what_cannot_be_routed_says_whether_for_ever(
    answer: Answer[MxRecord], code: int, enhanced: str, category: Category
) -> None:
    outcome = hosts_of(answer)
    assert isinstance(outcome, Unroutable)
    assert (outcome.reply.code, outcome.reply.enhanced, outcome.category) == (code, enhanced, category)


def test_a_null_mx_beside_others_is_ignored() -> None:
    assert hosts_of(found((0, ""), (10, "a"))) == ("a",)


def test_hosts_behind_ourselves_are_never_tried() -> None:
    assert hosts_of(found((5, "first"), (10, US), (20, "behind"))) == ("first",)


def addresses(*texts: str) -> Answer[str]:
    return Answer(Status.FOUND, texts, 60.0)


def test_hosts_without_addresses_are_passed_over() -> None:
    answers = {"a": [Answer[str](Status.NXDOMAIN)], "b": [addresses("192.0.2.2")]}
    assert make_hops("d.test", ("a", "b"), answers, Ourselves(US, ["192.0.2.9"])) == (Hop("b", ("192.0.2.2",)),)


@pytest.mark.parametrize(
    ("statuses", "code"),
    [((Status.NXDOMAIN, Status.NODATA), 550), ((Status.NXDOMAIN, Status.SERVFAIL), 451), ((Status.TIMEOUT,), 451)],
)
def test_only_definite_answers_make_a_permanent_failure(statuses: tuple[Status, ...], code: int) -> None:
    answers = {str(number): [Answer[str](status)] for number, status in enumerate(statuses)}
    outcome = make_hops("d.test", tuple(answers), answers, Ourselves(US, ["192.0.2.9"]))
    assert isinstance(outcome, Unroutable)
    assert outcome.reply.code == code


@pytest.mark.parametrize(
    "address", ["192.0.2.9", "127.0.0.1", "::1", "0.0.0.0", "224.0.0.1", "64:ff9b::192.0.2.9", "64:ff9b::7f00:1"]
)
def test_a_host_at_our_own_address_would_be_a_loop(address: str) -> None:
    outcome = make_hops("d.test", ("a",), {"a": [addresses(address)]}, Ourselves(US, ["192.0.2.9"]))
    assert isinstance(outcome, Unroutable)
    assert outcome.reply.enhanced == "5.4.6"


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:192.0.2.9",
        "::FFFF:c000:209",
        "::ffff:127.0.0.1",
        "::ffff:0.0.0.0",
        "2001:db8:0:0:0:0:0:9",
        "2001:DB8::9",
    ],
)
def test_our_own_addresses_are_recognised_however_they_are_written(address: str) -> None:
    assert Ourselves(US, ["192.0.2.9", "2001:db8::9"]).is_reached_at(address)
    assert Ourselves(US, ["::ffff:192.0.2.9", "2001:db8::9", "::ffff:127.0.0.1"]).is_reached_at("192.0.2.9")
    assert not Ourselves(US, ["192.0.2.9"]).is_reached_at("64:ff9b::192.0.2.8")
    assert not Ourselves(US, ["127.0.0.9"]).is_reached_at("::ffff:127.0.0.5")


def test_an_ipv4_address_written_as_an_ipv6_one_is_no_address_of_a_host() -> None:
    answers = {"a": [addresses("::ffff:198.51.100.7", "2001:db8::7")], "b": [addresses("::ffff:192.0.2.9")]}
    ourselves = Ourselves(US, ["2001:db8::9"])
    assert make_hops("d.test", ("a", "b"), answers, ourselves) == (Hop("a", ("2001:db8::7",)),)
    outcome = make_hops("d.test", ("b",), answers, ourselves)
    assert isinstance(outcome, Unroutable)
    assert (outcome.reply.code, outcome.reply.enhanced) == (550, "5.4.4")


def test_hosts_preferred_no_more_than_the_one_at_our_address_are_dropped_in_whatever_order_they_come() -> None:
    records = (MxRecord(10, "a"), MxRecord(20, "us"), MxRecord(20, "b"), MxRecord(30, "c"))
    answers = {host: [addresses(f"192.0.2.{number}")] for number, host in enumerate("abc", 1)}
    answers["us"] = [addresses("192.0.2.9")]
    ourselves = Ourselves(US, ["192.0.2.9"])
    for hosts in (("a", "us", "b", "c"), ("a", "b", "us", "c")):
        assert make_hops("d.test", hosts, answers, ourselves, records) == (Hop("a", ("192.0.2.1",)),)
    outcome = make_hops("d.test", ("b", "us"), answers, ourselves, records[1:])
    assert isinstance(outcome, Unroutable)
    assert outcome.reply.enhanced == "5.4.6"


def test_a_relay_on_loopback_may_send_to_loopback() -> None:
    hops = make_hops("d.test", ("a",), {"a": [addresses("127.0.0.5")]}, Ourselves(US, ["127.0.0.9"]))
    assert hops == (Hop("a", ("127.0.0.5",)),)


@given(
    st.lists(st.tuples(st.integers(0, 65535), st.sampled_from(["", "a", "b", "c", US, "192.0.2.1", "d" * 60]))),
    st.integers(),
)
def test_any_records_give_distinct_hosts_in_order_or_a_reason(records: list[tuple[int, str]], seed: int) -> None:
    if not records:
        return
    outcome = hosts_of(found(*records), seed)
    if isinstance(outcome, Unroutable):
        assert outcome.reply.is_permanent
        return
    best = {host: min(preference for preference, other in records if other == host) for host in outcome}
    assert [best[host] for host in outcome] == sorted(best.values())
    assert len(set(outcome)) == len(outcome) <= MAX_HOSTS
    assert not {"", US, "192.0.2.1"} & set(outcome)


POLICIES = (
    SitePolicy(name="google", mx=("*.google.com", "*.googlemail.com")),
    SitePolicy(name="named", domains=("Special.test",)),
    SitePolicy(name="exact", mx=("mx.exact.test",)),
    SitePolicy(name="wide", mx=("*.google.com", "mx.exact.test")),
)


@pytest.mark.parametrize(
    ("domain", "hosts", "expected"),
    [
        ("gmail.com", ["alt1.google.com", "x.googlemail.com"], ("google", "google")),
        ("half.test", ["alt1.google.com", "mx.other.test"], ("alt1.google.com,mx.other.test", "")),
        ("special.test", ["mx.other.test"], ("named", "named")),
        ("e.test", ["mx.exact.test"], ("exact", "exact")),
        ("sub.test", ["a.mx.exact.test"], ("a.mx.exact.test", "")),
        ("bare.test", ["google.com"], ("google.com", "")),
        ("both.test", ["mx.exact.test", "a.google.com"], ("wide", "wide")),
        ("stranger.test", ["google"], ("mx:google", "")),
    ],
)
def test_the_first_policy_that_matches_every_host_gives_the_site(
    domain: str, hosts: list[str], expected: tuple[str, str]
) -> None:
    assert SiteNames(POLICIES).site(domain, hosts) == expected


def test_domains_behind_the_same_hosts_are_one_site_in_any_order() -> None:
    assert mx_set_name(["b", "a", "b"]) == mx_set_name(["a", "b"]) == "a,b"
