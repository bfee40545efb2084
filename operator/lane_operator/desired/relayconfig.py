"""The RelayConfig of one slot: what the relay reads is what is rendered here, field for field.

Invariant: no secret, only the paths under which the pod mounts them.
"""

import textwrap
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Literal

import yaml

from lane_api import names
from lane_api.effective import effective
from lane_api.ippool import PoolAddress
from lane_api.lane_status import SlotRole
from lane_api.listening import HttpListener
from lane_api.pool_warmup import PoolWarmUp
from lane_api.queue import DrainPolicy
from lane_api.relayconfig import (
    Admin,
    DelayNotice,
    Delivery,
    Egress,
    Endpoint,
    HandOver,
    Intake,
    LaneIdentity,
    NextKey,
    Proof,
    RelayConfig,
    RelayRetry,
    RelayRoute,
    SecondAddress,
    SecondKey,
    Sibling,
    SigningDomain,
    SitePolicy,
    SlotIdentity,
    Spool,
    TlsFiles,
    WarmUp,
)
from lane_api.submission import Submission
from lane_operator.desired.cold import cold_conflicts
from lane_operator.desired.feedback import feedback_of, return_path_of, suppression_of
from lane_operator.desired.policies import site_policies
from lane_operator.desired.records import records_of
from lane_operator.desired.routes import relay_routes, way_out
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Claim, DkimKey, Lane, References

_Dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times faster where libyaml is there

__all__ = ["dkim_key_path", "numbered", "relay_config", "rendered", "slot_hostname"]

_POLICIES_HERE = "POLICIES-STAND-HERE"


def rendered(config: RelayConfig) -> str:
    """The file as it is mounted and pushed, but for the serial, which follows from it.

    What is as by default is left out: a slot keeps its image until its lane's turn to be upgraded, and an older one
    refuses fields that it does not know. What is absent means the same to every image of a schema version.
    """
    tree: dict[str, Any] = {"schemaVersion": config.schema_version, "generation": config.generation, "serial": 0}
    tree |= config.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"delivery": {"policies"}})
    policies = config.delivery.policies
    if not policies:
        return _dumped(tree)
    tree["delivery"] = {**tree.get("delivery", {}), "policies": _POLICIES_HERE}
    return _dumped(tree).replace(f"  policies: {_POLICIES_HERE}\n", _policies_text(policies), 1)


@lru_cache(maxsize=64)
def _policies_text(policies: tuple[SitePolicy, ...]) -> str:
    """The policies where they stand in the file: a hundred rules, the same for most lanes, take ten times the rest."""
    rows = [one.model_dump(mode="json", by_alias=True, exclude_defaults=True) for one in policies]
    return textwrap.indent(_dumped({"policies": rows}), "  ")


def _dumped(tree: dict[str, Any]) -> str:
    text: str = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, width=120)
    return text


def numbered(text: str, serial: int) -> str:
    """The rendered file with its serial; rendering it twice would take twice the time."""
    return text.replace("\nserial: 0\n", f"\nserial: {serial}\n", 1)  # only keys of the file itself begin a line


def relay_config(
    lane: Lane, references: References, claim: Claim, engine: EngineClaim, others: Sequence[Claim] = ()
) -> RelayConfig:
    """Everything the slot's relay needs to know; `others` are the lane's other slots.

    A Cold lane on somebody else's domain takes mail and sends none.
    """
    values, out = effective(lane.spec), way_out(lane, claim, others)
    return RelayConfig(
        generation=lane.generation,
        lane=LaneIdentity(namespace=lane.namespace, name=lane.name, traffic_class=lane.spec.traffic_class),
        slot=SlotIdentity(name=claim.slot_name, hostname=slot_hostname(lane, claim), role=_role(claim)),
        intake=_intake(lane, references, claim, engine),
        spool=Spool(path=f"{names.SPOOL_DIR}/spool", max_size=values.spool_bytes),
        records=records_of(lane, values.records_bytes),
        egress=_egress(references, claim, engine, for_all=out is not None),
        delivery=_delivery(lane, references, claim, engine, others, out),
        domains=_domains(lane, references, engine, keeps_sender=out is not None),
        feedback=feedback_of(lane, references, engine),
        suppression=suppression_of(lane, references, engine),
        health=_listen(engine, "metrics"),
        admin=Admin(
            listen=_listen(engine, "admin"),
            tls=TlsFiles(certificate=f"{names.ADMIN_DIR}/tls.crt", key=f"{names.ADMIN_DIR}/tls.key"),
            token_file=f"{names.ADMIN_DIR}/token",
        ),
        handover=HandOver(
            ca_file=f"{names.ADMIN_DIR}/ca.crt",
            siblings=tuple(_sibling(lane, references, claim, other) for other in others),
        ),
        warmup=None
        if out is not None
        else _warm_up(lane, references, claim),  # the host is no ISP that learns the address
        stop_grace=names.STOP_GRACE_S,
        slo_latency=values.slo_latency_s,
    )


