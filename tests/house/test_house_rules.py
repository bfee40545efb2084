"""The house rules that a machine can check: each test is one rule."""

import ast
import operator
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.house.digits import other_digits
from tests.house.early import early
from tests.house.mocks import mocked
from tests.house.short_forms import long_marks, without_short_form

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("crds", "lanes", "operator")
MAX_FILE_LINES, MAX_FUNCTION_LINES = 500, 60


def _tracked(*suffixes: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in sorted(set(listed)) if name.endswith(suffixes) and (ROOT / name).is_file()]


def _relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


PYTHON_FILES = _tracked(".py")
PRODUCT_FILES = [path for path in PYTHON_FILES if path.relative_to(ROOT).parts[0] in PRODUCT]


def test_there_is_code_to_check() -> None:
    assert len(PRODUCT_FILES) > 20


def test_the_stdlib_operator_module_is_not_shadowed() -> None:
    stdlib = sysconfig.get_path("stdlib")

    assert operator.__file__.startswith(stdlib)
    for trap in ("__init__.py", "conftest.py"):
        assert not (ROOT / "operator" / trap).exists()
    assert not list((ROOT / "operator").rglob("test_*.py"))


def test_the_top_level_holds_only_what_was_agreed() -> None:
    agreed = {
        "pyproject.toml",
        "README.md",
        "operator",
        "crds",
        "charts",
        "lanes",
        "tests",
        "e2e",
        "Makefile",
        "LICENSE",
    }
    agreed |= {"CHANGELOG.md", "docs", "bench"}
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()

    found = {name.split("/")[0] for name in listed}

    assert {name for name in found if not name.startswith(".")} <= agreed


@pytest.mark.parametrize("path", PYTHON_FILES, ids=_relative)
def test_a_file_stays_readable_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


def _functions(tree: ast.AST) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("path", PYTHON_FILES, ids=_relative)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    too_long = [
        f"{function.name} at line {function.lineno}"
        for function in _functions(ast.parse(path.read_text()))
        if (function.end_lineno or function.lineno) - function.lineno >= MAX_FUNCTION_LINES
    ]

    assert too_long == []


@pytest.mark.parametrize("path", PRODUCT_FILES, ids=_relative)
def test_every_module_opens_with_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def _public(body: list[ast.stmt], prefix: str = "") -> list[tuple[str, ast.AST]]:
    found: list[tuple[str, ast.AST]] = []
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found.append((prefix + node.name, node))
            found += _public(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            found.append((prefix + node.name, node))
    return found


@pytest.mark.parametrize("path", PRODUCT_FILES, ids=_relative)
def test_everything_public_has_a_docstring(path: Path) -> None:
    undocumented = [
        name
        for name, node in _public(ast.parse(path.read_text()).body)
        if not ast.get_docstring(node)  # type: ignore[arg-type]  # _public yields classes and functions only
    ]

    assert undocumented == []


def test_no_room_is_called_after_nothing() -> None:
    empty_names = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "managers"}

    assert [
        _relative(p)
        for p in PYTHON_FILES
        if empty_names & {part.removesuffix(".py") for part in p.relative_to(ROOT).parts}
    ] == []


def test_lock_files_carry_hashes_and_no_download_addresses() -> None:
    locks = [path for path in _tracked(".lock", "package-lock.json", "go.sum") if "node_modules" not in path.parts]

    assert locks
    for lock in locks:
        text = lock.read_text()
        assert not re.search(r"https?://", text), lock
        if lock.name == "requirements.lock":
            assert text.count("--hash=sha256:") > text.count("=="), lock


def test_unfinished_work_is_not_committed() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")

    assert [_relative(path) for path in PRODUCT_FILES if marks.search(path.read_text())] == []


def test_no_test_is_skipped() -> None:
    skipping = re.compile(r"pytest\.skip\(|skipif|xfail|importorskip")
    tests = [
        p for p in PYTHON_FILES if p.relative_to(ROOT).parts[0] in ("tests", "e2e") and p != Path(__file__).resolve()
    ]

    assert [_relative(path) for path in tests if skipping.search(path.read_text())] == []


