"""Rendered configuration: what was learned the hard way stays in it."""

import json
import tomllib
from pathlib import Path

import pytest

from e2e.cluster import render
from e2e.cluster.identity import Layout
from e2e.cluster.images import PROGRAMS, launcher
from e2e.cluster.namespaces import node_mounts, node_root_command

_CHECKOUT = Path(__file__).resolve().parents[2]
_LAYOUT = Layout("abc", Path("/src"), Path("/cache"))


def test_containerd_does_not_lower_oom_scores_and_writes_only_into_the_node_s_folders() -> None:
    settings = tomllib.loads(render.containerd(_LAYOUT, "n2"))
    cri = settings["plugins"]["io.containerd.grpc.v1.cri"]
    assert cri["restrict_oom_score_adj"] is True
    assert settings["root"] == "/src/build/cluster/abc/nodes/n2/containerd"
    assert settings["state"] == "/run/lw-abc/n2/state"
    assert settings["plugins"]["io.containerd.internal.v1.opt"]["path"].startswith(str(_LAYOUT.node("n2")))
    assert settings["grpc"]["address"] == str(_LAYOUT.containerd_socket("n2"))


def test_two_kubelets_have_roots_of_their_own() -> None:
    first, second = (json.loads(render.kubelet(_LAYOUT, n, f"/lw-abc/{n}/pods")) for n in ("n1", "n2"))
    for field in ("cgroupRoot", "containerRuntimeEndpoint", "tlsCertFile"):
        assert first[field] != second[field]
    assert first["failCgroupV1"] is False


def test_pods_of_a_node_get_addresses_of_its_range() -> None:
    delegate = json.loads(render.cni(_LAYOUT, "n2"))["delegates"][0]["plugins"][0]
    assert delegate["ipam"]["ranges"] == [[{"subnet": "198.18.2.0/24"}]]


def test_the_audit_log_has_every_write_once_and_no_read_but_the_operators() -> None:
    policy = json.loads(render.audit_policy())
    assert policy["omitStages"] == ["RequestReceived"]
    assert set(policy["rules"][0]["verbs"]) == {"create", "update", "patch", "delete", "deletecollection"}
    assert "system:serviceaccounts:lanewright-system" in policy["rules"][1]["userGroups"]
    assert policy["rules"][2:] == [{"level": "None"}]


def test_webhooks_are_called_at_their_pods() -> None:
    assert "--enable-aggregator-routing=true" in render.api_server(_LAYOUT)


def test_users_keys_are_inside_their_kubeconfig(tmp_path: Path) -> None:
    for name in ("ca.crt", "admin.crt", "admin.key"):
        (tmp_path / name).write_text(name)
    found = json.loads(render.kubeconfig(tmp_path, "admin", "https://127.0.0.1:1", embed=True))
    assert found["users"][0]["user"]["client-key-data"] == "YWRtaW4ua2V5"
    assert str(tmp_path) not in json.dumps(found)


def test_every_path_compiled_into_a_node_s_programs_leads_into_the_cluster_s_folders() -> None:
    mounts = node_mounts(_LAYOUT, "n1")
    assert {inside for _, inside in mounts} >= {"/var/lib/kubelet", "/var/lib/cni", "/run/containerd", "/var/log/pods"}
    assert all(source.is_relative_to("/run/lw-abc/n1") or source.is_relative_to("/src/build") for source, _ in mounts)


def test_a_node_s_mounts_never_reach_the_machine() -> None:
    command = node_root_command(node_mounts(_LAYOUT, "n1"))
    assert command[:4] == ["unshare", "--mount", "--propagation", "private"]


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_the_dockerfile_puts_the_same_things_at_the_same_paths(name: str) -> None:
    program = PROGRAMS[name]
    recipe = (_CHECKOUT / Path(program.lock).parent / "Dockerfile").read_text()
    for package in program.packages:
        assert f"COPY {package} /opt/lanewright/app/{Path(package).name}\n" in recipe
    assert f"COPY {program.lock} /build/" in recipe
    assert launcher(program.module).replace("\n", "\\n") in recipe
    assert "USER 10001:10001" in recipe
    assert f'ENTRYPOINT ["/usr/local/bin/{program.command}"]' in recipe
    assert "PYTHONPATH=/opt/lanewright/app:/opt/lanewright/lib" in recipe


@pytest.mark.parametrize("name", sorted(PROGRAMS))
def test_a_lock_file_has_hashes_and_no_addresses(name: str) -> None:
    lock = (_CHECKOUT / PROGRAMS[name].lock).read_text()
    assert "://" not in lock
    entries = [line for line in lock.splitlines() if "==" in line]
    assert len(entries) > 10
    assert all(line.endswith("\\") for line in entries)
