"""Figures on disk."""

import json
from pathlib import Path

from e2e import figures


def test_a_figure_replaces_its_own_name_and_keeps_the_others(tmp_path: Path) -> None:
    for name, value in (("a", 1.0), ("b", 2.0), ("a", 3.0)):
        figures.record("x.json", name, value, "s", 10, "lower", "make e2e", folder=tmp_path)
    rows = json.loads((tmp_path / "x.json").read_text())
    assert [(row["name"], row["value"]) for row in rows] == [("a", 3.0), ("b", 2.0)]
    assert set(rows[0]) == {"name", "value", "unit", "target", "better", "command"}
