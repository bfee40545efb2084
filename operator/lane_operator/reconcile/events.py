"""Kubernetes Events: one for each condition that changed its status or reason, for what comes up in ActsObserved and
Listed, for what begins or is over of ActsInForce, for each volume of VolumeForgotten, and for each slot that begins to
drain or is done with it.
Of an object's first status what is no warning is one Event together: a thousand new lanes would make seven thousand.

Posted by us, not by kopf, whose events belong to a handler and come again with each. The name is made of what is said
and since when, so a repetition, also by a restarted operator, meets its own earlier event and is none.
"""

import hashlib
from collections.abc import Iterator

import structlog

from lane_api.conditions import ConditionType
from lane_api.lane_status import SlotRole
from lane_operator.errors import ConflictError, KubeError, NamespaceTerminatingError
from lane_operator.inputs import Manifest
from lane_operator.kube import EVENT
from lane_operator.reconcile.world import World
from lane_operator.status.acts import BY, MORE
from lane_operator.status.observed import SEPARATOR

__all__ = ["announced", "is_alarming", "post_transitions", "transitions"]

NOTE_LIMIT = 1024  # the API server refuses a longer note
_ALARMING = {
    ("Ready", "False"),
    ("Stalled", "True"),
    ("EgressVerified", "False"),
    ("PTRMatches", "False"),
    ("DNSMatches", "False"),
    ("ConfigInForce", "False"),
    ("Valid", "False"),
    ("AddressQuarantined", "True"),
    ("Listed", "True"),
    ("ListsAnswer", "False"),
    ("ActsInForce", "True"),
    ("ActsObserved", "True"),
    ("UpgradeHalted", "True"),
    ("QueueHealthy", "False"),
    ("NodeLost", "True"),
    ("VolumeForgotten", "True"),
}
_EACH = {
    ConditionType.ACTS_IN_FORCE,
    ConditionType.ACTS_OBSERVED,
    ConditionType.DRAINING,
    ConditionType.LISTED,
    ConditionType.VOLUME_FORGOTTEN,
    ConditionType.UPGRADING,
}
"""Of these another message is another event: slot by slot goes through an upgrade, which is True throughout."""
_GOING = {SlotRole.DRAINING.value, SlotRole.HELD.value}
_ORDINARY = {"NewGeneration", "Pushing", "Draining"}
"""Reasons that every change goes through."""
log = structlog.get_logger(__name__)


def transitions(before: Manifest, after: Manifest) -> tuple[Manifest, ...]:
    """The conditions of the new status whose status or reason was another, or was not there; of ActsObserved also what
    its message has and had not, and of ActsInForce what began and what is over, each as a condition of its own."""
    known, new = _by_type(before), _by_type(after)
    found = [_news(known.get(kind), one) for kind, one in new.items() if kind != ConditionType.ACTS_IN_FORCE]
    acts = _acts_news(known.get(ConditionType.ACTS_IN_FORCE), new.get(ConditionType.ACTS_IN_FORCE))
    return tuple(one for one in (*found, *acts, *_drain_news(before, after)) if one is not None)


def _drain_news(before: Manifest, after: Manifest) -> Iterator[Manifest]:
    """Slots that begin to drain beside others, for which the condition itself changes nothing, and those that are done:
    empty, stopped with their mail, or here to stay."""
    was, now = _by_type(before).get(ConditionType.DRAINING), _by_type(after).get(ConditionType.DRAINING)
    drained, drains = _draining(before), _draining(after)
    begun = [name for name in drains if name not in drained]
    if begun and was is not None and now is not None and _says_same(was, now):
        yield {**now, "message": f"{', '.join(begun)} too: {now.get('message', '')}"}
    slots = {one["name"]: one for one in after.get("slots") or ()}
    others = f"; {', '.join(drains)} still drains" if drains else "; nothing drains any more"
    for name in drained:
        if was is not None and name not in drains:
            reason, text = _outcome(slots.get(name))
            yield {**was, "status": "False", "reason": reason, "message": f"{name} {text}{others}"}


