"""Fields that change no child and no slot's configuration by themselves: why, and the test that shows what they do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.lane_operator.fields.places import DOMAIN

_KEYS = "tests/lane_operator/test_dkim_keys.py"
_BAD_INPUT = "e2e/test_bad_input_is_refused_with_the_fix.py"
_TURNS = {"domains": [{"name": DOMAIN, "dkim": {"rotateEvery": "240h"}}]}
_LISTS = {"dnsbl": {"lists": ["bl.spamcop.net"]}}
_BALANCED = {"type": "LoadBalancer"}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A field that acts in another place."""

    value: Any
    """As users write it; not the default. With it and without, all children are the same."""
    why: str
    shown_by: str
    """FILE::NAME of the test."""
    lane: Mapping[str, Any] = field(default_factory=dict)
    pool: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)


ELSEWHERE: dict[str, Elsewhere] = {
    "lane.submission.service.proxyProtocol": Elsewhere(
        True,
        "says that the balancer speaks so; what is acted on is clients.proxies, which must stand beside it",
        f"{_BAD_INPUT}::a_balancer_without_network",
        lane={"submission": {"service": _BALANCED, "clients": {"proxies": ["10.9.0.0/16"]}}},
    ),
    "lane.feedback.service.proxyProtocol": Elsewhere(
        True,
        "likewise, with feedback.proxies",
        f"{_BAD_INPUT}::a_reports_balancer_without_network",
        lane={"feedback": {"service": _BALANCED, "proxies": ["10.9.0.0/16"]}},
    ),
    "lane.domains[].dkim.selector": Elsewhere(
        "given",
        "provision hands the key on under this selector, and children name what was handed on",
        f"{_KEYS}::test_no_key_gives_way_that_a_person_publishes_or_named",
    ),
    "lane.domains[].dkim.secretName": Elsewhere(
        "mine",
        "provision reads the key from this Secret, and children name what was handed on",
        f"{_KEYS}::test_a_given_key_is_never_written",
        lane={"domains": [{"name": DOMAIN, "dkim": {"selector": "given"}}]},
    ),
    "lane.domains[].dkim.ed25519": Elsewhere(
        False,
        "provision makes the second key or none, and children name what was handed on",
        f"{_KEYS}::test_a_lane_without_ed25519_has_none_in_its_next_key",
    ),
    "lane.domains[].dkim.rotateEvery": Elsewhere(
        "240h",
        "when provision makes the next key; children name the keys that are there",
        f"{_KEYS}::test_a_key_gives_way_to_the_next_one_by_way_of_dns",
    ),
    "lane.domains[].dkim.propagation": Elsewhere(
        "24h",
        "when the next key signs; likewise",
        f"{_KEYS}::test_a_key_gives_way_to_the_next_one_by_way_of_dns",
        lane=_TURNS,
    ),
    "lane.domains[].dkim.retire": Elsewhere(
        "24h",
        "when the key before is forgotten; likewise",
        f"{_KEYS}::test_a_key_gives_way_to_the_next_one_by_way_of_dns",
        lane=_TURNS,
    ),
    "lane.queue.reclaimPolicy": Elsewhere(
        "Delete",
        "what becomes of a claim whose slot is gone: a step of its drain",
        "tests/lane_operator/test_drain.py::"
        "test_the_empty_volume_is_released_by_uid_and_deleted_only_where_the_lane_says_so",
        lane={"audit": {"archive": {"pvc": {"claimName": "shelf"}}}},
    ),
    "lane.drain.deadline": Elsewhere(
        "5m",
        "when the lane is Stalled over a drain: status alone",
        "tests/lane_operator/status/test_lane_status.py::test_a_drain_past_its_deadline_says_what_is_left_and_the_way_out",
    ),
    "pool.cooldown": Elsewhere(
        "1h",
        "when another lane may have an address: of a lane that has its own it changes nothing",
        "tests/lane_operator/pools/test_allocate.py::test_a_released_address_cools_down_for_others",
    ),
    "pool.verification.secretName": Elsewhere(
        "other",
        "provision copies it beside the lane, under a name of ours that children mount",
        "tests/lane_operator/test_provision.py::test_the_reflectors_key_is_copied_and_followed",
    ),
    "pool.warmup.schedule": Elsewhere(
        "Default",
        "the word for what is so without it; beside steps it is refused",
        "e2e/bad_input.py::two_ladders",
        pool={"warmup": {}},
    ),
    "pool.dnsbl.lists": Elsewhere(
        ["zen.spamhaus.org"],
        "whom the operator asks; what it is told is in status, and in a child once it is a quarantine",
        "tests/lane_operator/test_listed_pool_pass.py::test_every_address_is_asked_for_seconds_too_and_with_what_is_recorded",
        pool=_LISTS,
    ),
    "pool.dnsbl.every": Elsewhere(
        "30m",
        "how often it asks",
        "tests/lane_operator/test_listed_pool_pass.py::test_every_address_is_asked_for_seconds_too_and_with_what_is_recorded",
        pool=_LISTS,
    ),
    "pool.dnsbl.onListing": Elsewhere(
        "Quarantine",
        "what a listing means: of addresses that are in no list it changes nothing",
        "tests/lane_operator/pools/test_listings.py::test_what_follows_is_what_the_pool_asks_for_as_far_as_the_lane_lets_it",
        pool=_LISTS,
    ),
}
