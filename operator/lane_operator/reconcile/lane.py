"""One pass over one SendingLane.

The five steps, in order: `references` reads what the lane names, `desired_state` says what its children are to be,
`apply` makes it so, `observe` says how the slots are, `status` says so to everybody. Between the first two stand the
assignment of addresses, committed before any claim is applied, and the lane's credentials.
Invariant: a pass decides from what is there, never from what an earlier pass did; run twice, it writes nothing twice.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from lane_api.conditions import Reason
from lane_api.names import DRAIN_FINALIZER, RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES
from lane_operator.apply import Applied, Failure, apply_children, prune
from lane_operator.desired import desired_state, kept_hostname, secret_needs
from lane_operator.errors import ForbiddenError
from lane_operator.inputs import Assignment, Claim, Desired, Key, Lane, Manifest, Observation, References, Refusal
from lane_operator.kube import NAMESPACE, SECRET, SENDING_LANE, STATEFUL_SET
from lane_operator.lifecycle import (
    LetGo,
    Step,
    as_stopped,
    evictable,
    is_released,
    next_steps,
    rolled,
    shaped,
    slot_facts,
    staggered,
)
from lane_operator.pools import claims_of_existing
from lane_operator.provision import Provisioned, provision
from lane_operator.reconcile.finalizers import set_finalizers
from lane_operator.reconcile.pool import assign
from lane_operator.reconcile.sight import aim, observation_of
from lane_operator.reconcile.status_writer import write_invalid_lane, write_lane_status
from lane_operator.reconcile.steps import run_steps
from lane_operator.reconcile.volumes import adopted, deleted_by_hand, settle_adopted
from lane_operator.reconcile.world import World
from lane_operator.references import (
    UnreadableError,
    configs_of,
    heads_of,
    lane_of,
    multus_network,
    neighbours_of,
    nodes_of,
    others_of,
    policies_of,
    pool_if_readable,
    volumes_of,
    workloads_of,
)
from lane_operator.sharers import sharers_of
from lane_operator.status import lane_status, next_look

__all__ = ["reconcile_lane"]


async def reconcile_lane(world: World, key: Key) -> float | None:
    """Brings one lane forward; seconds to the next look where time alone changes something.

    Raises KubeError, also for a child that could not be written: after the status that says so, for the back-off.
    """
    body = world.cache.get(SENDING_LANE.kind, *key)
    if body is None:
        world.observer.aim(key, ())
        world.figures_written.pop(key, None)
        return None
    try:
        lane = lane_of(body)
    except UnreadableError as error:
        await write_invalid_lane(world, body, str(error))
        return None
    if lane.deleting_since is None:
        if not await _guard(world, body):
            return None
    elif DRAIN_FINALIZER not in (body["metadata"].get("finalizers") or ()):
        world.observer.aim(key, ())
        return None

    references, assignment, provisioned = await _references(world, lane)
    observation = observation_of(world, lane, assignment)
    lifted = evictable(assignment.claims, observation, references.nodes if world.settings.nodes else None)
    desired = desired_state(lane, references, assignment, world.lanes, lifted)
    terminating = lane.deleting_since is not None and await _is_terminating(world, lane)
    slots = slot_facts(world.cache, lane, assignment.claims, observation)
    observation = as_stopped(observation, slots, deleting=lane.deleting_since is not None)
    steps = next_steps(lane, slots, terminating=terminating, may_retain=world.settings.volumes)
    applied = Applied()
    if not terminating and LetGo() not in steps:
        manifests = shaped(desired.manifests, slots, steps, deleting=lane.deleting_since is not None)
        live = partial(world.cache.get, STATEFUL_SET.kind, lane.namespace)
        taken = staggered(manifests, assignment.claims, live) if lane.deleting_since is None else manifests
        applied = await _apply(world, lane, await adopted(world, lane, taken), desired, provisioned)
        observation = rolled(observation, manifests, taken, live)
    await run_steps(world, lane, body, steps, desired.left)
    if LetGo() in steps:
        world.observer.aim(key, ())
        return None
    await settle_adopted(world, lane)
    aim(world, lane, assignment, desired, provisioned)
    if terminating:
        desired = _dying(lane, desired, observation, may_keep=world.settings.volumes)
    else:
        lost = deleted_by_hand(world.cache, lane, assignment.claims)
        desired = _with_refusals(desired, provisioned, applied, lost)
    status = lane_status(lane, references, assignment, desired, observation, world.wall())
    later = await write_lane_status(world, key, status)
    applied.raise_passing()
    looks = [
        later,
        next_look(lane, status, world.wall()),
        *_looks(world, lane, assignment.claims, desired, provisioned, steps),
    ]
    return min((look for look in looks if look is not None), default=None)


async def _guard(world: World, body: Manifest) -> bool:
    """Puts our finalizer on the lane, before anything of it exists that could be lost; False: the lane is gone."""
    finalizers = body["metadata"].get("finalizers") or ()
    if DRAIN_FINALIZER in finalizers:
        return True
    return await set_finalizers(world, SENDING_LANE, body, [*finalizers, DRAIN_FINALIZER]) is not None


async def _references(world: World, lane: Lane) -> tuple[References, Assignment, Provisioned]:
    """What the lane names, the addresses that are its own, and its credentials."""
    pool = pool_if_readable(world.cache, lane.pool_key)
    references = References(
        pool=pool,
        policies=policies_of(world.cache, lane, world.settings.operator_namespace),
        kinds=world.kinds,
        nodes=nodes_of(world.cache),
        multus_network=await multus_network(world.kube, pool, world.kinds),
        others=others_of(world.cache, lane),
        neighbours=neighbours_of(world.cache, lane),
        sharers=sharers_of(world.cache, lane),
        forced_delivery=world.lanes.forced_delivery,
        configs=configs_of(world.cache, lane),
        volumes=volumes_of(world.cache, lane),
        heads=heads_of(world.cache, lane),
    )
    assignment = _with_existing(world, lane, references, await assign(world, lane, pool))
    provisioned = await provision(
        world.kube,
        world.cache,
        lane,
        pool,
        assignment.claims,
        secret_needs(lane, pool if assignment.claims else None),
        world.served,
        world.wall(),
        tuple(one.name for one in references.sharers),
    )
    references = replace(
        references,
        secrets=provisioned.secrets,
        dkim=provisioned.dkim,
        handed={one.slot_name: world.observer.handed(lane.key, one.slot_name) for one in assignment.claims},
        read_at=int(world.wall().timestamp()),
    )
    return references, assignment, provisioned


def _with_existing(world: World, lane: Lane, references: References, assignment: Assignment) -> Assignment:
    """The assignment with the slots that run though it does not know them, as on the day their pool went."""
    workloads = workloads_of(world.cache, lane)
    assigned = {claim.slot_name for claim in assignment.claims}
    if all(name in assigned for name in workloads):
        return assignment
    hostnames = {name: kept_hostname(references.configs.get(name)) for name in workloads.keys() - assigned}
    claims = claims_of_existing(lane, workloads.values(), hostnames, assignment.claims)
    return replace(assignment, claims=claims)


async def _apply(
    world: World, lane: Lane, manifests: tuple[Manifest, ...], desired: Desired, provisioned: Provisioned
) -> Applied:
    """Applies the children, then prunes; both only where the inputs allow it."""
    allowed = (one for one in manifests if not (provisioned.forbidden and one["kind"] == SECRET.kind))
    applied = await apply_children(world.kube, world.cache, (_owned(world, lane, one) for one in allowed))
    if applied.failures or not desired.complete or lane.deleting_since is not None or provisioned.forbidden:
        return applied
    kept = frozenset(("Secret", name) for name in provisioned.own)
    left_alone = frozenset((one["kind"], one["metadata"]["name"]) for one in desired.manifests)
    pruned = await prune(world.kube, world.cache, lane, manifests, kept | left_alone)
    return Applied(applied.written + pruned.written, pruned.failures)


def _owned(world: World, lane: Lane, manifest: Manifest) -> Manifest:
    """The manifest as it is; while the lane is being deleted, with no owner that its live object lost or never had.

    A foreground deletion deletes whatever names the lane as its owner, also what we make again to finish the drain.
    """
    if lane.deleting_since is None or "ownerReferences" not in manifest["metadata"]:
        return manifest
    live = world.cache.get(manifest["kind"], lane.namespace, manifest["metadata"]["name"])
    owners = (live or {}).get("metadata", {}).get("ownerReferences") or ()
    if any(owner["uid"] == lane.uid for owner in owners):
        return manifest
    metadata = {name: value for name, value in manifest["metadata"].items() if name != "ownerReferences"}
    return {**manifest, "metadata": metadata}


async def _is_terminating(world: World, lane: Lane) -> bool:
    """Whether the lane goes because its whole namespace does."""
    namespace = await world.kube.get(NAMESPACE, None, lane.namespace)
    return namespace is not None and "deletionTimestamp" in namespace["metadata"]


def _with_refusals(desired: Desired, provisioned: Provisioned, applied: Applied, lost: tuple[Refusal, ...]) -> Desired:
    """What went wrong on the way, in the words of the lane's conditions."""
    refusals = [*lost, *desired.refusals]
    if provisioned.forbidden:  # the one cause; that Secrets are not seen and not written follows from it
        refusals = [one for one in refusals if one.reason is not Reason.SECRET_NOT_FOUND]
        refusals.insert(0, Refusal(Reason.FORBIDDEN, provisioned.forbidden, waiting=Reason.FORBIDDEN))
    for failure in applied.failures:
        if provisioned.forbidden and failure.kind == SECRET.kind:
            continue
        refusals.append(_refusal(failure))
    return replace(desired, refusals=tuple(refusals))


