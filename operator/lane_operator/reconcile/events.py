"""Kubernetes Events: one for each condition that changed its status or reason, and for nothing else.

Posted by us, not by kopf, whose events belong to a handler and come again with each. The name is made of what is said
and since when, so a repetition, also by a restarted operator, meets its own earlier event and is none.
"""

import hashlib

import structlog

from lane_operator.errors import ConflictError, KubeError, NamespaceTerminatingError
from lane_operator.inputs import Manifest
from lane_operator.kube import EVENT
from lane_operator.reconcile.world import World

__all__ = ["is_alarming", "post_transitions", "transitions"]

NOTE_LIMIT = 1024  # the API server refuses a longer note
_ALARMING = {
    ("Ready", "False"),
    ("Stalled", "True"),
    ("EgressVerified", "False"),
    ("ConfigInForce", "False"),
    ("Valid", "False"),
    ("AddressQuarantined", "True"),
}
_ORDINARY = {"NewGeneration", "Pushing", "Draining"}
"""Reasons that every change goes through."""
log = structlog.get_logger(__name__)


def transitions(before: Manifest, after: Manifest) -> tuple[Manifest, ...]:
    """The conditions of the new status whose status or reason was another, or was not there."""
    known = {one["type"]: (one["status"], one["reason"]) for one in before.get("conditions") or ()}
    return tuple(
        one for one in after.get("conditions") or () if known.get(one["type"]) != (one["status"], one["reason"])
    )


def is_alarming(condition: Manifest) -> bool:
    """Whether somebody should look: it stands badly, and not because a change is on its way."""
    return (condition["type"], condition["status"]) in _ALARMING and condition["reason"] not in _ORDINARY


async def post_transitions(world: World, body: Manifest, status: Manifest) -> None:
    """Posts what has changed; an event that cannot be posted is logged and stops nothing."""
    for condition in transitions(body.get("status") or {}, status):
        event = _event(world, body, condition)
        try:
            await world.kube.create(event)
        except (ConflictError, NamespaceTerminatingError):  # said already; nobody left to read it
            continue
        except KubeError as error:
            log.warning("event not posted", name=event["metadata"]["name"], error=str(error))


def _event(world: World, body: Manifest, condition: Manifest) -> Manifest:
    metadata = body["metadata"]
    said = "/".join(
        (metadata["uid"], *(condition.get(part, "") for part in ("type", "status", "reason", "lastTransitionTime")))
    )
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {
            "name": f"{metadata['name'][:200]}.{hashlib.sha256(said.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "eventTime": world.wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reportingController": "lanewright.dev/operator",
        "reportingInstance": "lanewright",
        "action": condition["type"],
        "reason": condition["reason"],
        "type": "Warning" if is_alarming(condition) else "Normal",
        "note": (condition.get("message") or f"{condition['type']} is {condition['status']}")[:NOTE_LIMIT],
        "regarding": {
            "apiVersion": body["apiVersion"],
            "kind": body["kind"],
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
    }