def _role(claim: Claim) -> Literal["Active", "Standby"]:
    """A slot that stands in for one that takes no mail takes it; one that only sends for another keeps out of the
    Service, so that other ISPs do not get many times as much from its address at once."""
    waits = claim.role in (SlotRole.STANDBY, SlotRole.PROMOTED)
    return "Standby" if waits and not claim.takes_mail else "Active"


def _sibling(lane: Lane, references: References, claim: Claim, other: Claim) -> Sibling:
    """Another slot, by its pod's name under the headless Service; its certificate is for the slot's."""
    service = f"{lane.name}-slots.{lane.namespace}.svc"
    block = other.port_block
    return Sibling(
        slot=other.slot_name,
        host=f"{other.slot_name}-0.{service}",
        name=f"{other.slot_name}.{service}",
        port=names.ADMIN_PORT if block is None else block + names.PORT_NAMES.index("admin"),
        role="Leaving" if other.intake_is_closed or other.moves else _role(other),
        isps=_address(references, other).isps if other.address is not None else (),
        warm=_warm_up(lane, references, other) is None,
        stands_in=claim.slot_name in other.stands_in_for,
    )


def _warm_up(lane: Lane, references: References, claim: Claim) -> WarmUp | None:
    """The pool's warm-up, for an address that its owner does not call warm; after another class at least the usual."""
    if references.pool is None or claim.address is None:
        return None
    address, asked = _address(references, claim), references.pool.spec.warmup
    started_on = address.started_on
    if address.released_from not in (None, lane.spec.traffic_class):
        asked, started_on = asked or PoolWarmUp(), None
    elif address.warm:
        asked = None
    if asked is None:
        return None
    return WarmUp(
        steps=asked.steps,
        step_every=asked.step_every,
        connections=asked.connections_per_ip,
        started_on=started_on,
    )


def _address(references: References, claim: Claim) -> PoolAddress:
    """The slot's address as the pool has it now, or as it was assigned where the pool lists it no more."""
    if claim.address is None:
        raise ValueError(f"slot {claim.slot_name} has no address")
    listed = references.pool.spec.addresses if references.pool is not None else ()
    return next((one for one in listed if one.ip == claim.address.ip), claim.address)


def slot_hostname(lane: Lane, claim: Claim) -> str:
    """The name it says HELO with; a slot without own address has only a name inside the cluster."""
    if claim.address is not None:
        return claim.address.hostname
    return f"{claim.slot_name}.{lane.name}-slots.{lane.namespace}.svc"


def dkim_key_path(domain: str, *, second: bool = False, place: int = 1) -> str:
    """Where a domain's private key is mounted, relative to the folder of keys; the second is Ed25519."""
    folder = "" if place == 1 else f"{place}/"
    return f"{folder}{domain}.ed25519" if second else f"{folder}{domain}.key"


def _listen(engine: EngineClaim, port: str) -> Endpoint:
    return Endpoint(host=engine.listen_host, port=engine.ports[port])


def _intake(lane: Lane, references: References, claim: Claim, engine: EngineClaim) -> Intake:
    submission = lane.spec.submission
    tls = TlsFiles(certificate=f"{names.TLS_DIR}/tls.crt", key=f"{names.TLS_DIR}/tls.key")
    closed = claim.intake_is_closed or lane.deleting_since is not None
    return Intake.model_validate(
        {
            "state": "Closed" if closed else "Open",
            "smtp": _listen(engine, "smtp"),
            "smtps": _listen(engine, "smtps"),
            "http": _http(submission, engine),
            "tls": tls if lane.tls_secret else None,
            "users_dir": names.USERS_DIR,
            "clients": [ip_network(cidr, strict=False) for cidr in submission.clients.cidrs],  # CEL takes host bits
            "proxies": [ip_network(cidr, strict=False) for cidr in submission.clients.proxies],
            "senders": submission.senders,
            "neighbours": [{"lane": one.name, "senders": one.senders} for one in references.neighbours if one.senders],
            "users": [user.model_dump(mode="json", exclude_none=True) for user in submission.auth.users],
            "limits": submission.limits.model_dump(mode="json", exclude_none=True),
            "max_message_size": submission.max_message_size,
            "max_recipients": submission.max_recipients,
            "correlation_field": submission.correlation_header,
            "campaign_field": submission.campaign_header,
            "campaign_tag": submission.campaign_tag.model_dump() if submission.campaign_tag is not None else None,
        }
    )


def _http(submission: Submission, engine: EngineClaim) -> HttpListener | None:
    """HTTP intake, where it is asked for and the pod has a port for it (one that stays as it is may have none)."""
    asked = submission.http
    if asked is None or "http" not in engine.ports:
        return None
    return HttpListener(
        host=engine.listen_host,
        port=engine.ports["http"],
        plain=asked.tls == "None",
        max_recipients=asked.max_recipients,
    )


