"""Measured figures on disk: one JSON file a subject under `build/figures`.

Invariant: a name stands at most once in its file; recording replaces that name and keeps the others.
After a run, whatever prints or compares figures reads these files and nothing else.
From a shell: `python -m e2e.figures FILE NAME VALUE UNIT TARGET lower|higher COMMAND`, a `-` for no target.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

FIGURES = Path(__file__).resolve().parents[1] / "build" / "figures"


def record(
    file: str,
    name: str,
    value: float,
    unit: str,
    target: float | None,
    better: Literal["lower", "higher"],
    command: str,
    *,
    folder: Path = FIGURES,
) -> None:
    """Write one figure into `<folder>/<file>` (`e2e` or `e2e.json`), replacing an older one of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{file.removesuffix('.json')}.json"
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [row for row in rows if row["name"] != name]
    rows.append({"name": name, "value": value, "unit": unit, "target": target, "better": better, "command": command})
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(json.dumps(sorted(rows, key=lambda row: str(row["name"])), indent=1) + "\n")
    half.replace(path)


def main(arguments: Sequence[str], folder: Path = FIGURES) -> None:
    """Record the one figure that a shell gives; raises ValueError for a line that is none."""
    file, name, value, unit, target, better, command = arguments
    if better not in ("lower", "higher"):
        raise ValueError(f"{better!r} is neither lower nor higher")
    goal = None if target == "-" else float(target)
    direction: Literal["lower", "higher"] = "lower" if better == "lower" else "higher"
    record(file, name, float(value), unit, goal, direction, command, folder=folder)


if __name__ == "__main__":
    main(sys.argv[1:])
