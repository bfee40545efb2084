"""Which kind of cluster, which Go compiler, and what an error says."""

from pathlib import Path

import pytest

from e2e.cluster.choose import choose
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Layout
from e2e.cluster.local import LocalCluster
from e2e.cluster.prerequisites import GO_AT_LEAST, PACKAGES, go_version


@pytest.mark.parametrize(("engine", "kind"), [(True, "kind"), (False, "local")])
def test_the_engine_decides_unless_somebody_does(engine: bool, kind: str) -> None:
    assert choose({}, engine=engine)[0] == kind
    assert choose({"CLUSTER": "local"}, engine=engine)[0] == "local"
    assert choose({"CLUSTER": "kind"}, engine=engine)[0] == "kind"


def test_an_unknown_kind_is_refused_with_the_fix() -> None:
    with pytest.raises(ClusterError, match="fix: use CLUSTER=kind or CLUSTER=local"):
        choose({"CLUSTER": "minikube"}, engine=True)


@pytest.mark.parametrize(
    ("text", "enough"),
    [("go1.26.8", True), ("go1.25.0", True), ("go1.19.8", False), ("devel +abc", False), ("", False)],
)
def test_a_go_that_is_too_old_or_unknown_is_not_used(text: str, enough: bool) -> None:
    assert (go_version(text) >= GO_AT_LEAST) is enough


def test_an_error_ends_with_the_last_lines_of_the_right_log(tmp_path: Path) -> None:
    log = tmp_path / "etcd.log"
    log.write_text("\n".join(f"line {i}" for i in range(100)))
    text = str(ClusterError("etcd ended", "read the log", log))
    assert "fix: read the log" in text
    assert "line 99" in text
    assert "line 50" not in text


def test_images_are_not_built_where_what_builds_them_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PACKAGES, "debootstrap", str(tmp_path / "no-such-file"))
    monkeypatch.setenv("PATH", "")  # no apt-get that would bring it
    with pytest.raises(ClusterError, match="missing on this machine: debootstrap"):
        LocalCluster(Layout("test", tmp_path, tmp_path), ("n1", "n2")).build(("busybox",))
