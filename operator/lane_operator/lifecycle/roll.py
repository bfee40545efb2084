"""Which slots may be restarted in this pass, because their pod's template is another: one of a lane at a time; pure.

Comes between desired state and apply. A new image or new resources change every slot's template at once; were all of
them applied, the lane would take no mail meanwhile. A slot that does not become ready again halts the rest. Whose turn
it is hands its mail over first, where it can (`restart`); it is not ready then, and waits all the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from lane_operator.compare import APPLIED_ANNOTATION, is_in_force, prepared
from lane_operator.inputs import Claim, Manifest, Observation

__all__ = ["Turn", "is_behind", "is_settled", "rolled", "staggered"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What may be applied now, and whose turn it is."""

    taken: tuple[Manifest, ...] = ()
    slot: str = ""
    """The slot that hands its mail over before it restarts, or has; empty: none."""
    hands_over: bool = False
    """It does so now."""

    @property
    def is_taken(self) -> bool:
        """Its template is among what is applied."""
        return any(one["kind"] == "StatefulSet" and one["metadata"]["name"] == self.slot for one in self.taken)


def staggered(
    manifests: Iterable[Manifest],
    claims: Iterable[Claim],
    live: Callable[[str], Manifest | None],
    called: str = "",
    can_hand_over: Callable[[str], bool] = lambda _slot: False,
    waits_for_sibling: Callable[[str], bool] = lambda _slot: False,
    *,
    answering: frozenset[str] = frozenset(),
    is_heard: bool = True,
) -> Turn:
    """The manifests without workloads that must wait, for a sibling or until their slot has handed its mail over.

    `live` gives a StatefulSet by its name. `called` is the slot whose turn it was already, which may be unready because
    it was closed. Any other slot that is not ready may be changed: it has nothing to lose, and may be waiting for just
    that; but one of the `answering` may only be late for its probe, and waits while another restarts. `is_heard` False:
    nobody knows yet what slots hold, so that none begins.
    """
    manifests, active = tuple(manifests), tuple(claim for claim in claims if claim.takes_mail)
    settled = {claim.slot_name: is_settled(live(claim.slot_name)) for claim in active}
    workloads = {one["metadata"]["name"]: one for one in manifests if one["kind"] == "StatefulSet"}
    changed = {name for name, one in workloads.items() if name in settled and _is_changed(one, live(name))}
    turn = called if called in changed else ""
    hands_over = restarting = any(claim.hands_over and claim.slot_name == turn for claim in active)
    away = {name for name, ready in settled.items() if is_behind(live(name)) or (name == turn and not ready)}
    kept = []
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        waits = manifest["kind"] == "StatefulSet" and name in changed
        if waits and (settled[name] or (name == turn and (name in answering or not is_heard))):
            others = is_heard and all(ready for other, ready in settled.items() if other != name)
            if restarting or turn not in {name, ""} or not others:
                continue
            restarting = True
            if name != turn and waits_for_sibling(name):
                continue
            if name != turn and can_hand_over(name):
                turn = name
                continue
        elif waits and name in answering and away - {name}:
            continue
        kept.append(manifest)
    return Turn(tuple(kept), turn, hands_over)


def is_settled(workload: Manifest | None) -> bool:
    """Whether the slot's pod is ready and of the newest template."""
    if workload is None:
        return False
    status = workload.get("status") or {}
    return bool(
        status.get("observedGeneration", 0) >= workload["metadata"].get("generation", 0)
        and status.get("updateRevision") == status.get("currentRevision")
        and status.get("readyReplicas", 0) >= 1
    )


def rolled(
    observation: Observation,
    wanted: Iterable[Manifest],
    taken: Iterable[Manifest],
    live: Callable[[str], Manifest | None],
) -> Observation:
    """What was seen, with the slots whose workload is not of its newest template yet.

    `wanted` are the lane's manifests, `taken` those that were applied in this pass: the others' turn comes later.
    """
    later = _workloads(wanted) - _workloads(taken)
    slots = (
        replace(seen, rolling=True, rolls_later=True)
        if seen.name in later
        else replace(seen, rolling=is_behind(live(seen.name)))
        for seen in observation.slots
    )
    return Observation(tuple(slots))


def _workloads(manifests: Iterable[Manifest]) -> set[str]:
    return {one["metadata"]["name"] for one in manifests if one["kind"] == "StatefulSet"}


def is_behind(workload: Manifest | None) -> bool:
    """Whether its controller has not seen its newest template, or not given it to its pod."""
    if workload is None:
        return False
    status = workload.get("status") or {}
    unseen: bool = status.get("observedGeneration", 0) < workload["metadata"].get("generation", 0)
    return unseen or status.get("updateRevision") != status.get("currentRevision")


def _is_changed(manifest: Manifest, live: Manifest | None) -> bool:
    """Whether applying it may restart the pod: another wish than the one applied last, or a template edited by hand."""
    wanted = prepared(manifest)
    template = {"spec": {"template": wanted["spec"]["template"]}}
    applied = ((live or {}).get("metadata", {}).get("annotations") or {}).get(APPLIED_ANNOTATION)
    return applied != wanted["metadata"]["annotations"][APPLIED_ANNOTATION] or not is_in_force(template, live)
