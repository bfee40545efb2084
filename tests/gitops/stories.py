"""Tells what happens to an object, step by step, as the operator's pure functions see it; each step is a Moment.

A step is passed over twice, as the operator does when its own status comes back: what it says first and what it says
then are two moments with one truth.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel

from lane_api.ippool import IPPoolStatus
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import LaneStatus, RestartStatus, UpgradeStatus
from lane_api.names import API_VERSION
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.deliverability.dnsbl import Standing
from lane_operator.deliverability.listings import with_listings
from lane_operator.desired import desired_state
from lane_operator.inputs import (
    Assignment,
    Claim,
    Demand,
    Lane,
    Manifest,
    Observation,
    Policy,
    Pool,
    Refusal,
    SlotObservation,
)
from lane_operator.pools import allocate
from lane_operator.status import broken_status, lane_status, policy_status, pool_status
from tests.gitops.truth import Moment, Truth
from tests.lane_operator import made

ADDRESSES = [{"ip": f"203.0.113.{10 + index}", "hostname": f"out{index}.example.com"} for index in range(4)]


def body(
    kind: str, name: str, generation: int, status: BaseModel | Mapping[str, Any], deleting: str | None = None
) -> Manifest:
    """The object as the API server has it, but for its spec, which no tool reads."""
    said = status.model_dump(mode="json", by_alias=True, exclude_none=True) if isinstance(status, BaseModel) else status
    metadata: dict[str, Any] = {"name": name, "namespace": "mail", "generation": generation, "uid": "uid-1"}
    if deleting is not None:
        metadata |= {"deletionTimestamp": deleting, "finalizers": ["lanewright.dev/drain"]}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": {}, "status": dict(said)}


class Story:
    """One object's: its name, its clock, and what was told so far."""

    kind = ""

    def __init__(self, title: str) -> None:
        self.title, self.now, self.generation = title, made.NOW, 1
        self.deleting: str | None = None
        self.moments: list[Moment] = []

    def told(self, step: str, truth: Truth, status: BaseModel | Mapping[str, Any]) -> None:
        """Puts down what the API server has now."""
        it = body(self.kind, "otp", self.generation, status, self.deleting)
        self.moments.append(Moment(f"{self.title}: {step}", truth, it))


class LaneStory(Story):
    """A lane's, from the moment it was applied; keywords are its spec's, in the spelling of users."""

    kind = "SendingLane"

    def __init__(self, title: str, pool: Pool | None, **spec: Any) -> None:
        super().__init__(title)
        self.pool, self.spec, self.status = pool, spec, LaneStatus()
        self.references: dict[str, Any] = {}
        self.listed: Standing = Standing()
        """What blocklists say of its addresses."""
        self.refusals: tuple[Refusal, ...] = ()
        self.claims: tuple[Claim, ...] = ()
        """In place of what the allocation gives."""
        self.unseen: tuple[str, ...] = ()
        """Who is waited for since the API server's store went back."""
        self.upgrade: UpgradeStatus | None = None
        self.restart: RestartStatus | None = None
        self.annotations: dict[str, str] = {}
        self.told("applied, and not seen by the operator yet", Truth.COMING, {"observedGeneration": -1})

    @property
    def lane(self) -> Lane:
        """As it is read now."""
        of = made.lane(
            status=self.status,
            deleting_since=self.deleting,
            generation=self.generation,
            annotations=self.annotations,
            **self.spec,
        )
        assert isinstance(of.spec, SendingLaneSpec)
        return of

    def slot(self, index: int, **changes: Any) -> SlotObservation:
        """A slot that serves, with the newest generation."""
        return made.seen(index, **{"config_generation": self.generation, **changes})

    def slots(self, count: int = 2, /, **changes: Any) -> tuple[SlotObservation, ...]:
        """So many of them."""
        return tuple(self.slot(index, **changes) for index in range(count))

    def changed(self, **spec: Any) -> None:
        """Another spec is applied; the operator has not seen it yet."""
        self.spec |= spec
        self.generation += 1
        self.told(f"generation {self.generation} applied, and not seen by the operator yet", Truth.COMING, self.status)

    def deleted(self) -> None:
        """`kubectl delete`, and nothing more yet."""
        self.deleting = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.generation += 1  # as the API server does for an object with finalizers
        self.told("deleted, and not seen by the operator yet", Truth.GOING, self.status)

    def step(self, said: str, truth: Truth, *seen: SlotObservation, after: float = 0) -> None:
        """So many seconds later the operator passes over what it sees, and over what it said."""
        self.now += dt.timedelta(seconds=after)
        for turn in ("", " (again)"):
            self.status = self._pass(Observation(seen))
            self.told(said + turn, truth, self.status)

    def broken(self, said: str, truth: Truth, message: str) -> None:
        """A pass finds that the spec cannot be read."""
        it = body(self.kind, "otp", self.generation, self.status, self.deleting)
        self.status = broken_status(self.status, it, message, self.now)
        self.told(said, truth, self.status)

    def _pass(self, observation: Observation) -> LaneStatus:
        of = self.lane
        there = frozenset(int(number) for one in observation.slots if (number := one.name.rpartition("-")[2]).isdigit())
        demand = Demand(
            of.namespace,
            of.name,
            of.spec.traffic_class,
            of.pool_key,
            of.spec.replicas,
            standby=of.spec.standby_replicas,
            retained=there,
            held=of.spec.drain.policy == "Hold",
            deleting=of.deleting_since is not None,
        )
        pools = () if self.pool is None else (self.pool,)
        allocated = allocate(pools, [demand], self.now, unseen=self.unseen)
        assignment = allocated.assignments.get(of.key, Assignment())
        if self.pool is not None:
            listed = with_listings(allocated.statuses[self.pool.key], self.listed.listings)
            self.pool = replace(self.pool, status=listed)
        assignment = Assignment(self.claims) if self.claims else assignment
        references = made.references(of, self.pool, **self.references)
        desired = desired_state(of, references, assignment, made.SETTINGS)
        desired = replace(
            desired, refusals=(*self.refusals, *desired.refusals), upgrade=self.upgrade, restart=self.restart
        )
        return lane_status(of, references, assignment, desired, observation, self.now)


