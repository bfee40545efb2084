"""What the API server refuses across fields: CEL rules, each with the message that names the fix.

Invariant: every rule is bounded (KEP-2876 estimates its cost from maxItems and maxLength) and never fails to evaluate
on input that another rule refuses. Rules about one field stand beside the field.

Settled here: a lane's poolRef and trafficClass and a pool's engine never change. Each would put another address, HELO
name or reputation under mail that is already queued; a second lane beside the first does the same without the risk.
"""

__all__ = ["LANE_SPEC_RULES", "POOL_ADDRESSES_RULES", "POOL_SPEC_RULES"]

# `.orValue` has no bounds of its own, so strings are compared behind has(): else the estimate is without limit
_SIZE = "(has({0}.queue) && has({0}.queue.size) ? quantity({0}.queue.size) : quantity('10Gi'))"
_NEW_SIZE, _OLD_SIZE = _SIZE.format("self"), _SIZE.format("oldSelf")
_CLASS_GIVEN = "(has({0}.queue) && has({0}.queue.storageClassName))"
_NEW_CLASS_GIVEN, _OLD_CLASS_GIVEN = _CLASS_GIVEN.format("self"), _CLASS_GIVEN.format("oldSelf")
_RECORDS = "(has(self.audit) && has(self.audit.maxSize) ? quantity(self.audit.maxSize) : quantity('1Gi'))"

# `namespace` is a reserved word of CEL and is escaped
_SAME_POOL = """\
self.poolRef.name == oldSelf.poolRef.name && has(self.poolRef.__namespace__) == has(oldSelf.poolRef.__namespace__) \
&& (!has(self.poolRef.__namespace__) || self.poolRef.__namespace__ == oldSelf.poolRef.__namespace__)"""

_SAME_STORAGE_CLASS = f"""\
{_NEW_CLASS_GIVEN} == {_OLD_CLASS_GIVEN} \
&& (!{_NEW_CLASS_GIVEN} || self.queue.storageClassName == oldSelf.queue.storageClassName)"""

_TRUSTS_AD = """\
has(self.resolver.trustAD) ? self.resolver.trustAD \
: (!has(self.resolver.mode) || self.resolver.mode == 'Sidecar') \
&& (!has(self.resolver.forwardTo) || size(self.resolver.forwardTo) == 0)"""

LANE_SPEC_RULES = (
    (
        "self.submission.senders.exists(s, self.domains.exists(d, s.lowerAscii().endsWith('@' + d.name)))",
        """\
no sender may write from any of the lane's domains, so all mail would be refused: the domain of a sender (the header \
From must match one) is to be among domains, in full""",
    ),
    (
        (
            "has(self.feedback) || self.domains.all(d, !has(d.returnPath) "
            "|| (has(d.returnPath.mode) && d.returnPath.mode == 'Keep'))"
        ),
        "a returnPath that is rewritten needs somebody who takes its bounces: write feedback: {}, or mode: Keep",
    ),
    (
        "!has(self.feedback) || !has(self.feedback.unsubscribe) || self.domains.exists(d, has(d.returnPath))",
        "feedback.unsubscribe needs a domain with a returnPath, whose addresses it names: add one",
    ),
    (
        (
            "!has(self.feedback) || !has(self.feedback.postmaster) || self.domains.all(d, !has(d.returnPath) "
            "|| !self.feedback.postmaster.endsWith('@' + d.returnPath.domain))"
        ),
        "feedback.postmaster is an address that the lane takes itself: name a person's mailbox elsewhere",
    ),
    (
        "self.domains.all(d, !has(d.returnPath) || self.domains.all(e, e.name != d.returnPath.domain))",
        "returnPath.domain is a From domain of the lane: take one below it, such as b.notify.example.com",
    ),
    (
        f"!has(self.outboundTLS) || self.outboundTLS != 'DANE' || !has(self.resolver) || ({_TRUSTS_AD})",
        """\
outboundTLS: DANE needs a resolver that validates DNSSEC and can be believed: leave resolver out (a sidecar), or set \
resolver.trustAD: true""",
    ),
    (
        _SAME_POOL,
        """\
poolRef cannot change: addresses, HELO names and reputation would change under queued mail; make a second lane on \
the other pool and delete this one, which drains it""",
    ),
    (
        "self.trafficClass == oldSelf.trafficClass",
        """\
trafficClass cannot change: addresses keep the reputation of what they sent; make a lane of the other class and \
delete this one, which drains it""",
    ),
    (
        f"{_NEW_SIZE}.compareTo({_OLD_SIZE}) >= 0",
        """\
queue.size can only grow (default 10Gi): volumes do not shrink; for a smaller queue make a second lane and delete \
this one, which drains it""",
    ),
    (
        _SAME_STORAGE_CLASS,
        """\
queue.storageClassName cannot change: a volume keeps its class; make a second lane with the other class and delete \
this one, which drains it""",
    ),
    (
        f"{_RECORDS}.compareTo({_NEW_SIZE}) < 0",
        "audit.maxSize (default 1Gi) is a part of queue.size (default 10Gi): lower the first or raise the other",
    ),
)

