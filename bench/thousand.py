"""A thousand lanes in two hundred namespaces, and as many Prometheus objects beside them.

kwok runs their pods on nodes that are none. Lanes draw from four pools of 256 addresses, sign with a key that the
operator makes, and have volumes that are bound before. Before: `e2e.cluster`. After: `operator_scale`.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from e2e.cluster import Cluster

__all__ = ["LANES", "POOL_NAMESPACE", "Manifest", "create", "lane", "lanes", "namespaces", "prometheuses"]

Manifest = dict[str, Any]
NAMESPACES: Final = 200
LANES: Final = 1000
POOLS: Final = 4
ADDRESSES: Final = 256
"""Of each pool: all that a pool may have."""
POOL_NAMESPACE: Final = "scale-pools"
PODS: Final = "10.99.0.0/16"
"""The network of the pods that kwok pretends to run."""
FAKE_NODES: Final = 20
CLASS: Final = "prebound"


def namespaces() -> tuple[str, ...]:
    """The namespaces with lanes."""
    return tuple(f"scale-{number:03d}" for number in range(NAMESPACES))


def of_number(number: int) -> tuple[str, str]:
    """Namespace and name of a lane."""
    return namespaces()[number % NAMESPACES], f"lane-{number:04d}"


def lane(number: int) -> Manifest:
    """One lane of one slot."""
    namespace, name = of_number(number)
    domain = f"{name}.example.com"
    return {
        "apiVersion": "lanewright.dev/v1alpha1",
        "kind": "SendingLane",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "trafficClass": "Transactional",
            "replicas": 1,
            "poolRef": {"name": f"pool-{number % POOLS}", "namespace": POOL_NAMESPACE},
            "submission": {"senders": [f"@{domain}"]},
            "domains": [{"name": domain}],
            "queue": {"size": "1Gi", "storageClassName": CLASS},
            "audit": {"maxSize": "64Mi"},
        },
    }


def lanes(many: int) -> Iterator[Manifest]:
    """The lanes to begin with."""
    return (lane(number) for number in range(many))


def volume(number: int) -> Manifest:
    """The volume that a lane's claim is bound to at once."""
    namespace, name = of_number(number)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"scale-{name}"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"/nowhere/{name}"},
            "claimRef": {"namespace": namespace, "name": f"queue-{name}-0"},
        },
    }


def pools() -> Iterator[Manifest]:
    """Pools with all the addresses that one may have, each open to a quarter of the namespaces."""
    for number in range(POOLS):
        rows = ((f"203.0.{number}.{last}", f"out-{number}-{last}.example.com") for last in range(ADDRESSES))
        addresses = [{"ip": ip, "hostname": hostname} for ip, hostname in rows]
        yield {
            "apiVersion": "lanewright.dev/v1alpha1",
            "kind": "IPPool",
            "metadata": {"name": f"pool-{number}", "namespace": POOL_NAMESPACE},
            "spec": {
                "classes": ["Transactional"],
                "engine": "Multus",
                "engineConfig": {"network": f"{POOL_NAMESPACE}/public", "prefixLength": 16, "gateway": "203.0.0.1"},
                "addresses": addresses,
                "allowedNamespaces": {"names": list(namespaces())},
                "verification": {"reflectors": ["tcp://198.51.100.5:25"], "secretName": "reflector"},
            },
        }


def surroundings() -> Iterator[Manifest]:
    """What pools and lanes name."""
    config = {"cniVersion": "0.3.1", "type": "macvlan", "master": "eth0", "mode": "bridge"}
    yield {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "public", "namespace": POOL_NAMESPACE},
        "spec": {"config": json.dumps(config)},
    }
    yield {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "reflector", "namespace": POOL_NAMESPACE},
        "stringData": {"key": "a" * 64},
    }


def fake_nodes() -> Iterator[Manifest]:
    """Nodes with room for all pods."""
    for number in range(FAKE_NODES):
        name = f"fake-{number:02d}"
        room = {"cpu": "1000", "memory": "2000Gi", "pods": "250"}
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": {"kwok.x-k8s.io/node": "fake"},
                "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
            },
            "spec": {"podCIDR": f"10.99.{number}.0/24", "podCIDRs": [f"10.99.{number}.0/24"]},
            "status": {"allocatable": room, "capacity": room},
        }


def prometheuses(many: int) -> Iterator[Manifest]:
    """As many Prometheus objects, in the same namespaces, each with an alert rule and targets to select."""
    for number in range(many):
        namespace, name = of_number(number)
        yield {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "Prometheus",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {
                "replicas": 1,
                "serviceAccountName": "default",
                "podMonitorSelector": {},
                "ruleSelector": {"matchLabels": {"prometheus": name}},
                "resources": {"requests": {"memory": "64Mi"}},
            },
        }


def prepare(cluster: Cluster) -> None:
    """Nodes, namespaces, volumes and what pools name; the cluster's own nodes take no pod more."""
    for node in cluster.get("nodes")["items"]:
        if "kwok.x-k8s.io/node" not in node["metadata"].get("annotations", {}):
            cluster.kubectl("cordon", node["metadata"]["name"])
    spaces = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in (POOL_NAMESPACE, *namespaces())
    ]
    volumes = (volume(number) for number in range(POOLS * ADDRESSES))
    for objects in (fake_nodes(), spaces, volumes, surroundings()):
        create(cluster, objects)


def create(cluster: Cluster, objects: Iterable[Manifest]) -> None:
    """Creates them with one kubectl."""
    cluster.kubectl("create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}))
