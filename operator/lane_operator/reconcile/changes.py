"""A lane's children as they are to be in this pass: its spec, and what is under way beside it.

That is a node that is emptied, which a slot leaves; new images, which slots get one after the other; and the slot that
restarts next, which hands its mail over before.
Before it: the references, and what was seen. After it: `apply`.
"""

from dataclasses import replace
from functools import partial

from lane_api.lane_status import RestartStatus
from lane_operator.desired import desired_state
from lane_operator.inputs import Assignment, Claim, Desired, Key, Lane, Manifest, Observation, References
from lane_operator.kube import SENDING_LANE, STATEFUL_SET
from lane_operator.lifecycle import (
    UNDER_WAY,
    Around,
    UpgradePlan,
    evacuated,
    handing_over,
    leaving_nodes,
    planned,
    restart_status,
    staggered,
)
from lane_operator.reconcile.world import QueueKey, World
from lane_operator.references import workloads_of

__all__ = ["give_turn_back", "in_turn", "wanted_now"]


def wanted_now(
    world: World, lane: Lane, references: References, assignment: Assignment, observation: Observation
) -> tuple[Assignment, Desired]:
    """The claims, with that of a slot which leaves its node, or restarts next, marked; and the children."""
    nodes = references.nodes if world.settings.nodes else None
    evacuation = evacuated(lane, assignment.claims, observation, nodes, world.wall())
    assignment = replace(assignment, claims=leaving_nodes(assignment.claims, evacuation))
    around = _around(world, lane, assignment.claims, observation)
    assignment = replace(assignment, claims=handing_over(around, world.wall()))
    upgrade = _upgrade(world, lane, assignment.claims, observation)
    settings = replace(world.lanes, images=upgrade.images, image_records=upgrade.records)
    desired = desired_state(lane, references, assignment, settings, evacuation.lifted)
    return assignment, replace(desired, upgrade=upgrade.status, leaving=evacuation.since)


def in_turn(
    world: World, lane: Lane, manifests: tuple[Manifest, ...], assignment: Assignment, observation: Observation
) -> tuple[tuple[Manifest, ...], RestartStatus | None]:
    """The manifests without workloads whose turn to restart has not come, and which slot is to restart next.

    A lane that is being deleted restarts whatever is another: its slots take no mail anyway.
    """
    if lane.deleting_since is not None:
        return manifests, None
    around, said = _around(world, lane, assignment.claims, observation), lane.status.restart
    called = said.slot if said is not None else ""
    answering = frozenset(seen.name for seen in observation.slots if seen.reachable)
    turn = staggered(
        manifests,
        around.claims,
        around.live,
        called,
        around.can_hand_over,
        partial(around.waits_for_sibling, now=world.wall()),
        answering=answering,
        is_heard=around.is_heard,
    )
    return turn.taken, restart_status(said, turn, world.wall())


def _around(world: World, lane: Lane, claims: tuple[Claim, ...], observation: Observation) -> Around:
    live = partial(world.cache.get, STATEFUL_SET.kind, lane.namespace)
    return Around(lane, claims, observation, live, world.settings.upgrade_drain_s, _is_heard(world, lane, claims))


def _is_heard(world: World, lane: Lane, claims: tuple[Claim, ...]) -> bool:
    """Whether this process has asked each slot."""
    return world.observer.has_asked(lane.key, (claim.slot_name for claim in claims))


def give_turn_back(world: World, key: Key) -> None:
    """The lane's images are not under way: the next lane may begin."""
    woken = world.turns.give_back(key)
    if woken is not None:
        world.enqueue(QueueKey(SENDING_LANE.kind, *woken))


def _upgrade(world: World, lane: Lane, claims: tuple[Claim, ...], observation: Observation) -> UpgradePlan:
    """Which images the slots are to have now; the lane takes, keeps or gives back its place among those upgraded."""
    settings = world.settings
    plan = planned(
        lane,
        claims,
        observation,
        workloads_of(world.cache, lane),
        world.lanes.newest,
        world.wall(),
        watch_s=settings.upgrade_watch_s,
        is_heard=_is_heard(world, lane, claims),
        may_begin=partial(world.turns.take, lane.key, settings.upgrade_lanes),
    )
    if lane.deleting_since is not None:  # it begins nothing more, and may drain for days
        give_turn_back(world, lane.key)
    elif plan.status is not None and plan.status.phase in UNDER_WAY:
        world.turns.keep(lane.key)
    elif not plan.waits:
        give_turn_back(world, lane.key)
    return plan
