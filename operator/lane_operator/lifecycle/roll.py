"""Which slots may be restarted in this pass, because their pod's template is another: one of a lane at a time; pure.

Comes between desired state and apply. A new image or new resources change every slot's template at once; were all of
them applied, the lane would take no mail meanwhile. A slot that does not become ready again halts the rest.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

from lane_operator.compare import APPLIED_ANNOTATION, is_in_force, prepared
from lane_operator.inputs import Claim, Manifest, Observation

__all__ = ["rolled", "staggered"]


def staggered(
    manifests: Iterable[Manifest], claims: Iterable[Claim], live: Callable[[str], Manifest | None]
) -> tuple[Manifest, ...]:
    """The manifests without workloads that must wait for a sibling; `live` gives a StatefulSet by its name.

    A slot that is not ready may always be changed: it has nothing to lose, and may be waiting for just that.
    """
    active = [claim.slot_name for claim in claims if claim.takes_mail]
    settled = {name: is_settled(live(name)) for name in active}
    kept, restarting = [], False
    for manifest in manifests:
        name = manifest["metadata"]["name"]
        if manifest["kind"] == "StatefulSet" and settled.get(name) and _is_changed(manifest, live(name)):
            if restarting or not all(ready for other, ready in settled.items() if other != name):
                continue
            restarting = True
        kept.append(manifest)
    return tuple(kept)


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
        else replace(seen, rolling=_is_behind(live(seen.name)))
        for seen in observation.slots
    )
    return Observation(tuple(slots))


def _workloads(manifests: Iterable[Manifest]) -> set[str]:
    return {one["metadata"]["name"] for one in manifests if one["kind"] == "StatefulSet"}


def _is_behind(workload: Manifest | None) -> bool:
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
