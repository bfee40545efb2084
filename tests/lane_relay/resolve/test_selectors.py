"""Whether DKIM selectors can be found: what DNS holds, outages, and names that keep each other waiting."""

import asyncio
from collections.abc import Awaitable, Callable

from lane_api.selector import SelectorFinding
from lane_relay.clock import Clock
from lane_relay.mail.dkim import Publication
from lane_relay.resolve.answers import Answer, Status
from lane_relay.resolve.selectors import Prove, SelectorWatch, judge_record
from tests.lane_relay.resolve.test_cache_and_router import Hands, Wire, turns

KEY = "MIIBkey"

OURS = Publication("a.test", "s1._domainkey.a.test", KEY)


async def _proves(_key: Publication, _record: str) -> str:
    return ""


def _watch(
    answer: Callable[[str], Awaitable[Answer[str]]], clock: Hands, prove: Prove = _proves
) -> tuple[SelectorWatch, list[str]]:
    changed: list[str] = []
    return SelectorWatch(answer, prove, Clock(clock.monotonic, clock.monotonic), changed.append), changed


def test_a_record_is_live_only_with_this_very_key_and_no_other_beside_it() -> None:
    ours, other = "v=DKIM1; k=rsa; p=MIIBkey", "v=DKIM1; p=other"
    cases = {
        (ours,): SelectorFinding.PUBLISHED,
        ("v=DKIM1; p= MIIB key ;",): SelectorFinding.PUBLISHED,
        (ours, "google-site-verification=x"): SelectorFinding.PUBLISHED,
        (other,): SelectorFinding.OTHER,
        (ours, other): SelectorFinding.OTHER,
        (ours, ours): SelectorFinding.OTHER,
        ("v=DKIM1; p=",): SelectorFinding.OTHER,
        ("hello",): SelectorFinding.OTHER,
    }
    for records, finding in cases.items():
        assert judge_record(Answer(Status.FOUND, records), KEY)[0] is finding
    assert judge_record(Answer(Status.NXDOMAIN), KEY)[0] is SelectorFinding.ABSENT
    assert judge_record(Answer(Status.SERVFAIL), KEY)[0] is SelectorFinding.UNANSWERED
    assert judge_record(Answer(Status.TIMEOUT), KEY)[0] is SelectorFinding.UNANSWERED


async def test_a_selector_is_watched_until_it_is_live_and_an_outage_keeps_it_live() -> None:
    wire, clock = Wire(), Hands()
    watch, changed = _watch(wire.txt, clock)
    watch.apply((OURS,))
    assert not watch.is_live(OURS.record_name)
    await watch.check(OURS.record_name)
    assert not watch.is_live(OURS.record_name)
    wire.answers[OURS.record_name] = Answer(Status.FOUND, (f"p={KEY}",))
    await watch.check(OURS.record_name)
    assert (watch.is_live(OURS.record_name), changed) == (True, ["a.test"])
    wire.answers[OURS.record_name] = Answer(Status.SERVFAIL)
    await watch.check(OURS.record_name)
    assert (watch.is_live(OURS.record_name), changed) == (True, ["a.test"])
    wire.answers[OURS.record_name] = Answer(Status.FOUND, ("p=",))
    await watch.check(OURS.record_name)
    (state,) = watch.states()
    assert (state.live, state.detail) == (False, "the published key is revoked (an empty p=)")
    assert changed == ["a.test", "a.test"]


async def test_a_selector_is_not_live_while_dns_was_never_heard() -> None:
    wire, clock = Wire(), Hands()
    wire.answers[OURS.record_name] = Answer(Status.TIMEOUT)
    watch, changed = _watch(wire.txt, clock)
    watch.apply((OURS,))
    await watch.check(OURS.record_name)
    assert (watch.is_live(OURS.record_name), changed) == (False, [])


async def test_the_right_key_in_a_record_that_verifies_nothing_is_not_live() -> None:
    wire, clock = Wire(), Hands()
    wire.answers[OURS.record_name] = Answer(Status.FOUND, (f"h=sha1; p={KEY}",))

    async def prove(key: Publication, record: str) -> str:
        return f"{key.domain}: {record}"

    watch, changed = _watch(wire.txt, clock, prove)
    watch.apply((OURS,))
    await watch.check(OURS.record_name)
    (state,) = watch.states()
    assert (state.live, state.finding) == (False, SelectorFinding.OTHER)
    assert state.detail == f"a.test: h=sha1; p={KEY}"
    assert changed == []


async def test_the_keys_of_one_domain_are_watched_each_by_itself() -> None:
    wire, clock = Wire(), Hands()
    second = Publication("a.test", "s1-ed._domainkey.a.test", "ed", holds_mail=False)
    wire.answers[second.record_name] = Answer(Status.FOUND, ("k=ed25519; p=ed",))
    watch, changed = _watch(wire.txt, clock)
    watch.apply((OURS, second))
    for key in (OURS, second):
        await watch.check(key.record_name)
    assert [(state.live, state.holds_mail) for state in watch.states()] == [(False, True), (True, False)]
    assert changed == ["a.test"]


