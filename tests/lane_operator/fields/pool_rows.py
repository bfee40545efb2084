"""Where each field of an IPPool and of an ISPPolicy is found in the children and relays of lanes that they serve."""

from typing import Any

from tests.lane_operator.fields.places import Found

_POD = "StatefulSet/otp-0 spec template"
_HOME = f"{_POD} spec affinity nodeAffinity requiredDuringSchedulingIgnoredDuringExecution nodeSelectorTerms 0"
_NETWORK = "NetworkAttachmentDefinition/otp-0-* spec config json plugins 0"
_POLICY = "relay delivery policies name=gmail"
_FIRST = {"ip": "203.0.113.10", "hostname": "out0.example.com"}
_SECOND = {"ip": "2001:db8::10"}
_PROXY = {"address": "192.0.2.80", "port": 1081}
_TWO = {
    "engineConfig": {"second": {"prefixLength": 64, "gateway": "2001:db8::1"}},
    "addresses": [{**_FIRST, "second": _SECOND}],
}
_HOST = {"engine": "HostNetwork", "addresses": [{**_FIRST, "node": "node-a"}]}
_GATEWAY = {"engine": "Cilium", "engineConfig": {"nodeSelector": {"egress": "yes"}}}
_STEERED = {
    "engine": "External",
    "engineConfig": {"podAnnotations": [{"name": "cni.projectcalico.org/ipAddrs", "value": '["{ip}"]'}]},
}
_THROUGH = {"engine": "Socks5", "addresses": [{**_FIRST, "proxy": _PROXY}]}
_THROUGH_TWO = {
    "engine": "Socks5",
    "addresses": [{**_FIRST, "proxy": _PROXY, "second": {**_SECOND, "proxy": {**_PROXY, "port": 1082}}}],
}
_ONE = {"addresses": [_FIRST]}
_WARMS = {"warmup": {}, **_ONE}
_RULE: dict[str, Any] = {
    "id": "busy",
    "pattern": "busy",
    "category": "rate-limited",
    "action": "Backoff",
    "examples": ["421 4.7.0 busy"],
}
_RULES = {"responses": [_RULE]}
_ANSWER = f"{_POLICY} responses 0"

