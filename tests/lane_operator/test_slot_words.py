"""Whatever a slot says of itself, nobody but its own lane pays for it."""

import copy
import dataclasses
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.classes import TrafficClass
from lane_api.ippool import IPPoolStatus
from lane_api.moment import moment
from lane_operator import slot_words
from lane_operator.inputs import Demand, Key, Pool, SlotObservation
from lane_operator.pools.allocate import allocate
from lane_operator.pools.quarantine import with_stand_ins
from lane_operator.pools.sightings import with_sightings
from lane_operator.slot_answers import answered, slot_answer
from tests.lane_operator import made

AT, LATER = "2026-11-23T07:50:00Z", "2026-11-23T08:20:00Z"
ACT = {
    "action": "QuarantineIP", "site": "gmail", "since": AT, "until": LATER, "rule": "gmail/listed", "reply": "550 no",
    "sample": "550 no",
}  # fmt: skip
NEXT = {"selector": "n", "published": False, "dns": "Absent", "message": "none", "ed25519": {"published": True}}
ANSWER: dict[str, Any] = {
    "spoolId": "0" * 32,
    "spool": {"mark": 9},
    "generation": 3,
    "serial": 70,
    "refused": "",
    "intake": {"state": "Open", "ordered": "Open", "sessions": 1},
    "queue": {"live": 5, "inFlight": 1, "oldestSince": AT, "diskBytes": 50, "budgetBytes": 100, "behind": True},
    "delivery": {
        "proof": {"state": "Proved", "open": True, "message": "", "address": "203.0.113.10", "at": AT},
        "ptr": {"finding": "ForwardConfirmed", "message": ""},
        "restored": "",
        "orders": ["hold of gmail"],
        "acts": [ACT, {**ACT, "action": "SuspendSite", "domain": "brand.test"}],
        "slowed": [{**ACT, "action": "Backoff"}],
        "observed": [ACT],
    },
    "domains": [
        {
            "name": "example.com", "selector": "s", "published": True, "dns": "Published", "message": "",
            "ed25519": {"published": True}, "next": NEXT,
        }
    ],
    "warmup": [{"isp": "gmail", "step": 2, "amount": 500, "since": AT}],
    "certificate": {"selfSigned": True},
    "records": {
        "head": "{}", "failure": "", "lastSeq": 9, "archive": {"archivedSeq": 4, "failure": "503"},
        "webhook": {"unsent": 1, "failure": "503"},
    },
    "feedback": {"unsent": 1, "failure": ""},
    "suppressions": {"words": 7, "readBy": ["otp-1"], "archived": True, "failure": ""},
    "handover": {
        "doubts": [{"slot": "otp-1", "entries": 2, "since": AT, "overdue": True}],
        "owed": [{"slot": "otp-1", "transfers": 2, "since": AT}],
        "stranded": False,
    },
    "lastHour": {"delivered": 5, "deferred": 1, "bounced": 0},
    "recent": {"seconds": 60.0, "delivered": 5, "failed": 0, "p90": 1.5},
}  # fmt: skip
JUNK: list[Any] = [
    None, True, -1, 0, 10**30, -(10**30), float("inf"), float("nan"), 1e300, "", "x" * 9000, "\ud800", "\x1b[2J\n",
    "2026-11-23T08:00:00", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "²", [], {}, [[]] * 300, [{}] * 300,
    {"a": {}}, ["\ud800" * 300] * 300, "中" * 5000,
]  # fmt: skip


def places(part: Any, *before: Any) -> Iterator[tuple[Any, ...]]:
    """The way to each value of an answer, and to each part of it."""
    for name, value in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield (*before, name)
        yield from places(value, *before, name)


def said(*changes: tuple[tuple[Any, ...], Any]) -> SlotObservation | None:
    """What is seen of an answer in which each of these places says that; None: it is none."""
    answer = copy.deepcopy(ANSWER)
    for place, value in changes:
        inner: Any = answer
        try:
            for name in place[:-1]:
                inner = inner[name]
            inner[place[-1]] = value
        except (TypeError, KeyError, IndexError):  # an earlier change took that place away
            continue
    try:
        return slot_answer("otp-0", answered(json.dumps(answer).encode()))
    except (ValueError, KeyError):
        return None


