"""What is asked of Debian, and only where it is missing."""

from __future__ import annotations

from pathlib import Path

from e2e.internet import packages


def test_a_package_is_asked_for_once_and_only_if_a_program_or_file_of_it_is_missing(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    wanted = {
        "sh": "dash", "no-such-program": "some", "no-such-program-either": "some",
        str(tmp_path / "there"): "a", str(tmp_path / "gone"): "b",
    }  # fmt: skip

    assert packages.missing(wanted) == ["b", "some"]


def test_nothing_is_installed_where_everything_is_there() -> None:
    assert packages.install({"sh": "dash"}) == []