class PoolStory(Story):
    """A pool's; the allocation is asked as it is in a pass over it."""

    kind = "IPPool"

    def __init__(self, title: str, **spec: Any) -> None:
        super().__init__(title)
        self.pool = made.pool(**{"addresses": ADDRESSES, **spec})
        self.beside: tuple[Pool, ...] = ()
        self.near: tuple[Pool, ...] = ()
        self.standing = Standing()
        """What blocklists say."""
        self.demands: tuple[Demand, ...] = ()
        self.told("applied, and not seen by the operator yet", Truth.COMING, {"observedGeneration": -1})

    def changed(self, **spec: Any) -> None:
        """Another spec is applied; the operator has not seen it yet."""
        self.generation += 1
        changed = made.pool(**{"addresses": ADDRESSES, **spec})
        self.pool = replace(changed, status=self.pool.status, generation=self.generation)
        self.told(
            f"generation {self.generation} applied, and not seen by the operator yet", Truth.COMING, self.pool.status
        )

    def deleted(self) -> None:
        """`kubectl delete` of a pool that is in use."""
        self.deleting = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        self.generation += 1
        self.pool = replace(self.pool, deleting=True, generation=self.generation)
        self.told("deleted, and not seen by the operator yet", Truth.GOING, self.pool.status)

    def step(self, said: str, truth: Truth, after: float = 0) -> None:
        """So many seconds later the operator passes over it twice."""
        self.now += dt.timedelta(seconds=after)
        for turn in ("", " (again)"):
            allocated = allocate((self.pool,), self.demands, self.now, self.beside).statuses[self.pool.key]
            allocated = with_listings(allocated, self.standing.listings)
            status: IPPoolStatus = pool_status(self.pool, allocated, self.now, self.near, self.standing)
            self.pool = replace(self.pool, status=status)
            self.told(said + turn, truth, status)

    def broken(self, said: str, truth: Truth, message: str) -> None:
        """A pass finds that the spec cannot be read."""
        it = body(self.kind, "otp", self.generation, self.pool.status)
        status = broken_status(self.pool.status, it, message, self.now)
        self.pool = replace(self.pool, status=status)
        self.told(said, truth, status)


class PolicyStory(Story):
    """A policy's."""

    kind = "ISPPolicy"

    def __init__(self, title: str, **spec: Any) -> None:
        super().__init__(title)
        self.policy = made.policy(**spec)
        self.neighbours: tuple[Policy, ...] = ()
        self.told("applied, and not seen by the operator yet", Truth.COMING, {"observedGeneration": -1})

    def changed(self, **spec: Any) -> None:
        """Another spec is applied; the operator has not seen it yet."""
        self.generation += 1
        made_so: ISPPolicySpec = made.policy(**spec).spec
        self.policy = replace(self.policy, spec=made_so, generation=self.generation)
        self.told(
            f"generation {self.generation} applied, and not seen by the operator yet", Truth.COMING, self.policy.status
        )

    def step(self, said: str, truth: Truth, after: float = 0) -> None:
        """So many seconds later the operator passes over it twice."""
        self.now += dt.timedelta(seconds=after)
        for turn in ("", " (again)"):
            status: ISPPolicyStatus = policy_status(self.policy, self.neighbours, self.now)
            self.policy = replace(self.policy, status=status)
            self.told(said + turn, truth, status)


def moments(stories: Iterable[Story]) -> Iterator[Moment]:
    """All that was told."""
    for story in stories:
        yield from story.moments


def the_pool(count: int = 4, **spec: Any) -> Any:
    """With so many addresses."""
    return made.pool(**{"addresses": ADDRESSES[:count], **spec})


def served(title: str, count: int = 2, **spec: Any) -> LaneStory:
    """A lane that has come to serve; that it has is not told again."""
    story = LaneStory(title, the_pool(), replicas=count, **spec)
    story.step("it serves", Truth.AS_ASKED, *story.slots(count))
    story.moments.clear()
    return story