POOL: dict[str, Found | tuple[Found, ...]] = {
    "pool.classes": Found(["Bulk"], "StatefulSet/otp-0 kind", None),
    "pool.engine": Found("External", "relay egress source", None),
    "pool.engineConfig.network": Found("mail-pools/other", f"{_NETWORK} master", "eth2"),
    "pool.engineConfig.prefixLength": Found(25, f"{_NETWORK} ipam addresses 0 address", "203.0.113.10/25"),
    "pool.engineConfig.gateway": Found("203.0.113.2", f"{_NETWORK} ipam addresses 0 gateway"),
    "pool.engineConfig.second.prefixLength": Found(
        48, f"{_NETWORK} ipam addresses 1 address", "2001:db8::10/48", pool=_TWO
    ),
    "pool.engineConfig.second.gateway": Found("2001:db8::2", f"{_NETWORK} ipam addresses 1 gateway", pool=_TWO),
    "pool.engineConfig.portRange": (
        Found("30000-30999", f"{_POD} spec containers 0 ports name=smtp containerPort", 30000, pool=_HOST),
        Found("30000-30999", "relay intake smtp port", 30000, pool=_HOST),
    ),
    "pool.engineConfig.nodeSelector": Found(
        {"rack": "7"}, "CiliumEgressGatewayPolicy/mail.otp-0 spec egressGateway nodeSelector matchLabels", pool=_GATEWAY
    ),
    "pool.engineConfig.podAnnotations[].name": Found(
        "net.example/ips", f"{_POD} metadata annotations net.example/ips", '["203.0.113.10"]', pool=_STEERED
    ),
    "pool.engineConfig.podAnnotations[].value": Found(
        "{slot} of {namespace}",
        f"{_POD} metadata annotations cni.projectcalico.org/ipAddrs",
        "otp-0 of mail",
        pool=_STEERED,
    ),
    "pool.addresses[].ip": (
        Found("203.0.113.77", "relay egress address", pool=_ONE),
        Found("203.0.113.77", f"{_NETWORK} ipam addresses 0 address", "203.0.113.77/24", pool=_ONE),
        Found("203.0.113.77", "StatefulSet/otp-0 metadata annotations lanewright.dev/address", pool=_ONE),
    ),
    "pool.addresses[].hostname": Found("mx.example.com", "relay slot hostname", pool=_ONE),
    "pool.addresses[].node": (
        Found("node-b", f"{_HOME} matchFields 0 values", ["node-b"], pool=_HOST),
        Found("node-b", f"{_HOME} matchFields 0 values", ["node-b"], pool=_ONE),
        Found(
            "node-b",
            "CiliumEgressGatewayPolicy/mail.otp-0 spec egressGateway nodeSelector matchLabels",
            {"kubernetes.io/hostname": "node-b"},
            pool=_GATEWAY | _ONE,
        ),
    ),
    "pool.addresses[].zone": (
        Found("fra-1", f"{_HOME} matchExpressions 0 values", ["fra-1"], pool=_ONE),
        Found("zone-b", "StatefulSet/otp-0 kind", None, pool=_HOST),
    ),
    "pool.addresses[].source": (
        Found("10.0.0.10", "relay egress source", pool=_ONE),
        Found("10.0.0.10", f"{_NETWORK} ipam addresses 0 address", "10.0.0.10/24", pool=_ONE),
        Found("10.0.0.10", "CiliumEgressGatewayPolicy/mail.otp-0 spec egressGateway egressIP", pool=_GATEWAY | _ONE),
        Found("10.0.0.10", "relay egress proxy bound", pool=_THROUGH),
    ),
    "pool.addresses[].proxy.address": Found("192.0.2.81", "relay egress proxy host", pool=_THROUGH),
    "pool.addresses[].proxy.port": Found(9050, "relay egress proxy port", pool=_THROUGH),
    "pool.addresses[].proxy.secretName": (
        Found("socks", "relay egress proxy authDir", "/etc/lanewright/proxy", pool=_THROUGH),
        Found("socks", f"{_POD} spec volumes name=proxy secret items 0 key", "otp-0.username", pool=_THROUGH),
    ),
    "pool.addresses[].second.ip": (
        Found("2001:db8::77", "relay egress second address", pool=_TWO),
        Found("2001:db8::77", f"{_NETWORK} ipam addresses 1 address", "2001:db8::77/64", pool=_TWO),
    ),
    "pool.addresses[].second.source": (
        Found("fd00::10", "relay egress second source", pool=_TWO),
        Found("fd00::10", "relay egress second proxy bound", pool=_THROUGH_TWO),
    ),
    "pool.addresses[].second.proxy.address": Found("192.0.2.81", "relay egress second proxy host", pool=_THROUGH_TWO),
    "pool.addresses[].second.proxy.port": Found(9050, "relay egress second proxy port", pool=_THROUGH_TWO),
    "pool.addresses[].second.proxy.secretName": (
        Found("socks", "relay egress second proxy authDir", "/etc/lanewright/proxy/second", pool=_THROUGH_TWO),
        Found(
            "socks", f"{_POD} spec volumes name=proxy secret items 0 key", "otp-0.second.username", pool=_THROUGH_TWO
        ),
    ),
    "pool.addresses[].warm": Found(True, "relay warmup", None, pool=_WARMS),
    "pool.addresses[].startedOn": Found("2026-11-01", "relay warmup startedOn", pool=_WARMS),
    "pool.addresses[].role": Found("Standby", "relay egress address", "203.0.113.11"),
    "pool.addresses[].quarantined": Found(True, "relay egress address", "203.0.113.11"),
    "pool.addresses[].releasedFrom": Found("Bulk", "relay warmup connections", 2, pool=_ONE),
    "pool.addresses[].isps": (
        Found(["gmail"], "relay egress isps", pool=_ONE),
        Found(
            ["gmail"],
            "relay handover siblings slot=otp-1 isps",
            pool={"addresses": [_FIRST, {"ip": "203.0.113.9", "hostname": "a.example.com"}]},
        ),
    ),
    "pool.allowedNamespaces.names": Found(["others"], "StatefulSet/otp-0 kind", None),
    "pool.verification.reflectors": Found(["tcp://198.51.100.6:25"], "relay egress proof reflectors"),
    "pool.verification.every": Found("2m", "relay egress proof every"),
    "pool.verification.ptr": Found("Require", "relay egress ptr"),
    "pool.warmup": Found({}, "relay warmup connections", 2, pool=_ONE),
    "pool.warmup.steps": Found([10, 20], "relay warmup steps", pool=_WARMS),
    "pool.warmup.stepEvery": Found("12h", "relay warmup stepEvery", pool=_WARMS),
    "pool.warmup.connectionsPerIP": Found(5, "relay warmup connections", pool=_WARMS),
}

