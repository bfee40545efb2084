"""The operator as its ServiceAccount: it asks for nothing that it may not, and everything that it may it asks for.

The witness is the API server's audit log, of one operator's life: it starts, makes a lane with every kind of child, and
lets it go. Both ways to install it are tried: for the cluster, and for one namespace.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cluster import Cluster
from e2e.cluster.audit import Request
from e2e.eventually import eventually
from e2e.installation import DEAD_DOMAIN, Installation, Manifest, lane, network, pool, reflector_secret, serve
from e2e.release import OPERATOR_NAMESPACE, RELEASE, image_values, uninstall, upgrade

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(420)]

NARROW = "lanewright-narrow"
LANE, KEPT, ASKED = "rightful", "kept", "asked"
ADDRESS, BEHIND_A_GATEWAY = "203.0.113.230", "203.0.113.231"
NOTICED_S = 75.0  # a kind is looked for every 30 s
CREATED = 201
WEBHOOK = f"{RELEASE}-webhook"
UNSEEN = {
    # asked of the authorizer by an admission plugin (OwnerReferencesPermissionEnforcement), never a request
    ("lanewright.dev", "sendinglanes/finalizers", "update"),
    # only with an archive that has the slot's records: test_evidence_outlives_its_lane sees the claim go
    ("", "persistentvolumeclaims", "delete"),
}
Right = tuple[str, str, str]  # group, resource with its subresource, verb


OF_CILIUM = (
    ("CiliumNetworkPolicy", "cilium.io/v2", "Namespaced"),
    ("CiliumEgressGatewayPolicy", "cilium.io/v2", "Cluster"),
)
CERTIFICATE = ("Certificate", "cert-manager.io/v1", "Namespaced")
OTHERS = (
    CERTIFICATE,
    ("PodMonitor", "monitoring.coreos.com/v1", "Namespaced"),
    ("PrometheusRule", "monitoring.coreos.com/v1", "Namespaced"),
    ("DNSEndpoint", "externaldns.k8s.io/v1alpha1", "Namespaced"),
)
"""Kinds that a cluster may lack, with their versions and scopes."""


def definition(kind: str, api_version: str, scope: str) -> Manifest:
    """A definition of a kind that takes anything: what is in the objects is judged elsewhere, here it is who may."""
    group, _, version = api_version.partition("/")
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        # of a group under k8s.io the API server wants to know who has agreed to it
        "metadata": {
            "name": f"{plural(kind)}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, a test's"},
        },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"kind": kind, "plural": plural(kind), "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


def plural(kind: str) -> str:
    """As it is in paths."""
    return f"{kind[:-1].lower()}ies" if kind.endswith("y") else f"{kind.lower()}s"


@pytest.fixture
def every_kind(installation: Installation) -> Iterator[None]:
    """The cluster has every kind that it may lack."""
    made = [definition(*one) for one in (*OF_CILIUM, *OTHERS)]
    installation.apply(*made)
    try:
        yield
    finally:
        names = [one["metadata"]["name"] for one in made]
        installation.cluster.kubectl("delete", "crd", *names, "--ignore-not-found")


@pytest.fixture
def webhook(installation: Installation, images: dict[str, str]) -> Iterator[None]:
    """The release may have its webhook; once the kinds are gone, since it would have objects of them, no more."""
    yield
    serve(installation.cluster, images)


def granted(cluster: Cluster, release: str, namespace: str) -> set[Right]:
    """What the chart's roles of a release allow."""
    found: set[Right] = set()
    for kind in ("clusterroles", "roles"):
        for role in cluster.get(kind, "-A", "-l", f"app.kubernetes.io/instance={release}")["items"]:
            if not _is_bound(cluster, role, namespace):
                continue
            for rule in role["rules"]:
                found |= {(g, r, v) for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}
    return found


def _is_bound(cluster: Cluster, role: Manifest, namespace: str) -> bool:
    """Whether a binding gives the role to the operator of that namespace; roles for people are bound by people."""
    kind = "clusterrolebindings" if role["kind"] == "ClusterRole" else "rolebindings"
    where = ("-n", role["metadata"]["namespace"]) if kind == "rolebindings" else ()
    return any(
        one["roleRef"]["name"] == role["metadata"]["name"]
        and namespace in {subject.get("namespace") for subject in one.get("subjects") or ()}
        for one in cluster.get(kind, *where)["items"]
    )


