"""Inputs for the pure parts of the operator: a lane with everything it names, each part replaceable."""

import datetime as dt
from dataclasses import replace
from typing import Any

from lane_api.ippool import IPPoolSpec, PoolAddress
from lane_api.isppolicy import ISPPolicySpec
from lane_api.lane_status import LaneStatus, SlotRole
from lane_api.names import ALLOWED_ANNOTATION, STANDBY_FROM
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.desired import secret_needs
from lane_operator.inputs import (
    Assignment,
    Claim,
    DesiredSettings,
    DkimKey,
    Lane,
    NodeFacts,
    Observation,
    Policy,
    Pool,
    References,
    SecretFacts,
    SlotObservation,
)

NOW = dt.datetime(2026, 11, 23, 8, 0, 0, tzinfo=dt.UTC)
POOL = ("mail-pools", "trans-pool")
SETTINGS = DesiredSettings("lanewright/relay:1", "lanewright/unbound:1", "lanewright-system")
KINDS = frozenset(
    {
        "CiliumEgressGatewayPolicy.cilium.io",
        "CiliumNetworkPolicy.cilium.io",
        "NetworkAttachmentDefinition.k8s.cni.cncf.io",
        "PodMonitor.monitoring.coreos.com",
        "PrometheusRule.monitoring.coreos.com",
    }
)
TEMPLATE = {
    "apiVersion": "k8s.cni.cncf.io/v1",
    "kind": "NetworkAttachmentDefinition",
    "metadata": {"name": "public", "namespace": "mail", "annotations": {ALLOWED_ANNOTATION: "mail-pools"}},
    "spec": {"config": '{"cniVersion": "0.3.1", "type": "macvlan", "master": "eth1", "ipam": {"type": "dhcp"}}'},
}
RECORD = "v=DKIM1; k=rsa; p=MIIB"


def lane(name: str = "otp", **changes: Any) -> Lane:
    """A Transactional lane; keywords are fields of Lane, or of its spec in the spelling of users."""
    of_lane = {
        key: changes.pop(key) for key in ("status", "annotations", "deleting_since", "generation") if key in changes
    }
    spec = {
        "trafficClass": "Transactional",
        "replicas": 2,
        "poolRef": {"name": POOL[1], "namespace": POOL[0]},
        "submission": {"senders": ["@notify.example.com"]},
        "domains": [{"name": "notify.example.com"}],
    }
    made = Lane("mail", name, "uid-1", 3, SendingLaneSpec.model_validate(spec | changes), LaneStatus())
    return replace(made, **of_lane)


def pool(engine: str = "Multus", **changes: Any) -> Pool:
    """The lane's pool."""
    spec: dict[str, Any] = {
        "classes": ["Transactional", "Bulk"],
        "engine": engine,
        "allowedNamespaces": {"names": ["mail"]},
    }
    if engine != "ClusterDefault":
        spec["verification"] = {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"}
    if engine == "Multus":
        spec["engineConfig"] = {"network": "mail/public", "prefixLength": 24, "gateway": "203.0.113.1"}
    if engine == "Cilium":
        spec["engineConfig"] = {"nodeSelector": {"egress": "yes"}}
    if engine == "External":
        annotation = {"name": "cni.projectcalico.org/ipAddrs", "value": '["{ip}"]'}
        spec["engineConfig"] = {"podAnnotations": [annotation]}
    if engine == "Socks5":
        spec["addresses"] = [address(index, engine).model_dump(by_alias=True, exclude_none=True) for index in range(3)]
    return Pool(*POOL, "uid-2", 1, "7", IPPoolSpec.model_validate(spec | changes))


def address(index: int = 0, engine: str = "Multus") -> PoolAddress:
    """One of the pool's addresses."""
    return PoolAddress.model_validate(
        {
            "ip": f"203.0.113.{10 + index}",
            "hostname": f"out{index}.example.com",
            "node": "node-a" if engine == "HostNetwork" else None,
            "proxy": {"address": "192.0.2.80", "port": 1080 + index, "secretName": "socks"}
            if engine == "Socks5"
            else None,
        }
    )


def claim(index: int = 0, engine: str = "Multus", role: SlotRole = SlotRole.ACTIVE, name: str = "otp") -> Claim:
    """The claim of one slot."""
    block = 20000 + 8 * index if engine == "HostNetwork" else None
    own = None if engine == "ClusterDefault" else address(index, engine)
    return Claim(index, f"{name}-{index}", own, role, block, POOL)


def assignment(*claims: Claim) -> Assignment:
    """Two active slots, or these."""
    return Assignment(claims or (claim(0), claim(1)))


def policy(name: str = "gmail", namespace: str = "lanewright-system", **spec: Any) -> Policy:
    """An ISPPolicy for gmail.com."""
    given = {"match": {"domains": ["gmail.com"], "mx": ["*.google.com"]}} | spec
    return Policy(namespace, name, 1, ISPPolicySpec.model_validate(given))


def references(of: Lane, its_pool: Pool | None, **changes: Any) -> References:
    """Everything that the lane names, present and whole."""
    every_key = frozenset(
        {"tls.crt", "tls.key", "username", "password", "key", "private.key", "access_key_id", "secret_access_key"}
    )
    every_key |= {f"{of.name}-{index}.{part}" for index in (0, 1, 2, STANDBY_FROM) for part in ("username", "password")}
    signing = [domain for domain in of.spec.domains if domain.dkim.mode == "Sign"]
    whole = References(
        pool=its_pool,
        policies=(policy(),),
        secrets={name: SecretFacts(name, every_key, "d") for name in secret_needs(of, its_pool)},
        dkim={
            domain.name: DkimKey(
                domain.dkim.selector or "lw20261123",
                domain.dkim.secret_name or f"{of.name}-dkim-{domain.name}",
                "private.key",
                RECORD,
            )
            for domain in signing
        },
        kinds=KINDS,
        nodes={"node-a": NodeFacts("192.0.2.10"), "node-b": NodeFacts("192.0.2.11")},
        multus_network=TEMPLATE,
    )
    return replace(whole, **changes)


def seen(index: int = 0, **changes: Any) -> SlotObservation:
    """A slot that serves."""
    slot = SlotObservation(
        name=f"otp-{index}",
        pod_ready=True,
        node=f"node-{'ab'[index % 2]}",
        reachable=True,
        config_generation=3,
        proof_state="Proved",
        intake="Open",
        domains_published={"notify.example.com": True},
        certificate_self_signed=True,
    )
    return replace(slot, **changes)


def observation(*slots: SlotObservation) -> Observation:
    """Two slots that serve, or these."""
    return Observation(slots or (seen(0), seen(1)))
