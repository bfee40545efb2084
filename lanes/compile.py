"""`python lanes/compile.py FOLDER`: compiles the relay's hot modules inside a copy of the source, for an image.

FOLDER holds `lane_api` and `lane_relay`, and holds extensions beside their modules afterwards; it is never the
checkout, where an extension would hide later edits. Needs mypy, setuptools, the relay's libraries, a C compiler and
Python's headers. Before it: `lane_relay/compiled.py`, which says which modules. After it: the images, bench, tests.
"""

import os
import runpy
import shutil
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

__all__ = ["compile_folder", "why_not"]

_OPTIMISE: Final = "2"
_MYPY: Final = """\
[mypy]
explicit_package_bases = true
namespace_packages = true
plugins = pydantic.mypy
ignore_missing_imports = true
"""


def why_not() -> str:
    """What is missing here for compiling, or empty."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    if shutil.which(compiler) is None:
        return f"no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"no headers of Python {sysconfig.get_python_version()} (Debian: python3-dev)"
    return ""


def compile_folder(folder: Path) -> None:
    """Compiles in place; raises SystemExit or a CompileError of setuptools with what the compiler said."""
    modules = runpy.run_path(str(folder / "lane_relay" / "compiled.py"))["MODULES"]
    if (folder / "pyproject.toml").exists() or (folder.parent / "pyproject.toml").exists():
        raise SystemExit(f"{folder} is a checkout: compile a copy of it")
    before, path = Path.cwd(), os.environ.get("MYPYPATH")
    with tempfile.TemporaryDirectory() as build:
        os.chdir(folder)
        os.environ["MYPYPATH"] = str(folder)
        try:
            _build([f"{name.replace('.', '/')}.py" for name in modules], Path(build))
        finally:
            os.chdir(before)
            os.environ.pop("MYPYPATH") if path is None else os.environ.update(MYPYPATH=path)
            shutil.rmtree(folder / ".mypy_cache", ignore_errors=True)


def _build(files: list[str], build: Path) -> None:
    """From the folder that holds them; what is not an extension in the end lies in `build`."""
    from mypyc.build import mypycify
    from setuptools import setup

    (build / "mypy.ini").write_text(_MYPY)
    options = [f"--config-file={build / 'mypy.ini'}", f"--cache-dir={build / 'cache'}", *files]
    extensions = mypycify(
        options, opt_level=_OPTIMISE, debug_level="0", group_name="lane_relay", multi_file=True, target_dir=str(build)
    )
    _compile_side_by_side()
    arguments = ["build_ext", "--inplace", f"--build-temp={build / 'objects'}", f"--build-lib={build / 'lib'}"]
    setup(name="lane-relay-compiled", packages=[], ext_modules=extensions, script_args=arguments)


def _compile_side_by_side() -> None:
    """The files of one extension on all processors: setuptools knows only one after another."""
    from setuptools._distutils.ccompiler import CCompiler

    def compile_all(self: Any, sources: list[str], output_dir: str | None = None, *given: Any, **named: Any) -> Any:
        made = one_by_one
        with ThreadPoolExecutor(os.cpu_count()) as workers:
            parts = list(workers.map(lambda source: made(self, [source], output_dir, *given, **named), sources))
        return [name for part in parts for name in part]

    one_by_one = CCompiler.compile
    CCompiler.compile = compile_all  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    lacking = why_not()
    if lacking:
        sys.exit(f"not compiled: {lacking}")
    compile_folder(Path(sys.argv[1]).resolve())