POLICY: dict[str, Found | tuple[Found, ...]] = {
    "policy.match.mx": Found(["*.g.example"], f"{_POLICY} mx"),
    "policy.match.domains": Found(["gmail.com"], f"{_POLICY} domains"),
    "policy.priority": Found(10, "relay delivery policies 0 name", "gmail"),
    "policy.connectionsPerIP": Found(7, f"{_POLICY} connections"),
    "policy.messagesPerConnection": Found(7, f"{_POLICY} messagesPerConnection"),
    "policy.connectRate": Found("60/m", f"{_POLICY} connectRate"),
    "policy.messageRate": Found("20/s", f"{_POLICY} messageRate"),
    "policy.messagesPerDay": Found(500, f"{_POLICY} messagesPerDay"),
    "policy.recipientsPerMessage": Found(20, f"{_POLICY} recipientsPerMessage"),
    "policy.retryAfter": Found("7m", f"{_POLICY} retryAfter"),
    "policy.backoff.connectionsPerIP": Found(3, f"{_POLICY} backoff connectionsPerIP"),
    "policy.backoff.messageRate": Found("2/s", f"{_POLICY} backoff messageRate"),
    "policy.backoff.for": Found("7m", f"{_POLICY} backoff for"),
    "policy.backoff.recover.every": Found("3m", f"{_POLICY} backoff recover every"),
    "policy.backoff.recover.factor": Found(3.0, f"{_POLICY} backoff recover factor"),
    "policy.responses[].id": Found("full", f"{_ANSWER} id", policy=_RULES),
    "policy.responses[].stage": Found("Rcpt", f"{_ANSWER} stage", policy=_RULES),
    "policy.responses[].pattern": Found("bus.", f"{_ANSWER} pattern", policy=_RULES),
    "policy.responses[].category": Found("greylisted", f"{_ANSWER} category", policy=_RULES),
    "policy.responses[].action": Found("Alert", f"{_ANSWER} action", policy=_RULES),
    "policy.responses[].scope": Found("Lane", f"{_ANSWER} scope", policy=_RULES),
    "policy.responses[].trigger.count": Found(
        5, f"{_ANSWER} trigger count", policy={"responses": [_RULE | {"trigger": {"count": 2, "per": "1m"}}]}
    ),
    "policy.responses[].trigger.per": Found(
        "3m", f"{_ANSWER} trigger per", policy={"responses": [_RULE | {"trigger": {"count": 2, "per": "1m"}}]}
    ),
    "policy.responses[].retryAfter": Found("9m", f"{_ANSWER} retryAfter", policy=_RULES),
    "policy.responses[].for": Found("9m", f"{_ANSWER} for", policy=_RULES),
    "policy.responses[].examples": Found(["421 4.7.0 very busy"], f"{_ANSWER} examples", policy=_RULES),
    "policy.reporters": Found(["fbl@isp.example"], f"{_POLICY} reporters"),
}
