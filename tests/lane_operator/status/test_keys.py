"""What is said of a key's turn: which record to publish, which to leave, which to take away, and when."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest

from lane_api.lane_status import KeyPhase, LaneStatus
from lane_api.selector import SelectorFinding
from lane_operator.inputs import Desired, DkimKey, KeyTurn
from lane_operator.seen import NextKeySeen
from lane_operator.status import lane_status
from tests.lane_operator import made

DOMAIN = "notify.example.com"
WHEN = dt.datetime(2026, 12, 1, tzinfo=dt.UTC)
NEW = DkimKey("lw2", "otp-dkim", "2.private.key", "v=DKIM1; p=NEW", DkimKey("lw2-ed25519", "otp-dkim", "e", "p=ED"), 2)
OLD = DkimKey("lw1", "otp-dkim", "private.key", "v=DKIM1; p=OLD")
PUBLISHING = replace(OLD, turn=KeyTurn(KeyPhase.PUBLISHING, following=NEW))
PROPAGATING = replace(OLD, turn=KeyTurn(KeyPhase.PROPAGATING, WHEN, following=NEW))
RETIRING = replace(NEW, turn=KeyTurn(KeyPhase.RETIRING, WHEN, before=OLD))
RETIRED = replace(NEW, turn=KeyTurn(ends=WHEN, retired="lw1"))
STABLE = replace(NEW, turn=KeyTurn(ends=WHEN))


def status(keys: dict[str, DkimKey], provider: str = "Manual", **seen: Any) -> LaneStatus:
    of = made.lane(domains=[{"name": name, "dns": {"provider": provider}} for name in keys])
    published = {"domains_published": dict.fromkeys(keys, True), **seen}
    return lane_status(
        of,
        made.references(of, made.pool(), dkim=keys),
        made.assignment(),
        Desired(),
        made.observation(made.seen(0, **published), made.seen(1, **published)),
        made.NOW,
    )


def verdict(said: LaneStatus) -> tuple[str, str, str] | None:
    found = next((one for one in said.conditions if one.type == "DKIMRotation"), None)
    return None if found is None else (found.status, found.reason, found.message)


@pytest.mark.parametrize(
    ("key", "provider", "expected", "words"),
    [
        (PUBLISHING, "Manual", ("True", "NextKeyUnpublished"), f'publish TXT lw2._domainkey.{DOMAIN} = "v=DKIM1; p='),
        (PUBLISHING, "Manual", ("True", "NextKeyUnpublished"), f'and TXT lw2-ed25519._domainkey.{DOMAIN} = "p=ED"'),
        (PUBLISHING, "Manual", ("True", "NextKeyUnpublished"), "(no slot has looked for it yet)"),
        (PUBLISHING, "ExternalDNS", ("True", "NextKeyUnpublished"), "external-dns is to publish TXT lw2"),
        (PROPAGATING, "Manual", ("True", "NextKeyPropagates"), "lw2, which signs from 2026-12-01T00:00:00Z on"),
        (RETIRING, "Manual", ("True", "OldKeyRetires"), f"leave TXT lw1._domainkey.{DOMAIN} in DNS until 2026-12-01"),
        (RETIRED, "Manual", ("False", "OldKeyRetired"), f"lw1._domainkey.{DOMAIN} is forgotten: take that out of DNS"),
        (RETIRED, "ExternalDNS", ("False", "OldKeyRetired"), "external-dns takes its records out"),
        (STABLE, "Manual", ("False", "KeysStable"), f"the next key of {DOMAIN} is made at 2026-12-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_each_phase_says_what_is_to_be_done(key: DkimKey, provider: str, expected: tuple[str, str], words: str) -> None:
    found = verdict(status({DOMAIN: key}, provider))
    assert found is not None
    assert found[:2] == expected
    assert words in found[2]


def test_what_a_slot_misses_stands_in_the_message() -> None:
    seen = NextKeySeen("lw2", published=False, finding=SelectorFinding.OTHER, message="another key is published")
    found = verdict(status({DOMAIN: PUBLISHING}, domains_next={DOMAIN: seen}))
    assert found is not None
    assert "(another key is published)" in found[2]


def test_keys_that_are_not_rotated_are_not_spoken_of() -> None:
    said = status({DOMAIN: OLD})
    assert verdict(said) is None
    assert said.domains[0].dkim.phase is None


def test_of_several_domains_the_least_far_is_told_first() -> None:
    found = verdict(status({"a.test": RETIRING, "b.test": PUBLISHING, "c.test": replace(PUBLISHING, selector="x")}))
    assert found is not None
    assert found[1] == "NextKeyUnpublished"
    assert "b.test" in found[2]
    assert "c.test" in found[2]
    assert "a.test" not in found[2]


@pytest.mark.parametrize(("selector", "published"), [("lw2", True), ("lw0", False)])
def test_the_next_key_stands_in_status_with_what_dns_says_of_it(selector: str, published: bool) -> None:
    seen = NextKeySeen(selector, published=True, finding=SelectorFinding.PUBLISHED, ed25519=True)
    (domain,) = status({DOMAIN: PROPAGATING}, domains_next={DOMAIN: seen}).domains
    assert (domain.dkim.selector, domain.dkim.phase, domain.dkim.until) == (
        "lw1",
        KeyPhase.PROPAGATING,
        "2026-12-01T00:00:00Z",
    )
    assert domain.dkim.next is not None
    assert (domain.dkim.next.record_name, domain.dkim.next.record) == (f"lw2._domainkey.{DOMAIN}", "v=DKIM1; p=NEW")
    assert domain.dkim.next.published is published
    assert domain.dkim.next.ed25519 is not None
    assert domain.dkim.next.ed25519.published is published
    assert domain.dkim.previous is None


def test_the_key_before_and_the_record_that_may_go_stand_in_status() -> None:
    (domain,) = status({DOMAIN: RETIRING}).domains
    assert domain.dkim.previous is not None
    assert (domain.dkim.previous.selector, domain.dkim.previous.record) == ("lw1", "v=DKIM1; p=OLD")
    (domain,) = status({DOMAIN: RETIRED}).domains
    assert (domain.dkim.previous, domain.dkim.retired) == (None, f"lw1._domainkey.{DOMAIN}")