async def test_the_watch_asks_again_after_a_configuration_with_another_key() -> None:
    wire, clock = Wire(), Hands()
    wire.answers[OURS.record_name] = Answer(Status.FOUND, (f"p={KEY}",))
    watch, changed = _watch(wire.txt, clock)
    watch.apply((OURS,))
    task = asyncio.create_task(watch.run())
    await turns(lambda: watch.is_live(OURS.record_name))
    watch.apply((OURS,))
    assert watch.is_live(OURS.record_name)
    watch.apply((Publication("a.test", OURS.record_name, "another"),))
    assert not watch.is_live(OURS.record_name)
    await turns(lambda: watch.states()[0].detail == "another key is published")
    assert changed == ["a.test"]
    task.cancel()


async def test_a_key_that_comes_to_sign_is_not_asked_for_anew_and_holds_no_mail_meanwhile() -> None:
    wire, clock = Wire(), Hands()
    later = Publication("a.test", "s2._domainkey.a.test", "later", holds_mail=False)
    wire.answers[later.record_name] = Answer(Status.FOUND, ("p=later",))
    watch, changed = _watch(wire.txt, clock)
    watch.apply((OURS, later))
    await watch.check(later.record_name)
    assert (watch.is_live(later.record_name), changed) == (True, ["a.test"])

    watch.apply((Publication("a.test", later.record_name, "later"),))

    (state,) = watch.states()
    assert (state.live, state.holds_mail) == (True, True)
    assert changed == ["a.test"]


async def test_a_key_that_comes_to_sign_while_it_is_looked_at_has_what_was_found() -> None:
    asked, answered = asyncio.Event(), asyncio.Event()

    async def txt(_name: str) -> Answer[str]:
        asked.set()
        await answered.wait()
        return Answer(Status.FOUND, ("p=later",))

    watch, _ = _watch(txt, Hands())
    later = Publication("a.test", "s2._domainkey.a.test", "later", holds_mail=False)
    watch.apply((later,))
    look = asyncio.create_task(watch.check(later.record_name))
    await asked.wait()
    watch.apply((Publication("a.test", later.record_name, "later"),))
    answered.set()
    await look
    assert [(state.live, state.holds_mail) for state in watch.states()] == [(True, True)]


async def test_names_that_are_never_answered_keep_a_new_key_from_going_live_no_longer_than_a_place_takes() -> None:
    asked, hanging = list[str](), dict[str, asyncio.Event]()

    async def txt(name: str) -> Answer[str]:
        asked.append(name)
        if name == OURS.record_name:
            return Answer(Status.FOUND, (f"p={KEY}",))
        await hanging.setdefault(name, asyncio.Event()).wait()
        return Answer(Status.TIMEOUT)

    clock = Hands()
    watch, changed = _watch(txt, clock)
    dead = tuple(Publication(f"d{number}.test", f"s._domainkey.d{number}.test", KEY) for number in range(20))
    watch.apply((*dead, OURS))
    task = asyncio.create_task(watch.run())
    await turns(lambda: changed == ["a.test"])
    assert sorted(asked) == sorted([*(one.record_name for one in dead), OURS.record_name])
    many = tuple(Publication(f"m{number}.test", f"s._domainkey.m{number}.test", KEY) for number in range(100))
    watch.apply((*dead, *many))
    await turns(lambda: len(hanging) == 32)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len(hanging) == 32  # so many at once
    hanging[dead[0].record_name].set()
    await turns(lambda: len(hanging) == 33)
    clock.at += 20.0  # it is due again, behind those that were never looked at
    hanging[dead[1].record_name].set()
    await turns(lambda: len(hanging) == 34)
    assert asked.count(dead[0].record_name) == 1
    task.cancel()


async def test_a_look_that_takes_long_leaves_the_others_their_own_time() -> None:
    asked, never = list[str](), asyncio.Event()
    slow = Publication("slow.test", "s._domainkey.slow.test", KEY)

    async def txt(name: str) -> Answer[str]:
        asked.append(name)
        if name == slow.record_name:
            await never.wait()
        return Answer(Status.FOUND, (f"p={KEY}",)) if asked.count(OURS.record_name) > 1 else Answer(Status.NXDOMAIN)

    clock = Hands()
    watch, changed = _watch(txt, clock)
    watch.apply((slow, OURS))
    task = asyncio.create_task(watch.run())
    await turns(lambda: OURS.record_name in asked)
    clock.at += 15.0
    watch.apply((slow, OURS))  # wakes it
    await turns(lambda: changed == ["a.test"])
    assert asked.count(slow.record_name) == 1
    task.cancel()
