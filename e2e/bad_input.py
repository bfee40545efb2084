"""Objects that the API server accepts, changes to them, and the pools of each engine that it refuses; data only.

Before: nothing. After: `test_bad_input_is_refused_with_the_fix`, which tries them.
"""

from collections.abc import Callable
from typing import Any

NAMESPACE = "bad-input"
Manifest = dict[str, Any]
Change = Callable[[Manifest], Any]


def lane(name: str = "otp") -> Manifest:
    return _object(
        "SendingLane",
        name,
        {
            "trafficClass": "Transactional",
            "poolRef": {"name": "trans-pool", "namespace": "mail-pools"},
            "submission": {"senders": ["@notify.example.com"]},
            "domains": [{"name": "notify.example.com"}],
            "queue": {"size": "2Gi", "storageClassName": "fast"},
        },
    )


def pool(name: str = "trans-pool") -> Manifest:
    return _object(
        "IPPool",
        name,
        {
            "classes": ["Transactional"],
            "engine": "Multus",
            "engineConfig": {"network": "mail/public", "prefixLength": 24, "gateway": "203.0.113.1"},
            "addresses": [{"ip": "203.0.113.10", "hostname": "out1.example.com"}],
            "verification": {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"},
        },
    )


def policy(name: str = "gmail") -> Manifest:
    rule = {
        "id": "rate",
        "pattern": "^421",
        "category": "rate-limited",
        "action": "Backoff",
        "examples": ["421-4.7.28 Our system has detected an unusual rate"],
    }
    return _object("ISPPolicy", name, {"match": {"domains": ["gmail.com"]}, "responses": [rule]})


def _object(kind: str, name: str, spec: Manifest) -> Manifest:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def put(path: str, value: Any) -> Change:
    """A change that sets the field at a dotted path below spec."""

    def change(manifest: Manifest) -> None:
        *parents, last = path.split(".")
        node = manifest["spec"]
        for key in parents:
            node = node[int(key)] if key.isdigit() else node.setdefault(key, {})
        node[int(last) if last.isdigit() else last] = value

    return change


def drop(path: str) -> Change:
    """A change that removes the field at a dotted path below spec."""

    def change(manifest: Manifest) -> None:
        *parents, last = path.split(".")
        node = manifest["spec"]
        for key in parents:
            node = node[key]
        del node[last]

    return change


def engine(name: str, **spec: Any) -> Change:
    """A change that makes the pool one of this engine; other keywords are fields of its spec."""

    def change(manifest: Manifest) -> None:
        manifest["spec"] |= {"engine": name, "engineConfig": {}, **spec}

    return change


def of(*addresses: Manifest) -> list[Manifest]:
    """Addresses with what makes each unlike the others."""
    return [{"ip": f"203.0.113.{10 + n}", "hostname": "out.example.com", **one} for n, one in enumerate(addresses)]


DOOR: Manifest = {"address": "192.0.2.80", "secretName": "socks"}
ANNOTATION: Manifest = {"name": "cni.projectcalico.org/ipAddrs", "value": '["{ip}"]'}

BAD_ENGINES: list[tuple[str, Change, str]] = [
    ("a_blocklist_by_url", put("dnsbl", {"lists": ["https://zen.spamhaus.org"]}), "must be the list's zone"),
    ("a_blocklist_that_has_ended", put("dnsbl", {"lists": ["dnsbl.sorbs.net"]}), "this list has ended"),
    ("socks5_without_proxy", engine("Socks5"), "engine Socks5 needs proxy on every address"),
    ("a_proxy_by_name", engine("Socks5", addresses=of({"proxy": {"address": "socks.example"}})), "one IP address"),
    (
        "one_user_of_one_proxy_for_two_addresses",
        engine("Socks5", addresses=of({"proxy": DOOR}, {"proxy": {**DOOR, "port": 1080}})),
        "each proxy may stand in a pool once",
    ),
    ("a_proxy_of_another_engine", put("addresses.0.proxy", DOOR), "proxy is for engine Socks5 alone"),
    ("a_second_of_the_same_family", put("addresses.0.second", {"ip": "203.0.113.99"}), "second is of the other family"),
    (
        "a_second_that_binds_the_other_family",
        put("addresses.0.second", {"ip": "2001:db8::10", "source": "10.0.0.9"}),
        "same family as ip",
    ),
    (
        "a_second_twice",
        put("addresses", of({"second": {"ip": "2001:db8::10"}}, {"second": {"ip": "2001:DB8:0::10"}})),
        "each second may stand in a pool once",
    ),
    (
        "a_second_that_is_another_ip",
        put("addresses", of({"second": {"ip": "2001:db8::10"}}, {"ip": "2001:db8::10"})),
        "is no other's ip",
    ),
    (
        "one_source_of_two_seconds",
        put("addresses", of(*({"second": {"ip": f"2001:db8::{n}", "source": "fd00::9"}} for n in (10, 11)))),
        "each second's source may stand in a pool once",
    ),
    (
        "multus_without_the_seconds_network",
        put("addresses.0.second", {"ip": "2001:db8::10"}),
        "engine Multus needs engineConfig.second",
    ),
    (
        "a_seconds_gateway_of_the_first_family",
        engine(
            "Multus",
            addresses=of({"second": {"ip": "2001:db8::10"}}),
            engineConfig={
                "network": "mail/public",
                "prefixLength": 24,
                "second": {"prefixLength": 64, "gateway": "203.0.113.1"},
            },
        ),
        "engineConfig.second.gateway must be of the seconds' family",
    ),
    (
        "a_seconds_proxy_of_another_engine",
        put("addresses.0.second", {"ip": "2001:db8::10", "proxy": DOOR}),
        "second.proxy is for engine Socks5 alone",
    ),
    (
        "external_with_a_seconds_source",
        engine("External", addresses=of({"second": {"ip": "2001:db8::10", "source": "fd00::9"}})),
        "remove source from the seconds",
    ),
    (
        "an_annotation_of_a_second_that_is_missing",
        engine("External", engineConfig={"podAnnotations": [{**ANNOTATION, "value": '["{ip}","{second}"]'}]}),
        "which every address must have then",
    ),
    (
        "cold_mail_from_everybodys_address",
        engine("ClusterDefault", classes=["Cold"], addresses=[]),
        "Cold mail shares none",
    ),
    ("two_ladders", put("warmup", {"schedule": "Default", "steps": [50, 100]}), "take one of them out"),
    ("cilium_without_gateway", engine("Cilium"), "engine Cilium needs node on every address"),
    ("external_with_source", engine("External", addresses=of({"source": "10.0.0.1"})), "External binds nothing"),
    (
        "annotations_of_another_engine",
        put("engineConfig.podAnnotations", [ANNOTATION]),
        "podAnnotations is for engine External alone",
    ),
    *(
        (
            f"an_annotation_that_is_not_a_pools_{n}",
            engine("External", engineConfig={"podAnnotations": [{"name": name, "value": "x"}]}),
            "write DOMAIN/NAME, such as",
        )
        for n, name in enumerate(
            (
                "ipAddrs",
                "lanewright.dev/x",
                "container.apparmor.security.beta.kubernetes.io/relay",
                "k8s.io/x",
                "k8s.v1.cni.cncf.io/networks",
            )
        )
    ),
]

GOOD_ENGINES: list[tuple[str, Change]] = [
    (
        "users_of_one_proxy",
        engine(
            "Socks5", addresses=of({"proxy": DOOR}, {"proxy": {**DOOR, "secretName": "other"}, "source": "10.0.0.9"})
        ),
    ),
    ("cilium_by_node", engine("Cilium", addresses=of({"node": "n1"}, {"node": "n1", "source": "10.0.0.9"}))),
    ("cilium_by_labels", engine("Cilium", engineConfig={"nodeSelector": {"egress": "yes"}})),
    (
        "external_by_annotation",
        engine(
            "External",
            engineConfig={"podAnnotations": [ANNOTATION, {"name": "ovn.kubernetes.io/ip_address", "value": "{ip}"}]},
        ),
    ),
]
