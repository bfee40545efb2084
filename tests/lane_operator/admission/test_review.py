"""What the webhook says of an object is what reconcile would say of it, and nothing is decided twice."""

import copy
import dataclasses
from typing import Any

import pytest

from lane_operator.admission import Verdict, review
from lane_operator.reconcile import World
from lane_operator.references import lane_of
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_pool_pass import body

ADDRESS = {"ip": "203.0.113.10", "hostname": "out0.example.com"}


def spec_of(model: Any) -> dict[str, Any]:
    found: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return found


def lane(name: str = "otp", **spec: Any) -> dict[str, Any]:
    asked = {"poolRef": {"name": "pool"}, "replicas": 1, **spec}
    return body("SendingLane", name, made.lane(**asked).spec)


def policy(name: str, *patterns: str, domain: str = "gmail.com") -> dict[str, Any]:
    rules = [
        {"id": f"r{at}", "pattern": pattern, "category": "rate-limited", "action": "Backoff", "examples": ["421 slow"]}
        for at, pattern in enumerate(patterns)
    ]
    given = {"match": {"domains": [domain]}, "responses": rules}
    return {"kind": "ISPPolicy", "metadata": {"name": name, "namespace": "mail"}, "spec": given}


def asked(kind: str, new: dict[str, Any], old: dict[str, Any] | None = None) -> dict[str, Any]:
    operation = "CREATE" if old is None else "UPDATE"
    return {
        "uid": "u",
        "kind": {"kind": kind},
        "namespace": "mail",
        "operation": operation,
        "object": new,
        "oldObject": old,
    }


@pytest.fixture
def here(rig: tuple[SmallApi, World]) -> World:
    """A pool of one address."""
    world = dataclasses.replace(rig[1], served=frozenset({"mail"}))
    pool = body("IPPool", "pool", made.pool(addresses=[ADDRESS]).spec, resourceVersion="9", uid="review-pool")
    world.cache.put("IPPool", pool)
    return world


def test_what_is_sound_passes_in_silence(here: World) -> None:
    assert review(here, asked("SendingLane", lane())) == Verdict()


def test_a_spec_that_no_model_reads_is_refused_and_the_field_named(here: World) -> None:
    broken = lane()
    broken["spec"]["replicas"] = "two"

    found = review(here, asked("SendingLane", broken))

    assert "spec.replicas" in found.refusal
    assert found.warnings == ()


def test_whatever_stands_in_a_spec_its_finalizers_can_be_taken_off(here: World) -> None:
    broken = lane()
    broken["spec"]["replicas"] = "two"
    freed = copy.deepcopy(broken)
    freed["metadata"]["finalizers"] = []
    going = copy.deepcopy(lane())
    going["metadata"]["deletionTimestamp"] = "2026-11-23T08:00:00Z"
    going["spec"]["replicas"] = "two"

    assert review(here, asked("SendingLane", freed, broken)) == Verdict()
    assert review(here, asked("SendingLane", going, lane())) == Verdict()


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"poolRef": {"name": "nowhere"}}, "IPPool mail/nowhere does not exist"),
        ({"replicas": 3}, "2 of 3 slots have none"),
        ({"trafficClass": "Cold"}, "names a pool of the lane's class"),
        ({"isps": [{"name": "gmial", "connectionsPerIP": 3}]}, "isps names gmial"),
    ],
)
def test_what_a_lane_would_wait_for_is_a_warning(here: World, spec: dict[str, Any], words: str) -> None:
    found = review(here, asked("SendingLane", lane(**spec)))

    assert found.refusal == ""
    assert any(words.replace("names a pool", "name a pool") in one for one in found.warnings), found


def test_a_lane_of_a_namespace_that_is_not_served_is_told_so(here: World) -> None:
    (said,) = review(dataclasses.replace(here, served=frozenset()), asked("SendingLane", lane())).warnings

    assert "servedNamespaces" in said


def test_a_lane_hears_of_names_that_its_namespace_may_not_have_published(here: World) -> None:
    mine = asked("SendingLane", lane(domains=[{"name": "bank.example", "dns": {"provider": "ExternalDNS"}}]))
    for listed, words in ((("mail=example.com",), "dns.domains does not list them"), (("mail=bank.example",), "")):
        there = dataclasses.replace(here, settings=dataclasses.replace(here.settings, dns_domains=listed))
        said = review(there, mine).warnings
        assert [words in one for one in said] == ([True] if words else [])


