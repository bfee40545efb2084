"""Two replicas and one Lease: who writes, who waits, and when the one that waits may go ahead."""

import datetime as dt
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lane_operator.errors import NotLeadingError
from lane_operator.kube import SERVICE as _SERVICE_KIND
from lane_operator.kube import Kube
from lane_operator.leadership import EVERY_S, LEASE_S, RENEW_WITHIN_S, Leadership, LeaseLostError
from tests.lane_operator.made import NOW
from tests.lane_operator.small_api import SmallApi, small_api

PATH = "/apis/coordination.k8s.io/v1/namespaces/lw/leases/lanewright"
SERVICE: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "mail", "name": "otp"}}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Replicas:
    """Replicas of one operator, on clocks of their own."""

    def __init__(self, api: SmallApi, kube: Kube) -> None:
        self.api = api
        self.kube = kube
        self.clock = Clock()

    def one(self, identity: str, clock: Clock | None = None) -> Leadership:
        wall = lambda: NOW + dt.timedelta(seconds=self.clock.now)  # noqa: E731  # a clock on the wall
        return Leadership(self.kube, ("lw", "lanewright"), identity, clock or self.clock, wall)

    @property
    def spec(self) -> dict[str, Any]:
        found: dict[str, Any] = self.api.objects[PATH]["spec"]
        return found


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    async with small_api() as (api, kube):
        yield Replicas(api, kube)


async def test_the_first_that_asks_leads_and_the_other_waits(replicas: Replicas) -> None:
    one, other = replicas.one("a"), replicas.one("b")

    await one.turn()
    await other.turn()

    assert (one.holds(), one.leading.is_set()) == (True, True)
    assert (other.holds(), other.leading.is_set()) == (False, False)
    assert (replicas.spec["holderIdentity"], replicas.spec["leaseDurationSeconds"]) == ("a", LEASE_S)


async def test_who_renews_keeps_it_however_long_it_takes(replicas: Replicas) -> None:
    one, other = replicas.one("a"), replicas.one("b")

    for _ in range(30):
        await one.turn()
        await other.turn()
        replicas.clock.now += EVERY_S

    assert one.holds()
    assert not other.holds()
    assert replicas.spec["leaseTransitions"] == 0


async def test_a_lease_that_is_not_renewed_is_taken_after_its_time_and_no_sooner(replicas: Replicas) -> None:
    one, other = replicas.one("a"), replicas.one("b")
    await one.turn()
    await other.turn()  # sees it now for the first time

    replicas.clock.now += LEASE_S - 0.1
    await other.turn()
    assert not other.holds()
    replicas.clock.now += 0.1
    await other.turn()

    assert other.holds()
    assert (replicas.spec["holderIdentity"], replicas.spec["leaseTransitions"]) == ("b", 1)


async def test_whatever_the_other_clock_says_only_the_own_one_counts(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()
    replicas.api.objects[PATH]["spec"]["renewTime"] = "1999-01-01T00:00:00.000000Z"

    other = replicas.one("b", Clock())
    await other.turn()

    assert not other.holds()


async def test_a_holder_is_sure_of_it_for_less_time_than_the_lease_lasts(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()

    replicas.clock.now += RENEW_WITHIN_S - 0.1
    assert one.holds()
    replicas.clock.now += 0.1
    assert not one.holds()
    assert RENEW_WITHIN_S + 2 * EVERY_S <= LEASE_S


async def test_who_cannot_renew_for_too_long_has_lost_it(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()
    replicas.api.fails["PATCH", PATH] = (500, {"message": "no"})

    replicas.clock.now += EVERY_S
    await one.turn()  # one failure is none
    assert one.holds()
    replicas.clock.now += RENEW_WITHIN_S
    with pytest.raises(LeaseLostError):
        await one.turn()


async def test_who_finds_another_holder_has_lost_it_at_once(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()
    taken = replicas.api.objects[PATH]
    replicas.api.put(PATH, taken | {"spec": taken["spec"] | {"holderIdentity": "b"}})

    await one.turn()  # what it knew is not what is there
    with pytest.raises(LeaseLostError):
        await one.turn()


async def test_an_edit_that_leaves_the_holder_costs_nothing(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()
    replicas.api.put(PATH, replicas.api.objects[PATH] | {"kind": "Lease"})

    for _ in range(2):
        replicas.clock.now += EVERY_S
        await one.turn()

    replicas.clock.now += RENEW_WITHIN_S - 0.1
    assert one.holds()


async def test_a_lease_that_a_hand_deleted_is_made_again(replicas: Replicas) -> None:
    one = replicas.one("a")
    await one.turn()
    del replicas.api.objects[PATH]

    for _ in range(2):
        replicas.clock.now += EVERY_S
        await one.turn()

    assert replicas.spec["holderIdentity"] == "a"


async def test_who_stops_hands_it_on_at_once(replicas: Replicas) -> None:
    one, other = replicas.one("a"), replicas.one("b")
    await one.turn()
    await other.turn()

    await one.release()
    await other.turn()

    assert not one.holds()
    assert other.holds()


async def test_who_does_not_lead_releases_nothing(replicas: Replicas) -> None:
    one, other = replicas.one("a"), replicas.one("b")
    await one.turn()
    await other.turn()

    await other.release()

    assert replicas.spec["holderIdentity"] == "a"


async def test_a_container_that_was_started_again_goes_on_where_it_was(replicas: Replicas) -> None:
    await replicas.one("a").turn()

    again = replicas.one("a")
    await again.turn()

    assert again.holds()
    assert replicas.spec["leaseTransitions"] == 0


async def test_an_api_server_that_does_not_answer_is_waited_for(replicas: Replicas) -> None:
    replicas.api.fails["GET", PATH] = (503, {"message": "no"})
    one = replicas.one("a")

    for _ in range(20):
        replicas.clock.now += EVERY_S
        await one.turn()
    del replicas.api.fails["GET", PATH]
    await one.turn()

    assert one.holds()


async def test_nothing_is_written_by_a_replica_that_is_not_sure_of_the_lease(replicas: Replicas) -> None:
    one = replicas.one("a")
    fenced = replicas.kube.fenced(one.may_write_for)
    with pytest.raises(NotLeadingError):
        await fenced.create(SERVICE)

    await one.turn()
    await fenced.create(SERVICE)
    replicas.clock.now += RENEW_WITHIN_S
    with pytest.raises(NotLeadingError):
        await fenced.delete(_SERVICE_KIND, "mail", "otp", uid="u")

    assert await fenced.get(_SERVICE_KIND, "mail", "otp") is not None
    lease = "/apis/coordination.k8s.io/v1/namespaces/lw/leases"
    assert replicas.api.writes == [("POST", lease), ("POST", "/api/v1/namespaces/mail/services")]


async def test_a_write_may_take_no_longer_than_nobody_else_leads(replicas: Replicas) -> None:
    one = replicas.one("a")
    assert one.may_write_for() == 0
    await one.turn()
    for passed in (0.0, 2.0, RENEW_WITHIN_S - 0.1):
        replicas.clock.now = 100.0 + passed
        assert 1 < one.may_write_for() < LEASE_S - passed
    replicas.clock.now = 100.0 + RENEW_WITHIN_S
    assert one.may_write_for() == 0