def pool() -> Pool:
    addresses = [{"ip": f"203.0.113.{last}", "hostname": f"o{last}.example.com"} for last in (10, 11)]
    return made.pool("External", addresses=addresses, allowedNamespaces={"names": ["mail", "bank"]})


def looked_at(before: Pool, seen: SlotObservation | None) -> Pool:
    """The pool after a look at it: one lane's slot said that, and another's nothing."""
    demands = [Demand(space, "otp", TrafficClass.TRANSACTIONAL, made.POOL, 1) for space in ("mail", "bank")]

    def sighted(lane: Key, _slot: str) -> SlotObservation | None:
        return seen if lane == ("mail", "otp") else None

    result = with_stand_ins(allocate([before], demands, made.NOW), sighted, made.NOW)
    status = with_sightings(result.statuses[made.POOL], sighted)
    stored = IPPoolStatus.model_validate_json(status.model_dump_json(by_alias=True))
    assert stored == status
    return replace(before, status=status)


def leaves(value: Any) -> Iterator[Any]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in dataclasses.fields(value)}
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for one in value:
            yield from leaves(one)
    else:
        yield value


def is_harmless(value: Any) -> bool:
    """Whether it can be stored by the API server, shown on a terminal, and added up."""
    if isinstance(value, str):
        value.encode()
        return len(value) <= 4096 and value.isprintable()
    return value is None or isinstance(value, bool) or (isinstance(value, int | float) and abs(value) <= 10**15)


def test_a_whole_answer_is_seen_as_it_is() -> None:
    seen = said()

    assert seen is not None
    assert (seen.queued, seen.proof_at, seen.oldest_since, seen.unarchived, seen.untold) == (5, AT, AT, 5, 2)
    assert [one.until for one in seen.quarantines] == [LATER]
    assert {one.name for one in dataclasses.fields(seen) if getattr(seen, one.name) in (None, (), {}, [])} == set()


@pytest.mark.parametrize("place", list(places(ANSWER)), ids=lambda place: ".".join(map(str, place)))
def test_no_single_value_does_harm(place: tuple[Any, ...]) -> None:
    for junk in JUNK:
        seen = said((place, junk))
        assert all(map(is_harmless, leaves(seen)))
        if place[0] in {"delivery", "warmup"}:
            first = looked_at(pool(), seen)
            again = looked_at(first, None)  # and then it is silent
            for status in (first.status, again.status):
                assert len(status.model_dump_json()) < 16_384


@given(st.lists(st.tuples(st.sampled_from(list(places(ANSWER))), st.integers(0, len(JUNK) - 1)), max_size=4))
def test_neither_do_several(changes: list[tuple[tuple[Any, ...], int]]) -> None:
    seen = said(*((place, JUNK[number]) for place, number in changes))

    assert all(map(is_harmless, leaves(seen)))
    first = looked_at(pool(), seen)
    for one in (first, looked_at(first, None)):
        assert len(one.status.model_dump_json()) < 16_384


def test_of_an_address_that_very_many_isps_refuse_the_first_are_told_and_what_is_about_all_mail_before() -> None:
    acts = [{**ACT, "site": f"isp-{one:03}", "since": f"2026-11-23T07:{10 + one % 50}:00Z"} for one in range(90)]
    seen = said((("delivery", "acts"), [*acts, {**ACT, "site": "*", "since": LATER}]))
    wide = said((("delivery", "acts"), [{**act, "site": f"{act['site']:0>250}"} for act in acts]))

    assert seen is not None
    assert len(seen.quarantines) == 32
    assert seen.quarantines[0].isps == ()
    assert [one.since for one in seen.quarantines[1:]] == sorted(one.since for one in seen.quarantines[1:])
    assert wide is not None
    assert len(wide.quarantines) == 8
    assert len(looked_at(pool(), wide).status.model_dump_json()) < 16_384


@given(st.one_of(st.text(), st.integers(), st.floats(), st.none(), st.binary()))
def test_each_kind_of_word_is_of_its_kind(value: Any) -> None:
    assert slot_words.time(value) is None or moment(value) is not None
    assert len(slot_words.word(value)) <= 64
    assert slot_words.name(value).isascii()
    assert slot_words.verbatim(value, 10) in {"", value}
    assert slot_words.number(value) is None or slot_words.number(value) == value
