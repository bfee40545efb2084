"""Which lanes of a namespace share their suppression lists, and how their slots are reached.

Beside `references`. Invariant: who is named by another lane names it too, so that each lets the other read on.
"""

from typing import Final

from lane_operator.cache import Cache
from lane_operator.inputs import Key, Lane, Manifest, Sharer
from lane_operator.kube import SENDING_LANE, STATEFUL_SET
from lane_operator.marks import part_of
from lane_operator.pools import port_block_of

__all__ = ["sharers_of", "shares_list"]

MOST: Final = 32
"""Lanes that a configuration names: each slot asks every slot of them."""


def shares_list(body: Manifest) -> bool:
    """The lane's suppression list is the namespace's."""
    feedback = body["spec"].get("feedback") or {}
    return (feedback.get("suppression") or {}).get("scope") == "Namespace"


def sharers_of(cache: Cache, lane: Lane) -> tuple[Sharer, ...]:
    """The other lanes of the namespace that share the suppression list, with their slots.

    Of very many only those next by name, as many before as behind: so each knows whoever knows it, and words come
    round to all.
    """
    if lane.spec.feedback is None or lane.spec.feedback.suppression.scope != "Namespace":
        return ()
    bodies = cache.all(SENDING_LANE.kind, lane.namespace)
    names = sorted({body["metadata"]["name"] for body in bodies if shares_list(body)} | {lane.name})
    at, most = names.index(lane.name), min(len(names) - 1, MOST)
    near = [names[(at + step) % len(names)] for step in range(-(most // 2), most - most // 2 + 1) if step]
    return tuple(Sharer(name, _slots_with_ports(cache, (lane.namespace, name))) for name in sorted(set(near)))


def _slots_with_ports(cache: Cache, lane: Key) -> tuple[tuple[str, int | None], ...]:
    children = cache.children(lane).items()
    return tuple(
        sorted(
            (slot, port_block_of(child))
            for (kind, _), child in children
            if kind == STATEFUL_SET.kind and (slot := part_of(child))
        )
    )
