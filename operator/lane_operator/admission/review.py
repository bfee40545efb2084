"""What is to be said of one lane, pool or policy before it is stored, or deleted: `review(world, request)`, from the
cache alone.

Refused is what cannot heal by anything else that is applied: what our models do not accept, which reconcile would call
InvalidSpec, and a dead rule; and only where that is what changes, so that finalizers of a broken object can be taken
off. Everything else is a warning: it may heal in the same sync, and mail that is queued is safe.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import re2
from pydantic import ValidationError

from lane_api.conditions import ConditionType
from lane_api.ippool import IPPoolSpec, IPPoolStatus
from lane_api.isppolicy import ISPPolicySpec, ISPPolicyStatus
from lane_api.lane_status import LaneStatus
from lane_api.responses import check_rules
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.admission.partings import before_delete, before_scale_in
from lane_operator.demands import demand_of, demands_of, holdings_of
from lane_operator.desired import cold_conflicts, unknown_isps, unpublishable
from lane_operator.inputs import Key, Lane, Manifest, Policy, Pool, References
from lane_operator.kube import IP_POOL, ISP_POLICY, SENDING_LANE
from lane_operator.pools.allocate import allocate
from lane_operator.reconcile import World
from lane_operator.reconcile.unseen import waited_for
from lane_operator.references import (
    UnreadableError,
    faults_of,
    lane_of,
    others_of,
    policies_of,
    policy_of,
    pool_if_readable,
    pools_beside,
    pools_near,
    status_of,
)
from lane_operator.status import policy_status, pool_status

__all__ = ["Verdict", "review"]

SCALE = "Scale"
"""What is asked about a lane's scale subresource, of group autoscaling."""
MOST = 1024
"""Letters of one warning; all together the API server passes on 4 KiB."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer: why it is refused, or empty; and what its owner should know."""

    refusal: str = ""
    warnings: tuple[str, ...] = ()


class _RefusedError(Exception):
    """The message says why, and names the fix."""


def review(world: World, request: Mapping[str, Any]) -> Verdict:
    """The verdict on an AdmissionReview's request; raises KeyError for what is none."""
    before = request.get("oldObject") or {}
    if request["operation"] == "DELETE":
        return _warned(_delete(before))
    body = request["object"]
    if request["kind"]["kind"] == SCALE:
        return _warned(_scale(world, request))
    if body["metadata"].get("deletionTimestamp") or body.get("spec") == before.get("spec"):
        return Verdict()
    key = (request["namespace"], body["metadata"].get("name") or "")
    look = _LOOKS[request["kind"]["kind"]]
    try:
        return _warned(look(world, key, body, before))
    except ValidationError as error:
        return Verdict(refusal=faults_of(error))
    except _RefusedError as error:
        return Verdict(refusal=str(error))


def _warned(texts: Iterable[str]) -> Verdict:
    return Verdict(warnings=tuple(dict.fromkeys(text[:MOST] for text in texts if text)))


def _delete(before: Manifest) -> Iterator[str]:
    """Of a lane that is to go; a collection is asked about as a whole first, without any object."""
    if before and not before["metadata"].get("deletionTimestamp"):
        lane = _as_stored(before)
        yield "" if lane is None else before_delete(lane)


def _scale(world: World, request: Mapping[str, Any]) -> Iterator[str]:
    """Of `kubectl scale` or an autoscaler, which write no lane but its number of slots."""
    body = world.cache.get(SENDING_LANE.kind, request["namespace"], request["name"])
    lane = None if body is None else _as_stored(body)
    if lane is not None:
        replicas = (request["object"].get("spec") or {}).get("replicas") or 0
        yield before_scale_in(lane, replicas, lane.spec.standby_replicas)


def _as_stored(body: Manifest) -> Lane | None:
    """The lane as it stands; None where nobody can read it."""
    try:
        return lane_of(body)
    except UnreadableError:
        return None


