"""What is to be done next with slots that are to go: after a scale-in, a delete, a deleted namespace.

The way of a slot, each step decided from what is there, so that a restart of the operator changes nothing:

    intake closed (by the configuration of a Draining or Held claim, and by an order through /v1 that its spool keeps)
    -> proof: the slot itself says, closed and under the lane's newest generation, what it still holds, that no other
       slot may ask it any more what became of a transfer, and that its records are in the lane's archive, if there is
       one, that webhooks have what is for them, and that a slot that stays, or the archive, has its suppression list
    -> StatefulSet at 0 replicas, the proof in its annotation
    -> pod gone
    -> queue finalizer off the volume claim of exactly that uid, if the proof says empty; else the volume stays
    -> StatefulSet deleted; the address is the pool's again, and cools down
    -> last slot of a lane that is being deleted: the lane's finalizer off

Invariants: no answer is not empty; a volume that may hold mail keeps its finalizer; a proof is taken off before its
slot starts again, and one from before the API server's store was put back is none, for it came back with it; nothing
here has a deadline, since nothing is ever dropped because time has passed (`status` says that the deadline has passed,
a person decides).
"""

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace

from lane_api.lane_status import SlotRole
from lane_api.names import RELEASE_ANNOTATION, RELEASE_KEEP_VOLUMES
from lane_api.queue import DrainPolicy
from lane_operator.inputs import Lane, Manifest, SlotObservation
from lane_operator.marks import slot_of

__all__ = [
    "DRAINED_ANNOTATION",
    "DeleteWorkload",
    "Drained",
    "LetGo",
    "ReleaseVolume",
    "RetainVolume",
    "ScaleToZero",
    "SlotFacts",
    "Step",
    "is_released",
    "next_steps",
    "outlived",
    "shaped",
]

DRAINED_ANNOTATION = "lanewright.dev/drained"
"""On a slot's StatefulSet at 0 replicas: what the slot said last, as JSON; the proof that outlives its pod."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What a slot said of itself before it was stopped: {spool, claim, generation, nothing open}, and what it holds."""

    spool_id: str
    volume_uid: str
    generation: int
    live: int
    """Messages that are still in the spool; 0: empty."""
    elsewhere: bool = False
    """Its records and its suppression list are not on its volume alone."""
    at: str = ""
    """When it was believed, RFC 3339; empty: by an older operator."""

    def text(self) -> str:
        """As it stands in the annotation."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str | None) -> "Drained | None":
        """The value of an annotation; what cannot be read proves nothing."""
        try:
            proof = cls(**json.loads(text)) if text else None
        except (TypeError, ValueError, RecursionError):
            return None
        return proof if proof is None or proof._is_whole() else None

    def _is_whole(self) -> bool:
        """Whether each part is what it is to be; a hand may have written anything."""
        texts = (self.spool_id, self.volume_uid, self.at)
        numbers = (self.generation, self.live)
        return all(type(one) is str for one in texts) and all(type(one) is int and one >= 0 for one in numbers)


@dataclass(frozen=True, slots=True)
class SlotFacts:
    """What there is of one slot."""

    name: str
    role: SlotRole
    workload_uid: str | None = None
    drained: Drained | None = None
    """Stopped on purpose: the StatefulSet stands at 0 replicas with this proof."""
    pod: bool = False
    volume_uid: str | None = None
    volume_guarded: bool = False
    """The claim carries the queue finalizer: it holds mail, or was never proven empty."""
    volume_name: str = ""
    """The PersistentVolume behind the claim."""
    volume_retained: bool = False
    """That PersistentVolume is labelled as ours and stays when its claim goes."""
    observation: SlotObservation | None = None


@dataclass(frozen=True, slots=True)
class ScaleToZero:
    """Stop the slot's pod; `drained` goes into the annotation."""

    slot: str
    drained: Drained


@dataclass(frozen=True, slots=True)
class ReleaseVolume:
    """Take the queue finalizer off the claim of this uid, and delete it where the lane says so."""

    slot: str
    uid: str
    delete: bool


@dataclass(frozen=True, slots=True)
class RetainVolume:
    """The namespace goes: keep the PersistentVolume, labelled, for a lane of the same name in a namespace to come."""

    slot: str
    uid: str
    volume: str


