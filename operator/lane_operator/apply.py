"""Makes the cluster hold what is desired: applies what differs, then prunes what is no longer wanted.

Comes after desired state and before observation. Invariants: an object that already is as wanted gets no write; a
child that fails does not stop its siblings; nothing is pruned unless every apply went well and every input was read;
an apply and a delete name the uid that was looked at, so that what is gone by now is not made again by who missed it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from lane_api.names import LANE_LABEL, MANAGED_BY
from lane_operator import metrics
from lane_operator.cache import Cache
from lane_operator.compare import APPLIED_ANNOTATION, is_in_force, prepared
from lane_operator.errors import ConflictError, ForbiddenError, InvalidError, KubeError
from lane_operator.inputs import Lane, Manifest
from lane_operator.kube import CHILD_KINDS, STATEFUL_SET, VOLUME_CLAIM, Kube, kind_of
from lane_operator.marks import slot_of
from lane_operator.together import together

__all__ = ["Applied", "Failure", "apply_children", "delete_children", "delete_ours", "prune"]

AT_ONCE = 4
"""Children of one lane that are applied at the same time; lanes that are passed over at once, the settings limit."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Failure:
    """A child that could not be applied or deleted."""

    kind: str
    name: str
    error: KubeError

    @property
    def may_pass(self) -> bool:
        """Whether trying again may help; what was refused waits for a person."""
        return not isinstance(self.error, InvalidError | ForbiddenError)


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of applying the children of one lane."""

    written: int = 0
    failures: tuple[Failure, ...] = ()

    def raise_passing(self) -> None:
        """Raises the first KubeError that may be over at the next try, so that the queue backs off; else nothing."""
        for failure in self.failures:
            if failure.may_pass:
                raise failure.error


async def apply_children(kube: Kube, cache: Cache, manifests: Iterable[Manifest]) -> Applied:
    """Applies those manifests that are not in force yet, workloads after all else; errors are values."""
    late = [wanted for manifest in manifests if not _is_there(cache, wanted := prepared(manifest))]
    workloads = [wanted for wanted in late if wanted["kind"] == STATEFUL_SET.kind]
    others = [wanted for wanted in late if wanted["kind"] != STATEFUL_SET.kind]
    failures: list[Failure | None] = []
    for wave in (others, workloads):  # a pod finds its Secrets, its volume and the policy that fences it
        failures += await together((_failure(kube, cache, wanted) for wanted in wave), AT_ONCE)
    failed = tuple(failure for failure in failures if failure is not None)
    return Applied(len(late) - len(failed), failed)


def _is_there(cache: Cache, wanted: Manifest) -> bool:
    """Whether the live object already is as the prepared manifest says."""
    metadata = wanted["metadata"]
    return is_in_force(wanted, cache.get(wanted["kind"], metadata.get("namespace"), metadata["name"]))


async def _failure(kube: Kube, cache: Cache, wanted: Manifest) -> Failure | None:
    """Applies one child; why it could not be."""
    name = wanted["metadata"]["name"]
    try:
        cache.put(wanted["kind"], await _apply(kube, cache, wanted))
    except KubeError as error:
        log.warning("apply failed", kind=wanted["kind"], name=name, error=str(error))
        return Failure(wanted["kind"], name, error)
    return None


async def _apply(kube: Kube, cache: Cache, wanted: Manifest) -> Manifest:
    """Applies one child; an object of its name that was never the lane's is left alone. Raises KubeError."""
    kind, metadata = kind_of(wanted), wanted["metadata"]
    namespace = metadata.get("namespace")
    live = cache.get(kind.kind, namespace, metadata["name"])
    if live is None:
        try:
            return await kube.apply_new(wanted)
        except ConflictError:  # out of our watch: an apply would merge into it unasked where no field conflicts
            live = await kube.find(kind, namespace, metadata["name"])
    if live is not None and not _is_the_lanes(live, wanted):
        raise InvalidError("there is one that is not the lane's: delete or rename it, or give the lane another name")
    uid = "" if live is None else str(live["metadata"].get("uid", ""))
    if not uid:
        return await kube.apply(wanted, force=live is not None)
    try:
        return await kube.apply({**wanted, "metadata": {**metadata, "uid": uid}})
    except InvalidError as error:  # so is a uid that is another by now; one that is gone is a conflict
        found = await kube.find(kind, namespace, metadata["name"])
        if found is None or found["metadata"].get("uid") == uid:
            raise
        raise ConflictError(f"it is another one by now, of uid {found['metadata'].get('uid')}") from error


