"""The facts of the cluster on which every other end-to-end test relies."""

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster import Cluster, ClusterError
from e2e.eventually import eventually
from e2e.internet.addresses import OUTSIDE

pytestmark = pytest.mark.cluster

_BUSYBOX = "lanewright.local/busybox:1"
_LOCKED = {
    "runAsUser": 10001,
    "runAsGroup": 10001,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
_PYTHON = "lanewright.local/relay:dev"


def _pod(name: str, command: str, **more: Any) -> dict[str, Any]:
    annotations, container = more.pop("annotations", {}), more.pop("container", {})
    spec = {
        "containers": [{"name": "main", "image": _BUSYBOX, "command": ["/bin/sh", "-c", command], **container}],
        "terminationGracePeriodSeconds": 0,
        **more,
    }
    meta = {"name": name, "labels": {"app": name}, "annotations": annotations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


def _caller(name: str, source: str, port: int, **more: Any) -> dict[str, Any]:
    """Return a pod that connects to the internet from an address of its choice, once."""
    script = f"import socket; socket.create_connection(('{OUTSIDE}', {port}), 30, ('{source}', 0)).close()"
    return _pod(name, "", container={"image": _PYTHON, "command": ["python3", "-c", script]}, **more)


def _apply(cluster: Cluster, namespace: str, *objects: dict[str, Any]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    cluster.kubectl("apply", "-n", namespace, "-f", "-", stdin=text)


def _phase(cluster: Cluster, namespace: str, pod: str) -> str:
    return str(cluster.get("pod", pod, "-n", namespace)["status"]["phase"])


def _ready(cluster: Cluster, kind_and_name: str, namespace: str) -> bool:
    found = cluster.get(kind_and_name, "-n", namespace)
    return any((c["type"], c["status"]) == ("Ready", "True") for c in found["status"].get("conditions", []))


def _service(name: str, port: int) -> dict[str, Any]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": port}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


@pytest.fixture(scope="module", autouse=True)
def _images(cluster: Cluster) -> None:
    cluster.load(["relay", "operator", "unbound"])


@contextmanager
def _seen_outside(cluster: Cluster, port: int) -> Iterator[socket.socket]:
    """Listen on the internet; the caller accepts and looks who comes."""
    outside = cluster.place("net")
    outside.add_address(OUTSIDE)
    with outside.listener(OUTSIDE, port) as listener:
        listener.settimeout(60)
        yield listener


def _peer(listener: socket.socket) -> str:
    connection, peer = listener.accept()
    connection.close()
    return str(peer[0])


def _stateful_set(name: str, command: str) -> dict[str, Any]:
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    pod = _pod(name, command, container=mount)
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}},
    }
    spec = {
        "serviceName": name,
        "replicas": 1,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": pod["spec"]},
        "volumeClaimTemplates": [claim],
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


@pytest.mark.parametrize(
    "words",
    [
        "nodes", "no node-a", "pods -A", "pods -n kube-system -l app=none", "service kubernetes", "endpointslices",
        "services,configmaps -n kube-system", "namespace/default", "customresourcedefinitions.apiextensions.k8s.io",
        "net-attach-def -A", "ns default --show-managed-fields", "pod none --ignore-not-found",
    ],
)  # fmt: skip
def test_what_is_read_over_one_connection_is_what_kubectl_shows(cluster: Cluster, words: str) -> None:
    asked = words.replace("node-a", cluster.nodes[0]).split()
    shown = cluster.kubectl("get", *asked, "-o", "json")
    assert _still(cluster.get(*asked)) == _still(json.loads(shown or "{}"))


def _still(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The objects without what changes between two looks."""
    items: list[dict[str, Any]] = found.get("items", [found] if found else [])
    for one in items:
        one["metadata"].pop("resourceVersion")
        one["metadata"].pop("managedFields", None)
        one.pop("status", None)
    return items


@pytest.mark.parametrize("words", ["pod none", "nosuchkind", "lanes -n default --output=yaml"])
def test_what_cannot_be_read_is_an_error_that_names_the_fix(cluster: Cluster, words: str) -> None:
    with pytest.raises((ClusterError, ValueError), match=r"not found|no resource type|what else kubectl can"):
        cluster.get(*words.split())


def test_a_volume_keeps_its_data_over_the_death_of_its_pod(cluster: Cluster, namespace: str) -> None:
    _apply(cluster, namespace, _stateful_set("keeper", "echo $HOSTNAME >>/data/lives; exec sleep 3600"))
    eventually(lambda: _ready(cluster, "pod/keeper-0", namespace), "the first life runs")
    uid = cluster.get("pod", "keeper-0", "-n", namespace)["metadata"]["uid"]
    cluster.kubectl("delete", "pod", "keeper-0", "-n", namespace, "--wait=false")

    def second_life() -> bool:
        found = cluster.get("pods", "-l", "app=keeper", "-n", namespace)["items"]
        return found[0]["metadata"]["uid"] != uid and _ready(cluster, "pod/keeper-0", namespace)

    eventually(second_life, "the second life runs")
    lives = cluster.volume_path(namespace, "data-keeper-0") / "lives"
    assert lives.read_text().split() == ["keeper-0", "keeper-0"]


def test_a_service_is_found_by_name_from_another_node(cluster: Cluster, namespace: str) -> None:
    first, second = cluster.nodes[:2]
    serve = "mkdir /tmp/w; echo here >/tmp/w/index.html; exec httpd -f -p 8080 -h /tmp/w"
    url = f"http://server.{namespace}.svc.cluster.local/"
    script = f"import urllib.request as r; print(r.urlopen('{url}', timeout=5).read().decode().strip())"
    ask = {"image": _PYTHON, "command": ["python3", "-c", script]}
    server = _pod("server", serve, nodeName=first)
    # asked again by the kubelet until the Service has its endpoint
    client = _pod("client", "", nodeName=second, restartPolicy="OnFailure", container=ask)
    _apply(cluster, namespace, _service("server", 8080), server, client)
    eventually(lambda: _phase(cluster, namespace, "client") == "Succeeded", "the client was answered")
    assert cluster.kubectl("logs", "client", "-n", namespace).strip() == "here"


def test_macvlan_egress_is_seen_under_its_own_address(cluster: Cluster, namespace: str) -> None:
    ipam = {"type": "static", "addresses": [{"address": "203.0.113.60/24", "gateway": "203.0.113.1"}],
            "routes": [{"dst": "0.0.0.0/0"}]}  # fmt: skip
    config = {
        "cniVersion": "0.4.0",
        "name": "egress",
        "plugins": [{"type": "macvlan", "master": "eth0", "mode": "bridge", "ipam": ipam}, {"type": "sbr"}],
    }
    attachment = {
        "apiVersion": "k8s.cni.cncf.io/v1",
        "kind": "NetworkAttachmentDefinition",
        "metadata": {"name": "egress"},
        "spec": {"config": json.dumps(config)},
    }
    with _seen_outside(cluster, 2501) as listener:
        _apply(cluster, namespace, attachment)
        _apply(
            cluster,
            namespace,
            _caller("sender", "203.0.113.60", 2501, annotations={"k8s.v1.cni.cncf.io/networks": "egress"}),
        )
        assert _peer(listener) == "203.0.113.60"


def test_other_traffic_of_a_pod_leaves_under_its_node_s_address(cluster: Cluster, namespace: str) -> None:
    node = cluster.nodes[0]
    say = f"until nc {OUTSIDE} 2502 </dev/null; do sleep 0.2; done; exec sleep 3600"
    with _seen_outside(cluster, 2502) as listener:
        _apply(cluster, namespace, _pod("sender", say, nodeName=node))
        addresses = [a["address"] for a in cluster.get("node", node)["status"]["addresses"]]
        assert _peer(listener) in addresses


def test_host_network_egress_is_seen_under_the_address_it_binds(cluster: Cluster, namespace: str) -> None:
    node, address = cluster.nodes[1], "203.0.113.70"
    cluster.add_address(node, address)
    try:
        with _seen_outside(cluster, 2503) as listener:
            _apply(cluster, namespace, _caller("sender", address, 2503, nodeName=node, hostNetwork=True))
            assert _peer(listener) == address
    finally:
        cluster.remove_address(node, address)


def test_a_pod_without_rights_on_a_read_only_root_runs(cluster: Cluster, namespace: str) -> None:
    say = "id -u; touch /x 2>&1; exec sleep 3600"
    _apply(cluster, namespace, _pod("locked", say, container={"securityContext": _LOCKED}))
    eventually(lambda: _ready(cluster, "pod/locked", namespace), "the pod runs")
    lines = eventually(lambda: cluster.kubectl("logs", "locked", "-n", namespace).splitlines()[1:], "it has spoken")
    assert cluster.kubectl("logs", "locked", "-n", namespace).splitlines()[0] == "10001"
    assert "Read-only file system" in lines[0]


@pytest.mark.parametrize(("image", "module"), [("relay", "lane_relay"), ("operator", "lane_operator")])
def test_our_programs_libraries_load_without_rights(cluster: Cluster, namespace: str, image: str, module: str) -> None:
    script = f"import {module}, lane_api, aiohttp, cryptography, structlog, os; print(os.getuid())"
    container = {
        "image": f"lanewright.local/{image}:dev",
        "command": ["python3", "-c", script],
        "securityContext": _LOCKED,
    }
    _apply(cluster, namespace, _pod("program", "", restartPolicy="Never", container=container))
    eventually(lambda: _phase(cluster, namespace, "program") in ("Succeeded", "Failed"), "it has ended")
    assert cluster.kubectl("logs", "program", "-n", namespace).strip() == "10001"


def test_the_resolver_beside_a_relay_answers_without_rights(cluster: Cluster, namespace: str) -> None:
    data = 'server:\n  local-data: "mx.isp.example. IN A 198.51.100.77"\n'
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "resolver"}, "data": {"own.conf": data}}
    script = (
        "import dns.resolver as d; r = d.Resolver(configure=False); r.nameservers = ['127.0.0.1']; r.port = 5353; "
        "print(r.resolve('mx.isp.example', 'A')[0])"
    )
    ask = {"image": _PYTHON, "command": ["python3", "-c", script], "securityContext": _LOCKED}
    pod = _pod("resolver", "", restartPolicy="OnFailure", container=ask)
    pod["spec"]["volumes"] = [{"name": "own", "configMap": {"name": "resolver"}}]
    mount = {"name": "own", "mountPath": "/etc/unbound/conf.d", "readOnly": True}
    resolver = {"name": "resolver", "image": "lanewright.local/unbound:dev", "securityContext": _LOCKED}
    # a container that restarts is a sidecar: started before the others, ended after them
    sidecar = {**resolver, "volumeMounts": [mount], "restartPolicy": "Always"}
    pod["spec"]["initContainers"] = [sidecar]
    _apply(cluster, namespace, settings, pod)
    eventually(lambda: _phase(cluster, namespace, "resolver") == "Succeeded", "it was answered")
    assert cluster.kubectl("logs", "resolver", "-c", "main", "-n", namespace).strip() == "198.51.100.77"


@pytest.mark.long("e2e/test_cluster_comes_up.py")
def test_a_cut_cable_makes_a_node_not_ready_and_a_mended_one_ready_again(cluster: Cluster) -> None:
    node = cluster.nodes[1]
    cluster.cut_link(node)
    try:
        eventually(lambda: not _ready(cluster, f"node/{node}", "default"), "the node is missed", within=90)
    finally:
        cluster.restore_link(node)
    eventually(lambda: _ready(cluster, f"node/{node}", "default"), "the node is back", within=90)


def test_a_stopped_node_keeps_its_containers_and_takes_them_up_again(cluster: Cluster, namespace: str) -> None:
    node = cluster.nodes[1]
    _apply(cluster, namespace, _pod("survivor", "exec sleep 3600", nodeName=node))
    eventually(lambda: _ready(cluster, "pod/survivor", namespace), "the pod runs")
    before = cluster.container_pid(namespace, "survivor", "main")
    cluster.stop_node(node)
    cluster.start_node(node)
    eventually(lambda: _ready(cluster, f"node/{node}", "default"), "the node is back", within=90)
    assert cluster.container_pid(namespace, "survivor", "main") == before


def test_a_paused_api_server_answers_again_when_it_goes_on(cluster: Cluster) -> None:
    cluster.pause_api_server()
    try:
        assert cluster.kubectl("get", "--raw", "/readyz", "--request-timeout=1s", check=False) != "ok"
    finally:
        cluster.resume_api_server()
    assert eventually(lambda: cluster.kubectl("get", "--raw", "/readyz", check=False), "the API answers") == "ok"


def test_a_write_is_counted_by_its_user(cluster: Cluster, namespace: str) -> None:
    offset = cluster.audit_offset()
    cluster.kubectl("create", "configmap", "noted", "-n", namespace)

    def noted() -> list[tuple[str, str]]:
        found = cluster.writes(offset=offset)
        return [(w.user, w.verb) for w in found if (w.namespace, w.name) == (namespace, "noted")]

    assert eventually(noted, "the audit log has it") == [("admin", "create")]


def _own_namespaces() -> set[str]:
    """Return the network namespaces of this process's threads; one may end while they are listed."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):
            found.add(str((task / "ns" / "net").readlink()))
    return found


async def test_the_test_process_connects_from_a_place_without_moving_there(cluster: Cluster) -> None:
    before = _own_namespaces()
    outside = cluster.place("net")
    outside.add_address(OUTSIDE)
    with outside.listener(OUTSIDE, 2504) as listener:
        _, writer = await cluster.place(cluster.nodes[0]).open_connection(OUTSIDE, 2504)
        listener.settimeout(5)
        assert _peer(listener) == writer.get_extra_info("sockname")[0]
        writer.close()
    assert len(before) == 1
    eventually(lambda: _own_namespaces() == before, "the thread that went there has ended", within=10)


def test_a_program_spawned_in_a_place_is_found_and_ended(cluster: Cluster) -> None:
    outside = cluster.place("net")
    name = f"sleeper-{time.monotonic_ns()}"
    process = outside.spawn(name, ["sleep", "600"], cpu_weight=50)
    assert outside.find(name) == process
    assert process.alive()
    outside.end(name)
    assert outside.find(name) is None
    assert not process.alive()
