"""lanes/compile.py: extensions beside the modules of a copy, never in a checkout; what it cannot compile it says."""

import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = Path(__file__).resolve().parents[2] / "lanes" / "compile.py"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of a relay of one hot module."""
    package = tmp_path / "app" / "lane_relay"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "compiled.py").write_text('MODULES = ("lane_relay.hot",)\n')
    (package / "hot.py").write_text("def double(number: int) -> int:\n    return number * 2\n")
    return package.parent


def compile_in(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, COMPILER, folder], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.timeout(300)
def test_python_prefers_what_was_compiled_and_nothing_else_is_left_behind(tree: Path) -> None:
    done = compile_in(tree)

    assert done.returncode == 0, done.stderr
    look = "from lane_relay import hot; print(hot.double(21), hot.__loader__.__class__.__name__)"
    told = subprocess.run([sys.executable, "-c", look], cwd=tree, capture_output=True, text=True, check=True)
    assert told.stdout == "42 ExtensionFileLoader\n"
    left = {path.name for path in tree.rglob("*") if path.suffix != ".so" and "__pycache__" not in path.parts}
    assert left == {"lane_relay", "__init__.py", "compiled.py", "hot.py"}


@pytest.mark.timeout(300)
def test_what_does_not_type_check_is_not_compiled(tree: Path) -> None:
    (tree / "lane_relay" / "hot.py").write_text("def double(number: int) -> str:\n    return number * 2\n")

    done = compile_in(tree)

    assert done.returncode != 0
    assert "Incompatible return value type" in done.stdout + done.stderr
    assert not list(tree.rglob("*.so"))


def test_a_checkout_is_refused(tree: Path) -> None:
    (tree.parent / "pyproject.toml").write_text("")

    done = compile_in(tree)

    assert done.returncode != 0
    assert "compile a copy of it" in done.stderr