def _is_the_lanes(live: Manifest, wanted: Manifest) -> bool:
    """Whether it carries our marks, of which a hand may have edited some, and no other lane's."""
    labels, owner = live["metadata"].get("labels") or {}, _owner(live)
    if labels.get(LANE_LABEL, "") not in {"", wanted["metadata"]["labels"][LANE_LABEL]} and owner is not None:
        return owner == _owner(wanted)
    return _is_ours(live) or APPLIED_ANNOTATION in (live["metadata"].get("annotations") or {})


async def prune(
    kube: Kube,
    cache: Cache,
    lane: Lane,
    manifests: Iterable[Manifest],
    kept: frozenset[tuple[str, str]],
    outlived: frozenset[tuple[str, str]] = frozenset(),
) -> Applied:
    """Deletes the lane's own children that are neither desired nor kept.

    Never a queue volume or a workload, nor what a workload needs, unless that has `outlived` it: a slot that lost its
    claim may hold mail, and goes by its drain alone.
    """
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests} | kept
    children = sorted(cache.children(lane.key).items())
    working = {slot_of(child) for (kind, _), child in children if kind == STATEFUL_SET.kind} - {""}
    surplus = [
        child
        for key, child in children
        if key not in wanted
        and key[0] not in {VOLUME_CLAIM.kind, STATEFUL_SET.kind}
        and (slot_of(child) not in working or key in outlived)
        and (_owner(child) == lane.uid or not kind_of(child).namespaced)
    ]
    return await delete_ours(kube, surplus)


async def delete_children(kube: Kube, cache: Cache, lane: Lane, kept: frozenset[tuple[str, str]]) -> Applied:
    """Deletes every child of a lane that goes, whoever owns it, but its queue volumes and what is kept.

    Owner references would do, were it not for `--cascade=orphan` and for what was made again during a foreground one.
    """
    kinds = {kind.kind for kind in CHILD_KINDS} - {VOLUME_CLAIM.kind}
    going = [
        child
        for key, child in sorted(cache.children(lane.key).items())
        if key[0] in kinds and key not in kept and _owner(child) in {lane.uid, None}
    ]
    return await delete_ours(kube, going)


async def delete_ours(kube: Kube, children: Iterable[Manifest]) -> Applied:
    """Deletes these as they were looked at, but what is not ours or goes already; errors are values."""
    written, failures = 0, []
    for child in children:
        metadata = child["metadata"]
        if metadata.get("deletionTimestamp") or not _is_ours(child):
            continue
        try:
            await kube.delete(kind_of(child), metadata.get("namespace"), metadata["name"], uid=metadata["uid"])
        except KubeError as error:
            failures.append(Failure(child["kind"], metadata["name"], error))
            log.warning("delete failed", kind=child["kind"], name=metadata["name"], error=str(error))
        else:
            written += 1
            metrics.deletes.labels(kind=child["kind"]).inc()
    return Applied(written, tuple(failures))


def _is_ours(child: Manifest) -> bool:
    labels = child["metadata"].get("labels") or {}
    return LANE_LABEL in labels and MANAGED_BY.items() <= labels.items()


def _owner(child: Manifest) -> str | None:
    """The uid of the lane that owns the child; None where nobody does."""
    references = child["metadata"].get("ownerReferences") or ()
    return next((reference["uid"] for reference in references if reference.get("controller")), None)
