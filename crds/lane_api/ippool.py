"""IPPool: addresses with an owner, a class and an egress engine; and who may draw from it."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from lane_api.classes import TrafficClass
from lane_api.conditions import Condition
from lane_api.dnsbl import QUARANTINED_BY_DNSBL, Dnsbl, Listings
from lane_api.endpoints import ReflectorUrl
from lane_api.model import (
    Address,
    ApiModel,
    Hostname,
    Label,
    LabelValue,
    ObjectName,
    Port,
    Text,
    cel,
    cel_of_change,
    list_map,
)
from lane_api.moment import Moment, OptionalMoment
from lane_api.pool_warmup import PoolWarmUp
from lane_api.quantities import Duration, Span
from lane_api.rules import POOL_ADDRESSES_RULES, POOL_SPEC_RULES

__all__ = [
    "ADDRESS_FIGURES",
    "QUARANTINED_BY_OWNER",
    "AddressStatus",
    "AddressWarmUp",
    "AllowedNamespaces",
    "Capacity",
    "Engine",
    "EngineConfig",
    "IPPoolSpec",
    "IPPoolStatus",
    "PodAnnotation",
    "PoolAddress",
    "ProxyRecord",
    "Quarantine",
    "SecondAddress",
    "SecondNetwork",
    "Socks5Proxy",
    "Verification",
]


class Engine(StrEnum):
    """How a slot's traffic gets its source address."""

    CLUSTER_DEFAULT = "ClusterDefault"
    """No own address, and none is proved: for trying out."""
    HOST_NETWORK = "HostNetwork"
    """The pod runs in the network of the node that holds the address, and binds it."""
    MULTUS = "Multus"
    """The pod gets a second interface with the address."""
    SOCKS5 = "Socks5"
    """A SOCKS5 proxy has the address, and everything goes through it."""
    CILIUM = "Cilium"
    """Cilium's egress gateway translates to the address; one CiliumEgressGatewayPolicy a slot."""
    EXTERNAL = "External"
    """You steer what the pod with the label `lanewright.dev/slot: SLOT` sends; the slot sends once that is proved."""


class ProxyRecord(ApiModel):
    """A SOCKS5 proxy as it was assigned: what Socks5Proxy says, without its rules, which nobody but us writes by."""

    address: str
    """Where it listens."""
    port: int | None = None
    """Absent: 1080."""
    secret_name: str | None = None
    """Absent: it asks for none."""

    @property
    def proxy(self) -> "Socks5Proxy":
        """As the spec has it; it was validated when it was assigned."""
        return Socks5Proxy.model_construct(address=self.address, port=self.port, secret_name=self.secret_name)


class Socks5Proxy(ApiModel):
    """A SOCKS5 proxy (RFC 1928) that leaves from one address, told apart by its own address, port or user."""

    address: Address
    """Where it listens: an address, so that mail does not depend on one more name."""
    port: Port | None = None
    """Default 1080."""
    secret_name: ObjectName | None = None
    """Secret in the pool's namespace with `username` and `password` (RFC 1929). Default: the proxy asks for none."""

    @property
    def record(self) -> ProxyRecord:
        """As the pool's status keeps it."""
        return ProxyRecord(address=self.address, port=self.port, secret_name=self.secret_name)


class PodAnnotation(ApiModel):
    """One annotation of a slot's pod."""

    name: Annotated[
        str,
        Field(
            max_length=317,
            json_schema_extra=cel(
                (
                    (
                        "self.matches('^[a-z0-9][-a-z0-9.]*/[-A-Za-z0-9_.]+$') && !self.startsWith('lanewright.dev/') "
                        "&& (self.startsWith('ovn.kubernetes.io/') || "
                        "!self.matches('(^|[.])(kubernetes|k8s|cncf)[.]io/'))"
                    ),
                    (
                        "write DOMAIN/NAME, such as cni.projectcalico.org/ipAddrs; what is Kubernetes' own "
                        "(kubernetes.io but for ovn, k8s.io), Multus' (cncf.io) or ours is not for a pool to set"
                    ),
                )
            ),
        ),
    ]
    """Such as `cni.projectcalico.org/ipAddrs`."""
    value: Text
    """`{ip}`, `{second}`, `{slot}` and `{namespace}` in it stand for the slot's own, as in `["{ip}"]`."""


class SecondNetwork(ApiModel):
    """The network of the addresses' seconds."""

    prefix_length: Annotated[int, Field(ge=1, le=128)]
    """Such as 64."""
    gateway: Address | None = None
    """Of that network."""