_DOOR = """\
[has({0}.proxy.port) ? string({0}.proxy.port) : '1080', has({0}.proxy.secretName) ? {0}.proxy.secretName : '']"""
"""What tells two users of one host from one another."""

POOL_ADDRESSES_RULES = (
    (
        "size(self) == 0 || self.exists(a, !has(a.role) || a.role == 'Active')",
        "every address has role: Standby, so that no lane can send: write role: Active on one at least",
    ),
    (
        """\
self.all(a, !has(a.source) || !isIP(a.source) \
|| self.exists_one(b, has(b.source) && isIP(b.source) && ip(b.source) == ip(a.source)))""",
        "each source may stand in a pool once: two slots that bind one address would leave from one",
    ),
    (
        f"""\
self.all(a, !has(a.proxy) || self.exists_one(b, has(b.proxy) && b.proxy.address == a.proxy.address \
&& {_DOOR.format("b")} == {_DOOR.format("a")}))""",
        """\
each proxy may stand in a pool once, for it leaves from one address: give each address a proxy's address, port or \
secretName (user) of its own""",
    ),
    (
        "self.all(a, !isIP(a.ip) || self.exists_one(b, isIP(b.ip) && ip(b.ip) == ip(a.ip)))",
        "each address may stand in a pool once, however it is spelled: remove the duplicate",
    ),
    (
        """\
self.all(a, !has(a.second) || !isIP(a.second.ip) || !self.exists(b, isIP(b.ip) && ip(b.ip) == ip(a.second.ip)) \
&& self.exists_one(b, has(b.second) && isIP(b.second.ip) && ip(b.second.ip) == ip(a.second.ip)))""",
        "each second may stand in a pool once, and is no other's ip: remove the duplicate",
    ),
    (
        """\
self.all(a, !has(a.second) || !has(a.second.source) || !isIP(a.second.source) || self.exists_one(b, has(b.second) \
&& has(b.second.source) && isIP(b.second.source) && ip(b.second.source) == ip(a.second.source)))""",
        "each second's source may stand in a pool once: two slots that bind one address would leave from one",
    ),
)

_SHORT_PREFIX = (
    "!has(self.engineConfig) || !has(self.engineConfig.prefixLength) || self.engineConfig.prefixLength <= 32"
)
_V6_ALONE = "!has(self.addresses) || self.addresses.all(a, !isIP(a.ip) || ip(a.ip).family() == 6)"
_OF_ONE_FAMILY = """\
!has(self.engineConfig) || !has(self.engineConfig.gateway) || !isIP(self.engineConfig.gateway) \
|| !has(self.addresses) || self.addresses.all(a, !isIP(a.ip) \
|| ip(a.ip).family() == ip(self.engineConfig.gateway).family())"""

_NO_SECONDS = "!has(self.addresses) || self.addresses.all(a, !has(a.second){})"
_SECONDS_OF_ONE_FAMILY = f"""\
!has(self.engineConfig) || !has(self.engineConfig.second) || !has(self.engineConfig.second.gateway) \
|| !isIP(self.engineConfig.second.gateway) || \
{
    _NO_SECONDS.format(
        " || !isIP(a.second.ip) || ip(a.second.ip).family() == ip(self.engineConfig.second.gateway).family()"
    )
}"""