def _lane(world: World, key: Key, body: Manifest, before: Manifest) -> Iterator[str]:
    spec = SendingLaneSpec.model_validate(body["spec"])
    stands = _as_stored(before) if before else None
    if stands is not None:
        as_asked = replace(stands, spec=spec)
        yield before_scale_in(as_asked, spec.replicas, spec.standby_replicas)
    lane = Lane(*key, "", 0, spec, LaneStatus())
    named = {"metadata": {"namespace": key[0], "name": key[1]}, "spec": body["spec"]}
    pool = pool_if_readable(world.cache, lane.pool_key)
    demands = [one for one in demands_of(world.cache, lane.pool_key) if one.key != key] if pool is not None else []
    pools = () if pool is None else (pool,)
    asked = [*demands, demand_of(world.cache, lane)]
    assigned = allocate(pools, asked, world.wall(), *_around(world, pool), unseen=waited_for(world))
    assignment = assigned.assignments.get(key)
    if assignment is not None and assignment.refusal is not None:
        yield assignment.refusal.message
    policies = policies_of(world.cache, lane, world.settings.operator_namespace)
    allowed = world.settings.publishable(lane.namespace)
    references = References(pool=pool, policies=policies, others=others_of(world.cache, named), publishable=allowed)
    for refusal in (*cold_conflicts(lane, references), *unknown_isps(spec, policies)):
        yield refusal.message
    yield unpublishable(lane, references)
    if lane.namespace not in world.served:
        yield (
            f"the operator has no rights to Secrets in namespace {lane.namespace}, so that nothing of this lane can be "
            "made: add it to servedNamespaces in the values of the lanewright chart"
        )


def _pool(world: World, key: Key, body: Manifest, _: Manifest) -> Iterator[str]:
    metadata = body["metadata"]
    known = world.cache.get(IP_POOL.kind, *key)
    status = IPPoolStatus() if known is None else status_of(IPPoolStatus, known)
    spec = IPPoolSpec.model_validate(body["spec"])
    pool = Pool(*key, metadata.get("uid") or "", metadata.get("generation") or 0, "", spec, status)
    beside, holdings = _around(world, pool)
    result = allocate((pool,), demands_of(world.cache, key), world.wall(), beside, holdings)
    said = pool_status(pool, result.statuses[key], world.wall(), tuple(pools_near(world.cache, pool)))
    yield from _bad(said.conditions, (ConditionType.VALID,), (ConditionType.MIXED_NETWORKS,))


def _policy(world: World, key: Key, body: Manifest, before: Manifest) -> Iterator[str]:
    spec = ISPPolicySpec.model_validate(body["spec"])
    changes = body["spec"].get("responses") != (before.get("spec") or {}).get("responses")
    if changes and (dead := check_rules(spec.responses, re2.compile)):
        raise _RefusedError(f"{'; '.join(dead)}: correct or remove the rule")
    policy = Policy(*key, body["metadata"].get("generation") or 0, spec, ISPPolicyStatus())
    neighbours = (one for one in world.cache.all(ISP_POLICY.kind, key[0]) if one["metadata"]["name"] != key[1])
    said = policy_status(policy, _readable(neighbours), world.wall())
    yield from _bad(said.conditions, (ConditionType.VALID,))


_LOOKS: dict[str, Callable[[World, Key, Manifest, Manifest], Iterator[str]]] = {
    SENDING_LANE.kind: _lane,
    IP_POOL.kind: _pool,
    ISP_POLICY.kind: _policy,
}


def _around(world: World, pool: Pool | None) -> tuple[Iterable[Pool], Iterable[Any]]:
    """The pools beside one, and what slots carry of its addresses."""
    if pool is None:
        return (), ()
    return tuple(pools_beside(world.cache, pool)), holdings_of(world.cache, pool.ips)


def _readable(bodies: Iterable[Manifest]) -> Iterator[Policy]:
    for body in bodies:
        try:
            yield policy_of(body)
        except UnreadableError:
            continue


def _bad(
    conditions: Iterable[Any], wanted: tuple[ConditionType, ...], unwanted: tuple[ConditionType, ...] = ()
) -> Iterator[str]:
    """The messages of those that should be True and are not, and of those that should not be."""
    for one in conditions:
        if (one.type in wanted and one.status == "False") or (one.type in unwanted and one.status == "True"):
            yield one.message
