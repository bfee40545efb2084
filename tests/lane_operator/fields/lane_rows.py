"""Where each field of a SendingLane is found in the lane's children and in its relays' configuration."""

from typing import Any

from lane_api.lane_status import SlotRole
from tests.lane_operator import made
from tests.lane_operator.fields.places import DOMAIN, RECORD, Found

_POD = "StatefulSet/otp-0 spec template spec"
_VOLUME = f"{_POD} volumes"
_RELAY = f"{_POD} containers name=relay"
_SERVICE = "Service/otp spec"
_POLICY = "relay delivery policies name=gmail"
_PATH = f"b.{DOMAIN}"


def _signs(**of_domain: Any) -> dict[str, Any]:
    """A lane with feedback, whose domain says this, too."""
    return {"feedback": {}, "domains": [{"name": DOMAIN, **of_domain}]}


_ISP = {"isps": [{"name": "gmail"}]}
_ROUTE = {"routes": [{"host": "relay.example.net", "domains": ["*"]}]}
_HTTP: dict[str, Any] = {"submission": {"http": {}}}
_ISSUED = {"submission": {"tls": {"issuerRef": {"name": "ours"}}}}
_USERS = {"submission": {"auth": {"users": [{"name": "app", "rate": "1/s"}]}}}
_S3 = {"audit": {"archive": {"s3": {"bucket": "records", "secretName": "bucket"}}}}
_WEBHOOK = {"audit": {"webhook": {"url": "https://a.example/records"}}}
_BALANCED = {"submission": {"service": {"type": "LoadBalancer"}}}
_ON_NODES = {"submission": {"service": {"type": "NodePort"}}}
_RETURNS = _signs(returnPath={"domain": _PATH})
_PUBLISHES = _signs(returnPath={"domain": _PATH}, dns={"provider": "ExternalDNS"})
_UNSUBSCRIBES = _RETURNS | {"feedback": {"unsubscribe": {"url": "https://u.example.com"}}}
_WAY_OUT = {"drain": {"to": {"host": "out.example.net"}}}
_LAST = (made.claim(0, role=SlotRole.DRAINING),)
_FEWER = (made.claim(0), made.claim(1, role=SlotRole.DRAINING))
_POD_RESOURCES = {"requests": {"cpu": "2", "memory": "4Gi"}}
_SPREAD = [{"maxSkew": 1, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]

LANE: dict[str, Found | tuple[Found, ...]] = {
    "lane.trafficClass": Found("Bulk", "relay lane trafficClass"),
    "lane.protection": Found("Pausable", "relay delivery protection"),
    "lane.suspend": Found(True, "relay delivery state", "Suspended"),
    "lane.delivery.mode": Found("Discard", "relay delivery mode"),
    "lane.delivery.to": Found(
        "b@example.com", "relay delivery redirectTo", lane={"delivery": {"mode": "Redirect", "to": "a@example.com"}}
    ),
    "lane.replicas": Found(3, "StatefulSet/otp-2 kind", "StatefulSet"),
    "lane.standbyReplicas": Found(
        1,
        "StatefulSet/otp-s0 kind",
        "StatefulSet",
        pool={
            "addresses": [
                {"ip": f"203.0.113.{last}", "hostname": "a.example.com", "role": role}
                for last, role in ((10, "Active"), (11, "Active"), (12, "Standby"))
            ]
        },
    ),
    "lane.poolRef.name": Found(
        "other", "StatefulSet/otp-0 metadata annotations lanewright.dev/pool", "mail-pools/other"
    ),
    "lane.poolRef.namespace": Found(
        "others",
        "StatefulSet/otp-0 metadata annotations lanewright.dev/pool",
        "others/trans-pool",
        pool={"engine": "External"},
    ),
    "lane.limits.connectionsPerIP": Found(7, "relay delivery connections"),
    "lane.limits.totalConnectionsPerIP": Found(300, "relay delivery totalConnections"),
    # values over a policy
    "lane.isps[].name": Found(
        "all", f"{_POLICY} connections", 10, lane={"isps": [{"name": "gmail", "connectionsPerIP": 3}]}
    ),
    "lane.isps[].connectionsPerIP": Found(7, f"{_POLICY} connections", lane=_ISP),
    "lane.isps[].messagesPerConnection": Found(7, f"{_POLICY} messagesPerConnection", lane=_ISP),
    "lane.isps[].connectRate": Found("60/m", f"{_POLICY} connectRate", lane=_ISP),
    "lane.isps[].messageRate": Found("20/s", f"{_POLICY} messageRate", lane=_ISP),
    "lane.isps[].messagesPerDay": Found(500, f"{_POLICY} messagesPerDay", lane=_ISP),
    "lane.isps[].recipientsPerMessage": Found(20, f"{_POLICY} recipientsPerMessage", lane=_ISP),
    "lane.isps[].retryAfter": Found("7m", f"{_POLICY} retryAfter", lane=_ISP),
    "lane.isps[].backoff": Found({}, f"{_POLICY} backoff for", "30m", lane=_ISP, policy={"backoff": {"for": "7m"}}),
    "lane.isps[].backoff.connectionsPerIP": Found(3, f"{_POLICY} backoff connectionsPerIP", lane=_ISP),
    "lane.isps[].backoff.messageRate": Found("2/s", f"{_POLICY} backoff messageRate", lane=_ISP),
    "lane.isps[].backoff.for": Found("7m", f"{_POLICY} backoff for", lane=_ISP),
    "lane.isps[].backoff.recover.every": Found("3m", f"{_POLICY} backoff recover every", lane=_ISP),
    "lane.isps[].backoff.recover.factor": Found(3.0, f"{_POLICY} backoff recover factor", lane=_ISP),
    "lane.routes[].host": Found("b.example.net", "relay delivery routes 0 host", lane=_ROUTE),
    "lane.routes[].port": Found(2525, "relay delivery routes 0 port", lane=_ROUTE),
    "lane.routes[].tls": (
        Found("Opportunistic", "relay delivery routes 0 tls", lane=_ROUTE),
        Found("Implicit", "relay delivery routes 0 port", 465, lane=_ROUTE),
    ),
    "lane.routes[].authSecret": (
        Found("host", "relay delivery routes 0 authDir", "/etc/lanewright/routes/host", lane=_ROUTE),
        Found("host", f"{_VOLUME} name=routes projected sources 0 secret name", lane=_ROUTE),
    ),
    "lane.routes[].domains": Found(["a.example", "b.example"], "relay delivery routes 0 domains", lane=_ROUTE),
    # how mail comes in
    "lane.submission.smtp.port": Found(2587, f"{_SERVICE} ports name=smtp port"),
    "lane.submission.smtp.implicitTLSPort": Found(2465, f"{_SERVICE} ports name=smtps port"),
    "lane.submission.http": (
        Found({}, f"{_SERVICE} ports name=http port", 8025),
        Found({}, "relay intake http port", 8025),
        Found({}, f"{_RELAY} ports name=http containerPort", 8025),
    ),
    "lane.submission.http.port": Found(8080, f"{_SERVICE} ports name=http port", lane=_HTTP),
    "lane.submission.http.tls": (
        Found("None", "relay intake http plain", True, lane=_HTTP),
        Found("None", f"{_SERVICE} ports name=http appProtocol", "http", lane=_HTTP),
    ),
    "lane.submission.http.maxRecipients": Found(50, "relay intake http maxRecipients", lane=_HTTP),
    "lane.submission.service.type": Found("NodePort", f"{_SERVICE} type"),
    "lane.submission.service.annotations": Found({"cloud": "inner"}, "Service/otp metadata annotations"),
    "lane.submission.service.loadBalancerClass": Found("metal", f"{_SERVICE} loadBalancerClass", lane=_BALANCED),
    "lane.submission.service.externalTrafficPolicy": Found(
        "Local", f"{_SERVICE} externalTrafficPolicy", lane=_ON_NODES
    ),
    "lane.submission.service.ipFamilyPolicy": Found("RequireDualStack", f"{_SERVICE} ipFamilyPolicy"),
    "lane.submission.tls.secretName": (
        Found("cert", f"{_VOLUME} name=tls secret secretName"),
        Found("cert", "relay intake tls certificate", "/etc/lanewright/tls/tls.crt"),
    ),
    "lane.submission.tls.issuerRef.name": (
        Found("theirs", "Certificate/otp spec issuerRef name", lane=_ISSUED),
        Found("ours", f"{_VOLUME} name=tls secret secretName", "otp-tls"),
    ),
    "lane.submission.tls.issuerRef.kind": Found("ClusterIssuer", "Certificate/otp spec issuerRef kind", lane=_ISSUED),
    "lane.submission.tls.issuerRef.group": Found("ca.example", "Certificate/otp spec issuerRef group", lane=_ISSUED),
    "lane.submission.tls.dnsNames": Found(["in.example.com"], "Certificate/otp spec dnsNames", lane=_ISSUED),
    "lane.submission.auth.secretName": Found("people", f"{_VOLUME} name=users secret secretName"),
    "lane.submission.auth.users[].name": Found("crm", "relay intake users 0 name", lane=_USERS),
    "lane.submission.auth.users[].senders": Found([f"a@{DOMAIN}"], "relay intake users 0 senders", lane=_USERS),
    "lane.submission.auth.users[].rate": Found("5/m", "relay intake users 0 rate", lane=_USERS),
    "lane.submission.auth.users[].recipientRate": Found("9/m", "relay intake users 0 recipientRate", lane=_USERS),
    "lane.submission.clients.cidrs": (
        Found(["10.0.0.0/8"], "relay intake clients"),
        Found(["10.0.0.0/8"], "NetworkPolicy/otp spec ingress 0 from 0 ipBlock cidr", "10.0.0.0/8"),
    ),
    "lane.submission.clients.authCidrs": Found(
        ["10.0.0.0/8"], "NetworkPolicy/otp spec ingress 0 from 0 ipBlock cidr", "10.0.0.0/8"
    ),
    "lane.submission.clients.namespaces.matchLabels": Found(
        {"team": "shop"}, "NetworkPolicy/otp spec ingress 0 from 0 namespaceSelector matchLabels"
    ),
    "lane.submission.clients.proxies": (
        Found(["10.9.0.0/16"], "relay intake proxies"),
        Found(
            ["10.9.0.0/16"],
            "NetworkPolicy/otp spec ingress 0 from 1 ipBlock cidr",
            "10.9.0.0/16",
            lane={"submission": {"clients": {"cidrs": ["10.0.0.0/8"]}}},
        ),
    ),
    "lane.submission.limits.sessions": Found(50, "relay intake limits sessions"),
    "lane.submission.limits.sessionsPerClient": Found(5, "relay intake limits sessionsPerClient"),
    "lane.submission.limits.connectRatePerClient": Found("7/s", "relay intake limits connectRatePerClient"),
    "lane.submission.limits.messageRatePerClient": Found("8/s", "relay intake limits messageRatePerClient"),
    "lane.submission.limits.errorRatePerClient": Found("9/s", "relay intake limits errorRatePerClient"),
    "lane.submission.limits.tarpit.after": Found(2, "relay intake limits tarpit after"),
    "lane.submission.limits.tarpit.first": Found("2s", "relay intake limits tarpit first"),
    "lane.submission.limits.tarpit.max": Found("9s", "relay intake limits tarpit max"),
    "lane.submission.senders": Found([f"a@{DOMAIN}", f"b@{DOMAIN}"], "relay intake senders"),
    "lane.submission.maxMessageSize": Found("30Mi", "relay intake maxMessageSize"),
    "lane.submission.maxRecipients": Found(150, "relay intake maxRecipients"),
    "lane.submission.correlationHeader": Found("X-Order", "relay intake correlationField"),
    "lane.submission.campaignHeader": Found("Feedback-ID", "relay intake campaignField"),
    "lane.submission.campaignTag.after": Found("+", "relay intake campaignTag after"),
    "lane.submission.campaignTag.before": Found("-", "relay intake campaignTag before"),
    # what it is sent as
    "lane.domains[].name": Found("shop.example.com", "relay domains 0 name"),
    "lane.domains[].dkim.mode": Found("Off", "relay domains 0 mode"),
    "lane.domains[].returnPath.domain": Found(f"c.{DOMAIN}", "relay domains 0 returnPath domain", lane=_RETURNS),
    "lane.domains[].returnPath.mode": Found("Keep", "relay domains 0 returnPath mode", lane=_RETURNS),
    "lane.domains[].returnPath.forward": Found("Sender", "relay domains 0 returnPath forward", lane=_RETURNS),
    "lane.domains[].returnPath.webhook": Found(
        "https://b.example/bounces",
        "relay domains 0 returnPath webhook",
        lane=_signs(returnPath={"domain": _PATH, "forward": "Webhook", "webhook": "https://a.example/bounces"}),
    ),
    "lane.domains[].dns.provider": Found("ExternalDNS", "DNSEndpoint/otp kind", "DNSEndpoint"),
    "lane.domains[].dns.ttl": Found(900, "DNSEndpoint/otp spec endpoints 0 recordTTL", lane=_PUBLISHES),
    "lane.domains[].dns.text": Found("Plain", "DNSEndpoint/otp spec endpoints 0 targets 0", RECORD, lane=_PUBLISHES),
    # the queue and its records
    "lane.queue.size": (
        Found("20Gi", "PersistentVolumeClaim/queue-otp-0 spec resources requests storage"),
        Found("20Gi", "relay spool maxSize", "18Gi"),
    ),
    "lane.queue.storageClassName": Found("fast", "PersistentVolumeClaim/queue-otp-0 spec storageClassName"),
    "lane.queue.lifetime": Found("5h", "relay delivery lifetime"),
    "lane.queue.retry.first": Found("45s", "relay delivery retry first"),
    "lane.queue.retry.factor": Found(3.0, "relay delivery retry factor"),
    "lane.queue.retry.max": Found("20m", "relay delivery retry max"),
    "lane.queue.delayNotice.after": Found("1h", "relay delivery delayNotice after"),
    "lane.queue.delayNotice.to": Found("Everybody", "relay delivery delayNotice unasked", True),
    "lane.audit.maxSize": Found("2Gi", "relay records maxSize"),
    "lane.audit.retention": Found("720h", "relay records retention"),
    "lane.audit.sealEvery": Found("5m", "relay records sealEvery"),
    "lane.audit.recipients": Found("Hashed", "relay records recipients"),
    "lane.audit.archive.s3.bucket": Found("others", "relay records archive s3 bucket", lane=_S3),
    "lane.audit.archive.s3.prefix": Found("mail/out", "relay records archive s3 prefix", lane=_S3),
    "lane.audit.archive.s3.endpoint": Found("https://s3.example.com", "relay records archive s3 endpoint", lane=_S3),
    "lane.audit.archive.s3.region": Found("eu-central-1", "relay records archive s3 region", lane=_S3),
    "lane.audit.archive.s3.secretName": Found("other", f"{_VOLUME} name=archive-access secret secretName", lane=_S3),
    "lane.audit.archive.pvc.claimName": (
        Found("shelf", f"{_VOLUME} name=archive persistentVolumeClaim claimName"),
        Found("shelf", "relay records archive path", "/var/lib/lanewright/archive"),
    ),
    "lane.audit.webhook.url": Found("https://b.example/records", "relay records webhook url", lane=_WEBHOOK),
    "lane.audit.webhook.secretName": (
        Found("hook", "relay records webhook secretDir", "/etc/lanewright/webhook", lane=_WEBHOOK),
        Found("hook", f"{_VOLUME} name=webhook secret secretName", lane=_WEBHOOK),
    ),
    # a slot that goes
    "lane.drain.policy": Found("Wait", "relay:otp-1 delivery state", "Running", claims=_FEWER),
    "lane.drain.to.host": Found("b.example.net", "relay delivery routes 0 host", lane=_WAY_OUT, claims=_LAST),
    "lane.drain.to.port": Found(2525, "relay delivery routes 0 port", lane=_WAY_OUT, claims=_LAST),
    "lane.drain.to.tls": Found("Required", "relay delivery routes 0 tls", lane=_WAY_OUT, claims=_LAST),
    "lane.drain.to.authSecret": (
        Found("host", "relay delivery routes 0 authDir", "/etc/lanewright/routes/host", lane=_WAY_OUT, claims=_LAST),
        Found("host", f"{_VOLUME} name=routes projected sources 0 secret name", lane=_WAY_OUT),
    ),
    "lane.slo.latency": Found("90s", "relay sloLatency"),
    "lane.slo.p95Alert": Found(
        "33s", "PrometheusRule/otp spec groups 0 rules alert=LaneLatencyP95High expr", "> 33", within=True
    ),
    "lane.slo.objective": Found(
        98.0, "PrometheusRule/otp spec groups 0 rules alert=LaneErrorBudgetFast annotations summary", "98", within=True
    ),
    # what comes back
    "lane.feedback": (
        Found({}, "Service/otp-feedback kind", "Service"),
        Found({}, f"{_RELAY} ports name=feedback containerPort", 5525),
        Found({}, "relay feedback smtp port", 5525),
    ),
    "lane.feedback.service.type": Found("NodePort", "Service/otp-feedback spec type", lane=_RETURNS),
    "lane.feedback.service.port": Found(2525, "Service/otp-feedback spec ports name=feedback port", lane=_RETURNS),
    "lane.feedback.service.annotations": Found(
        {"cloud": "a"}, "Service/otp-feedback metadata annotations", lane=_RETURNS
    ),
    "lane.feedback.service.loadBalancerClass": Found(
        "metal", "Service/otp-feedback spec loadBalancerClass", lane={"feedback": {"service": {"type": "LoadBalancer"}}}
    ),
    "lane.feedback.service.externalTrafficPolicy": Found(
        "Cluster",
        "Service/otp-feedback spec externalTrafficPolicy",
        lane={"feedback": {"service": {"type": "NodePort"}}},
    ),
    "lane.feedback.service.ipFamilyPolicy": Found(
        "RequireDualStack", "Service/otp-feedback spec ipFamilyPolicy", lane={"feedback": {}}
    ),
    "lane.feedback.service.hostname": (
        Found(
            "in.example.com",
            "DNSEndpoint/otp spec endpoints recordType=MX targets 0",
            "10 in.example.com",
            lane=_PUBLISHES,
        ),
        Found(
            "in.example.com",
            "Service/otp-feedback metadata annotations external-dns.alpha.kubernetes.io/hostname",
            lane=_PUBLISHES | {"feedback": {"service": {"type": "LoadBalancer"}}},
        ),
    ),
    "lane.feedback.addresses": Found([f"fbl@{_PATH}"], "relay feedback addresses", lane=_RETURNS),
    "lane.feedback.proxies": Found(["10.9.0.0/16"], "relay feedback proxies", lane=_RETURNS),
    "lane.feedback.postmaster": Found("ann@example.org", "relay feedback postmaster", lane=_RETURNS),
    "lane.feedback.unsubscribe.url": (
        Found("https://v.example.com", "relay feedback unsubscribe url", lane=_UNSUBSCRIBES),
        Found("https://v.example.com", "Service/otp-feedback spec ports name=unsubscribe port", 80, lane=_RETURNS),
    ),
    "lane.feedback.unsubscribe.mailto": Found(False, "relay feedback unsubscribe mailto", lane=_UNSUBSCRIBES),
    "lane.feedback.complaints.warn": Found(0.0004, "relay feedback complaints warn"),
    "lane.feedback.complaints.act": Found(0.002, "relay feedback complaints act"),
    "lane.feedback.complaints.stop": Found(0.004, "relay feedback complaints stop"),
    "lane.feedback.complaints.automation": Found("Observe", "relay feedback complaints automation"),
    "lane.feedback.suppression.scope": Found("Domain", "relay suppression scope"),
    "lane.feedback.suppression.hardBounces": Found("720h", "relay suppression hardBounces"),
    "lane.feedback.suppression.maxEntries": Found(9000, "relay suppression maxEntries"),
    "lane.outboundTLS": Found("Required", "relay delivery outboundTLS"),
    "lane.resolver.mode": (
        Found("Cluster", "relay delivery resolvers", []),
        Found("Cluster", f"{_POD} initContainers", None),
    ),
    "lane.resolver.addresses": Found(
        ["192.0.2.53", "192.0.2.54:5300"],
        "relay delivery resolvers",
        lane={"resolver": {"mode": "Addresses", "addresses": ["192.0.2.1"]}},
    ),
    "lane.resolver.forwardTo": Found(
        ["192.0.2.53"], "Secret/otp-0-config data unbound.conf base64", "forward-addr: 192.0.2.53", within=True
    ),
    "lane.resolver.trustAD": Found(False, "relay delivery trustAD"),
    "lane.automation": Found("Observe", "relay delivery automation"),
    # the pods and who watches them
    "lane.pod.resources": Found(_POD_RESOURCES, f"{_RELAY} resources"),
    "lane.pod.nodeSelector": Found({"disk": "fast"}, f"{_POD} nodeSelector"),
    "lane.pod.tolerations": Found([{"key": "mail", "operator": "Exists"}], f"{_POD} tolerations"),
    "lane.pod.topologySpreadConstraints": Found(_SPREAD, f"{_POD} topologySpreadConstraints"),
    "lane.pod.priorityClassName": Found("mail", f"{_POD} priorityClassName"),
    "lane.monitoring.podMonitor": Found(False, "PodMonitor/otp kind", None),
    "lane.monitoring.rules": Found(False, "PrometheusRule/otp kind", None),
    "lane.monitoring.dashboard": Found(False, "ConfigMap/otp-dashboard kind", None),
}
