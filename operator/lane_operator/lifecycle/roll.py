"""Which slots may be restarted in this pass, because their pod's template is another: one of a lane at a time; pure.

Comes between desired state and apply. A new image or new resources change every slot's template at once; were all of
them applied, the lane would take no mail meanwhile. A slot that does not become ready again halts the rest.
"""

from collections.abc import Callable, Iterable

from lane_operator.compare import APPLIED_ANNOTATION, is_in_force, prepared
from lane_operator.inputs import Claim, Manifest

__all__ = ["staggered"]


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


def _is_changed(manifest: Manifest, live: Manifest | None) -> bool:
    """Whether applying it may restart the pod: another wish than the one applied last, or a template edited by hand."""
    wanted = prepared(manifest)
    template = {"spec": {"template": wanted["spec"]["template"]}}
    applied = ((live or {}).get("metadata", {}).get("annotations") or {}).get(APPLIED_ANNOTATION)
    return applied != wanted["metadata"]["annotations"][APPLIED_ANNOTATION] or not is_in_force(template, live)
