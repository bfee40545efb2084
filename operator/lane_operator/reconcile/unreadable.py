"""One pass over a lane whose spec our models do not accept, though the API server did.

Its slots run on as they are, and hold what they hold: of such a lane only metadata, status and its parts are believed.
Invariants: nobody is kept from deleting it, its namespace or a node; nothing is deleted but what is deleted of any lane
that is let go with its volumes, and no Secret without an owner, for which it was can be read nowhere.
"""

from collections.abc import Mapping

from lane_api.classes import TrafficClass
from lane_api.lane_status import LaneStatus
from lane_api.names import DRAIN_FINALIZER, RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES, STANDBY_FROM
from lane_api.queue import Drain, DrainPolicy
from lane_api.sendinglane import PoolRef, SendingLaneSpec
from lane_api.submission import Submission
from lane_operator.apply import apply_children
from lane_operator.desired import child, disruption_budget
from lane_operator.inputs import Assignment, Key, Lane, Manifest, Observation
from lane_operator.kube import NAMESPACE, POD_DISRUPTION_BUDGET, SECRET
from lane_operator.lifecycle import LetGo, evacuated, is_released, next_steps, slot_facts
from lane_operator.marks import class_label, key_of, pool_named
from lane_operator.pools import claims_of_existing
from lane_operator.reconcile.sight import observation_of
from lane_operator.reconcile.status_writer import write_invalid_lane
from lane_operator.reconcile.steps import run_steps
from lane_operator.reconcile.world import World
from lane_operator.references import nodes_of, status_of, workloads_of

__all__ = ["reconcile_unreadable"]

_WAY_OUT = (
    "the lane is being deleted, and stays until that is corrected, so that its mail can be sent; to let it go as it is "
    "and keep its queue volumes, with their mail, for a lane of this name, annotate it with "
    f"{RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}"
)
_NO_RIGHT = (
    "the operator may not keep PersistentVolumes (values: rights.volumes). Set persistentVolumeReclaimPolicy of this "
    "lane's volumes to Retain, then take the finalizer lanewright.dev/queue off their claims"
)


async def reconcile_unreadable(world: World, body: Manifest, fault: str) -> float | None:
    """Says what is wrong, and does what no spec is needed for; seconds to the next look. Raises KubeError."""
    lane = _remains(world, body)
    if lane.deleting_since is not None and DRAIN_FINALIZER not in (body["metadata"].get("finalizers") or ()):
        world.observer.leave(lane.key)
        return None
    if is_released(lane):
        return await _let_go(world, lane, body, fault)
    leaving = await _let_nodes_go(world, lane)
    message = fault if lane.deleting_since is None else f"{fault}; {_WAY_OUT}"
    await write_invalid_lane(world, body, message, leaving)
    return world.settings.observe_busy_s if leaving else None


def _remains(world: World, body: Manifest) -> Lane:
    """The lane without any wish; every slot that there is stays, and sends its own mail."""
    metadata, key = body["metadata"], key_of(body)
    namespace, name = pool_named(body)
    spec = SendingLaneSpec.model_construct(
        traffic_class=_class_of(world, body, key),
        pool_ref=PoolRef.model_construct(name=name, namespace=namespace),
        replicas=STANDBY_FROM,
        standby_replicas=STANDBY_FROM,
        submission=Submission.model_construct(senders=()),
        domains=(),
        drain=Drain(policy=DrainPolicy.WAIT),
    )
    return Lane(
        namespace=key[0],
        name=key[1],
        uid=metadata["uid"],
        generation=metadata["generation"],
        spec=spec,
        status=status_of(LaneStatus, body),
        annotations=metadata.get("annotations") or {},
        deleting_since=metadata.get("deletionTimestamp"),
    )


def _class_of(world: World, body: Manifest, key: Key) -> TrafficClass:
    """As the spec says it, else as its parts do, which a volume that is kept tells whoever adopts it."""
    said = [body["spec"].get("trafficClass"), *map(class_label, world.cache.children(key).values())]
    return next((one for one in TrafficClass if one in said), TrafficClass.COLD)


async def _let_go(world: World, lane: Lane, body: Manifest, fault: str) -> float | None:
    """The deletion that a person has released: what is next of it."""
    namespace = await world.kube.get(NAMESPACE, None, lane.namespace)
    terminating = namespace is not None and "deletionTimestamp" in namespace["metadata"]
    slots = slot_facts(world.cache, lane, (), Observation(), world.went_back.went_back_at)
    may_retain = world.settings.volumes
    steps = next_steps(lane, slots, terminating=terminating, may_retain=may_retain)
    children = world.cache.children(lane.key)
    kept = frozenset(
        name for name, one in children.items() if name[0] == SECRET.kind and not one["metadata"].get("ownerReferences")
    )
    await run_steps(world, lane, body, steps, kept=kept)
    if LetGo() in steps:
        world.observer.leave(lane.key)
        return None
    lacks_right = terminating and not may_retain and any(slot.volume_guarded for slot in slots)
    await write_invalid_lane(world, body, f"{fault}; {_NO_RIGHT}" if lacks_right else fault)
    return world.settings.observe_busy_s


async def _let_nodes_go(world: World, lane: Lane) -> Mapping[str, str]:
    """Lifts the budgets of slots on nodes that are to be emptied, in turn; since when each has had its turn.

    No slot gives its mail away first, for nobody can tell it to: that travels with its volume.
    """
    workloads = workloads_of(world.cache, lane)
    claims = claims_of_existing(lane, workloads.values(), {})
    observation = observation_of(world, lane, Assignment(claims))
    nodes = nodes_of(world.cache) if world.settings.nodes else None
    evacuation = evacuated(lane, claims, observation, nodes, world.wall())
    budgets = [
        child(lane, disruption_budget(lane, slot, lifted=slot in evacuation.lifted), slot=slot)
        for slot in sorted(workloads)
        if world.cache.get(POD_DISRUPTION_BUDGET.kind, lane.namespace, slot) is not None
    ]
    applied = await apply_children(world.kube, world.cache, budgets)
    applied.raise_passing()
    return evacuation.since
