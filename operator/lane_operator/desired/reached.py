"""Whom a slot's configuration names besides receivers of mail: routes, reflectors, buckets, webhooks, resolvers; pure.

Comes after the rendered RelayConfig and before the NetworkPolicy, which must let through what stands here.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from lane_api.names import REFLECTOR_PORT
from lane_api.relayconfig import RelayConfig

__all__ = ["Sink", "forwarders", "sinks_of"]

_DNS_PORT, _LAST_PORT = 53, 65535
_FORWARDER = re.compile(r"^ +forward-addr: ([0-9a-f.:]+)(?:@([0-9]{1,5}))?$", re.MULTILINE | re.IGNORECASE)
_SCHEME_PORTS = {"https": 443, "http": 80, "tcp": REFLECTOR_PORT}


@dataclass(frozen=True, slots=True, order=True)
class Sink:
    """One place that slots connect to: a network of one address, a namespace of this cluster, or (both empty) a name
    that may lead anywhere."""

    port: int
    network: str = ""
    namespace: str = ""
    is_dns: bool = False
    """Reached by UDP as well."""


def sinks_of(config: RelayConfig) -> Iterator[Sink]:
    """Everything that this configuration has the relay connect to, but receivers, DNS on port 53 and other slots."""
    records, proof, second = config.records, config.egress.proof, config.egress.second
    proxies = [one for one in (config.egress.proxy, second.proxy if second is not None else None) if one is not None]
    for proxy in proxies:
        yield _sink(str(proxy.host), proxy.port)
    if proxies:  # which reach the rest in the slot's place
        proof = None
    else:
        for route in config.delivery.routes:
            yield _sink(route.host, route.port)
    s3 = records.archive.s3 if records.archive is not None else None
    if s3 is not None and s3.endpoint is None:  # AWS by region, any address of many
        yield Sink(_SCHEME_PORTS["https"])
    urls = [
        *(proof.reflectors if proof is not None else ()),
        s3.endpoint if s3 is not None else None,
        records.webhook.url if records.webhook is not None else None,
        *(domain.return_path.webhook for domain in config.domains if domain.return_path is not None),
    ]
    for url in urls:
        if url:
            parts = urlsplit(url)
            yield _sink(parts.hostname or "", parts.port or _SCHEME_PORTS[parts.scheme])
    yield from _nameservers(config.delivery.resolvers)


def forwarders(sidecar: str) -> Iterator[Sink]:
    """Whom a sidecar with this configuration asks: on other ports than 53, or in networks that are closed otherwise."""
    for address, port in _FORWARDER.findall(sidecar):
        with suppress(ValueError):  # a hand's work
            yield from _nameservers([f"[{address}]:{port}"] if int(port or _DNS_PORT) <= _LAST_PORT else ())


def _nameservers(targets: Iterable[str]) -> Iterator[Sink]:
    for target in targets:
        host, port = _nameserver(target)
        if not ip_address(host).is_loopback:
            yield Sink(port, network=_network(host), is_dns=True)


def _sink(host: str, port: int) -> Sink:
    try:
        return Sink(port, network=_network(host.strip("[]")))
    except ValueError:
        labels = host.lower().rstrip(".").split(".")
        return Sink(port, namespace=labels[1]) if labels[2:3] == ["svc"] else Sink(port)


def _network(host: str) -> str:
    """The address as a network of itself; raises ValueError for a name."""
    address = ip_address(host)
    return f"{address}/{address.max_prefixlen}"


def _nameserver(target: str) -> tuple[str, int]:
    """`192.0.2.53`, `192.0.2.53:5300`, `2001:db8::53` or `[2001:db8::53]:5300`."""
    if target.startswith("["):
        host, _, port = target[1:].partition("]")
        return host, int(port.lstrip(":") or _DNS_PORT)
    host, colon, port = target.partition(":")
    return (host, int(port)) if colon and ":" not in port else (target, _DNS_PORT)
