"""What TLS has to prove on the way to a domain's hosts: DANE where it is usable, else MTA-STS, else the lane's mode.

`decide` is pure; `Protection` asks. Before it: `router`, with a domain's hosts. After it: `sts`, `dane`.
Invariants: a host whose DANE state cannot be had is not used at all (RFC 7672 section 2.1); an enforced policy leaves
only hosts that it lists; what no policy covers is left out where the lane asks for one.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayConfig
from lane_relay.clock import Clock
from lane_relay.records import Hop, Reply, TlsDemand, TlsFailure, TlsPolicy, Unroutable
from lane_relay.resolve.answers import Family, Lookups
from lane_relay.resolve.dane import DaneLookups, DaneState, HostDane
from lane_relay.resolve.families import families_of
from lane_relay.resolve.mx import Ourselves
from lane_relay.resolve.secure_dns import SecureResolver
from lane_relay.resolve.sts import StsAnswer, StsPolicies
from lane_relay.resolve.sts_fetch import PolicyFetcher
from lane_relay.resolve.sts_policy import StsPolicy, lists
from lane_relay.socks.tunnel import door_of

__all__ = ["Protected", "Protection", "decide"]

_UNKNOWN_S: Final = 30.0
"""So long it is not asked again what could not be had."""
_NO_DANE: Final = HostDane(DaneState.NONE)
_TRUST_ANCHOR: Final = 2
_PROVING: Final = ("MTASTS", "DANE")
DaneMaker = Callable[[Sequence[str], bool], DaneLookups]
"""(resolvers, whether only AAAA leads to hosts) -> lookups."""


class Protected(Struct, frozen=True, gc=False):
    """Hosts with what is asked of each."""

    hops: tuple[Hop, ...]
    demands: str
    """As in Route."""
    ttl: float
    """Seconds for which this may be believed."""


class Protection:
    """Of one lane."""

    def __init__(
        self,
        sts: StsPolicies | None = None,
        fetcher: PolicyFetcher | None = None,
        dane: DaneMaker | None = None,
    ) -> None:
        """`dane` makes lookups for resolvers that may be believed; absent parts: nobody looks."""
        self._sts = sts
        self._fetcher = fetcher
        self._make_dane = dane
        self._dane: DaneLookups | None = None
        self._dane_for: tuple[object, ...] = ()
        self._mode = ""

    @property
    def asks_for_proof(self) -> bool:
        """The lane sends nothing to hosts that are not authenticated."""
        return self._mode in _PROVING

    @classmethod
    def of_lane(cls, lookups: Lookups, clock: Clock, may_leave: Callable[[], bool], spool: str) -> "Protection":
        """All parts, with policies kept beside the spool's segments. Must be called inside a running event loop."""
        fetcher = PolicyFetcher(lookups)
        sts = StsPolicies(lookups, fetcher, clock, may_leave, Path(spool) / "mta-sts.json")

        def dane(resolvers: Sequence[str], v6_only: bool) -> DaneLookups:
            return DaneLookups(SecureResolver(resolvers), clock.monotonic, v6_only=v6_only)

        return cls(sts, fetcher, dane)

    async def run(self) -> None:
        """Keeps policies fresh and on disk, for ever."""
        if self._sts is not None:
            await self._sts.run()

    async def close(self) -> None:
        """Gives up what is under way, and writes what is known."""
        if self._dane is not None:
            await self._dane.close()
        if self._sts is not None:
            await self._sts.close()

    def opened(self) -> None:
        """The egress address is proved: policies may be fetched."""
        if self._sts is not None:
            self._sts.opened()

    def sts_policy(self, domain: str) -> StsPolicy | None:
        """The domain's MTA-STS policy in force, without asking anybody."""
        return self._sts.known(domain) if self._sts is not None else None

    def policy_id(self, domain: str) -> str:
        """The id of the domain's MTA-STS policy in force, or an empty string."""
        return self._sts.id_of(domain) if self._sts is not None else ""

    def apply(self, config: RelayConfig, ourselves: Ourselves) -> None:
        """Another configuration from now on."""
        delivery, families = config.delivery, families_of(config)
        self._mode = delivery.outbound_tls
        if self._fetcher is not None:
            source = str(config.egress.source or "")
            of_first = families if config.egress.address is None else families[:1]
            self._fetcher.apply(source, ourselves, families=of_first, door=door_of(config.egress))
        v6_only = families == (Family.V6,)
        wanted = (delivery.trust_ad, delivery.resolvers, v6_only)
        if wanted != self._dane_for:  # what another resolver has said is not what this one vouches for
            self._dane_for = wanted
            trusted = delivery.trust_ad and self._make_dane is not None
            self._dane = self._make_dane(delivery.resolvers, v6_only) if trusted and self._make_dane else None

    async def of(self, domain: str, hops: tuple[Hop, ...], port: int = 25) -> Protected | Unroutable:
        """The hosts that may be used, each with what is asked of it."""
        asked = self._sts.of(domain) if self._sts is not None else _nothing()
        sts, danes = await asyncio.gather(asked, self._danes(domain, hops, port))
        if sts.held:
            text = f"4.7.5 the MTA-STS policy of {domain} is fetched once the egress address is proved"
            return Unroutable(Reply(451, (text,)), Category.TLS_POLICY)
        return decide(domain, self._mode, hops, sts, danes)

    async def _danes(self, domain: str, hops: Sequence[Hop], port: int) -> Mapping[str, HostDane]:
        """Of each host; nothing where the MX records themselves are not secure (RFC 7672 section 2.2.1)."""
        dane = self._dane
        if dane is None:
            return {}
        found = await asyncio.gather(*[dane.of(hop.host, port) for hop in hops])
        if all(one.state is DaneState.NONE for one in found):
            return {hop.host: one for hop, one in zip(hops, found, strict=True)}
        secure = await dane.is_secure_mx(domain)
        if secure is None:
            broken = HostDane(DaneState.BROKEN, ttl=_UNKNOWN_S, why=f"whether the MX records of {domain} are secure")
            return {hop.host: broken for hop in hops}
        if not secure:
            return {}
        return {hop.host: one for hop, one in zip(hops, found, strict=True)}