class EngineConfig(ApiModel):
    """Settings of the pool's engine."""

    network: (
        Annotated[
            str,
            Field(
                max_length=317,
                json_schema_extra=cel(
                    (
                        "self.matches('^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$')",
                        "must be namespace/name of a NetworkAttachmentDefinition, such as mail/public",
                    )
                ),
            ),
        ]
        | None
    ) = None
    """Multus: the template NetworkAttachmentDefinition, `namespace/name`. In another namespace than the pool it needs
    the annotation `lanewright.dev/allowed-namespaces` with the pool's."""
    prefix_length: Annotated[int, Field(ge=1, le=128)] | None = None
    """Multus: of the addresses' network."""
    gateway: Address | None = None
    """Multus: of the addresses' network."""
    second: SecondNetwork | None = None
    """Multus: the network of `addresses[].second`, which is of the other family."""
    port_range: Annotated[
        str,
        Field(
            max_length=11,
            pattern=r"^[0-9]{4,5}-[0-9]{4,5}$",
            json_schema_extra=cel(
                (
                    "int(self.split('-')[0]) + 7 <= int(self.split('-')[1]) && int(self.split('-')[1]) <= 65535",
                    "must be lowest-highest with room for at least one slot's 8 ports below 65536, such as 20000-20999",
                )
            ),
        ),
    ] = "20000-20999"
    """HostNetwork: each slot gets a block of 8 ports from it, unique on its node."""
    node_selector: Annotated[dict[str, LabelValue], Field(max_length=16)] = {}
    """Cilium: labels of the gateway nodes, for addresses that name no `node`; of several nodes Cilium takes the first
    by name, which must have the address on an interface."""
    pod_annotations: Annotated[tuple[PodAnnotation, ...], Field(max_length=8, json_schema_extra=list_map("name"))] = ()
    """External: annotations of the slots' pods, for networks that are steered so; a change restarts the slots, one of a
    lane at a time."""


ZoneName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")]
"""Value of a node's label `topology.kubernetes.io/zone`."""


class SecondAddress(ApiModel):
    """The address of the other family that a slot sends from beside its first."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(self.source) || !isIP(self.source) || !isIP(self.ip) "
                    "|| ip(self.source).family() == ip(self.ip).family()"
                ),
                "source must be of the same family as ip: a 1:1 translation does not change between IPv4 and IPv6",
            ),
        )
    )

    ip: Address
    """What the world sees. It has the same `hostname`: give that a record of each family, and this one a PTR record."""
    source: Address | None = None
    """What is bound where a cloud maps 1:1. Default: `ip`."""
    proxy: Socks5Proxy | None = None
    """Socks5: the proxy that has it. Default: the first one's, which then leaves from an address of each family."""


class PoolAddress(ApiModel):
    """One egress address, with the name that it says HELO with."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                (
                    "!has(self.source) || !isIP(self.source) || !isIP(self.ip) "
                    "|| ip(self.source).family() == ip(self.ip).family()"
                ),
                "source must be of the same family as ip: a 1:1 translation does not change between IPv4 and IPv6",
            ),
            (
                (
                    "!has(self.second) || !isIP(self.second.ip) || !isIP(self.ip) "
                    "|| ip(self.second.ip).family() != ip(self.ip).family()"
                ),
                "second is of the other family: of ip and second.ip one is IPv4 and one IPv6",
            ),
        )
    )

    ip: Address
    """What the world sees."""
    hostname: Hostname
    """HELO name of the slot (RFC 5321 section 4.1.1.1): receivers expect the address's PTR record to say the same."""
    node: ObjectName | None = None
    """The node that holds the address. HostNetwork needs it; with Cilium it is the gateway, and the slot runs anywhere;
    with another engine the slot runs on that node alone."""
    zone: ZoneName | None = None
    """The zone that the address lives in: its slot runs on nodes of this `topology.kubernetes.io/zone` alone, and a
    lane's slots get addresses of different zones. HostNetwork refuses one that the address's `node` is not in. Default:
    any."""
    source: Address | None = None
    """What is bound where a cloud maps 1:1: by the pod, with Cilium by the gateway (its egressIP), with Socks5 by the
    proxy, which says so. Default: `ip`."""
    proxy: Socks5Proxy | None = None
    """Socks5: the proxy that has the address."""
    second: SecondAddress | None = None
    """Of the other family, for the same slot: a receiver's hosts are tried by the family of `ip` first, and each is
    proved by itself. Nothing leaves from one that is taken out here; it stays the slot's until that has drained.
    Default: none, and a domain whose hosts have only the other family waits."""
    warm: bool = False
    """Known to the ISPs already, as its owner says: `warmup` is not for it. Default false."""
    started_on: Annotated[date, Field(json_schema_extra={"maxLength": 10})] | None = None
    """The day (UTC, such as "2026-11-01") since which its owner has sent from it, with another server or from a volume
    that is lost: a slot that knows nothing of a warm-up begins it at each ISP on the step that this gives, one for each
    `warmup.stepEvery`, at most the last; what it knows counts more. Not with `releasedFrom`. Default: none."""
    role: Literal["Active", "Standby"] = "Active"
    """Active: for the lanes' active slots. Standby: for their standby slots (`standbyReplicas`). A slot keeps an
    address whose role changes. Default Active."""
    quarantined: bool = False
    """True: nothing leaves from here, and no slot gets it. The slot that holds it takes no mail and gives what it has
    to the lane's others, among them a standby slot in its place, until this is false again. Default false."""
    released_from: Literal["Bulk", "Cold"] | None = None
    """An address that served Bulk or Cold last serves no other class until its owner says so here; it warms up again,
    also where it is called `warm` and in a pool without `warmup`. Bulk: it may leave Bulk. Cold: it may leave Cold.
    Remove it once the address is warm. Default: none."""
    isps: Annotated[
        tuple[ObjectName, ...], Field(max_length=32, json_schema_extra={"x-kubernetes-list-type": "set"})
    ] = ()
    """Names of the only ISPPolicies whose mail leaves here: the slot hands other mail over to its lane's other slots,
    and they hand theirs for these ISPs over to it. Default: all mail."""

    @property
    def ips(self) -> tuple[str, ...]:
        """What the world sees: of both families, where it has a second."""
        return (self.ip,) if self.second is None else (self.ip, self.second.ip)


