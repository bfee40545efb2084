"""What the operator is told by its environment, read once into a frozen value.

Each field is one variable, `LANEWRIGHT_` and the field's name in capitals; the chart sets them. No secret is among
them: credentials are files or the service account.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping

from lane_api.model import PLAIN_ADDRESS

__all__ = ["Settings"]

PREFIX = "LANEWRIGHT_"


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one operator process; durations in seconds."""

    relay_image: str
    """Image of the slots' relay container."""
    resolver_image: str
    """Image of the slots' resolver sidecar (unbound)."""
    operator_namespace: str = "lanewright-system"
    """Our own: ISPPolicies here serve all lanes."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Secrets of the slots' pods, by name; they must be in each namespace with lanes."""
    monitoring_labels: tuple[str, ...] = ()
    """`name=value`: labels by which a Prometheus selects its PodMonitors and PrometheusRules."""
    runbook_url: str = "docs/alerts.md"
    """Where docs/alerts.md of this release can be read; each alert's `runbook_url` is this and an anchor."""
    watch_namespaces: tuple[str, ...] = ()
    """Namespaced mode: the only namespaces we look at. Empty: the whole cluster."""
    served_namespaces: tuple[str, ...] = ()
    """Namespaces whose Secrets we may read and write (a RoleBinding each). Empty: the watched ones."""
    engines: tuple[str, ...] = ("HostNetwork", "Multus")
    """Egress engines whose rights we hold; Multus and Cilium have objects of their own that we write and watch."""
    monitoring: bool = True
    """Whether we hold rights to PodMonitors and PrometheusRules."""
    certificates: bool = True
    """Whether we hold rights to cert-manager's Certificates."""
    dns_endpoints: bool = True
    """Whether we hold rights to external-dns' DNSEndpoints."""
    dns_domains: tuple[str, ...] = ()
    """`namespace=domain`: what lanes of a namespace may have published by external-dns, `*` for every name."""
    nodes: bool = True
    """Whether we may read nodes; without, a drained node's slots all go at once."""
    volumes: bool = True
    """Whether we may patch PersistentVolumes, so that mail outlives a deleted namespace."""
    network_policies: bool = True
    """Whether lanes get a NetworkPolicy."""
    closed_networks: tuple[str, ...] = ()
    """Networks of pods and nodes that no mail goes to, where NetworkPolicies are enforced."""
    metrics_from: tuple[str, ...] = ()
    """Namespaces that may scrape the slots, where NetworkPolicies are enforced; empty: everybody may."""
    force_delivery: str = ""
    """Redirect or Discard: no lane delivers to its mail's recipients, whatever it says itself. Empty: as lanes say."""
    force_delivery_to: str = ""
    """Where all mail goes, with Redirect."""
    lease: str = ""
    """The Lease in our namespace whose holder alone works; empty: this process is the only one."""
    identity: str = ""
    """What we hold it as, the same after a restart of our container; empty: host name and chance."""
    workers: int = 8
    """Lanes reconciled at the same time."""
    upgrade_lanes: int = 10
    """Lanes whose slots get new images at the same time; 0: all."""
    upgrade_watch_s: float = 60.0
    """A slot that serves with new images is watched so long before the next one follows; 0: nothing is judged."""
    upgrade_drain_s: float = 120.0
    """A slot that is to restart hands its mail over for so long at most; 0: it restarts with its queue."""
    resync_s: float = 420.0
    """Everything is listed and compared this often, with a fifth of jitter: the net under lost events."""
    observe_settled_s: float = 30.0
    """A lane in which nothing is under way is looked at this often."""
    observe_busy_s: float = 5.0
    """A lane that is not in sync is looked at this often."""
    observe_standby_s: float = 2.0
    """One with standby slots is always looked at this often: what an ISP refuses waits until one is promoted."""
    secret_recheck_s: float = 30.0
    """How soon a missing Secret that a user must make is looked for again."""
    figures_every_s: float = 30.0
    """A lane's figures in status are written at most this often; its conditions at once."""
    http_port: int = 8080
    """Serves `/metrics`, `/livez` and `/readyz`."""
    webhook: str = ""
    """The ValidatingWebhookConfiguration that names us; empty: nobody asks."""
    webhook_service: str = "lanewright-webhook"
    """The Service in our namespace that it calls, and the Secret with our certificate."""
    webhook_port: int = 8443
    http_host: str = ""
    """Empty: every address, of both families (asyncio's `::` would leave out IPv4)."""
    log_level: str = "INFO"
    dnsbl_resolvers: tuple[str, ...] = ()
    """Addresses of the resolvers that blocklists are asked by; empty: those of our own resolv.conf."""

    def __post_init__(self) -> None:
        """Raises ValueError for what must not be misread: mail would reach those whom it was kept from."""
        for resolver in self.dnsbl_resolvers:
            if not _is_address(resolver):
                raise ValueError(f"{PREFIX}DNSBL_RESOLVERS: {resolver!r} is no address such as 10.96.0.53")
        for network in self.closed_networks:
            if not _is_part_of_a_family(network):
                raise ValueError(f"{PREFIX}CLOSED_NETWORKS: {network!r} is no network such as 10.244.0.0/16")
        if self.force_delivery not in ("", "Redirect", "Discard"):
            raise ValueError(
                f"{PREFIX}FORCE_DELIVERY={self.force_delivery!r}: write Redirect or Discard, or leave it out"
            )
        if (self.force_delivery == "Redirect") != bool(self.force_delivery_to):
            raise ValueError(f"{PREFIX}FORCE_DELIVERY_TO is the address of Redirect: set both, or neither")
        if self.force_delivery_to and not PLAIN_ADDRESS.fullmatch(self.force_delivery_to):
            raise ValueError(f"{PREFIX}FORCE_DELIVERY_TO={self.force_delivery_to!r} is not one plain address")

    @property
    def secret_namespaces(self) -> tuple[str, ...]:
        """Namespaces in which Secrets are ours to read and write."""
        return self.served_namespaces or self.watch_namespaces

    def publishable(self, namespace: str) -> tuple[str, ...] | None:
        """The domains that external-dns may be asked for by lanes of a namespace; None: every name, where no other
        namespace is served and nothing is listed."""
        if not self.dns_domains and self.secret_namespaces == (namespace,):
            return None
        pairs = (entry.partition("=") for entry in self.dns_domains)
        return tuple(domain.lower() for name, _, domain in pairs if name == namespace)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """The settings that the variables spell; raises ValueError that names the variable."""
        values: dict[str, object] = {}
        for field in dataclasses.fields(cls):
            variable = PREFIX + field.name.upper()
            text = environment.get(variable, "").strip()
            if text:
                values[field.name] = _parse(variable, field.default, text)
            elif field.default is dataclasses.MISSING:
                raise ValueError(f"{variable} is not set")
        return cls(**values)  # type: ignore[arg-type]  # each value was parsed to its field's type just above


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_part_of_a_family(network: str) -> bool:
    """Whether it is a network, and not all of IPv4 or IPv6: that would close everything, and no policy may say it."""
    try:
        return ipaddress.ip_network(network, strict=False).prefixlen > 0
    except ValueError:
        return False


def _parse(variable: str, default: object, text: str) -> object:
    """The value of one variable, of its default's type."""
    try:
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(default, int | float):
            return type(default)(text)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{variable}={text!r} is no {type(default).__name__}") from error
    return text