def used(requests: list[Request]) -> set[Right]:
    """What was asked for; an apply that makes an object needs `create` as well."""
    found = {(one.group, one.resource, one.verb) for one in requests}
    return found | {(g, r, "create") for g, r in {(o.group, o.resource) for o in requests if o.code == CREATED}}


def a_life(here: Installation, *, cilium: bool) -> None:
    """A lane of every kind of child comes and goes, mail waits in another, and a third gives up what others make."""
    space = here.namespace
    here.apply(
        network(space),
        reflector_secret(here.internet, space),
        pool("public", space, ADDRESS),
        pool("shared", space),
        behind_a_gateway(space),
        lane(LANE, space, "public"),
        lane(KEPT, space, "shared"),
        asked(space, "gateway" if cilium else "shared", **BY_OTHERS),
        {
            "apiVersion": "lanewright.dev/v1alpha1",
            "kind": "ISPPolicy",
            "metadata": {"name": "rightful", "namespace": space},
            "spec": {"match": {"domains": ["rightful.example"]}},
        },
    )
    here.wait_ready(LANE, KEPT)
    here.send(f"{KEPT}-0-0", f"news@{KEPT}.example.com", f"user@{DEAD_DOMAIN}", 1)
    wanted = [*OTHERS, *(OF_CILIUM if cilium else ())]
    for kind in wanted:
        eventually(lambda kind=kind: names_of(here, *kind), f"{ASKED} has its {kind[0]}", within=NOTICED_S)  # type: ignore[misc]  # bound at once
    here.apply(asked(space, "gateway" if cilium else "shared"))
    eventually(lambda: not names_of(here, *CERTIFICATE), f"{ASKED} gives its Certificate up")
    here.cluster.kubectl("delete", "sendinglane", LANE, ASKED, "-n", space, "--wait=false")
    for name in (LANE, ASKED):
        eventually(lambda name=name: not here.is_there("sendinglane", name), f"{name} has drained and gone", within=120)  # type: ignore[misc]  # bound at once


BY_OTHERS: Manifest = {
    "submission": {"senders": [f"@{ASKED}.example.com"], "tls": {"issuerRef": {"name": "nobody"}}},
    "domains": [{"name": f"{ASKED}.example.com", "dns": {"provider": "ExternalDNS"}}],
}
"""What a lane asks of cert-manager and external-dns."""


def asked(space: str, name: str, **spec: Any) -> Manifest:
    """The lane that others make something for; whether it is served is asked elsewhere."""
    return lane(ASKED, space, name, **spec)


def behind_a_gateway(space: str) -> Manifest:
    """A pool of Cilium's engine."""
    made = pool("gateway", space, BEHIND_A_GATEWAY)
    made["spec"] |= {"engine": "Cilium", "engineConfig": {}}
    made["spec"]["addresses"][0]["node"] = "n2"
    return made


def names_of(here: Installation, kind: str, api_version: str, scope: str) -> list[str]:
    """The objects of a kind that belong to the lane which asks others."""
    where = ("-n", here.namespace) if scope == "Namespaced" else ()
    found = here.cluster.get(f"{plural(kind)}.{api_version.partition('/')[0]}", *where)["items"]
    return [one["metadata"]["name"] for one in found if one["metadata"]["labels"].get("lanewright.dev/lane") == ASKED]


def refused(requests: list[Request]) -> list[str]:
    """What the API server forbade."""
    return sorted({f"{one.verb} {one.group}/{one.resource} in {one.namespace}" for one in requests if one.forbidden})


