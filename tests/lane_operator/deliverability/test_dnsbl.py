"""Which blocklists are believed, what they list, and that one look changes nothing."""

import datetime as dt
from dataclasses import replace

import pytest

from lane_api.dnsbl import Listing
from lane_operator.deliverability.dnsbl import (
    Answer,
    Standing,
    ZoneLook,
    decide,
    probes,
    query_name,
    remembered,
)

NOW = dt.datetime(2026, 11, 23, 8, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(minutes=20)
IP, ZONE = "203.0.113.10", "zen.spamhaus.org"
FOUND, NOTHING = Answer(("127.0.0.4", "127.0.0.2")), Answer()
LISTING = Listing(list=ZONE, codes=("127.0.0.2", "127.0.0.4"), since="2026-11-23T08:00:00Z")
WORKS = ZoneLook(ZONE, 4, listed=Answer(("127.0.0.2",)), unlisted=NOTHING)


def look(answer: Answer, ip: str = IP) -> ZoneLook:
    return replace(WORKS, addresses={ip: answer})


def after(*answers: Answer, start: Standing | None = None) -> Standing:
    """Looks at a list that works, 20 minutes apart."""
    standing, now = start or Standing(), NOW
    for answer in answers:
        standing = decide(standing, [look(answer)], now)
        now += dt.timedelta(minutes=20)
    return standing


def test_an_address_is_listed_once_two_looks_have_found_it_with_the_codes_and_since_the_first() -> None:
    once = after(FOUND)
    assert once.listings(IP) == ()
    assert once.is_in_doubt, "it is looked again soon"

    twice = after(FOUND, FOUND)
    assert twice.listings(IP) == (LISTING,)
    assert not twice.is_in_doubt
    assert twice.broken == {}


def test_what_is_found_once_and_then_not_is_no_listing() -> None:
    assert after(FOUND, NOTHING, FOUND).listings(IP) == ()
    assert after(FOUND, NOTHING).known == {}


def test_a_listing_is_over_once_two_looks_on_end_have_not_found_it() -> None:
    listed = after(FOUND, FOUND)
    once = after(NOTHING, start=listed)
    assert (once.listings(IP), once.is_in_doubt) == ((LISTING,), True)
    assert after(NOTHING, FOUND, NOTHING, start=listed).listings(IP) == (LISTING,)
    assert after(NOTHING, NOTHING, start=listed).known == {}


def test_other_codes_are_the_same_listing() -> None:
    (found,) = after(FOUND, FOUND, Answer(("127.0.0.10",))).listings(IP)
    assert (found.codes, found.since) == (("127.0.0.10",), LISTING.since)


BROKEN = {
    "its test address is missing": (replace(WORKS, listed=NOTHING), "does not have its test address 127.0.0.2"),
    "it lists everything": (
        replace(WORKS, unlisted=Answer(("127.0.0.3",))),
        "has 127.0.0.1, so it has every address",
    ),
    "it refuses public resolvers": (
        replace(WORKS, listed=Answer(("127.255.255.254",))),
        "answers 127.255.255.254: the resolver is public",
    ),
    "it was asked too often": (
        replace(WORKS, unlisted=Answer(("127.255.255.255",))),
        "answers 127.255.255.255: too many",
    ),
    "another error": (replace(WORKS, listed=Answer(("127.255.255.7",))), "answers 127.255.255.7: an error"),
    "its domain was sold": (replace(WORKS, listed=Answer(("198.51.100.1",))), "answers 198.51.100.1, which is no"),
    "nobody answers": (replace(WORKS, listed=Answer(failure="NoNameservers")), "does not answer: NoNameservers"),
    "it blocks": (replace(WORKS, unlisted=Answer(("127.0.0.1",))), "answers 127.0.0.1: it does not talk"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_list_that_does_not_work_neither_lists_nor_frees_an_address(case: str) -> None:
    shape, why = BROKEN[case]
    new = replace(shape, addresses={IP: FOUND})
    twice = decide(decide(Standing(), [new], NOW), [new], LATER)
    assert twice.listings(IP) == ()
    assert twice.broken[ZONE].startswith(why)

    listed, gone = after(FOUND, FOUND), replace(shape, addresses={IP: NOTHING})
    assert decide(decide(listed, [gone], NOW), [gone], LATER).listings(IP) == (LISTING,)


@pytest.mark.parametrize("code", ["127.255.255.252", "127.255.255.254", "127.255.255.255", "127.0.0.1", "10.0.0.1"])
def test_an_error_at_one_address_is_no_listing_of_it_and_frees_none(code: str) -> None:
    assert after(Answer((code,)), Answer((code,)), Answer((code,))).listings(IP) == ()
    kept = after(Answer((code,)), Answer(failure="Timeout"), Answer((code,)), start=after(FOUND, FOUND))
    assert kept.listings(IP) == (LISTING,)
    assert ZONE in kept.broken


def test_a_look_that_says_nothing_is_none_of_the_two_in_a_row() -> None:
    assert after(FOUND, Answer(failure="Timeout"), FOUND).listings(IP) == ()


def test_what_a_list_said_before_it_broke_counts_for_a_day() -> None:
    listed, broken = after(FOUND, FOUND), [replace(WORKS, listed=NOTHING, addresses={IP: NOTHING})]
    confirmed = LATER
    assert decide(listed, broken, confirmed + dt.timedelta(hours=24)).listings(IP) == (LISTING,)
    assert decide(listed, broken, confirmed + dt.timedelta(hours=24, seconds=1)).listings(IP) == ()


def test_a_list_or_an_address_that_is_asked_for_no_more_is_forgotten() -> None:
    listed = after(FOUND, FOUND)
    assert decide(listed, [], LATER).known == {}
    assert decide(listed, [look(NOTHING, "203.0.113.11")], LATER).known == {}


def test_what_is_recorded_counts_after_a_restart_until_two_looks_say_otherwise() -> None:
    restarted = remembered({IP: (LISTING,)}, NOW)
    assert restarted.listings(IP) == (LISTING,)
    assert after(NOTHING, start=restarted).listings(IP) == (LISTING,)
    assert after(NOTHING, NOTHING, start=restarted).listings(IP) == ()
    assert after(FOUND, start=restarted).listings(IP) == (LISTING,)


def test_a_list_without_ipv6_works_for_ipv4_and_is_said_to() -> None:
    six = ZoneLook(ZONE, 6, listed=NOTHING, unlisted=NOTHING, addresses={"2001:db8::10": NOTHING})
    standing = Standing()
    for _ in range(2):
        standing = decide(standing, [look(FOUND), six], NOW)
    assert standing.listings(IP) == (LISTING,)
    assert (standing.broken, standing.without_ipv6) == ({}, (ZONE,))

    alone = decide(Standing(), [six], NOW)
    assert (alone.broken, alone.without_ipv6) == ({ZONE: "does not have its test address ::ffff:7f00:2"}, ())
    refuses = replace(six, listed=Answer(("127.255.255.255",)))
    assert decide(Standing(), [look(NOTHING), refuses], NOW).broken[ZONE].endswith(" (for IPv6 alone)")


def test_a_list_s_key_is_shown_nowhere() -> None:
    zone = "x2p4kz7w.zen.dq.spamhaus.net"
    keyed = replace(WORKS, zone=zone, addresses={IP: FOUND})
    standing = decide(decide(Standing(), [keyed], NOW), [keyed], LATER)
    assert [one.list for one in standing.listings(IP)] == ["KEY.zen.dq.spamhaus.net"]
    broken = decide(Standing(), [replace(keyed, listed=NOTHING)], NOW)
    assert list(broken.broken) == ["KEY.zen.dq.spamhaus.net"]


def test_names_are_reversed_octets_and_nibbles() -> None:
    assert query_name(IP, ZONE) == "10.113.0.203.zen.spamhaus.org"
    assert query_name("2001:db8::10", ZONE) == f"0.1.{'0.' * 22}8.b.d.0.1.0.0.2.zen.spamhaus.org"
    assert query_name(probes(6)[0], ZONE).startswith("2.0.0.0.0.0.f.7.f.f.f.f.0.0.")
    assert [query_name(one, ZONE) for one in probes(4)] == [f"2.0.0.127.{ZONE}", f"1.0.0.127.{ZONE}"]
