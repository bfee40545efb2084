"""`desired_state(lane, references, assignment, settings)`: every child of a lane, in a fixed order.

A part that cannot be made is a refusal beside the parts that can. Two rules keep a running slot from being hurt by a
broken reference: while a Secret that pods mount is missing, no StatefulSet is touched (a pod that restarts would wait
for it), but configuration still flows; and whenever an input is missing, the whole is marked incomplete and nothing is
pruned. A lane that is being deleted is rendered in full, so that its drain does not depend on what is missing.
Where the pool is gone or the engine refuses, a slot that runs keeps its workload and what its traffic leaves by; its
configuration still follows the spec, so that it can be closed, suspended and drained.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from lane_api.relayconfig import RelayConfig
from lane_operator.desired.by_others import children_of_others
from lane_operator.desired.carried import PodParts, as_carried, parts_of, resolver_files, wanted_parts
from lane_operator.desired.cilium_policy import cilium_policy, lacks_policy
from lane_operator.desired.cold import cold_conflicts
from lane_operator.desired.config_secret import config_secret, digest, parsed_config
from lane_operator.desired.disruption_budget import disruption_budget
from lane_operator.desired.dns_endpoint import unpublishable
from lane_operator.desired.feedback import feedback_service
from lane_operator.desired.growth import growing, with_room
from lane_operator.desired.heads import kept_heads
from lane_operator.desired.kept import kept_config, kept_resolver
from lane_operator.desired.network_policy import network_policy, unfenced
from lane_operator.desired.policies import unknown_isps
from lane_operator.desired.reached import Sink, forwarders, sinks_of
from lane_operator.desired.relayconfig import numbered, relay_config, rendered
from lane_operator.desired.resolver import unbound_config
from lane_operator.desired.secrets import missing_secrets, proxy_secret
from lane_operator.desired.serial import marks, serial
from lane_operator.desired.service_account import service_account
from lane_operator.desired.services import slots_service, submission_service
from lane_operator.desired.spool_seen import spool_seen, spool_seen_note, with_spool_seen
from lane_operator.desired.stamp import child
from lane_operator.desired.statefulset import statefulset
from lane_operator.desired.volume_claim import held_bytes, volume_claim
from lane_operator.desired.volumes import mounted
from lane_operator.egress import ENGINES, EngineClaim, SlotClaim, is_own_network, network_named
from lane_operator.inputs import (
    Assignment,
    Claim,
    Desired,
    DesiredSettings,
    Handed,
    Lane,
    Manifest,
    Pool,
    References,
    Refusal,
)
from lane_operator.monitoring import monitoring_children

__all__ = ["desired_state"]


@dataclass(slots=True)
class _Parts:
    """What has been put together so far."""

    manifests: list[Manifest] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    serials: dict[str, int] = field(default_factory=dict)
    left: set[str] = field(default_factory=set)
    sinks: set[Sink] = field(default_factory=set)
    signing: set[str] = field(default_factory=set)
    """Names of the records of keys that slots sign with."""
    names_all_sinks: bool = True
    is_direct: bool = False
    """Some slot sends mail itself, not through a proxy."""
    complete: bool = True


def desired_state(
    lane: Lane,
    references: References,
    assignment: Assignment,
    settings: DesiredSettings,
    lifted: frozenset[str] = frozenset(),
) -> Desired:
    """The children as they are to be; `lifted` are slots that may be evicted now, since their node is to be emptied."""
    parts = _Parts()
    secrets = missing_secrets(lane, references)
    withhold = bool(secrets) and lane.deleting_since is None
    if assignment.refusal is not None:
        parts.refusals.append(assignment.refusal)
    parts.refusals += [*secrets, *cold_conflicts(lane, references), *unknown_isps(lane.spec, references.policies)]
    parts.complete = references.pool is not None and not withhold
    parts.manifests += [
        child(lane, manifest)
        for manifest in (
            service_account(lane),
            submission_service(lane, assignment.claims),
            slots_service(lane, assignment.claims),
            feedback_service(lane, assignment.claims),
        )
        if manifest is not None
    ]
    for claim in assignment.claims:
        lifts = claim.slot_name in lifted
        engine = _engine(parts, lane, references, claim)
        others = tuple(other for other in assignment.claims if other is not claim)
        if engine is None:
            _leave_slot(parts, lane, references, claim, lifts, others)
        else:
            workload = not withhold or claim.role.is_going
            _add_slot(parts, lane, references, claim, engine, settings, workload, lifts, others)
        _add_heads(parts, lane, references, claim.slot_name)
    _add_network_policy(parts, lane, references, assignment, settings)
    monitoring, unwatched = monitoring_children(
        lane, references.kinds, settings.monitoring_labels, settings.runbook_url, references.withheld
    )
    parts.manifests += [child(lane, manifest) for manifest in monitoring]
    acted_on, unserved = children_of_others(lane, references, parts.signing)
    parts.manifests += acted_on
    return Desired(
        manifests=tuple(parts.manifests),
        left_out=(*unwatched, *unserved, *lacks_policy(references, settings.network_policies)),
        volume_sizes={slot: _size(live) for slot, live in references.volumes.items() if held_bytes(live)},
        unfenced=unfenced(lane, assignment.claims, settings.network_policies),
        unpublishable=unpublishable(lane, references),
        refusals=tuple(parts.refusals),
        complete=parts.complete,
        config_digests=parts.digests,
        config_serials=parts.serials,
        left=frozenset(parts.left),
        outlived=frozenset(_outlived(parts.manifests, references)),
    )


def _engine(parts: _Parts, lane: Lane, references: References, claim: Claim) -> EngineClaim | None:
    """What brings the slot's mail out; None where nobody can say so now."""
    pool = references.pool
    if pool is None or claim.found:
        return None
    engine = ENGINES[pool.spec.engine](_slot_claim(lane, claim, pool, references))
    if isinstance(engine, Refusal):
        parts.refusals.append(engine)
        return None
    return engine