@pytest.mark.long("e2e/test_every_right_is_used.py")
def test_in_the_cluster_every_right_is_used_and_none_is_missing(
    installation: Installation, images: dict[str, str], webhook: None, every_kind: None
) -> None:
    here, user = installation, f"system:serviceaccount:{OPERATOR_NAMESPACE}:{RELEASE}"
    offset = here.cluster.audit_offset()
    serve(here.cluster, images, webhook={"enabled": True}, monitoring={"operator": False})
    eventually(lambda: here.is_there("secret", WEBHOOK, OPERATOR_NAMESPACE), "the webhook has a certificate")
    spoiled = ("--type=json", "-p", '[{"op": "remove", "path": "/data/tls.crt"}]')
    here.cluster.kubectl("patch", "secret", WEBHOOK, "-n", OPERATOR_NAMESPACE, *spoiled)
    here.cluster.kubectl("delete", "lease", RELEASE, "-n", OPERATOR_NAMESPACE)
    restart(here.cluster, RELEASE, OPERATOR_NAMESPACE)
    a_life(here, cilium=True)
    alive = here.cluster.requests(offset=offset, user=user)
    here.cluster.kubectl("delete", "namespace", here.namespace, "--wait=false")
    eventually(lambda: here.condition(KEPT, "Stalled")["status"] == "True", "the namespace waits for the lane")
    here.cluster.kubectl("annotate", "sendinglane", KEPT, "-n", here.namespace, "lanewright.dev/release=keep-volumes")
    eventually(lambda: _is_gone(here), "the namespace is gone", within=120)

    asked = here.cluster.requests(offset=offset, user=user)
    may = granted(here.cluster, RELEASE, OPERATOR_NAMESPACE)

    # the namespace took its RoleBindings along, as those of the tests before did
    assert refused([one for one in alive if one.namespace in {here.namespace, OPERATOR_NAMESPACE, ""}]) == []
    assert refused([one for one in asked if one.namespace in {OPERATOR_NAMESPACE, ""}]) == []
    assert sorted(may - used(asked) - UNSEEN) == [], "rights that nothing used"


def _is_gone(here: Installation) -> bool:
    return not here.cluster.kubectl("get", "namespace", here.namespace, "--ignore-not-found").strip()


def scale(cluster: Cluster, replicas: int) -> None:
    """As many processes of the tests' operator; the namespaces that it serves may be gone, so not by helm."""
    name, where = f"deployment/{RELEASE}", ("-n", OPERATOR_NAMESPACE)
    cluster.kubectl("scale", name, *where, f"--replicas={replicas}")
    cluster.kubectl("rollout", "status", name, *where, "--timeout=120s")


def restart(cluster: Cluster, release: str, namespace: str) -> None:
    """Another operator process, from its first list on."""
    cluster.kubectl("rollout", "restart", f"deployment/{release}", "-n", namespace)
    cluster.kubectl("rollout", "status", f"deployment/{release}", "-n", namespace, "--timeout=120s")


def narrow_values(images: dict[str, str], namespace: str) -> dict[str, Any]:
    """An installation for one namespace alone, by somebody who administers nothing else."""
    return image_values(images) | {
        "watchNamespaces": [namespace],
        "crds": {"install": False},
        "policies": {"install": False},
        "rights": {"nodes": False, "engines": ["Multus"]},
        "operator": {"replicas": 1, "resync": 10, "recheck": 2},
    }


def test_in_one_namespace_too_and_it_looks_nowhere_else(
    installation: Installation, images: dict[str, str], every_kind: None
) -> None:
    here, user = installation, f"system:serviceaccount:{NARROW}:narrow-lanewright"
    scale(here.cluster, 0)  # two operators would serve one namespace
    try:
        offset = here.cluster.audit_offset()
        upgrade(here.cluster, narrow_values(images, here.namespace), namespace=NARROW, release="narrow")
        a_life(here, cilium=False)
        asked = here.cluster.requests(offset=offset, user=user)
        may = granted(here.cluster, "narrow", NARROW)
    finally:
        uninstall(here.cluster, "narrow", NARROW)
        scale(here.cluster, 1)

    assert refused(asked) == []
    elsewhere = [one for one in asked if one.resource and one.namespace not in {here.namespace, NARROW}]
    assert elsewhere == []
    assert not [right for right in may if right[1] in {"nodes", "persistentvolumes", "customresourcedefinitions"}]
    assert sorted(may - used(asked) - UNSEEN) == [], "rights that nothing used"


def test_slots_have_no_token(installation: Installation) -> None:
    here = installation
    here.apply(pool("pool", here.namespace), lane("tokenless", here.namespace))
    here.wait_ready("tokenless")

    spec = here.get("pod", "tokenless-0-0")["spec"]

    assert spec["automountServiceAccountToken"] is False
    sources = [source for one in spec["volumes"] for source in one.get("projected", {}).get("sources", ())]
    assert not [source for source in sources if "serviceAccountToken" in source]
    found = here.cluster.kubectl(
        "exec", "tokenless-0-0", "-n", here.namespace, "-c", "relay", "--",
        "python3", "-c", "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))",
    )  # fmt: skip
    assert found.strip() == "False"
