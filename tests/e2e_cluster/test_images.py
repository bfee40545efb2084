"""An image is named by its content: the same tree gives the same bytecode, whoever builds it."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
BUILD = "from e2e.cluster.images import bytecode; from pathlib import Path; bytecode(Path('{}'), '/opt/app')"


def _digest(folder: Path, *imported: str) -> str:
    """Of the bytecode that a program makes which has imported these modules before."""
    app = folder / "app"
    shutil.copytree(CHECKOUT / "lanes" / "lane_relay" / "smtp", app, ignore=shutil.ignore_patterns("__pycache__"))
    words = "".join(f"import {name}; " for name in imported) + BUILD.format(app)
    subprocess.run([sys.executable, "-c", words], cwd=CHECKOUT, check=True)
    made = sorted(app.rglob("*.pyc"))
    assert made
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in made)).hexdigest()
    shutil.rmtree(app)
    return digest


def test_bytecode_does_not_depend_on_what_its_maker_has_imported(tmp_path: Path) -> None:
    assert _digest(tmp_path) == _digest(tmp_path, "e2e.demo.__main__")
