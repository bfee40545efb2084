"""The kind kind's configuration; the rest of it needs a Docker engine and is not verified."""

import json
from pathlib import Path

from e2e.cluster.identity import Layout
from e2e.cluster.kind import KindCluster


def _config(tmp_path: Path) -> dict[str, list[dict[str, object]]]:
    cluster = KindCluster(Layout("abc", tmp_path, tmp_path / "cache"), ("n1", "n2"))
    found: dict[str, list[dict[str, object]]] = cluster.config()
    return found


def test_kind_gets_as_many_workers_as_there_are_nodes(tmp_path: Path) -> None:
    assert [node["role"] for node in _config(tmp_path)["nodes"]] == ["control-plane", "worker", "worker"]


def test_kind_s_node_names_carry_the_cluster_s_id(tmp_path: Path) -> None:
    cluster = KindCluster(Layout("abc", tmp_path, tmp_path), ("n1", "n2"))
    assert cluster.nodes == ("lw-abc-worker", "lw-abc-worker2")


def test_kind_s_api_server_writes_the_audit_log_that_tests_read(tmp_path: Path) -> None:
    control = _config(tmp_path)["nodes"][0]
    patches = control["kubeadmConfigPatches"]
    assert isinstance(patches, list)
    arguments = json.loads(patches[0])["apiServer"]["extraArgs"]
    assert arguments["audit-log-path"] == "/lanewright/log/audit.jsonl"
    assert arguments["enable-aggregator-routing"] == "true"
    assert {"hostPath": f"{tmp_path}/build/cluster/abc/log", "containerPath": "/lanewright/log"} in control[
        "extraMounts"
    ]  # type: ignore[operator] # a list of mounts
