"""Joins the passes with the visits to the slots: where to look for each, what it is to have, and what was seen."""

from typing import Any

from lane_api.conditions import ConditionType, Reason
from lane_api.names import QUEUE_FINALIZER
from lane_operator.desired import RELAY_FILE, file_of
from lane_operator.inputs import Assignment, Desired, Lane, Manifest, Observation
from lane_operator.kube import POD, VOLUME_CLAIM
from lane_operator.marks import part_of, slot_of
from lane_operator.observe import Target, pod_observation, process_of
from lane_operator.packed import Packed
from lane_operator.provision import Provisioned
from lane_operator.reconcile.world import World
from lane_operator.references import volumes_of
from lane_operator.settings import Settings

__all__ = ["aim", "is_settled", "observation_of", "visited_every"]

ADMIN_PORT_NAME = "admin"


def observation_of(world: World, lane: Lane, assignment: Assignment) -> Observation:
    """The lane's slots as last seen, in order of name."""
    parts = world.cache.children(lane.key)
    pods = {slot: child for (kind, _), child in parts.items() if kind == POD.kind and (slot := part_of(child))}
    claims = volumes_of(world.cache, lane)
    names = sorted(_known(world, lane, assignment))
    return Observation(
        tuple(
            pod_observation(
                name,
                pods.get(name),
                world.observer.seen(lane.key, name),
                claims[name]["metadata"]["uid"] if name in claims else "",
            )
            for name in names
        )
    )


def aim(world: World, lane: Lane, assignment: Assignment, desired: Desired, provisioned: Provisioned) -> None:
    """Has the lane's slots visited, with the configuration that each is to have."""
    pods = {
        slot: child
        for (kind, _), child in world.cache.children(lane.key).items()
        if kind == POD.kind and (slot := part_of(child)) and not child["metadata"].get("deletionTimestamp")
    }
    configs = {slot_of(one): one for one in desired.manifests if RELAY_FILE in (one.get("data") or ())}
    interval_s = visited_every(lane, world.settings)
    targets = []
    for claim in assignment.claims:
        name = claim.slot_name
        token, pod = provisioned.tokens.get(name), pods.get(name)
        endpoint = _endpoint(pod) if pod else None
        if token is None or pod is None or endpoint is None or name not in configs:
            continue
        digest, serial = desired.config_digests.get(name, ""), desired.config_serials.get(name, 0)
        config = world.observer.config_of(lane.key, name, digest, serial)
        if config is None:
            config = Packed(file_of(configs[name], RELAY_FILE) or "")
        closed = claim.is_closed_by_order or lane.deleting_since is not None
        target = Target(
            lane=lane.key,
            slot=name,
            host=endpoint[0],
            port=endpoint[1],
            server_name=f"{name}.{lane.name}-slots.{lane.namespace}.svc",
            authority=provisioned.authority,
            token=token,
            config=config,
            config_digest=digest,
            serial=serial,
            generation=lane.generation,
            intake="Closed" if closed else "" if claim.hands_over else "Open",
            interval_s=interval_s,
            process=process_of(pod),
        )
        targets.append(target)
    world.observer.aim(lane.key, tuple(targets), _known(world, lane, assignment))


def _known(world: World, lane: Lane, assignment: Assignment) -> frozenset[str]:
    """Slots that are claimed, or of which a pod or a guarded volume is left."""
    left = {
        part_of(child)
        for (kind, _), child in world.cache.children(lane.key).items()
        if kind == POD.kind
        or (kind == VOLUME_CLAIM.kind and QUEUE_FINALIZER in (child["metadata"].get("finalizers") or ()))
    }
    return frozenset({claim.slot_name for claim in assignment.claims} | left - {""})


def visited_every(lane: Lane, settings: Settings) -> float:
    """Seconds between two visits: an address that is refused is told in one, and mail waits for the promotion."""
    if lane.spec.standby_replicas:
        return settings.observe_standby_s
    return settings.observe_settled_s if is_settled(lane) else settings.observe_busy_s


def is_settled(lane: Lane) -> bool:
    """Whether nothing is under way, as status said last."""
    # a slot that holds its mail is stopped: nobody is to answer, and nothing goes on; a record may take days to come
    still = {Reason.HELD, Reason.WAITING_FOR_DNS, Reason.WAITS_FOR_OTHER_LANES}
    types = {one.type: one.status for one in lane.status.conditions if one.type == "Ready" or one.reason not in still}
    moving = {ConditionType.RECONCILING, ConditionType.DRAINING, ConditionType.UPGRADING} & types.keys()
    return (
        not moving
        and lane.status.observed_generation == lane.generation
        and types.get(ConditionType.READY) == "True"
        and lane.deleting_since is None
    )


def _endpoint(pod: Manifest) -> tuple[str, int] | None:
    """Address and port of the admin API; with HostNetwork the pod's address is the node's, and the port its own."""
    address = (pod.get("status") or {}).get("podIP")
    ports: list[dict[str, Any]] = [
        port for container in pod["spec"]["containers"] for port in container.get("ports") or ()
    ]
    port = next((one["containerPort"] for one in ports if one.get("name") == ADMIN_PORT_NAME), None)
    return (address, port) if address and port else None
