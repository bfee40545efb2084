"""A lane that has all that it asks for is served from the record; whatever is about to change goes through the pool."""

import copy
import dataclasses
import secrets
from typing import Any

import pytest

from lane_api.ippool import IPPoolSpec, Quarantine
from lane_operator.inputs import Assignment, Key, SlotObservation
from lane_operator.observe import Observer
from lane_operator.reconcile import World
from lane_operator.reconcile import pool as room
from lane_operator.reconcile.pool import assign
from lane_operator.references import lane_of, pool_of
from tests.lane_operator import made
from tests.lane_operator.small_api import SmallApi
from tests.lane_operator.test_pool_pass import body

POOL: Key = ("mail", "pool")
PATH = "/apis/lanewright.dev/v1alpha1/namespaces/mail/ippools/pool"
LANES = ("bulk", "news", "otp")


def addresses(count: int = 9) -> list[dict[str, Any]]:
    return [{"ip": f"203.0.113.{10 + at}", "hostname": f"out{at}.example.com"} for at in range(count)]


def put_lane(here: World, name: str, version: int = 50, **spec: Any) -> None:
    asked = made.lane(poolRef={"name": "pool"}, replicas=2, **spec).spec
    here.cache.put("SendingLane", body("SendingLane", name, asked, resourceVersion=str(version), generation=version))


def put_pool(api: SmallApi, here: World, spec: IPPoolSpec) -> None:
    """A pool that no other test has had: what is known of one is known by its uid."""
    here.cache.put("IPPool", api.put(PATH, body("IPPool", "pool", spec, uid=secrets.token_hex(8))))


def edit(api: SmallApi, here: World, change: Any) -> None:
    """Another state of the pool, as its owner writes it."""
    stored = copy.deepcopy(api.objects[PATH])
    change(stored)
    here.cache.put("IPPool", api.put(PATH, stored))


async def assigned(here: World, name: str) -> Assignment:
    lane = lane_of(here.cache.get("SendingLane", "mail", name) or {})
    return await assign(here, lane, pool_of(here.cache.get("IPPool", *POOL) or {}))


@pytest.fixture
async def settled(rig: tuple[SmallApi, World]) -> tuple[SmallApi, World]:
    """Three lanes of two slots, all served."""
    api, here = rig
    put_pool(api, here, made.pool(addresses=addresses()).spec)
    for name in LANES:
        put_lane(here, name)
    await assigned(here, "otp")
    api.writes.clear()
    return api, here


def is_shortcut(here: World, name: str) -> bool:
    lane = lane_of(here.cache.get("SendingLane", "mail", name) or {})
    return room._as_recorded(here, lane, pool_of(here.cache.get("IPPool", *POOL) or {})) is not None


async def test_the_record_gives_what_going_through_the_pool_gives(settled: tuple[SmallApi, World]) -> None:
    api, here = settled
    pool = pool_of(here.cache.get("IPPool", *POOL) or {})
    whole = room._allocated(here, pool).assignments

    for name in LANES:
        assert is_shortcut(here, name)
        assert await assigned(here, name) == whole["mail", name]
        assert len(whole["mail", name].claims) == 2
    assert api.writes == []


async def test_a_lane_that_grows_or_shrinks_goes_through_the_pool(settled: tuple[SmallApi, World]) -> None:
    api, here = settled
    grown = made.lane(poolRef={"name": "pool"}, replicas=3).spec
    here.cache.put("SendingLane", body("SendingLane", "otp", grown, resourceVersion="60", generation=60))
    assert not is_shortcut(here, "otp")
    assert len((await assigned(here, "otp")).claims) == 3
    assert is_shortcut(here, "otp")

    shrunk = made.lane(poolRef={"name": "pool"}, replicas=1).spec
    here.cache.put("SendingLane", body("SendingLane", "otp", shrunk, resourceVersion="70", generation=70))
    assert not is_shortcut(here, "otp")
    assert len((await assigned(here, "otp")).claims) == 1
    assert sum(row.get("lane") == "mail/otp" and "releasedAt" not in row
               for row in api.objects[PATH]["status"]["addresses"]) == 1  # fmt: skip


async def test_what_the_pool_says_anew_of_an_address_reaches_the_lane(settled: tuple[SmallApi, World]) -> None:
    api, here = settled
    held = next(row["ip"] for row in api.objects[PATH]["status"]["addresses"] if row.get("lane") == "mail/otp")

    def renamed(stored: Any) -> None:
        next(row for row in stored["spec"]["addresses"] if row["ip"] == held)["hostname"] = "new.example.com"
        stored["metadata"]["generation"] = 2

    edit(api, here, renamed)

    claims = (await assigned(here, "otp")).claims
    assert "new.example.com" in {claim.address.hostname for claim in claims if claim.address}