async def _nothing() -> StsAnswer:
    return StsAnswer()


def decide(
    domain: str, mode: str, hops: Sequence[Hop], sts: StsAnswer, danes: Mapping[str, HostDane]
) -> Protected | Unroutable:
    """Which hosts may be used, and what is asked of each."""
    kept: list[Hop] = []
    broken = unlisted = uncovered = ""
    for hop in hops:
        dane = danes.get(hop.host, _NO_DANE)
        if dane.state is DaneState.BROKEN:
            broken = broken or f"{hop.host}: {dane.why}"
            continue
        demand = _demand(domain, hop.host, sts, dane)
        by_sts = demand is not None and demand.enforced and demand.policy is TlsPolicy.MTA_STS
        if by_sts and sts.policy is not None and not lists(sts.policy, hop.host):
            unlisted = unlisted or hop.host
            continue
        if not _suffices(mode, demand):
            uncovered = uncovered or hop.host
            continue
        kept.append(replace(hop, demand=demand) if demand is not None else hop)
    if not kept:
        return _refusal(domain, mode, sts, broken, unlisted)
    ttl = min([sts.ttl, *[one.ttl for one in danes.values()]])
    return Protected(tuple(kept), _key(kept), ttl)


def _demand(domain: str, host: str, sts: StsAnswer, dane: HostDane) -> TlsDemand | None:
    """DANE first; records that cannot be used ask for encryption, and leave the proof to MTA-STS."""
    if dane.state is DaneState.USABLE:
        anchors = any(record.usage == _TRUST_ANCHOR for record in dane.tlsa)
        names = tuple(dict.fromkeys((dane.base, host, domain))) if anchors else ()
        return TlsDemand(TlsPolicy.DANE, tlsa=dane.tlsa, server_name=dane.base, names=names)
    policy = sts.policy
    if policy is not None and policy.mode == "enforce":
        return TlsDemand(TlsPolicy.MTA_STS, problem=sts.problem)
    if dane.state is DaneState.UNUSABLE:
        return TlsDemand(TlsPolicy.DANE, server_name=dane.base, problem=TlsFailure.TLSA_INVALID)
    if policy is not None:
        problem = sts.problem if lists(policy, host) else TlsFailure.VALIDATION
        return TlsDemand(TlsPolicy.MTA_STS, enforced=False, problem=problem)
    return TlsDemand(TlsPolicy.NONE, enforced=False, problem=sts.problem) if sts.problem else None


def _suffices(mode: str, demand: TlsDemand | None) -> bool:
    """Whether the lane's outboundTLS is content: MTASTS asks for an authenticated host, DANE for one by its TLSA."""
    if mode not in _PROVING:
        return True
    if demand is None or not demand.enforced:
        return False
    proves = demand.policy is TlsPolicy.DANE and bool(demand.tlsa)
    return proves or (mode == "MTASTS" and demand.policy is TlsPolicy.MTA_STS)


def _refusal(domain: str, mode: str, sts: StsAnswer, broken: str, unlisted: str) -> Unroutable:
    """Why no host is left; always temporary, since all of it can be mended."""
    if broken:
        text = f"4.4.3 no host of {domain} can be used: DNS does not tell whether it has TLSA records ({broken})"
        return Unroutable(Reply(451, (text,)), Category.DNS_FAILURE)
    if unlisted and sts.policy is not None:
        listed = ", ".join(sts.policy.mx[:3])
        text = f"4.7.5 no MX host of {domain} is in its MTA-STS policy, such as {unlisted} (it lists {listed})"
        return Unroutable(Reply(451, (text,)), Category.TLS_POLICY)
    what = (
        "usable TLSA records (by a resolver with trustAD),"
        if mode == "DANE"
        else "an MTA-STS policy in mode enforce, or usable TLSA records,"
    )
    text = (
        f"4.7.5 outboundTLS: {mode} asks for {what} and {domain} has none that binds its hosts: "
        "send its mail by a lane with outboundTLS: Required, or give the domain a fixed route"
    )
    return Unroutable(Reply(451, (text,)), Category.TLS_POLICY)


def _key(hops: Sequence[Hop]) -> str:
    """The same for the same kinds of demand; the records themselves may change under way."""
    if all(hop.demand is None for hop in hops):
        return ""
    return ";".join(_kind(hop.demand) for hop in sorted(hops, key=lambda hop: hop.host))


def _kind(demand: TlsDemand | None) -> str:
    if demand is None:
        return "-"
    return f"{demand.policy}{'!' if demand.enforced else '?'}{'=' if demand.tlsa else ''}{','.join(demand.names)}"