def _leave_slot(
    parts: _Parts, lane: Lane, references: References, claim: Claim, lifted: bool, others: tuple[Claim, ...]
) -> None:
    """A slot that stays as it is, with the configuration that it is to have."""
    slot = claim.slot_name
    parts.complete = False
    parts.left.add(slot)
    config = kept_config(lane, references, claim, others)
    if config is None:
        parts.names_all_sinks = False
        return
    asked = unbound_config(lane.spec.resolver, config.delivery.resolvers[0]) if _has_sidecar(lane) else None
    wanted = wanted_parts(mounted(lane, slot, references), {}, asked)
    config = with_room(_carried(config, references, slot, wanted), lane, references, slot)
    secret = _config(parts, references, slot, config, kept_resolver(references.configs.get(slot)))
    parts.manifests += [
        child(lane, manifest, slot=slot) for manifest in (secret, disruption_budget(lane, slot, lifted=lifted))
    ]


def _has_sidecar(lane: Lane) -> bool:
    return lane.spec.resolver.mode == "Sidecar"


def _carried(config: RelayConfig, references: References, slot: str, wanted: PodParts) -> RelayConfig:
    """The configuration without what the slot's pod does not have yet."""
    has = parts_of(references.pods.get(slot), references.workloads.get(slot))
    return as_carried(config, wanted, has, partial(parsed_config, references.configs.get(slot)))


def _outlived(manifests: list[Manifest], references: References) -> Iterator[tuple[str, str]]:
    """Networks of slots whose pod has another one by now, and will have that again."""
    wanted = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    for slot, networks in references.networks.items():
        pod, workload = references.pods.get(slot), references.workloads.get(slot)
        if pod is None or workload is None:
            continue
        asked = {network_named(pod), network_named(workload["spec"].get("template", {}))}
        own = {
            (one["kind"], name) for name, one in networks.items() if is_own_network(slot, name) and name not in asked
        }
        yield from own - wanted


