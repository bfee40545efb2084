"""Folders of the machine: what we made goes with the last cluster, what was there stays."""

from pathlib import Path

from e2e.cluster.machine import MountPoints


def _machine(tmp_path: Path, *clusters: str) -> tuple[MountPoints, Path, Path]:
    run = tmp_path / "run"
    for name in clusters:
        (run / name).mkdir(parents=True)
    (tmp_path / "var/there").mkdir(parents=True)
    return MountPoints(run), tmp_path / "var/there", tmp_path / "var/new/deep"


def test_what_was_there_stays_and_what_was_made_goes(tmp_path: Path) -> None:
    points, there, new = _machine(tmp_path, "lw-a")
    points.make([str(there), str(new)])
    assert new.is_dir()
    points.remove(points.run / "lw-a")
    assert there.is_dir()
    assert not new.parent.exists()
    assert [p.name for p in points.run.iterdir()] == ["lw-a"]


def test_the_first_of_two_clusters_to_go_leaves_the_folders_to_the_other(tmp_path: Path) -> None:
    points, _, new = _machine(tmp_path, "lw-a", "lw-b")
    points.make([str(new)])
    points.make([str(new)])
    points.remove(points.run / "lw-a")
    assert new.is_dir()
    (points.run / "lw-a").rmdir()
    points.remove(points.run / "lw-b")
    assert not new.exists()


def test_a_folder_that_somebody_else_began_to_use_stays(tmp_path: Path) -> None:
    points, _, new = _machine(tmp_path, "lw-a")
    points.make([str(new)])
    (new / "theirs").touch()
    points.remove(points.run / "lw-a")
    assert (new / "theirs").exists()
