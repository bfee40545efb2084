"""Which bucket of limits a destination belongs to; pure.

A policy takes a domain that it names, or whose every MX host matches one of its patterns; the first in the order of
the configuration wins, and all its domains share one bucket named after it. Everything else is a site of its own:
the sorted MX set, so that domains behind the same hosts share their limits without a policy.
Before it: `mx`. After it: `router`.
"""

from collections.abc import Iterable, Sequence

from lane_api.relayconfig import SitePolicy

__all__ = ["SiteNames", "mx_set_name"]


def mx_set_name(hosts: Iterable[str]) -> str:
    """The rolled-up name of an MX set: its hosts in alphabetical order."""
    return ",".join(sorted(set(hosts)))


class SiteNames:
    """The policies' patterns, ready to be matched."""

    def __init__(self, policies: Sequence[SitePolicy]) -> None:
        self._policies = [
            (
                policy.name,
                frozenset(domain.lower() for domain in policy.domains),
                frozenset(pattern.lower() for pattern in policy.mx if not pattern.startswith("*.")),
                tuple(pattern[1:].lower() for pattern in policy.mx if pattern.startswith("*.")),
            )
            for policy in policies
        ]
        self._names = frozenset(policy.name for policy in policies)
        """No host set is called so, whoever publishes it: its failures would be those of the policy's mail."""

    def site(self, domain: str, hosts: Sequence[str]) -> tuple[str, str]:
        """(site, policy): equal if a policy takes it; without one the site is the MX set and the policy empty."""
        for name, domains, exact, suffixes in self._policies:
            if domain in domains or (
                hosts and all(host in exact or (suffixes and host.endswith(suffixes)) for host in hosts)
            ):
                return name, name
        site = mx_set_name(hosts)
        return f"mx:{site}" if site in self._names else site, ""
