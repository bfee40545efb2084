"""An etcd that was restored from an older snapshot: whoever remembers what is no more ends, and begins anew."""

import asyncio
import copy
import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lane_api.names import LEASE_TERMS_ANNOTATION, WENT_BACK_ANNOTATION
from lane_operator.errors import WentBackError
from lane_operator.kube import Kube
from lane_operator.leadership import AWAY_S, Leadership
from tests.lane_operator.made import NOW
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_replica_process import LEASE, WITHIN_S, _holder, _started
from tests.lane_operator.test_replica_process import cluster as cluster

pytestmark = pytest.mark.timeout(300)

PATH = "/apis/coordination.k8s.io/v1/namespaces/lw/leases/lanewright"


class Replica(Leadership):
    """On a clock that stands still."""

    def __init__(self, kube: Kube, identity: str) -> None:
        super().__init__(kube, ("lw", "lanewright"), identity, lambda: 100.0, lambda: NOW)


@pytest.fixture
async def server() -> AsyncIterator[tuple[SmallApi, Kube]]:
    async with small_api() as (api, kube):
        yield api, kube


async def test_who_leads_ends_once_its_lease_is_an_older_one(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one = Replica(kube, "a")
    await one.turn()
    snapshot = copy.deepcopy(api.objects[PATH])
    await one.turn()
    api.objects[PATH] = snapshot

    await one.turn()  # what it knew is not what is there
    with pytest.raises(WentBackError, match="older"):
        await one.turn()
    assert not one.holds()


async def test_who_waits_ends_too_before_it_takes_what_it_remembers_for_true(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    snapshot = copy.deepcopy(api.objects[PATH])
    await one.turn()
    await other.turn()
    api.objects[PATH] = snapshot

    with pytest.raises(WentBackError):
        await other.turn()
    assert api.objects[PATH] == snapshot, "nothing was written"


async def test_who_waits_ends_too_when_another_has_renewed_the_older_lease_and_made_it_the_newer_one(
    server: tuple[SmallApi, Kube],
) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    snapshot = copy.deepcopy(api.objects[PATH])
    for _ in range(3):
        await one.turn()
    await other.turn()
    api.objects[PATH] = snapshot
    again = Replica(kube, "a")  # the leader has ended, and begun anew, before the other one looked
    for _ in range(2):
        await again.turn()
    assert again.holds()

    with pytest.raises(WentBackError, match="went on from"):
        await other.turn()
    assert not other.holds()


async def test_who_waited_through_many_leaders_goes_on(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    other = Replica(kube, "b")
    for _ in range(40):
        one = Replica(kube, "a")
        for _ in range(3):
            await one.turn()
        await other.turn()

    assert len(api.objects[PATH]["metadata"]["annotations"][LEASE_TERMS_ANNOTATION]) < 500


async def test_a_lease_whose_terms_a_hand_took_off_says_nothing(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    for _ in range(3):
        await one.turn()
    await other.turn()
    lease = copy.deepcopy(api.objects[PATH])
    lease["metadata"]["annotations"] = {}
    api.put(PATH, lease)

    await other.turn()
    for _ in range(2):
        await one.turn()

    assert (one.holds(), other.holds()) == (True, False)


@pytest.mark.parametrize(
    ("terms", "went_back_at"),
    [(f"a:{'9' * 5000}", ""), ("a:²", "soon"), ("a:1", "0001-01-01T00:00:00+14:00")],
    ids=["endless", "no digits", "before the calendar"],
)
async def test_a_lease_on_which_a_hand_has_written_is_kept_and_renewed(
    server: tuple[SmallApi, Kube], terms: str, went_back_at: str
) -> None:
    api, kube = server
    await Replica(kube, "a").turn()
    lease = copy.deepcopy(api.objects[PATH])
    lease["metadata"]["annotations"] = {LEASE_TERMS_ANNOTATION: terms, WENT_BACK_ANNOTATION: went_back_at}
    api.put(PATH, lease)
    one = Replica(kube, "a")

    for _ in range(2):
        await one.turn()

    assert one.holds()
    assert one.went_back_at == (NOW if went_back_at else None)


async def test_a_lease_that_somebody_else_made_again_is_no_older_one(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    for _ in range(3):
        await one.turn()
    await other.turn()
    del api.objects[PATH]
    await Replica(kube, "c").turn()

    await other.turn()

    assert not other.holds()


async def test_that_it_went_back_stands_on_the_lease_until_it_is_dealt_with(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one = Replica(kube, "a")
    await one.turn()
    assert one.went_back_at is None
    snapshot = copy.deepcopy(api.objects[PATH])
    await one.turn()
    api.objects[PATH] = snapshot
    await one.note_went_back()

    again = Replica(kube, "a")
    await again.turn()
    assert again.went_back_at == NOW
    for _ in range(2):
        await again.turn()
    assert again.went_back_at == NOW, "a renewal keeps it"

    again.dealt_with()
    assert again.went_back_at is None
    await again.turn()
    later = Replica(kube, "a")
    await later.turn()
    assert later.went_back_at is None


async def test_who_leads_already_hears_of_it_from_another_replica(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    await other.note_went_back()
    for _ in range(2):
        await one.turn()

    assert (one.holds(), one.went_back_at) == (True, NOW)
    one.dealt_with()
    for _ in range(2):
        await one.turn()
    assert one.went_back_at is None
    assert set(api.objects[PATH]["metadata"]["annotations"]) == {LEASE_TERMS_ANNOTATION}


async def test_who_takes_a_lease_that_nobody_renewed_for_long_does_not_know_what_happened(
    server: tuple[SmallApi, Kube],
) -> None:
    api, kube = server
    await Replica(kube, "a").turn()
    for seconds, found in ((AWAY_S - 1, None), (AWAY_S + 1, NOW)):
        lease = copy.deepcopy(api.objects[PATH])
        renewed = NOW - dt.timedelta(seconds=seconds)
        lease["spec"] |= {"holderIdentity": "", "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
        api.put(PATH, lease)

        other = Replica(kube, "b")
        await other.turn()

        assert other.holds()
        assert other.went_back_at == found


class Ticking(Leadership):
    """On clocks that a test sets; the wall's may be wrong."""

    def __init__(self, kube: Kube, identity: str, wrong: dt.timedelta = dt.timedelta()) -> None:
        self.seconds = 1000.0
        started = NOW - dt.timedelta(seconds=self.seconds)
        wall = lambda: started + dt.timedelta(seconds=self.seconds) + wrong  # noqa: E731
        super().__init__(kube, ("lw", "lanewright"), identity, lambda: self.seconds, wall)


async def test_a_replica_whose_clock_is_wrong_believes_the_renewals_that_it_has_seen(
    server: tuple[SmallApi, Kube],
) -> None:
    _, kube = server
    one, other = Ticking(kube, "a"), Ticking(kube, "b", dt.timedelta(minutes=20))
    for _ in range(4):
        for each in (one, other):
            await each.turn()
            each.seconds += 2
    for _ in range(10):
        other.seconds += 2
        await other.turn()
    assert (other.holds(), other.went_back_at) == (True, None)

    late = Ticking(kube, "c", dt.timedelta(minutes=40))
    for _ in range(10):
        await late.turn()
        late.seconds += 2
    assert late.went_back_at is not None, "it has seen none: nobody may have been there"


async def test_it_says_since_when_slots_may_be_unknown(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one = Ticking(kube, "a")
    await one.turn()
    first, snapshot = NOW, copy.deepcopy(api.objects[PATH])
    one.seconds += 2
    await one.turn()
    api.objects[PATH] = snapshot
    one.seconds += 30
    await one.note_went_back()
    again = Replica(kube, "a")
    for _ in range(2):
        await again.turn()
    assert again.went_back_at == first + dt.timedelta(seconds=32)
    assert again.unknown_since == first + dt.timedelta(seconds=2), "as it knew of it before"

    again.dealt_with()
    assert again.unknown_since is None


async def test_who_finds_that_nobody_was_there_says_since_when(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    await Replica(kube, "a").turn()
    lease = copy.deepcopy(api.objects[PATH])
    renewed = NOW - dt.timedelta(hours=3)
    lease["spec"] |= {"holderIdentity": "", "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    api.put(PATH, lease)
    other = Replica(kube, "b")
    for _ in range(2):
        await other.turn()
    assert (other.went_back_at, other.unknown_since) == (NOW, renewed)
    older = copy.deepcopy(api.objects[PATH])
    older["metadata"]["annotations"][WENT_BACK_ANNOTATION] = "2026-11-23T08:00:00.000000Z"
    api.put(PATH, older)
    third = Replica(kube, "b")
    await third.turn()
    assert (third.went_back_at, third.unknown_since) == (NOW, None), "as an older operator writes it"


async def test_a_lease_that_was_deleted_and_made_again_is_a_newer_one(server: tuple[SmallApi, Kube]) -> None:
    api, kube = server
    one, other = Replica(kube, "a"), Replica(kube, "b")
    await one.turn()
    await other.turn()
    del api.objects[PATH]
    await one.turn()
    await one.turn()

    await other.turn()

    assert (one.holds(), other.holds()) == (True, False)


async def test_the_process_ends_so_that_the_next_one_reads_everything(cluster: tuple[SmallApi, dict[str, Any]]) -> None:
    api, environment = cluster
    process = await _started(environment)
    assert await asyncio.wait_for(_holder(api), WITHIN_S) == "a"
    snapshot = copy.deepcopy(api.objects[LEASE])
    async with asyncio.timeout(WITHIN_S):
        while api.objects[LEASE]["metadata"]["resourceVersion"] == snapshot["metadata"]["resourceVersion"]:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    api.objects[LEASE] = snapshot

    said, _ = await asyncio.wait_for(process.communicate(), WITHIN_S)

    assert process.returncode == 1
    assert b"went back" in said
    assert WENT_BACK_ANNOTATION in api.objects[LEASE]["metadata"]["annotations"], "whoever leads next is told"
