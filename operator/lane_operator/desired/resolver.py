"""The resolver beside a relay: unbound, one a pod, so that no lane's DNS load is another's.

It validates from the root's trust anchor. With `forwardTo` it caches and forwards, and validation is the forwarder's
unless `trustAD` asks for it: networks that close port 53 often have names that the public root does not know.
"""

from lane_api.pod import Resolver

__all__ = ["BEFORE_FILE", "RESOLVER_FILE", "unbound_config"]

RESOLVER_FILE = "unbound.conf"
BEFORE_FILE = "unbound.before.conf"
"""What a sidecar reads that was not started anew yet: whom it asks stays open to it."""
_TRUST_ANCHOR = "/usr/share/dns/root.key"  # Debian's dns-root-data, in the resolver's image

_SERVER = """\
server:
    interface: {listen}
    access-control: 127.0.0.0/8 allow
    username: ""
    chroot: ""
    directory: "/etc/unbound"
    pidfile: ""
    do-daemonize: no
    use-syslog: no
    logfile: ""
    num-threads: 1
    msg-cache-size: 8m
    rrset-cache-size: 16m
    prefetch: yes
    edns-buffer-size: 1232
    hide-identity: yes
    hide-version: yes
    qname-minimisation: yes
    {validation}

remote-control:
    control-enable: no
"""


def unbound_config(resolver: Resolver, listen: str) -> str:
    """The sidecar's configuration; `listen` is `address:port`."""
    address, _, port = listen.rpartition(":")
    validation = f'trust-anchor-file: "{_TRUST_ANCHOR}"' if _validates(resolver) else 'module-config: "iterator"'
    server = _SERVER.format(listen=f"{address}@{port}", validation=validation)
    if not resolver.forward_to:
        return server
    forwarders = "".join(f"    forward-addr: {_at_port(target)}\n" for target in resolver.forward_to)
    return f'{server}\nforward-zone:\n    name: "."\n{forwarders}'


def _validates(resolver: Resolver) -> bool:
    """Always by itself; through a forwarder where it is asked to, since networks have names that the root does not."""
    return not resolver.forward_to or resolver.validates


def _at_port(target: str) -> str:
    """`192.0.2.53`, `192.0.2.53:5300`, `[2001:db8::53]:5300` or `2001:db8::53` as unbound writes it."""
    if target.startswith("["):
        address, _, port = target[1:].partition("]")
        return f"{address}@{port.lstrip(':') or '53'}"
    address, colon, port = target.partition(":")
    return f"{address}@{port}" if colon and ":" not in port else target
