"""Measured figures on disk: one JSON file a subject under `build/figures`.

Invariant: a name stands at most once in its file, with commit and time; recording replaces that name and keeps the
others. A target clears its file before it begins, so that a run that breaks off leaves no older run's values.
A figure with a target names the commit that it is true of: from a tree that differs from its commit it is printed, and
not recorded; `missed` judges it all the same.
After a run, whatever prints or compares figures reads these files and nothing else.
From a shell: `python -m e2e.figures FILE NAME VALUE UNIT TARGET lower|higher COMMAND`, a `-` for no target;
`python -m e2e.figures clear FILE`.
"""

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

CHECKOUT = Path(__file__).resolve().parents[1]
FIGURES = CHECKOUT / "build" / "figures"
_DIRTY = "-dirty"
_UNRECORDED: dict[Path, list[dict[str, Any]]] = {}
"""By file: what this process measured of a tree that no commit names."""


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
    of: str = "",
    beside: Mapping[str, Any] | None = None,
) -> None:
    """Write one figure into `<folder>/<file>` (`e2e` or `e2e.json`), replacing an older one of that name.

    `of`: the commit that was measured; the checkout's if empty. With a target, one of a dirty tree is only printed.
    `beside`: what else stands in its row.
    """
    path = folder / f"{file.removesuffix('.json')}.json"
    measured = of or commit()
    row = {"name": name, "value": value, "unit": unit, "target": target, "better": better, "command": command}
    row |= {"commit": measured, "at": now(), **(beside or {})}
    if target is not None and measured.endswith(_DIRTY):
        _UNRECORDED.setdefault(path, []).append(row)
        print(
            f"not recorded: {name} = {value} {unit} ({target} asked): {measured} is no commit; commit or stash what "
            f"differs, then run `{command}` again",
            file=sys.stderr,
        )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = json.loads(path.read_text()) if path.exists() else []
        rows = [*(one for one in rows if one["name"] != name), row]
        half = path.with_name(f"{path.name}.{os.getpid()}")
        half.write_text(json.dumps(sorted(rows, key=lambda one: str(one["name"])), indent=1) + "\n")
        half.replace(path)


def now() -> str:
    """As figures are dated."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def missed(file: str, since: str = "", *, folder: Path = FIGURES) -> list[str]:
    """The figures that are not as good as they are to be, one sentence each; `since`: those recorded from then on."""
    path = folder / f"{file.removesuffix('.json')}.json"
    rows = [*(json.loads(path.read_text()) if path.exists() else []), *_UNRECORDED.get(path, [])]
    return [
        f"{row['name']}: {row['value']} {row['unit']}, {'at least' if row['better'] == 'higher' else 'at most'} "
        f"{row['target']} asked"
        for row in rows
        if row["target"] is not None
        and row["at"] >= since
        and (row["value"] < row["target"] if row["better"] == "higher" else row["value"] > row["target"])
    ]


def clear(file: str, *, folder: Path = FIGURES) -> None:
    """Forget the figures of a file: its target begins anew."""
    path = folder / f"{file.removesuffix('.json')}.json"
    path.unlink(missing_ok=True)
    _UNRECORDED.pop(path, None)


def commit() -> str:
    """The checkout's commit, with `-dirty` where files differ from it; `unknown` outside of a repository."""
    asked = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def main(arguments: Sequence[str], folder: Path = FIGURES, of: str = "") -> None:
    """Record the one figure that a shell gives, or clear a file; raises ValueError for a line that is neither."""
    if arguments[:1] == ["clear"]:
        clear(*arguments[1:], folder=folder)
        return
    file, name, value, unit, target, better, command = arguments
    if better not in ("lower", "higher"):
        raise ValueError(f"{better!r} is neither lower nor higher")
    goal = None if target == "-" else float(target)
    direction: Literal["lower", "higher"] = "lower" if better == "lower" else "higher"
    record(file, name, float(value), unit, goal, direction, command, folder=folder, of=of)


if __name__ == "__main__":
    main(sys.argv[1:])
