"""What may be compiled, and that it is where it is said to be: the rules stand in `lane_relay/compiled.py`."""

import ast
import os
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec, SourceFileLoader
from pathlib import Path

import pytest

from lane_relay.compiled import MODULES, form

ROOT = Path(__file__).resolve().parents[2]
LANES = ROOT / "lanes"
WAITS = (ast.Await, ast.AsyncFor, ast.AsyncWith)
HOT = (
    "smtp.server",
    "smtp.client",
    "mail.headers",
    "deliver.session",
    "deliver.dispatcher",
    "accept.connection",
    "path",
)
"""Of the profile in bench/NOTES.md, the modules with the most calls a message."""


def path_of(module: str) -> Path:
    return LANES / f"{module.replace('.', '/')}.py"


TREES = {module: ast.parse(path_of(module).read_text()) for module in MODULES}


def spec(name: str, *, compiled: bool) -> ModuleSpec:
    loader = ExtensionFileLoader(name, f"x{EXTENSION_SUFFIXES[0]}") if compiled else SourceFileLoader(name, "x.py")
    return ModuleSpec(name, loader)


def test_the_form_is_told_from_how_the_modules_load() -> None:
    assert form(lambda name: spec(name, compiled=True)) == "compiled"
    assert form(lambda name: spec(name, compiled=False)) == "pure"
    assert form(lambda name: spec(name, compiled=name.endswith("server"))) == "mixed"


def test_this_run_has_the_form_that_it_was_asked_for() -> None:
    assert form() == os.environ.get("LANE_RELAY_FORM", "pure")


def test_the_checkout_holds_no_extension_that_would_hide_an_edit() -> None:
    assert not [path for suffix in EXTENSION_SUFFIXES for path in LANES.rglob(f"*{suffix}")]


@pytest.mark.parametrize("name", HOT)
def test_what_the_profile_shows_is_compiled(name: str) -> None:
    assert f"lane_relay.{name}" in MODULES


@pytest.mark.parametrize("module", MODULES)
def test_nothing_that_is_compiled_awaits_inside_a_try_or_a_with(module: str) -> None:
    guarded = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Try | ast.TryStar | ast.With)]

    assert [node.lineno for node in guarded for inner in ast.walk(node) if isinstance(inner, WAITS)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_class_that_is_compiled_says_nothing_that_only_keywords_say(module: str) -> None:
    said = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.ClassDef) and node.keywords]
    allowed = {"Record, frozen=True, gc=False", "TrackedRecord, frozen=True"}

    assert {", ".join(map(ast.unparse, [*node.bases, *node.keywords])) for node in said} <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_a_struct_that_is_compiled_has_its_options_from_a_base(module: str) -> None:
    classes = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.ClassDef)]

    assert [node.name for node in classes if "Struct" in map(ast.unparse, node.bases)] == []


@pytest.mark.parametrize("module", MODULES)
def test_a_generator_that_is_compiled_is_a_call_s_argument(module: str) -> None:
    nodes = list(ast.walk(TREES[module]))
    given = {id(one) for node in nodes if isinstance(node, ast.Call) for one in node.args}

    assert [node.lineno for node in nodes if isinstance(node, ast.GeneratorExp) and id(node) not in given] == []


def test_no_class_that_is_not_compiled_inherits_from_one_that_is() -> None:
    def classes(tree: ast.Module) -> list[ast.ClassDef]:
        return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]

    compiled = {(module, node.name) for module, tree in TREES.items() for node in classes(tree)}
    found = []
    for path in set((LANES / "lane_relay").rglob("*.py")) - set(map(path_of, MODULES)):
        tree = ast.parse(path.read_text())
        imported = {
            (alias.asname or alias.name): (node.module, alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        bases = [(path.name, ast.unparse(base)) for node in classes(tree) for base in node.bases]
        found += [(name, base) for name, base in bases if imported.get(base) in compiled]

    assert found == []
