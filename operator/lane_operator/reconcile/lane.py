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
from lane_operator.demands import demand_of, indices_of
from lane_operator.desired import kept_hostname, refused_growth, secret_needs
from lane_operator.errors import ConflictError, ForbiddenError
from lane_operator.inputs import Assignment, Claim, Desired, Key, Lane, Manifest, Observation, References, Refusal
from lane_operator.kube import (
    CERTIFICATE,
    DNS_ENDPOINT,
    NAMESPACE,
    SECRET,
    SENDING_LANE,
    STATEFUL_SET,
    VOLUME_CLAIM,
)
from lane_operator.lifecycle import (
    UNDER_WAY,
    Act,
    LetGo,
    acts,
    as_stopped,
    is_released,
    outlived,
    rolled,
    shaped,
    slot_facts,
    without_forgotten,
)
from lane_operator.pools import claims_of_existing
from lane_operator.provision import Provisioned, provision
from lane_operator.reconcile.changes import give_turn_back, in_turn, wanted_now
from lane_operator.reconcile.finalizers import set_finalizers
from lane_operator.reconcile.orphans import delete_orphans
from lane_operator.reconcile.pool import assign, note_sightings
from lane_operator.reconcile.sight import aim, observation_of
from lane_operator.reconcile.status_writer import write_lane_status
from lane_operator.reconcile.steps import run_steps, take_proofs_off
from lane_operator.reconcile.unreadable import reconcile_unreadable
from lane_operator.reconcile.volumes import adopted, deleted_by_hand, settle_adopted
from lane_operator.reconcile.world import World
from lane_operator.references import (
    UnreadableError,
    configs_of,
    copies_of,
    heads_of,
    lane_of,
    multus_network,
    neighbours_of,
    networks_of,
    nodes_of,
    others_of,
    pods_of,
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
        await _forget(world, key)
        return None
    try:
        lane = lane_of(body)
    except UnreadableError as error:
        give_turn_back(world, key)  # nothing of it goes on until a person mends it
        return await reconcile_unreadable(world, body, str(error))
    if lane.deleting_since is None:
        if not await _guard(world, body):
            return None
    elif DRAIN_FINALIZER not in (body["metadata"].get("finalizers") or ()):
        world.observer.leave(key)
        return None

    references, assignment, provisioned = await _references(world, lane, body)
    _refuse_gone(world, lane, assignment)
    observation = observation_of(world, lane, assignment)
    assignment, desired = wanted_now(world, lane, references, assignment, observation)
    terminating = lane.deleting_since is not None and await _is_terminating(world, lane)
    slots = slot_facts(world.cache, lane, assignment.claims, observation, world.went_back.went_back_at)
    observation = as_stopped(observation, slots, deleting=lane.deleting_since is not None)
    steps = acts(lane, slots, world.wall(), terminating=terminating, may_retain=world.settings.volumes)
    applied = Applied()
    if not terminating and LetGo() not in steps:
        manifests = shaped(desired.manifests, slots, steps, deleting=lane.deleting_since is not None)
        live = partial(world.cache.get, STATEFUL_SET.kind, lane.namespace)
        taken, restart = in_turn(world, lane, manifests, assignment, observation)
        taken, desired = without_forgotten(taken, steps), replace(desired, restart=restart)
        await take_proofs_off(world, lane, outlived(workloads_of(world.cache, lane), taken))
        applied = await _apply(world, lane, await adopted(world, lane, taken), desired, provisioned)
        observation = rolled(observation, manifests, taken, live)
    await run_steps(world, lane, body, steps, desired.left)
    if LetGo() in steps:
        world.observer.leave(key)
        return None
    await settle_adopted(world, lane)
    aim(world, lane, assignment, desired, provisioned)
    if terminating:
        desired = _dying(lane, desired, observation, may_keep=world.settings.volumes)
    else:
        desired = _with_what_went_wrong(world, lane, assignment, desired, provisioned, applied)
    status = lane_status(lane, references, assignment, desired, observation, world.wall())
    later = None if _is_too_early(world, lane, assignment) else await write_lane_status(world, key, status)
    note_sightings(world, lane)
    applied.raise_passing()
    looks = [later, next_look(lane, status, world.wall())]
    looks += _looks(world, lane, assignment.claims, desired, provisioned, steps)
    if any(seen.rolls_later for seen in observation.slots):  # it may be waiting for a sibling that never answers
        looks.append(world.settings.observe_busy_s)
    return min((look for look in looks if look is not None), default=None)


async def _forget(world: World, key: Key) -> None:
    """A lane that is gone has nothing left, here or in the cluster."""
    world.observer.leave(key)
    give_turn_back(world, key)
    world.figures_written.pop(key, None)
    await delete_orphans(world, key)


async def _guard(world: World, body: Manifest) -> bool:
    """Puts our finalizer on the lane, before anything of it exists that could be lost; False: the lane is gone."""
    finalizers = body["metadata"].get("finalizers") or ()
    if DRAIN_FINALIZER in finalizers:
        return True
    return await set_finalizers(world, SENDING_LANE, body, [*finalizers, DRAIN_FINALIZER]) is not None


async def _references(world: World, lane: Lane, body: Manifest) -> tuple[References, Assignment, Provisioned]:
    """What the lane names, the addresses that are its own, and its credentials."""
    pool = pool_if_readable(world.cache, lane.pool_key)
    references = References(
        pool=pool,
        policies=policies_of(world.cache, lane, world.settings.operator_namespace),
        kinds=world.kinds,
        withheld=world.withheld,
        nodes=nodes_of(world.cache),
        multus_network=multus_network(world.cache, pool, world.kinds),
        others=others_of(world.cache, body),
        neighbours=neighbours_of(world.cache, lane),
        sharers=sharers_of(world.cache, lane),
        forced_delivery=world.lanes.forced_delivery,
        configs=configs_of(world.cache, lane),
        volumes=volumes_of(world.cache, lane),
        workloads=workloads_of(world.cache, lane),
        pods=pods_of(world.cache, lane),
        networks=networks_of(world.cache, lane),
        heads=heads_of(world.cache, lane),
        certificate=world.cache.get(CERTIFICATE.kind, *lane.key),
        dns_endpoint=world.cache.get(DNS_ENDPOINT.kind, *lane.key),
        publishable=world.settings.publishable(lane.namespace),
    )
    assignment = _with_existing(world, lane, references, await assign(world, lane, pool))
    provisioned = await provision(
        world.kube,
        world.cache,
        lane,
        pool,
        assignment.claims,
        secret_needs(lane, pool if assignment.draws else None),
        world.served,
        world.wall(),
        tuple(one.name for one in references.sharers),
        observation_of(world, lane, assignment),
    )
    references = replace(
        references,
        secrets=provisioned.secrets,
        dkim=provisioned.dkim,
        handed={one.slot_name: world.observer.handed(lane.key, one.slot_name) for one in assignment.claims},
        read_at=int(world.wall().timestamp()),
    )
    return references, assignment, provisioned


def _is_too_early(world: World, lane: Lane, assignment: Assignment) -> bool:
    """Whether slots are being asked for the first time by this process, of a lane of which another has told already.

    Without this each restart, and each new leader, would call every lane unready for as long as its slots take to
    answer. What has changed since is told with the first answer, or with the first visit that has none.
    """
    if lane.deleting_since is not None or lane.status.observed_generation != lane.generation:
        return False
    return not world.observer.has_asked(lane.key, (claim.slot_name for claim in assignment.claims))


def _refuse_gone(world: World, lane: Lane, assignment: Assignment) -> None:
    """Raises ConflictError for a slot that has gone since the claims were read; it would be made again, and anew empty.

    Slots are stopped, and their last parts deleted, by earlier passes; the watch may say so while this one waits.
    """
    there = indices_of(demand_of(world.cache, lane))
    gone = ", ".join(claim.slot_name for claim in assignment.claims if claim.slot_index not in there)
    if gone:
        raise ConflictError(f"{gone} has gone since the lane's claims were read")


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
    failed = any(not _growth(world, lane, failure) for failure in applied.failures)
    if failed or not desired.complete or lane.deleting_since is not None or provisioned.forbidden:
        return applied
    kept = frozenset(("Secret", name) for name in provisioned.own)
    left_alone = frozenset((one["kind"], one["metadata"]["name"]) for one in desired.manifests)
    pruned = await prune(world.kube, world.cache, lane, manifests, kept | left_alone, desired.outlived)
    return Applied(applied.written + pruned.written, applied.failures + pruned.failures)


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


def _with_what_went_wrong(
    world: World, lane: Lane, assignment: Assignment, desired: Desired, provisioned: Provisioned, applied: Applied
) -> Desired:
    """The desired state with what went wrong on the way, in the words of the lane's conditions."""
    refusals = [*deleted_by_hand(world.cache, lane, assignment.claims), *desired.refusals]
    if provisioned.forbidden:  # the one cause; that Secrets are not seen and not written follows from it
        refusals = [one for one in refusals if one.reason is not Reason.SECRET_NOT_FOUND]
        refusals.insert(0, Refusal(Reason.FORBIDDEN, provisioned.forbidden, waiting=Reason.FORBIDDEN))
    refusals += _refusals(world, lane, applied, provisioned)
    foreign = "; ".join(text for text in (provisioned.foreign, copies_of(world.cache, lane)) if text)
    return replace(desired, refusals=tuple(refusals), foreign=foreign)


def _refusals(world: World, lane: Lane, applied: Applied, provisioned: Provisioned) -> tuple[Refusal, ...]:
    """What is said of children that could not be written."""
    told = (one for one in applied.failures if not (provisioned.forbidden and one.kind == SECRET.kind))
    return tuple(_growth(world, lane, failure) or _refusal(failure) for failure in told)


def _growth(world: World, lane: Lane, failure: Failure) -> Refusal | None:
    """A claim that the API server lets not grow; nothing else of the lane waits for it."""
    if failure.kind != VOLUME_CLAIM.kind or failure.may_pass:
        return None
    return refused_growth(lane, world.cache.get(failure.kind, lane.namespace, failure.name), str(failure.error))


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
    steps: tuple[Act, ...],
) -> Iterator[float]:
    """When another pass is worthwhile though nothing that we watch changes."""
    if provisioned.waiting or desired.refusals:  # users' Secrets are not watched
        yield world.settings.secret_recheck_s
    if any(one.reason is Reason.STORE_WENT_BACK for one in desired.refusals):
        yield world.settings.observe_busy_s
    if desired.upgrade is not None and desired.upgrade.phase in UNDER_WAY:
        yield world.settings.observe_busy_s
    moves = desired.restart is not None or desired.leaving or any(claim.moves for claim in claims)
    if lane.deleting_since is not None or steps or moves:
        yield world.settings.observe_busy_s
    for key in provisioned.dkim.values():
        over = key.turn.ends if key.turn is not None else None
        if over is not None and over > world.wall():  # what is late waits for DNS, and slots wake us
            yield (over - world.wall()).total_seconds()
    for claim in claims:  # of a slot that does not answer, only time says that its quarantine is over
        if claim.quarantine is not None and claim.quarantine.until:
            ends = dt.datetime.fromisoformat(claim.quarantine.until) - world.wall()
            yield max(ends.total_seconds(), 0.0) + world.settings.observe_busy_s