def test_addresses_that_other_lanes_hold_count(here: World) -> None:
    here.cache.put("SendingLane", lane("first") | {"metadata": {**lane("first")["metadata"], "resourceVersion": "7"}})

    (said,) = review(here, asked("SendingLane", lane("second"))).warnings

    assert "1 of 1 slots have none" in said


def test_a_lane_that_changes_is_judged_without_what_it_was(here: World) -> None:
    before = lane()
    here.cache.put("SendingLane", {**before, "metadata": {**before["metadata"], "resourceVersion": "7"}})

    assert review(here, asked("SendingLane", lane(slo={"latency": "30s"}), before)).warnings == ()


def test_a_cold_lane_that_shares_a_domain_is_told_which(here: World) -> None:
    other = lane("otp")
    here.cache.put("SendingLane", {**other, "metadata": {**other["metadata"], "resourceVersion": "7"}})

    found = review(here, asked("SendingLane", lane("outreach", trafficClass="Cold")))

    assert any("would spoil the reputation of lane mail/otp" in one for one in found.warnings), found


@pytest.mark.parametrize("pattern", ["(?<=look)behind", "([", "never matches its example"])
def test_a_rule_that_re2_cannot_read_or_that_is_dead_is_refused(here: World, pattern: str) -> None:
    before = policy("mine", "^421")

    for stood in (None, before):
        found = review(here, asked("ISPPolicy", policy("mine", pattern), stood))
        assert "r0" in found.refusal, found
        assert "correct or remove the rule" in found.refusal


def test_a_shadowed_rule_is_refused(here: World) -> None:
    assert "rule r1: shadowed" in review(here, asked("ISPPolicy", policy("mine", "^421", "slow"))).refusal


def test_a_policy_whose_rules_were_dead_before_can_be_changed_elsewhere(here: World) -> None:
    dead = policy("mine", "([")
    other = copy.deepcopy(dead)
    other["spec"]["priority"] = 5

    found = review(here, asked("ISPPolicy", other, dead))

    assert found.refusal == ""
    assert any("correct or remove the rule" in one for one in found.warnings), found


def stands(name: str = "otp", **spec: Any) -> dict[str, Any]:
    """A lane of three slots and one in standby, each with mail."""
    made_of = lane(name, **{"replicas": 3, "standbyReplicas": 1, **spec})
    made_of["metadata"] |= {"uid": repr(spec), "resourceVersion": "7", "generation": 1}  # specs are kept by uid
    names = ("otp-0", "otp-1", "otp-2", "otp-s0")
    rows = [{"name": one, "queued": 10 * at, "oldestSince": f"2026-11-23T0{at}:00:00Z"} for at, one in enumerate(names)]
    made_of["status"] = {"queued": 60, "oldestSince": "2026-11-23T01:00:00Z", "slots": rows}
    return made_of


def deleted(of: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "uid": "u", "kind": {"kind": "SendingLane"}, "namespace": "mail", "name": "otp", "operation": "DELETE",
        "object": None, "oldObject": of,
    }  # fmt: skip


def scaled(replicas: int) -> dict[str, Any]:
    return {
        "uid": "u", "kind": {"kind": "Scale"}, "namespace": "mail", "name": "otp", "operation": "UPDATE",
        "subResource": "scale", "object": {"metadata": {"name": "otp"}, "spec": {"replicas": replicas}},
        "oldObject": {"metadata": {"name": "otp"}, "spec": {"replicas": 3}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({}, "takes no more, and goes once they are sent or bounced, which may take 4h (queue.lifetime)"),
        ({"drain": {"to": {"host": "relay.example.net"}}}, "once they are handed to relay.example.net (drain.to)"),
        ({"drain": {"policy": "Hold"}}, "by drain.policy Hold its slots stop with them, and their queue volumes stay"),
        ({"suspend": True}, "is suspended: it keeps them and stays until spec.suspend is false"),
    ],
)
def test_who_deletes_a_lane_with_mail_is_told_what_becomes_of_it(here: World, spec: dict[str, Any], words: str) -> None:
    found = review(here, deleted(stands(**spec)))

    assert found.refusal == ""
    (said,) = found.warnings
    assert said.startswith("lane mail/otp has about 60 messages queued, the oldest since 2026-11-23T01:00:00Z")
    assert words in said


