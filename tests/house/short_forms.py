"""Promises on a cluster that the gate leaves out, and what it has in their place.

A test with `@pytest.mark.long(*files)` runs in `make e2e` and not in the gate; its files hold the short form.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["long_marks", "without_short_form"]


def long_marks(text: str) -> Iterator[tuple[str, ...]]:
    """The files that each mark `pytest.mark.long` in this source names; none for one that names none."""
    tree = ast.parse(text)
    called = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "pytest.mark.long":
            call = called.get(id(node))
            yield tuple(ast.literal_eval(one) for one in call.args) if call else ()


def without_short_form(root: Path, sources: list[Path]) -> list[str]:
    """Marks of these files that name nothing, or a file in which the gate runs no test."""
    named = [(source, files) for source in sources for files in long_marks(source.read_text())]
    wanted = sorted({name for _, files in named for name in files})
    left = [f"{name} is not there" for name in wanted if not (root / name).is_file()]
    left += [f"{source.name} has a long form without a short one" for source, files in named if not files]
    if wanted and not left:
        command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-m", "not long", *wanted]
        said = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout
        left += [f"the gate runs no test of {name}" for name in wanted if f"{name}: " not in said]
    return left