def _refusal(failure: Failure) -> Refusal:
    """A child that could not be written: said as tried again, or as waiting for a person."""
    message = f"{failure.kind} {failure.name}: {failure.error}"[:1024]
    if failure.may_pass:
        return Refusal(Reason.PROGRESSING_WITH_RETRY, message, waiting=Reason.PROGRESSING_WITH_RETRY)
    reason = Reason.FORBIDDEN if isinstance(failure.error, ForbiddenError) else Reason.INVALID_SPEC
    return Refusal(reason, message, waiting=reason)  # a right, a quota or a policy may come in the same sync


def _dying(lane: Lane, desired: Desired, observation: Observation, *, may_keep: bool) -> Desired:
    """The one thing to be said of a lane whose namespace goes: what is missing there will not come any more."""
    if not is_released(lane):
        left = sum(seen.queued for seen in observation.slots)
        since = min((seen.oldest_since for seen in observation.slots if seen.oldest_since), default=None)
        age = f", the oldest since {since}" if since else ""
        message = (
            f"namespace {lane.namespace} is being deleted and took the pods with it; by their last words about {left} "
            f"messages are left in the queue volumes{age}; nothing is dropped. To keep the volumes and let the "
            f"namespace go, annotate the lane with {RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}: a lane of this name in "
            "a new namespace of this name adopts them"
        )
        return replace(desired, refusals=(Refusal(Reason.DRAIN_DEADLINE_EXCEEDED, message),))
    if not may_keep:
        message = (
            "the operator may not keep PersistentVolumes (values: rights.volumes). Set persistentVolumeReclaimPolicy "
            "of this lane's volumes to Retain, then take the finalizer lanewright.dev/queue off their claims"
        )
        return replace(desired, refusals=(Refusal(Reason.FORBIDDEN, message),))
    return replace(desired, refusals=())


def _looks(
    world: World,
    lane: Lane,
    claims: tuple[Claim, ...],
    desired: Desired,
    provisioned: Provisioned,
    steps: tuple[Step, ...],
) -> Iterator[float]:
    """When another pass is worthwhile though nothing that we watch changes."""
    if provisioned.waiting or desired.refusals:  # users' Secrets and Multus' templates are not watched
        yield world.settings.secret_recheck_s
    if lane.deleting_since is not None or steps:
        yield world.settings.observe_busy_s
    for claim in claims:  # of a slot that does not answer, only time says that its quarantine is over
        if claim.quarantine is not None and claim.quarantine.until:
            ends = dt.datetime.fromisoformat(claim.quarantine.until) - world.wall()
            yield max(ends.total_seconds(), 0.0) + world.settings.observe_busy_s