@dataclass(frozen=True, slots=True)
class DeleteWorkload:
    """Delete the StatefulSet of this uid: the slot is gone and gives its address back."""

    slot: str
    uid: str


@dataclass(frozen=True, slots=True)
class LetGo:
    """Every slot is settled: the rest of the children may go, then the lane."""


Step = ScaleToZero | ReleaseVolume | RetainVolume | DeleteWorkload | LetGo


def is_released(lane: Lane) -> bool:
    """Whether a person lets the lane go with mail in it: volumes and addresses stay behind."""
    return lane.deleting_since is not None and lane.annotations.get(RELEASE_ANNOTATION) == RELEASE_KEEP_VOLUMES


def next_steps(
    lane: Lane, slots: Iterable[SlotFacts], *, terminating: bool, may_retain: bool, at: str = ""
) -> tuple[Step, ...]:
    """What to do now; empty while there is only waiting to do.

    `terminating`: the namespace is being deleted, its pods are gone for good. `may_retain`: we may keep volumes beyond
    their namespace. `at`: now, for what is believed now.
    """
    slots = tuple(slots)
    steps: list[Step] = []
    around = _around(lane, slots)
    for slot in slots:
        if lane.deleting_since is not None or slot.role.is_going:
            found = _steps(lane, slot, around, terminating=terminating, may_retain=may_retain)
            steps.extend(
                replace(one, drained=replace(one.drained, at=at)) if isinstance(one, ScaleToZero) else one
                for one in found
            )
    if lane.deleting_since is not None and not steps:
        settled = all(_is_settled(lane, slot, terminating=terminating) for slot in slots)
        return (LetGo(),) if settled else ()
    return tuple(steps)


def shaped(
    manifests: Iterable[Manifest], slots: Iterable[SlotFacts], steps: Iterable[object], *, deleting: bool
) -> tuple[Manifest, ...]:
    """The manifests with stopped slots at 0 replicas; their volumes, and what is deleted in this pass, are left out."""
    stopped = {slot.name: slot.drained for slot in slots if slot.drained and (deleting or slot.role.is_going)}
    stopped |= {step.slot: step.drained for step in steps if isinstance(step, ScaleToZero)}
    gone = {step.slot for step in steps if isinstance(step, DeleteWorkload)}
    return tuple(
        _at_zero(manifest, stopped) if manifest["kind"] == "StatefulSet" else manifest
        for manifest in manifests
        if not (manifest["kind"] == "StatefulSet" and manifest["metadata"]["name"] in gone)
        and not (manifest["kind"] == "PersistentVolumeClaim" and slot_of(manifest) in stopped)
    )


