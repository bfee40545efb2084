"""Looks for who may still hold an address that the API server's store has forgotten (`pools.held_back`)."""

from lane_operator.indexes import address_value
from lane_operator.inputs import Key, Manifest
from lane_operator.kube import POD, SENDING_LANE, STATEFUL_SET
from lane_operator.marks import addresses_of, lane_key, slot_of
from lane_operator.pools.held_back import unseen
from lane_operator.reconcile.world import World
from lane_operator.references import UnreadableError, lane_of, nodes_of

__all__ = ["still_unseen", "waited_for"]

LOOKED_EVERY_S = 2.0
"""Every pass over a lane that wants an address asks; a look goes through all pods."""


def still_unseen(world: World) -> tuple[str, ...]:
    """What is waited for before anybody gets an address that he does not have; empty where nothing is."""
    since = world.went_back.went_back_at
    if since is None:
        return ()
    looked_at, found = world.unseen
    if world.monotonic() - looked_at < LOOKED_EVERY_S:
        return found
    found = waited_for(world)
    world.unseen = (world.monotonic(), found)
    if not found:
        world.went_back.dealt_with()
    return found


def waited_for(world: World) -> tuple[str, ...]:
    """The same, looked at anew and noted nowhere."""
    since = world.went_back.went_back_at
    if since is None:
        return ()
    unasked, astray = _asked(world)
    return unseen(since, world.wall(), nodes_of(world.cache), unasked, astray, world.went_back.unknown_since)


def _asked(world: World) -> tuple[list[str], dict[str, str]]:
    """Slots that have not been asked by this process, and those that send from another address than is theirs."""
    unasked, astray = [], {}
    for pod in world.cache.all(POD.kind):
        lane, slot = lane_key(pod), slot_of(pod)
        if lane is None or not _runs(pod) or not _is_readable(world, lane):
            continue
        seen = world.observer.seen(lane, slot)
        if seen is None:
            unasked.append(f"{lane[0]}/{slot}")
            continue
        own = addresses_of(world.cache.get(STATEFUL_SET.kind, lane[0], slot) or {"metadata": {}})
        sends_from = seen.proof_address if seen.reachable and seen.may_send else ""
        if own and sends_from and address_value(sends_from) not in map(address_value, own):
            astray[f"{lane[0]}/{slot}"] = sends_from
    return unasked, astray


def _runs(pod: Manifest) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("phase") == "Running" and status.get("podIP"))


def _is_readable(world: World, lane: Key) -> bool:
    """Whether the lane's passes have its slots visited; those of one that is broken or gone run on as they are."""
    body = world.cache.get(SENDING_LANE.kind, *lane)
    try:
        return body is not None and bool(lane_of(body, read_status=False))
    except UnreadableError:
        return False
