"""Cached builds: keys follow their inputs, and a half build is never seen."""

from pathlib import Path

import pytest

from e2e.cluster import cache
from e2e.cluster.programs import CATALOGUE, MODULES, OF_EVERY_CLUSTER


def test_a_key_changes_with_a_name_with_content_and_with_nothing_else() -> None:
    base = [("a", b"1"), ("b", b"2")]
    assert cache.key(base) == cache.key(reversed(base))
    assert cache.key(base) != cache.key([("a", b"1"), ("b", b"3")])
    assert cache.key(base) != cache.key([("a", b"1"), ("c", b"2")])


def test_bytes_cannot_move_between_a_name_and_its_content() -> None:
    assert cache.key([("ab", b"c")]) != cache.key([("a", b"bc")])


def test_a_failed_build_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    final = tmp_path / "thing-1"

    def fails(half: Path) -> None:
        (half / "begun").touch()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.folder(final, fails)
    assert not final.exists()
    assert [p.name for p in tmp_path.iterdir()] == [".thing-1.lock"]


def test_a_finished_build_is_not_built_again(tmp_path: Path) -> None:
    built: list[Path] = []

    def build(half: Path) -> None:
        built.append(half)
        (half / "program").write_text("x")

    for _ in range(2):
        assert (cache.folder(tmp_path / "thing", build) / "program").read_text() == "x"
    assert len(built) == 1


def test_what_a_killed_build_left_is_swept_by_the_next_one(tmp_path: Path) -> None:
    stale = tmp_path / ".half-thing-x"
    stale.mkdir()
    cache.folder(tmp_path / "thing", lambda half: (half / "program").touch())
    assert not stale.exists()


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_program_is_rebuilt_when_its_pins_or_flags_change(name: str, tmp_path: Path) -> None:
    module = CATALOGUE[name]
    folder = tmp_path / name
    folder.mkdir()
    for file in (MODULES / name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    before = cache.key(module.inputs(tmp_path))
    assert before == cache.key(module.inputs())
    with (folder / "go.sum").open("a") as out:
        out.write("one more\n")
    assert cache.key(module.inputs(tmp_path)) != before


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_every_go_package_is_pinned_as_a_tool_and_no_address_is_in_the_pins(name: str) -> None:
    pins = (MODULES / name / "go.mod").read_text()
    for _, package in CATALOGUE[name].programs:
        assert package in pins.partition("tool")[2]
    assert "https://" not in pins + (MODULES / name / "go.sum").read_text()


def test_what_every_cluster_needs_is_in_the_catalogue() -> None:
    assert set(OF_EVERY_CLUSTER) <= set(CATALOGUE)