def outlived(live: Mapping[str, Manifest], manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """The slots whose workload carries a proof and runs, or is to run: what it proves is over with the first mail.

    `live` are the workloads by slot. One that nobody renders now, and that stands at 0, stays as it is.
    """
    starts = {
        one["metadata"]["name"] for one in manifests if one["kind"] == "StatefulSet" and one["spec"].get("replicas")
    }
    return tuple(
        slot
        for slot, workload in sorted(live.items())
        if DRAINED_ANNOTATION in (workload["metadata"].get("annotations") or {})
        and (slot in starts or workload["spec"].get("replicas") != 0)
    )


@dataclass(frozen=True, slots=True)
class _Around:
    """The lane's slots by what a slot that is to go needs of them."""

    staying: frozenset[str]
    """There when all that go are gone."""
    empty: frozenset[str]
    """Stopped, and without mail: they have nothing that they could ask about."""


def _around(lane: Lane, slots: Iterable[SlotFacts]) -> _Around:
    slots, going = tuple(slots), lane.deleting_since is not None
    return _Around(
        frozenset(slot.name for slot in slots if not slot.role.is_going and not going),
        frozenset(slot.name for slot in slots if slot.drained is not None and not slot.drained.live),
    )


def _steps(lane: Lane, slot: SlotFacts, around: _Around, *, terminating: bool, may_retain: bool) -> Iterable[Step]:
    """The next step of one slot that is to go; none while it waits."""
    if is_released(lane):
        if terminating and may_retain and slot.volume_guarded and slot.volume_uid and not slot.pod:
            if slot.volume_name and not slot.volume_retained:
                return [RetainVolume(slot.name, slot.volume_uid, slot.volume_name)]
            return [ReleaseVolume(slot.name, slot.volume_uid, delete=False)]
        return []
    if slot.workload_uid and slot.drained is None:
        drained = _statement(lane, slot, around)
        return [ScaleToZero(slot.name, drained)] if drained else []
    if slot.pod or slot.drained is None:
        return []
    if slot.volume_uid and slot.volume_guarded and _is_empty(slot):
        return [ReleaseVolume(slot.name, slot.volume_uid, delete=lane.deletes_claims and slot.drained.elsewhere)]
    if slot.workload_uid and lane.deleting_since is None and not _keeps_mail(slot):
        return [DeleteWorkload(slot.name, slot.workload_uid)]
    return []


def _statement(lane: Lane, slot: SlotFacts, around: _Around) -> Drained | None:
    """The slot's own word that it may be stopped under the lane's policy; None while it may not."""
    seen = slot.observation
    if seen is None or not seen.reachable or not seen.is_fresh or seen.config_generation < lane.generation:
        return None
    if (seen.intake, seen.intake_ordered) != ("Closed", "Closed"):  # only an order in the spool outlives a restart
        return None
    if seen.sessions or seen.in_flight or not seen.spool_id or seen.pvc_uid != slot.volume_uid:
        return None
    if seen.owed_to_others_than(around.empty):  # also under Hold: a volume without mail goes, and with it the answer
        return None
    if lane.spec.drain.policy is not DrainPolicy.HOLD and not _needs_nothing(lane, seen, around.staying):
        return None
    elsewhere = seen.unarchived == 0 and (_has_list(lane, seen, around.staying) or seen.list_archived)
    return Drained(seen.spool_id, seen.pvc_uid, seen.config_generation, seen.queued, elsewhere)


def _needs_nothing(lane: Lane, seen: SlotObservation, staying: frozenset[str]) -> bool:
    """Whether all that is the slot's alone has gone where it is to go."""
    sent = not seen.queued and not seen.untold
    return sent and _is_archived(lane, seen) and _has_handed_list_on(lane, seen, staying)


def _is_archived(lane: Lane, seen: SlotObservation) -> bool:
    """Whether the evidence outlives the volume, where the lane has an archive."""
    return lane.spec.audit.archive is None or seen.unarchived == 0


def _has_list(lane: Lane, seen: SlotObservation, staying: frozenset[str]) -> bool:
    """Whether one of these slots has every word of the suppression list, if there are any."""
    if seen.suppressed is None:
        return lane.spec.feedback is None
    return seen.list_is_with(staying)


def _has_handed_list_on(lane: Lane, seen: SlotObservation, staying: frozenset[str]) -> bool:
    """Whether the lane knows on whom not to mail: from a slot that stays, else from the archive or the volume."""
    if _has_list(lane, seen, staying):
        return True
    return not staying and (not lane.deletes_claims or seen.list_archived)


def _is_empty(slot: SlotFacts) -> bool:
    """Whether the proof is of this very volume, and says empty."""
    return slot.drained is not None and slot.drained.live == 0 and slot.drained.volume_uid == slot.volume_uid


def _keeps_mail(slot: SlotFacts) -> bool:
    return slot.volume_uid is not None and slot.volume_guarded


def _is_settled(lane: Lane, slot: SlotFacts, *, terminating: bool) -> bool:
    """Whether the lane may go as far as this slot is concerned."""
    if terminating:
        return not slot.pod and not _keeps_mail(slot)
    if is_released(lane):
        return True
    if slot.workload_uid is None and slot.drained is None:
        return not slot.pod and not _keeps_mail(slot)
    return slot.drained is not None and not slot.pod and not (_keeps_mail(slot) and _is_empty(slot))


def _at_zero(manifest: Manifest, stopped: Mapping[str, Drained | None]) -> Manifest:
    drained = stopped.get(manifest["metadata"]["name"])
    if drained is None:
        return manifest
    changed = copy.deepcopy(manifest)
    changed["spec"]["replicas"] = 0
    changed["metadata"].setdefault("annotations", {})[DRAINED_ANNOTATION] = drained.text()
    return changed
