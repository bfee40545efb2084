"""Figures on disk."""

import json
from pathlib import Path

import pytest

from e2e import figures

_COMMIT = "0123abc"


def test_a_figure_replaces_its_own_name_and_keeps_the_others(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        figures.record("x.json", name, value, "s", 10, "lower", "make e2e", folder=tmp_path, of=_COMMIT)
    rows = json.loads((tmp_path / "x.json").read_text())
    assert [(row["name"], row["value"]) for row in rows] == [("a", 3.0), ("b", 2.0)]
    assert set(rows[0]) == {"name", "value", "unit", "target", "better", "command", "commit", "at"}


def test_a_target_that_begins_leaves_no_older_run_s_values(tmp_path: Path) -> None:
    figures.record("x", "a", 1.0, "s", 10, "lower", "make e2e", folder=tmp_path, of=_COMMIT)
    figures.main(["clear", "x"], tmp_path)
    figures.main(["clear", "x"], tmp_path)
    figures.record("x", "b", 1.0, "s", 10, "lower", "make e2e", folder=tmp_path, of=_COMMIT)
    assert [row["name"] for row in json.loads((tmp_path / "x.json").read_text())] == ["b"]


def test_a_figure_from_a_shell_lands_in_the_same_form(tmp_path: Path) -> None:
    figures.main(["ci", "seconds_warm", "12", "s", "900", "lower", ".ci/run"], tmp_path, _COMMIT)
    figures.main(["ci.json", "seconds_cold", "99", "s", "-", "lower", ".ci/run"], tmp_path, _COMMIT)
    rows = json.loads((tmp_path / "ci.json").read_text())
    assert [(row["name"], row["value"], row["target"]) for row in rows] == [
        ("seconds_cold", 99.0, None),
        ("seconds_warm", 12.0, 900.0),
    ]


def test_a_figure_that_is_neither_better_low_nor_high_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither lower nor higher"):
        figures.main(["ci", "x", "1", "s", "-", "sideways", "make"], tmp_path, _COMMIT)


def test_figures_that_are_not_as_good_as_asked_are_named_and_those_of_an_earlier_run_are_not(tmp_path: Path) -> None:
    figures.record("x", "fast", 5.7, "x", 6.0, "higher", "make bench", folder=tmp_path, of=_COMMIT)
    figures.record("x", "small", 0.3, "MB", 0.4, "lower", "make bench", folder=tmp_path, of=_COMMIT)
    figures.record("x", "late", 1.3, "x", 1.2, "lower", "make bench", folder=tmp_path, of=_COMMIT)
    figures.record("x", "told", 9.0, "x", None, "lower", "make bench", folder=tmp_path, of=_COMMIT)
    assert figures.missed("x", folder=tmp_path) == ["fast: 5.7 x, at least 6.0 asked", "late: 1.3 x, at most 1.2 asked"]
    assert figures.missed("x", "2999", folder=tmp_path) == []
    assert figures.missed("y", folder=tmp_path) == []


def test_a_figure_with_a_target_from_a_tree_that_no_commit_names_is_printed_and_not_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures.record("x", "fast", 5.0, "x", 6.0, "higher", "make bench", folder=tmp_path, of=f"{_COMMIT}-dirty")
    assert not (tmp_path / "x.json").exists()
    said = capsys.readouterr().err
    assert said == (
        f"not recorded: fast = 5.0 x (6.0 asked): {_COMMIT}-dirty is no commit; commit or stash what differs, then run "
        "`make bench` again\n"
    )
    assert figures.missed("x", folder=tmp_path) == ["fast: 5.0 x, at least 6.0 asked"], "judged all the same"
    figures.clear("x", folder=tmp_path)
    assert figures.missed("x", folder=tmp_path) == []


def test_a_figure_without_a_target_is_recorded_as_of_the_tree_that_it_is_of(tmp_path: Path) -> None:
    figures.record("x", "told", 9.0, "x", None, "lower", "make bench", folder=tmp_path, of=f"{_COMMIT}-dirty")
    assert [row["commit"] for row in json.loads((tmp_path / "x.json").read_text())] == [f"{_COMMIT}-dirty"]