def _outcome(slot: Manifest | None) -> tuple[str, str]:
    """What became of a slot that drained, as the new status has it: a reason, and words."""
    if slot is None:
        return "SlotDrained", "has gone"
    if slot.get("role") not in _GOING:
        return "HandOverEnded", "hands nothing over any more and stays in the lane"
    if slot.get("queued"):
        return "SlotHeld", f"has stopped and keeps about {slot['queued']} messages on its volume"
    return "SlotDrained", "is empty and has stopped"


def _draining(status: Manifest) -> list[str]:
    """Slots that drain, as the status names them."""
    return list((status.get("drain") or {}).get("slots") or ())


def _says_same(before: Manifest, after: Manifest) -> bool:
    return (before["status"], before["reason"]) == (after["status"], after["reason"])


def _by_type(status: Manifest) -> dict[str, Manifest]:
    return {one["type"]: one for one in status.get("conditions") or ()}


def _acts_news(before: Manifest | None, after: Manifest | None) -> Iterator[Manifest]:
    """What of ActsInForce has begun, and what is over: an act that lasts longer, or is another slot's too, is the same.

    Where there are more than it tells, one that is told no longer may just have made room.
    """
    was, now = _parts(before), _parts(after)
    if after is not None and (begun := [part for act, part in now.items() if act not in was]):
        yield {**after, "message": SEPARATOR.join(begun)}
    is_full = MORE in (after or {}).get("message", "").split(SEPARATOR)
    if before is not None and not is_full and (over := [part for act, part in was.items() if act not in now]):
        said = SEPARATOR.join(part.partition(" (")[0] for part in over)
        yield {
            **before,
            "status": "False",
            "reason": "ActsOver",
            "message": f"no slot that answers has any more: {said}",
        }


def _parts(acts: Manifest | None) -> dict[str, str]:
    """What ActsInForce says of each act, by what is stopped or slowed down."""
    parts = (acts or {}).get("message", "").split(SEPARATOR)
    return {part.partition(BY)[0]: part for part in parts if BY in part}


def _news(before: Manifest | None, after: Manifest) -> Manifest | None:
    """What is worth an event: the condition, or as much of its message as was not there."""
    if before is None or not _says_same(before, after):
        return after
    if after["type"] == ConditionType.VOLUME_FORGOTTEN:  # a word about one volume may follow that about another
        return None if after.get("message", "").startswith(before.get("message", "")) else after
    if after["type"] not in (ConditionType.ACTS_OBSERVED, ConditionType.LISTED):
        return None
    known = before.get("message", "").split(SEPARATOR)
    new = [part for part in after.get("message", "").split(SEPARATOR) if part not in known]
    return {**after, "message": SEPARATOR.join(new)} if new else None


def announced(before: Manifest, after: Manifest) -> tuple[Manifest, ...]:
    """What has an Event each: transitions, of which those of a first status are one where they are no warning."""
    found = transitions(before, after)
    plain = [one for one in found if not is_alarming(one)]
    if before.get("conditions") or len(plain) < 2:
        return found
    said = SEPARATOR.join(f"{one['type']} is {one['status']} ({one['reason']})" for one in plain)
    first = {**plain[0], "type": "FirstStatus", "status": "True", "reason": "FirstStatus", "message": said}
    return (first, *(one for one in found if is_alarming(one)))


def is_alarming(condition: Manifest) -> bool:
    """Whether somebody should look: it stands badly, and not because a change is on its way."""
    return (condition["type"], condition["status"]) in _ALARMING and condition["reason"] not in _ORDINARY


async def post_transitions(world: World, body: Manifest, status: Manifest) -> None:
    """Posts what has changed; an event that cannot be posted is logged and stops nothing."""
    for condition in announced(body.get("status") or {}, status):
        event = _event(world, body, condition)
        try:
            await world.kube.create(event)
        except (ConflictError, NamespaceTerminatingError):  # said already; nobody left to read it
            continue
        except KubeError as error:
            log.warning("event not posted", name=event["metadata"]["name"], error=str(error))


def _event(world: World, body: Manifest, condition: Manifest) -> Manifest:
    metadata = body["metadata"]
    parts = ["type", "status", "reason", "lastTransitionTime"]
    if condition["type"] in _EACH:
        parts.append("message")
    said = "/".join((metadata["uid"], *(condition.get(part, "") for part in parts)))
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
