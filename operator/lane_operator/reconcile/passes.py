"""The edge of every pass: what goes wrong in one, and that nobody foresaw, ends as a condition on its object.

Comes between the worker and the three passes. Invariants: a KubeError passes through, since the queue's back-off heals
it; any other exception is said on the object and then raised, so that it is logged and backed off; of the status only
conditions change, since who holds which address is recorded nowhere else.
"""

from typing import Any

import structlog
from pydantic import ValidationError

from lane_api.conditions import Reason
from lane_api.ippool import IPPoolStatus
from lane_api.isppolicy import ISPPolicyStatus
from lane_api.lane_status import LaneStatus
from lane_operator import metrics
from lane_operator.errors import KubeError
from lane_operator.inputs import Manifest
from lane_operator.kube import IP_POOL, ISP_POLICY, SENDING_LANE, Kind
from lane_operator.reconcile.events import post_transitions
from lane_operator.reconcile.lane import reconcile_lane
from lane_operator.reconcile.policy import reconcile_policy
from lane_operator.reconcile.pool import reconcile_pool
from lane_operator.reconcile.world import QueueKey, World
from lane_operator.references import status_of
from lane_operator.status import broken_status

__all__ = ["run_pass", "told"]

TEXT_LIMIT = 512
_PASSES = {
    SENDING_LANE.kind: reconcile_lane,
    IP_POOL.kind: reconcile_pool,
    ISP_POLICY.kind: reconcile_policy,
}
_SAID: dict[str, tuple[Kind, Any]] = {
    SENDING_LANE.kind: (SENDING_LANE, LaneStatus),
    IP_POOL.kind: (IP_POOL, IPPoolStatus),
    ISP_POLICY.kind: (ISP_POLICY, ISPPolicyStatus),
}
log = structlog.get_logger(__name__)


async def run_pass(world: World, key: QueueKey) -> float | None:
    """One pass over one object; seconds to the next look. Raises KubeError, and whatever nobody foresaw."""
    try:
        return await _PASSES[key.kind](world, key.key)
    except KubeError:
        raise
    except Exception as error:
        await _say(world, key, told(error))
        raise


async def _say(world: World, key: QueueKey, message: str) -> None:
    """Puts the message on the object; a status that cannot be written is logged, the first error is what counts."""
    kind, model = _SAID[key.kind]
    body = world.cache.get(key.kind, *key.key)
    if body is None:
        return
    broken = broken_status(status_of(model, body), body, message, world.wall(), Reason.INTERNAL_ERROR)
    said: Manifest = broken.model_dump(mode="json", by_alias=True, exclude_none=True)
    status = body.get("status") or {}
    wanted = {**status, **{name: said[name] for name in ("conditions", "observedGeneration")}}
    if wanted == status:
        return
    try:
        changed = await world.kube.patch_status(kind, *key.key, wanted, body["metadata"]["resourceVersion"])
    except KubeError as error:
        log.warning("status not written", error=str(error))
        return
    metrics.status_writes.labels(kind=key.kind).inc()
    world.cache.put(key.kind, changed)
    await post_transitions(world, body, wanted)


def told(error: Exception) -> str:
    """Type and text of an exception; of values that a model refuses only where they stand, for one may be a secret."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_input=False, include_context=False, include_url=False)
        text = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in faults)
    else:
        text = str(error)
    return (
        f"the operator cannot work on this: {type(error).__name__}: {text[:TEXT_LIMIT]}. It tries again; its log has "
        "the traceback: correct what was changed last, and report it"
    )