def test_our_own_code_is_never_mocked() -> None:
    # seeded faults: each shows that a campaign, or the fuzzer, would see it
    broken_on_purpose = {ROOT / "tests" / "chaos" / "mutants.py", ROOT / "tests" / "fuzz" / "faults.py"}
    rooms = ("tests", "e2e", "bench")
    tests = [p for p in PYTHON_FILES if p.relative_to(ROOT).parts[0] in rooms and p not in broken_on_purpose]

    assert [found for path in tests for found in mocked(_relative(path), path.read_text())] == []


@pytest.mark.parametrize(
    "text",
    [
        "from unittest.mock import MagicMock",
        "import unittest.mock as m",
        "from unittest import mock",
        "def test(monkeypatch): monkeypatch.setattr('lane_relay.handover.giver.DOWN_S', 0)",
        "import lane_relay.handover.giver\ndef test(patch): patch.setattr(lane_relay.handover.giver, 'DOWN_S', 0)",
        "import lane_relay.handover.giver as g\ndef test(patch): patch.setattr(g, 'DOWN_S', 0)",
        "from lane_relay.handover import giver as g\ndef test(patch): patch.setattr(g, name='DOWN_S', value=0)",
        "from lane_relay.handover import giver\ndef test(patch): patch.setattr(target=giver, name='DOWN_S', value=0)",
        "from lane_relay.handover.giver import Giver\ndef test(patch): patch.setattr(Giver, 'give', None)",
        "from lane_operator import kube\nit = kube\ndef test(patch): patch.setattr(it.client, 'x', None)",
        "from lane_api import classes\nsetattr(classes, 'x', 1)",
        "from lane_api import classes\nclasses.X = 1",
        "from lane_api import classes\nclasses.X += 1",
        "from importlib import import_module\nx = import_module('lane_relay.clock')\nx.SYSTEM_CLOCK = None",
        "def test(monkeypatch): monkeypatch.setitem('lane_relay.records.__dict__', 'x', 1)",
        "from lane_relay import clock\ndef test(patch): patch.setitem(clock.__dict__, 'x', 1)",
        "from lane_relay import clock\ndef test(patch): patch.delattr(clock, 'x')",
    ],
)
def test_a_mock_of_our_own_code_is_found_under_any_name(text: str) -> None:
    assert mocked("x.py", text)


@pytest.mark.parametrize(
    "text",
    [
        "import os\ndef test(monkeypatch): monkeypatch.setattr(os, 'fsync', None)",
        "from pathlib import Path\ndef test(monkeypatch): monkeypatch.setattr(Path, 'glob', None)",
        "from lane_relay.handover.giver import Giver\ngiver = Giver()\ngiver.parcels = 1",
        "def test(wire): setattr(wire, 'to', None)",
    ],
)
def test_what_is_not_ours_or_an_object_of_a_test_is_no_mock(text: str) -> None:
    assert not mocked("x.py", text)


def test_what_a_relay_notes_is_not_looked_at_as_soon_as_the_isp_has_its_mail() -> None:
    assert [found for path in PYTHON_FILES for found in early(_relative(path), path.read_text())] == []


@pytest.mark.parametrize(
    "text",
    [
        "def test(): sink.wait(4); assert relay.metric('queue_messages') == 3",
        "def test():\n    content = self.sink.wait(1)[0].content\n    types = [one['type'] for one in relay.records()]",
        "def test():\n    with Sink() as x:\n        sink.wait(1)\n    assert relay.metrics()['x'] == 1",
        "def test():\n    eventually(lambda: relay.metric('x'), 'x')\n    sink.wait(1)\n    assert lane.records('OOB')",
    ],
)
def test_a_look_that_comes_too_early_is_found(text: str) -> None:
    assert early("x.py", text)


