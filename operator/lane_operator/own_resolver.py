"""Which resolvers the operator's own pod asks: the cluster's DNS, as the kubelet wrote it there.

It is asked by its Service's address or a cache of the node, which no selector of a NetworkPolicy names.
"""

from ipaddress import ip_address

__all__ = ["nameservers"]

MOST = 3
"""A resolver reads no more (resolv.conf(5))."""


def nameservers(text: str) -> tuple[str, ...]:
    """The addresses of a resolv.conf, each as a network of itself; what is none is left out."""
    found = []
    for words in (line.split() for line in text.splitlines()):
        if words[:1] == ["nameserver"] and len(words) > 1:
            try:
                address = ip_address(words[1].partition("%")[0])
            except ValueError:
                continue
            if not address.is_loopback:
                found.append(f"{address}/{address.max_prefixlen}")
    return tuple(found[:MOST])