def _config(parts: _Parts, references: References, slot: str, config: RelayConfig, resolver: str | None) -> Manifest:
    """The slot's configuration, with the serial that its content has."""
    parts.sinks.update(sinks_of(config))
    keys = ((one.name, key) for one in config.domains if one.mode == "Sign" for key in (one, one.ed25519))
    parts.signing.update(f"{key.selector}._domainkey.{name}" for name, key in keys if key is not None)
    parts.is_direct |= config.egress.proxy is None
    before, handed = references.configs.get(slot), references.handed.get(slot, Handed())
    seen = spool_seen(before, handed)
    text = rendered(with_spool_seen(config, seen, references.volumes.get(slot)))
    content = digest(text)
    number = serial(content, before, handed, references.read_at)
    parts.digests[slot], parts.serials[slot] = content, number
    files = resolver_files(resolver, before, references.pods.get(slot), references.workloads.get(slot))
    parts.sinks.update(sink for file in files.values() for sink in forwarders(file))
    return config_secret(slot, numbered(text, number), files, marks(content, number) | spool_seen_note(seen))


def _add_network_policy(
    parts: _Parts, lane: Lane, references: References, assignment: Assignment, settings: DesiredSettings
) -> None:
    """First of all children, so that no pod is there before it; it stays as it is while a slot's needs are unknown."""
    if not parts.names_all_sinks:
        return
    policies = (
        network_policy(
            lane, references, assignment.claims, parts.sinks, settings.network_policies, settings.operator_namespace,
            is_direct=parts.is_direct,
        ),
        cilium_policy(lane, references, parts.sinks, settings.network_policies),
    )  # fmt: skip
    parts.manifests[:0] = [child(lane, policy) for policy in policies if policy is not None]


def _add_heads(parts: _Parts, lane: Lane, references: References, slot: str) -> None:
    """What was kept of the slot's records outlives slot and lane, like the key that they are judged by."""
    said = references.handed.get(slot, Handed()).head
    heads = kept_heads(slot, references.heads.get(slot), said, references.read_at)
    if heads is not None:
        parts.manifests.append(child(lane, heads, slot=slot, owned=False))


def _add_slot(
    parts: _Parts,
    lane: Lane,
    references: References,
    claim: Claim,
    engine: EngineClaim,
    settings: DesiredSettings,
    workload: bool,
    lifted: bool,
    others: tuple[Claim, ...],
) -> None:
    slot = claim.slot_name
    resolver = unbound_config(lane.spec.resolver, engine.resolver) if _has_sidecar(lane) else None
    mounts = mounted(lane, slot, references, engine.proxy, engine.second_proxy)
    wanted = wanted_parts(mounts, engine.annotations, resolver)
    config = _carried(relay_config(lane, references, claim, engine, others), references, slot, wanted)
    config = with_room(config, lane, references, slot)
    secret = _config(parts, references, slot, config, resolver)
    live = references.volumes.get(slot)
    parts.manifests.append(child(lane, volume_claim(lane, claim, live), slot=slot, owned=False))
    grows = growing(lane, claim, live)
    if grows is not None:
        parts.refusals.append(grows)
    parts.manifests += [
        child(lane, manifest, slot=slot)
        for manifest in (
            secret,
            disruption_budget(lane, slot, lifted=lifted),
            *engine.manifests,
        )
    ]
    if workload:
        parts.manifests.append(child(lane, statefulset(lane, references, claim, engine, settings, resolver), slot=slot))


def _size(live: Manifest) -> str:
    """What a bound volume has, as its claim spells it."""
    return str(live["status"]["capacity"]["storage"])


def _slot_claim(lane: Lane, claim: Claim, pool: Pool, references: References) -> SlotClaim:
    credentials = references.secrets.get(proxy_secret(lane, pool) or "")
    workload = references.workloads.get(claim.slot_name)
    return SlotClaim(
        namespace=lane.namespace,
        credentials=frozenset() if credentials is None else credentials.keys,
        networks=references.networks.get(claim.slot_name, {}),
        network_named="" if workload is None else network_named(workload["spec"].get("template", {})),
        slot=claim.slot_name,
        address=claim.address,
        port_block=claim.port_block,
        config=pool.spec.engine_config,
        nodes=references.nodes,
        kinds=references.kinds,
        withheld=references.withheld,
        network=references.multus_network,
        pool_namespace=pool.namespace,
    )