class AllowedNamespaces(ApiModel):
    """Whose lanes may draw from the pool besides those of its own namespace."""

    names: Annotated[tuple[Label, ...], Field(max_length=256, json_schema_extra={"x-kubernetes-list-type": "set"})] = ()
    """A lane of a namespace that is neither here nor the pool's own gets nothing new (PoolClosed). Default: none."""


class Verification(ApiModel):
    """How a slot proves that its traffic leaves from its own address."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.reflectors) || size(self.reflectors) == 0 || has(self.secretName)",
                "reflectors need secretName: a Secret in the pool's namespace whose entry `key` the reflectors share",
            )
        )
    )

    reflectors: Annotated[tuple[ReflectorUrl, ...], Field(max_length=8)] = ()
    """`tcp://host[:port]` of `lane-relay reflect`. Any one proves; with 3 or more, two must agree."""
    secret_name: ObjectName | None = None
    """Secret in the pool's namespace with `key`, shared with the reflectors."""
    every: Span = 300.0
    """A proof is renewed this often while it holds; without answer it goes stale, and sending goes on. Default 5m."""
    ptr: Literal["Require", "Warn", "Off"] = "Warn"
    """What follows where an address's PTR record does not name its `hostname`, or the hostname's A or AAAA record not
    the address: ISPs refuse such mail. Each slot looks it up by its own resolver, hourly once it is right. Warn: the
    condition PTRMatches and an alert name the record to set. Require: nothing leaves either, as from an address that is
    not proved; an outage of DNS changes nothing. Off: not looked up. Default Warn."""


class IPPoolSpec(ApiModel):
    """The addresses and their terms."""

    model_config = ConfigDict(json_schema_extra=cel(*POOL_SPEC_RULES))

    classes: Annotated[
        tuple[TrafficClass, ...], Field(min_length=1, max_length=4, json_schema_extra={"x-kubernetes-list-type": "set"})
    ]
    """Whose mail may leave from here; a lane of another class gets nothing new (ClassMismatch)."""
    engine: Engine
    """How a slot's traffic gets its source address; it cannot change. Each engine's limits: docs/egress.md."""
    engine_config: EngineConfig = EngineConfig()
    addresses: Annotated[
        tuple[PoolAddress, ...],
        Field(
            max_length=256,
            # atomic, not merged by ip: a merge would answer a duplicate with its own words, and spellings of one
            # IPv6 address would be two keys
            json_schema_extra={"x-kubernetes-list-type": "atomic", **cel_of_change(*POOL_ADDRESSES_RULES)},
        ),
    ] = ()
    """One is for one slot; a slot keeps one that is removed here until it has drained. ClusterDefault has none."""
    allowed_namespaces: AllowedNamespaces = AllowedNamespaces()
    cooldown: Duration = 24 * 3600.0
    """An address rests this long before another lane may have it; its own gets it back at once. Default 24h."""
    verification: Verification = Verification()
    warmup: PoolWarmUp | None = None
    """For addresses that are not `warm`. Default: none, addresses are taken as warm."""
    dnsbl: Dnsbl | None = None
    """Blocklists to look for the addresses in. Default: none."""


class Capacity(ApiModel):
    """Addresses by state; one with its second counts once."""

    total: int = 0
    """In the spec, without those that belong to another pool; 0 with engine ClusterDefault."""
    assigned: int = 0
    """Held by active slots, also where the spec no longer lists them."""
    standby: int = 0
    """Held by standby slots, also where one stands in for an active slot."""
    quarantined: int = 0
    """Of all these: refused by an ISP for what the address is, or quarantined by you."""
    cooling: int = 0
    """Given up less than `cooldown` ago: only the lane that had them may have them."""
    free: int = 0
    """For any lane that the pool is open to."""