@pytest.mark.parametrize("gone", [True, False])
async def test_an_address_that_its_owner_takes_out_goes_through_the_pool(
    settled: tuple[SmallApi, World], gone: bool
) -> None:
    api, here = settled
    held = next(row["ip"] for row in api.objects[PATH]["status"]["addresses"] if row.get("lane") == "mail/otp")

    def taken(stored: Any) -> None:
        rows = stored["spec"]["addresses"]
        if gone:
            stored["spec"]["addresses"] = [row for row in rows if row["ip"] != held]
        else:
            next(row for row in rows if row["ip"] == held)["quarantined"] = True

    edit(api, here, taken)

    assert not is_shortcut(here, "otp")
    assert is_shortcut(here, "news")
    claims = (await assigned(here, "otp")).claims
    assert any(claim.quarantine is not None for claim in claims) is not gone


async def test_a_slot_that_says_that_it_is_refused_goes_through_the_pool(settled: tuple[SmallApi, World]) -> None:
    _, here = settled

    class Refused(Observer):
        def seen(self, lane: Key, slot: str) -> SlotObservation | None:
            quarantine = Quarantine(by="rule", since="2026-11-23T08:00:00Z", isps=("gmail",))
            return made.seen(name=slot, quarantines=(quarantine,)) if slot == "otp-0" else None

    refused = dataclasses.replace(here, observer=Refused(lambda _: None))

    assert not is_shortcut(refused, "otp")
    assert is_shortcut(refused, "news")
    assert any(claim.quarantine is not None for claim in (await assigned(refused, "otp")).claims)


async def test_a_pool_that_has_moved_on_or_goes_is_gone_through(settled: tuple[SmallApi, World]) -> None:
    api, here = settled
    lane, before = lane_of(here.cache.get("SendingLane", "mail", "otp") or {}), pool_of(api.objects[PATH])

    edit(api, here, lambda stored: stored["metadata"].update({"labels": {"a": "b"}}))
    assert room._as_recorded(here, lane, before) is None

    edit(api, here, lambda stored: stored["metadata"].update({"deletionTimestamp": "2026-11-23T08:00:00Z"}))
    assert not is_shortcut(here, "otp")


async def test_without_addresses_there_is_nothing_to_go_through(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    put_pool(api, here, made.pool("ClusterDefault").spec)
    put_lane(here, "otp")

    assert is_shortcut(here, "otp")
    assert [claim.slot_name for claim in (await assigned(here, "otp")).claims] == ["otp-0", "otp-1"]
    assert api.writes == []


async def test_a_lane_that_the_pool_is_closed_to_says_so(rig: tuple[SmallApi, World]) -> None:
    api, here = rig
    closed = made.pool(addresses=addresses(), classes=["Bulk"]).spec
    put_pool(api, here, closed)
    put_lane(here, "otp")

    found = await assigned(here, "otp")

    assert found.claims == ()
    assert found.refusal is not None


async def test_a_pool_is_looked_at_again_when_an_address_has_rested(settled: tuple[SmallApi, World]) -> None:
    _, here = settled
    shrunk = made.lane(poolRef={"name": "pool"}, replicas=1).spec
    here.cache.put("SendingLane", body("SendingLane", "otp", shrunk, resourceVersion="70", generation=70))
    await assigned(here, "otp")

    rests = pool_of(here.cache.get("IPPool", *POOL) or {}).spec.cooldown
    assert await room.reconcile_pool(here, POOL) == rests


async def test_a_lane_with_pairs_is_served_from_the_record_until_a_second_comes_or_goes(
    rig: tuple[SmallApi, World],
) -> None:
    api, here = rig
    pairs = [{**one, "second": {"ip": f"2001:db8::{at}"}} for at, one in enumerate(addresses(), 1)]
    network = {
        "network": "mail/public",
        "prefixLength": 24,
        "gateway": "203.0.113.1",
        "second": {"prefixLength": 64},
    }
    put_pool(api, here, made.pool(addresses=pairs, engineConfig=network).spec)
    put_lane(here, "otp")
    claims = (await assigned(here, "otp")).claims
    assert [one.address.ips for one in claims if one.address] == [
        ("203.0.113.10", "2001:db8::1"),
        ("203.0.113.11", "2001:db8::2"),
    ]
    assert is_shortcut(here, "otp")
    assert (await assigned(here, "otp")).claims == claims

    edit(api, here, lambda stored: stored["spec"]["addresses"][0].pop("second"))
    assert not is_shortcut(here, "otp")
    assert [one.address.second is None for one in (await assigned(here, "otp")).claims if one.address] == [True, False]
