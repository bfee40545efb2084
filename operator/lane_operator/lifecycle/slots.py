"""What there is of each slot of a lane, gathered from the cache into the facts that `drain` decides on."""

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import replace

from lane_api.lane_status import SlotRole
from lane_api.names import QUEUE_FINALIZER
from lane_api.queue import DrainPolicy
from lane_operator.cache import Cache
from lane_operator.inputs import Claim, Lane, Manifest, Observation
from lane_operator.kube import PERSISTENT_VOLUME, POD, STATEFUL_SET, VOLUME_CLAIM
from lane_operator.lifecycle.drain import DRAINED_ANNOTATION, Drained, SlotFacts
from lane_operator.marks import part_of, slot_of
from lane_operator.status.book import stamp

__all__ = ["as_stopped", "slot_facts"]


def slot_facts(
    cache: Cache,
    lane: Lane,
    claims: Iterable[Claim],
    observation: Observation,
    went_back_at: dt.datetime | None = None,
) -> tuple[SlotFacts, ...]:
    """Facts of every slot that is claimed or of which something exists, in order of name.

    `went_back_at`: when the API server's store was put back to an older snapshot, or may have been; None: it was not.
    """
    roles = {claim.slot_name: claim.role for claim in claims}
    parts: dict[str, dict[str, Manifest]] = {name: {} for name in roles}
    for (kind, _), child in cache.children(lane.key).items():
        # of pods any that carries the slot's labels: who has copied it may have its volume mounted
        slot = slot_of(child) if kind == POD.kind else part_of(child)
        if slot:
            parts.setdefault(slot, {})[kind] = child
    return tuple(
        _since(_facts(cache, lane, name, roles.get(name, SlotRole.DRAINING), parts[name], observation), went_back_at)
        for name in sorted(parts)
    )


def as_stopped(observation: Observation, slots: Iterable[SlotFacts], *, deleting: bool) -> Observation:
    """The observation in which a slot that was stopped on purpose holds what its proof says."""
    proofs = {slot.name: slot.drained for slot in slots if deleting or slot.role.is_going}
    return Observation(
        tuple(
            replace(seen, stopped=True, queued=proof.live) if (proof := proofs.get(seen.name)) else seen
            for seen in observation.slots
        )
    )


def _facts(
    cache: Cache, lane: Lane, name: str, role: SlotRole, parts: dict[str, Manifest], observation: Observation
) -> SlotFacts:
    workload, volume = parts.get(STATEFUL_SET.kind), parts.get(VOLUME_CLAIM.kind)
    annotations = ((workload or {}).get("metadata", {}).get("annotations")) or {}
    stopped = workload is not None and workload["spec"].get("replicas") == 0
    behind = (volume or {}).get("spec", {}).get("volumeName", "")
    return SlotFacts(
        name=name,
        role=role,
        workload_uid=workload["metadata"]["uid"] if workload else None,
        drained=_proof(lane, annotations) if stopped else None,
        pod=POD.kind in parts,
        volume_uid=volume["metadata"]["uid"] if volume else None,
        volume_guarded=volume is not None and QUEUE_FINALIZER in (volume["metadata"].get("finalizers") or ()),
        volume_name=behind,
        volume_retained=bool(behind) and cache.get(PERSISTENT_VOLUME.kind, None, behind) is not None,
        observation=observation.slot(name),
    )


def _since(slot: SlotFacts, went_back_at: dt.datetime | None) -> SlotFacts:
    """The slot without a proof that would let its volume go, and that the volume may have outlived."""
    proof = slot.drained
    if went_back_at is None or proof is None or proof.live or not slot.volume_guarded or proof.at > stamp(went_back_at):
        return slot
    return replace(slot, drained=None)


def _proof(lane: Lane, annotations: Mapping[str, str]) -> Drained | None:
    """What the slot said when it was stopped; with mail it may stay so under Hold only, else it starts and sends it."""
    proof = Drained.parse(annotations.get(DRAINED_ANNOTATION))
    return None if proof is not None and proof.live and lane.spec.drain.policy is not DrainPolicy.HOLD else proof
