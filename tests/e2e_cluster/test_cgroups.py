"""Weights and the group tree, on a folder that looks like a machine's."""

from pathlib import Path

import pytest

from e2e.cluster.cgroups import Cgroups, shares


@pytest.mark.parametrize(("weight", "v1"), [(100, 1024), (50, 512), (400, 4096), (1, 10), (10000, 102400)])
def test_weights_keep_their_proportions_in_cgroup_v1(weight: int, v1: int) -> None:
    assert shares(weight) == v1


def _v1(root: Path) -> None:
    for name in ("cpu", "cpuset", "memory"):
        (root / name).mkdir(parents=True)
        (root / name / "cgroup.procs").touch()


def test_a_group_is_made_in_every_hierarchy_of_v1_and_removed_again(tmp_path: Path) -> None:
    _v1(tmp_path)
    groups = Cgroups("abc", tmp_path)
    folders = groups.ensure("work/isp", 50)
    assert folders == [tmp_path / c / "lw-abc/work/isp" for c in ("cpu", "cpuset", "memory")]
    assert groups.remove()
    assert not any((tmp_path / c / "lw-abc").exists() for c in ("cpu", "cpuset", "memory"))


def test_v2_has_one_tree(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    groups = Cgroups("abc", tmp_path)
    assert groups.unified
    assert groups.folders("control") == [tmp_path / "lw-abc/control"]


def test_groups_of_another_cluster_are_not_touched(tmp_path: Path) -> None:
    _v1(tmp_path)
    other = Cgroups("other", tmp_path).ensure("control", 100)
    mine = Cgroups("mine", tmp_path)
    mine.ensure("control", 100)
    assert mine.remove()
    assert all(folder.exists() for folder in other)


def test_leftovers_in_the_v2_tree_beside_v1_are_found(tmp_path: Path) -> None:
    _v1(tmp_path)
    stray = tmp_path / "unified/lw-abc/n1/pods"
    stray.mkdir(parents=True)
    assert Cgroups("abc", tmp_path).remove()
    assert not (tmp_path / "unified/lw-abc").exists()
