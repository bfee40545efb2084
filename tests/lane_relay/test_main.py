"""What each command of `lane-relay` costs before it begins: the modules that it imports, and no others."""

import subprocess
import sys

import pytest

_TELL = """
import sys
sys.argv = ["lane-relay", *sys.argv[1:]]
from lane_relay.__main__ import main
try:
    main()
except SystemExit as ended:
    code = ended.code
print(code, *sys.modules)
"""
_HEAVY = {
    "aiohttp", "cryptography", "dns", "jinja2", "pydantic", "structlog", "uvloop", "yaml", "zstandard",
    "lane_relay.pipeline", "prometheus_client",
}  # fmt: skip


def modules_of(*arguments: str) -> tuple[int, set[str]]:
    """The command's exit status, and what was imported for it."""
    done = subprocess.run(
        [sys.executable, "-c", _TELL, *arguments], capture_output=True, text=True, timeout=60, check=True
    )
    code, *modules = done.stdout.splitlines()[-1].split()
    return int(code), set(modules)


@pytest.mark.parametrize(
    ("arguments", "code", "needed"),
    [
        (("--version",), 0, set()),
        (("audit",), 2, set()),
        (("reflect", "--key-file", "/nowhere"), 2, {"structlog", "uvloop"}),
        (("audit", "verify", "/nowhere"), 2, {"structlog", "cryptography", "pydantic", "zstandard"}),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_a_command_imports_what_it_needs(arguments: tuple[str, ...], code: int, needed: set[str]) -> None:
    status, modules = modules_of(*arguments)
    assert status == code
    assert _HEAVY & modules == needed


def test_the_relay_imports_templates_only_where_mail_comes_in_by_http() -> None:
    code = "import sys\nimport lane_relay.commands.relay\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "jinja2" not in done.stdout.split()
    assert "lane_relay.pipeline" in done.stdout.split()