def _egress(references: References, claim: Claim, engine: EngineClaim, *, for_all: bool) -> Egress:
    """`for_all`: also what its address is not for, since none of it goes to an ISP."""
    if claim.address is None or references.pool is None:
        return Egress()
    verification = references.pool.spec.verification
    proof = Proof(reflectors=verification.reflectors, key_file=f"{names.PROOF_DIR}/key", every=verification.every)
    isps = () if for_all else _address(references, claim).isps
    return Egress.model_validate(
        {
            "address": claim.address.ip,
            "source": engine.source,
            "proxy": engine.proxy,
            "second": _second(claim.address, engine),
            "proof": proof,
            "isps": isps,
            "ptr": verification.ptr,
        }
    )


def _second(address: PoolAddress, engine: EngineClaim) -> SecondAddress | None:
    if address.second is None:
        return None
    return SecondAddress.model_validate(
        {"address": address.second.ip, "source": engine.second_source, "proxy": engine.second_proxy}
    )


def _state(lane: Lane, references: References, claim: Claim, others: Sequence[Claim]) -> str:
    """What the slot does with its mail."""
    if claim.role is SlotRole.HELD:
        return "Held"
    barred = claim.quarantine is not None and claim.quarantine.is_of_address
    state = "Suspended" if barred or lane.spec.suspend or cold_conflicts(lane, references) else "Running"
    stays = any(other.takes_mail for other in others)
    leaves = (
        claim.role is SlotRole.DRAINING or claim.moves or claim.hands_over
    ) and lane.spec.drain.policy is DrainPolicy.TRANSFER
    gives = leaves or claim.role is SlotRole.QUARANTINED
    if not gives or not stays or lane.deleting_since is not None:
        return state
    return "Transferring" if state == "Running" else "TransferringSuspended"


def _delivery(
    lane: Lane,
    references: References,
    claim: Claim,
    engine: EngineClaim,
    others: Sequence[Claim],
    out: RelayRoute | None,
) -> Delivery:
    """`out`: the way out, where the slot's mail is to take it."""
    spec, values = lane.spec, effective(lane.spec)
    mode, redirect_to = references.delivery_mode(lane)
    return Delivery.model_validate(
        {
            "state": _state(lane, references, claim, others),
            "mode": mode,
            "redirect_to": redirect_to,
            "lifetime": values.lifetime_s,
            "retry": RelayRetry(first=values.retry_first_s, factor=values.retry_factor, max=values.retry_max_s),
            "delay_notice": DelayNotice(
                after=spec.queue.delay_notice.after, unasked=spec.queue.delay_notice.to == "Everybody"
            ),
            "connections": spec.limits.connections_per_ip,
            "total_connections": spec.limits.total_connections_per_ip,
            "protection": values.protection,
            "automation": spec.automation,
            "standby": any(other.role in (SlotRole.STANDBY, SlotRole.PROMOTED) for other in others),
            "policies": site_policies(spec, references.policies),
            "routes": relay_routes(lane) if out is None else (out,),
            "outbound_tls": spec.outbound_tls,
            "resolvers": _resolvers(lane, engine),
            "trust_ad": spec.resolver.validates,
        }
    )


def _resolvers(lane: Lane, engine: EngineClaim) -> tuple[str, ...]:
    match lane.spec.resolver.mode:
        case "Sidecar":
            return (engine.resolver,)
        case "Addresses":
            return lane.spec.resolver.addresses
        case _:
            return ()


def _domains(
    lane: Lane, references: References, engine: EngineClaim, *, keeps_sender: bool
) -> tuple[SigningDomain, ...]:
    """Every From domain; one that signs and has no key yet stays listed, so that its mail waits and never goes bare.

    `keeps_sender`: what bounces goes to the sender himself, since nobody stays who takes it for him.
    """
    domains = []
    for domain in lane.spec.domains:
        key = references.dkim.get(domain.name)
        back = None if keeps_sender else return_path_of(lane, domain, engine)
        if domain.dkim.mode == "Off":
            domains.append(SigningDomain(name=domain.name, mode="Off", return_path=back))
            continue
        selector = key.selector if key else domain.dkim.selector or ""
        domains.append(
            SigningDomain(
                name=domain.name,
                selector=selector,
                key_file=_key_file(domain.name, key),
                ed25519=_second_key(domain.name, key),
                next=_next_key(domain.name, key),
                return_path=back,
            )
        )
    return tuple(domains)


def _next_key(domain: str, key: DkimKey | None) -> NextKey | None:
    following = key.turn.following if key is not None and key.turn is not None else None
    if following is None:
        return None
    file = _key_file(domain, following)
    return NextKey(selector=following.selector, key_file=file, ed25519=_second_key(domain, following))


def _second_key(domain: str, key: DkimKey | None) -> SecondKey | None:
    second = key.second if key is not None else None
    if second is None:
        return None
    return SecondKey(selector=second.selector, key_file=_key_file(domain, second, second=True))


def _key_file(domain: str, key: DkimKey | None, *, second: bool = False) -> str:
    place = key.place if key is not None else 1
    return f"{names.DKIM_DIR}/{dkim_key_path(domain, second=second, place=place)}"