def test_a_lane_that_is_let_go_with_its_mail_is_told_so(here: World) -> None:
    of = stands()
    of["metadata"]["annotations"] = {"lanewright.dev/release": "keep-volumes"}

    assert "goes without sending them" in review(here, deleted(of)).warnings[0]


def test_who_deletes_what_has_no_mail_or_goes_already_or_cannot_be_read_hears_nothing(here: World) -> None:
    empty, going, broken = stands(), stands(), stands()
    broken["metadata"]["uid"] = "broken"
    empty["status"]["queued"] = 0
    going["metadata"]["deletionTimestamp"] = "2026-11-23T08:00:00Z"
    broken["spec"]["replicas"] = "two"

    for of in (None, empty, going, broken):  # of a collection the first question is about no object
        assert review(here, deleted(of)) == Verdict()


@pytest.mark.parametrize(
    ("spec", "replicas", "words"),
    [
        ({}, 1, "otp-1, otp-2 is to go with about 30 messages queued, the oldest since 2026-11-23T01:00:00Z: it takes"),
        ({}, 1, "hands them to the lane's other slots, and goes once it has none"),
        ({}, 0, "goes once they are sent or bounced"),
        ({"drain": {"policy": "Wait"}}, 1, "goes once they are sent or bounced"),
        ({"drain": {"policy": "Hold"}}, 1, "by drain.policy Hold it stops with them, until replicas rise"),
        ({"suspend": True}, 0, "spec.suspend keeps them from being sent"),
    ],
)
def test_who_scales_a_lane_in_is_told_what_becomes_of_the_mail(
    here: World, spec: dict[str, Any], replicas: int, words: str
) -> None:
    of = stands(**spec)
    here.cache.put("SendingLane", of)
    fewer = copy.deepcopy(of)
    fewer["spec"]["replicas"] = replicas

    assert any(words in one for one in review(here, scaled(replicas)).warnings)
    assert any(words in one for one in review(here, asked("SendingLane", fewer, of)).warnings)


def test_a_standby_slot_that_goes_counts_and_what_stays_does_not(here: World) -> None:
    of = stands()
    here.cache.put("SendingLane", of)
    fewer = copy.deepcopy(of)
    fewer["spec"]["standbyReplicas"] = 0

    assert any("otp-s0 is to go with about 30" in one for one in review(here, asked("SendingLane", fewer, of)).warnings)
    assert review(here, scaled(4)) == Verdict()
    assert review(here, {**scaled(1), "name": "unknown"}) == Verdict()


def test_after_the_store_went_back_a_lane_hears_what_its_address_waits_for(here: World) -> None:
    class Restored:
        went_back_at = here.wall()
        unknown_since = None

        def dealt_with(self) -> None:
            raise AssertionError("a judgement notes nothing")

    found = review(dataclasses.replace(here, went_back=Restored()), asked("SendingLane", lane()))

    assert any("was put back from an older snapshot" in one for one in found.warnings), found


def test_a_policy_that_ties_with_another_is_told_which(here: World) -> None:
    tied = policy("first")
    tied["metadata"] |= {"uid": "tied", "resourceVersion": "3", "generation": 1}
    here.cache.put("ISPPolicy", tied)

    assert any("ISPPolicy first" in one for one in review(here, asked("ISPPolicy", policy("second"))).warnings)
    assert review(here, asked("ISPPolicy", policy("apart", domain="yahoo.com"))) == Verdict()


def test_an_address_of_another_pool_is_told_whose_it_is(here: World) -> None:
    second = body("IPPool", "z-second", made.pool(addresses=[ADDRESS]).spec)

    (said,) = review(here, asked("IPPool", second)).warnings

    assert "203.0.113.10 is in IPPool mail/pool" in said


def test_a_judgement_leaves_nothing_behind(here: World) -> None:
    stored = lane()
    stored["metadata"] |= {"uid": "kept", "resourceVersion": "7", "generation": 1}
    here.cache.put("SendingLane", stored)
    proposed = copy.deepcopy(lane(replicas=3))
    proposed["metadata"] |= {"uid": "kept", "generation": 1}

    review(here, asked("SendingLane", proposed, stored))

    kept = here.cache.get("SendingLane", "mail", "otp")
    assert kept is stored
    assert lane_of(stored).spec.replicas == 1