POOL_SPEC_RULES = (
    (
        f"""\
self.engine != 'Multus' || (has(self.engineConfig) && has(self.engineConfig.second)) || {_NO_SECONDS.format("")}""",
        "engine Multus needs engineConfig.second for addresses with a second: {prefixLength: 64, gateway: its gateway}",
    ),
    (
        _SECONDS_OF_ONE_FAMILY,
        "engineConfig.second.gateway must be of the seconds' family: make a pool for each of IPv4 and IPv6",
    ),
    (
        f"self.engine == 'Socks5' || {_NO_SECONDS.format(' || !has(a.second.proxy)')}",
        "second.proxy is for engine Socks5 alone: remove it, or make a pool with that engine",
    ),
    (
        f"self.engine != 'External' || {_NO_SECONDS.format(' || !has(a.second.source)')}",
        "engine External binds nothing: remove source from the seconds, and have your network translate",
    ),
    (
        """\
!has(self.engineConfig) || !has(self.engineConfig.podAnnotations) || !has(self.addresses) \
|| self.addresses.all(a, has(a.second)) || self.engineConfig.podAnnotations.all(n, !n.value.contains('{second}'))""",
        "a podAnnotation names {second}, which every address must have then: add it, or make a pool for those without",
    ),
    (
        f"{_SHORT_PREFIX} || {_V6_ALONE}",
        "engineConfig.prefixLength of IPv4 addresses is at most 32: correct it, or make a pool for each family",
    ),
    (
        _OF_ONE_FAMILY,
        "engineConfig.gateway must be of the addresses' family: make a pool for each of IPv4 and IPv6",
    ),
    (
        "self.engine == oldSelf.engine",
        "engine cannot change under the slots that use it: make a new pool and a lane on it",
    ),
    (
        "!('Cold' in self.classes) || size(self.classes) == 1",
        "a pool for Cold is for Cold alone: an address keeps the reputation of what it sent, so make a pool of its own",
    ),
    (
        "self.engine != 'ClusterDefault' || !('Cold' in self.classes)",
        """\
engine ClusterDefault sends from an address that all lanes share, and Cold mail shares none: choose an engine that has \
addresses of its own""",
    ),
    (
        "self.engine != 'ClusterDefault' || !has(self.addresses) || size(self.addresses) == 0",
        "engine ClusterDefault has no addresses of its own: remove addresses, or choose another engine",
    ),
    (
        """\
self.engine != 'Multus' || (has(self.engineConfig) && has(self.engineConfig.network) \
&& has(self.engineConfig.prefixLength))""",
        """\
engine Multus needs engineConfig.network (namespace/name of the template NetworkAttachmentDefinition) and \
engineConfig.prefixLength""",
    ),
    (
        "self.engine != 'HostNetwork' || !has(self.addresses) || self.addresses.all(a, has(a.node))",
        "engine HostNetwork needs node on every address: the name of the node that holds it",
    ),
    (
        "self.engine != 'Socks5' || !has(self.addresses) || self.addresses.all(a, has(a.proxy))",
        "engine Socks5 needs proxy on every address: {address: where it listens, port: 1080, secretName: its user}",
    ),
    (
        "self.engine == 'Socks5' || !has(self.addresses) || self.addresses.all(a, !has(a.proxy))",
        "proxy is for engine Socks5 alone: remove it, or make a pool with that engine",
    ),
    (
        """\
self.engine != 'Cilium' || (has(self.engineConfig) && has(self.engineConfig.nodeSelector) \
&& size(self.engineConfig.nodeSelector) > 0) || !has(self.addresses) || self.addresses.all(a, has(a.node))""",
        """\
engine Cilium needs node on every address (the gateway that holds it), or engineConfig.nodeSelector with labels of the \
gateway nodes""",
    ),
    (
        "self.engine != 'External' || !has(self.addresses) || self.addresses.all(a, !has(a.source))",
        "engine External binds nothing: remove source from the addresses, and have your network translate",
    ),
    (
        """\
self.engine == 'External' || !has(self.engineConfig) || !has(self.engineConfig.podAnnotations) \
|| size(self.engineConfig.podAnnotations) == 0""",
        "engineConfig.podAnnotations is for engine External alone: remove it, or make a pool with that engine",
    ),
    (
        """\
self.engine == 'ClusterDefault' || (has(self.verification) && has(self.verification.reflectors) \
&& size(self.verification.reflectors) > 0)""",
        """\
verification.reflectors needs at least one entry, such as tcp://198.51.100.5:25: a slot that cannot prove its \
address sends nothing; `lane-relay reflect` is a reflector""",
    ),
)
