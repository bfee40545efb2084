"""A port that a test was given is nobody else's, also before anything listens on it."""

import subprocess
import sys
from pathlib import Path

from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
_ASK = """
import itertools, sys, tests.ports as ports
ports._turns = itertools.count(int(sys.argv[1]) - ports._FIRST - ports._band * ports._BAND)
print(ports.free_port())
"""


def _next_of_another_process(port: int) -> int:
    """What another test process is given that comes to this port in its turn."""
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, str(port)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(asked.stdout)


def test_a_port_that_nobody_listens_on_yet_is_given_to_no_other_process() -> None:
    port = free_port()

    assert _next_of_another_process(port) != port
    assert _next_of_another_process(port + 1) != port
