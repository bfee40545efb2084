"""One pass over one ISPPolicy: whether it is in force, and what is wrong with it, on the policy itself."""

from lane_api.isppolicy import ISPPolicyStatus
from lane_operator import metrics
from lane_operator.errors import NotFoundError
from lane_operator.inputs import Key, Policy
from lane_operator.kube import ISP_POLICY
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.world import World
from lane_operator.references import UnreadableError, policy_of, status_of
from lane_operator.status import broken_status, next_end, policy_status

__all__ = ["reconcile_policy"]


async def reconcile_policy(world: World, key: Key) -> float | None:
    """Brings one policy's status forward; seconds to the next look where time alone changes it. Raises KubeError."""
    body = world.cache.get(ISP_POLICY.kind, *key)
    if body is None:
        return None
    try:
        status = policy_status(policy_of(body), _neighbours(world, key), world.wall())
    except UnreadableError as error:
        status = broken_status(status_of(ISPPolicyStatus, body), body, str(error), world.wall())
    wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    later = next_end(status.conditions, world.wall())
    if wanted == body.get("status"):
        return later
    try:
        changed = await world.kube.patch_status(ISP_POLICY, *key, wanted, body["metadata"]["resourceVersion"])
    except NotFoundError:
        world.cache.drop(ISP_POLICY.kind, body)
        return None
    metrics.status_writes.labels(kind=ISP_POLICY.kind).inc()
    world.cache.put(ISP_POLICY.kind, changed)
    await post_transitions(world, body, wanted)
    return later


def _neighbours(world: World, key: Key) -> tuple[Policy, ...]:
    """The other policies of its namespace: two of one priority may tie on a destination."""
    found = []
    for body in world.cache.all(ISP_POLICY.kind, key[0]):
        try:
            if body["metadata"]["name"] != key[1]:
                found.append(policy_of(body))
        except UnreadableError:
            continue
    return tuple(found)