QUARANTINED_BY_OWNER = "spec"
ADDRESS_FIGURES = ("verifiedAt", "warmup")
"""Of an address's status what is no record of who holds it, and is written now and then."""


class Quarantine(ApiModel):
    """Why mail does not leave from an address, until when, and who sends it instead."""

    by: str
    """`spec` (addresses[].quarantined), `dnsbl` (spec.dnsbl), or the reply rule, such as `gmail/listed`."""
    isps: tuple[str, ...] = ()
    """ISPPolicies, or MX hosts where none matches, whose mail it is about. Empty: all mail."""
    reply: str = ""
    """What the ISP said, or which list has it."""
    since: Moment
    """When it began (RFC 3339, UTC)."""
    until: OptionalMoment = None
    """When the slot tries again; absent: when you say so."""
    stood_in_by: str = ""
    """The standby slot that sends the mail meanwhile; empty: none, the mail waits."""

    @property
    def is_by_owner(self) -> bool:
        """The pool's owner has written it; no ISP has said anything."""
        return self.by == QUARANTINED_BY_OWNER

    @property
    def is_by_dnsbl(self) -> bool:
        """A blocklist has the address."""
        return self.by == QUARANTINED_BY_DNSBL

    @property
    def is_of_address(self) -> bool:
        """It is about the address and not what an ISP said of the lane: another of its addresses may take the mail."""
        return self.is_by_owner or self.is_by_dnsbl


class AddressWarmUp(ApiModel):
    """How far an address is in warming up."""

    step: int = 0
    """Of the ISP at which it is least far, from 0, among those that it has sent to and is not warm for."""
    isp: str = ""
    """Which one: an ISPPolicy, or `other`."""
    since: OptionalMoment = None
    """Since when it has stood there (RFC 3339, UTC)."""


class AddressStatus(ApiModel):
    """One address: the only record of who holds it."""

    ip: str
    """As the spec spells it."""
    hostname: str = ""
    """As assigned, with node, zone and source: a slot keeps them when the address leaves the spec while it is held."""
    node: str | None = None
    """The node that holds the address, as assigned."""
    zone: str | None = None
    """The zone that it lives in, as assigned."""
    source: str | None = None
    """What is bound where that is not `ip`, as assigned."""
    proxy: ProxyRecord | None = None
    """Socks5: the proxy that has the address, as assigned."""
    first: str = ""
    """The address that it stands beside (`addresses[].second`); absent: it is a slot's first or only one."""
    lane: str = ""
    """`namespace/name`; kept after release, for the cool-down and for a lane of that name."""
    lane_class: str = ""
    """Traffic class of that lane; one of its name and another class is another lane."""
    slot: str = ""
    """The slot that holds it, or did last."""
    released_at: OptionalMoment = None
    """When its lane gave it up (RFC 3339, UTC); absent while it is held."""
    port_block: int | None = None
    """HostNetwork: the first of the slot's 8 ports."""
    quarantine: Quarantine | None = None
    """Absent: it sends."""
    joining: bool = False
    """Its slot came to a lane that sent already, and is not yet proved, or not yet warm where it warms up: a standby
    slot takes mail beside it until it is."""
    verified_at: OptionalMoment = None
    """When a reflector confirmed it for the slot that holds it (RFC 3339, UTC), and none has denied it since; absent:
    it is not proved now. Written within half a minute, as `warmup`."""
    warmup: AddressWarmUp | None = None
    """Absent: it is warm for all ISPs that it has sent to, or has sent to none yet."""
    listed: tuple[str, ...] = ()
    """Lists of `spec.dnsbl` that have the address now, whoever holds it."""
    listings: Listings = ()
    """Each with what it answers and since when."""
    held_elsewhere: str = ""
    """The pool (`namespace/name`) that this address belongs to, where it stands in several."""


class IPPoolStatus(ApiModel):
    """Who holds what."""

    observed_generation: int = -1
    """The `metadata.generation` that this status is about; -1: none yet."""
    capacity: Capacity = Capacity()
    addresses: Annotated[
        tuple[AddressStatus, ...],
        Field(json_schema_extra=list_map("ip")),
    ] = ()
    """Every address of the spec, and those that it lists no more and a slot still holds, or that served Bulk or Cold
    last."""
    conditions: Annotated[
        tuple[Condition, ...],
        Field(json_schema_extra=list_map("type")),
    ] = ()
    """Ready: gives addresses. Valid: no address is another pool's too, and none that is held has left the spec.
    MixedNetworks: addresses of other classes lie in the same /24 or /64. Listed: a blocklist of `spec.dnsbl` has some.
    ListsAnswer: whether those lists work."""