@pytest.mark.parametrize(
    "text",
    [
        "def test(): sink.wait(4); eventually(lambda: relay.metric('x') == 3, 'x'); assert relay.records() == []",
        "def test(): sink.wait(4); relay.terminate(); assert relay.records() == []",
        "def test(): assert relay.metric('x') == 1; sink.wait(4)",
        "def test():\n    sink.wait(4)\n    def later():\n        return relay.metric('x')\n    eventually(later, 'x')",
    ],
)
def test_a_look_after_whatever_waited_for_the_relay_is_in_time(text: str) -> None:
    assert not early("x.py", text)


def test_no_text_is_taken_for_a_number_that_int_does_not_read() -> None:
    assert [found for path in PRODUCT_FILES for found in other_digits(_relative(path), path.read_text())] == []


@pytest.mark.parametrize(
    "text",
    [
        "def f(word: str):\n    return int(word) if word.isdigit() else 0",
        "def f(word):\n    if word.isdigit(): sizes.append(word)",
        "async def f(line: bytes):\n    word = line.decode()\n    return word.isdigit() and int(word)",
        "def f(a: str, b: str):\n    return a.isascii() and b.isdigit()",
        "def f(words: list[str]):\n    return [int(word) for word in words if word.isdigit()]",
        "def f(text: str):\n    return int(text[:3]) if text[:3].isdigit() else 0",
    ],
)
def test_a_text_that_is_asked_for_digits_beyond_ascii_is_found(text: str) -> None:
    assert other_digits("x.py", text)


@pytest.mark.parametrize(
    "text",
    [
        "def f(word: str):\n    return int(word) if word.isdecimal() else 0",
        "def f(word: str):\n    return int(word) if word.isascii() and word.isdigit() else 0",
        "def f(line: bytes):\n    code, rest = line[:3], line[3:]\n    return int(code) if code.isdigit() else 0",
        "def f(line: bytes):\n    return int(line[1:]) if line[1:].isdigit() else 0",
    ],
)
def test_what_int_reads_is_asked_for_as_one_likes(text: str) -> None:
    assert not other_digits("x.py", text)


def test_no_cancellation_is_forgotten() -> None:
    """wait_for of Python 3.11 forgets one that comes in the turn in which what it waits for does: asyncio.timeout."""
    found = [_relative(path) for path in PRODUCT_FILES if re.search(r"\bwait_for\(", path.read_text())]
    assert not found, found


def test_the_makefile_explains_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z0-9-]*):", text, re.MULTILINE)
    explained = re.findall(r"^([a-z][a-z0-9-]*):.*## \S", text, re.MULTILINE)

    assert set(targets) - set(explained) == set()
    wanted = {"help", "setup", "lint", "test", "e2e", "demo", "cluster", "cluster-down", "images", "crds", "bench"}
    assert wanted <= set(explained)


def test_a_promise_that_the_gate_leaves_out_is_shown_in_a_shorter_form() -> None:
    promises = [path for path in PYTHON_FILES if path.relative_to(ROOT).parts[0] == "e2e"]

    assert any(any(long_marks(path.read_text())) for path in promises)
    assert without_short_form(ROOT, promises) == []


def test_a_long_promise_without_a_short_form_would_be_noticed(tmp_path: Path) -> None:
    promise = tmp_path / "test_long.py"
    promise.write_text("@pytest.mark.long\ndef test_a(): ...\n\n@pytest.mark.long('no.py')\ndef test_b(): ...\n")

    assert without_short_form(tmp_path, [promise]) == [
        "no.py is not there",
        "test_long.py has a long form without a short one",
    ]
    short = tmp_path / "no.py"
    short.write_text("import pytest\n\n@pytest.mark.long('no.py')\ndef test_c(): ...\n")
    promise.write_text("@pytest.mark.long('no.py')\ndef test_b(): ...\n")
    assert without_short_form(tmp_path, [promise]) == ["the gate runs no test of no.py"]
