"""One state machine for long: `python -m tests.fuzz.states NAME[:FAULT] STEPS`.

Runs until so many steps are done; prints their number at the end, and exits with an error at the first failure.
"""

import sys
from typing import Final

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.client_states import ClientStates
from tests.fuzz.counting import CountedStates
from tests.fuzz.faults import apply
from tests.fuzz.server_states import ServerStates
from tests.fuzz.spool_states import SpoolStates

__all__ = ["MACHINES", "SETTINGS"]

MACHINES: Final[dict[str, type[CountedStates]]] = {
    "server_states": ServerStates, "client_states": ClientStates, "spool_states": SpoolStates,
}  # fmt: skip
"""By name."""
SETTINGS: Final = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
"""Of the short form."""
_LONG: Final = settings(
    SETTINGS,
    max_examples=500,
    stateful_step_count=60,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    report_multiple_bugs=False,
)


def main() -> None:
    """Runs it, in rounds: each one begins with chance of its own. How a seeded fault is found is made no shorter."""
    of, steps = sys.argv[1], int(sys.argv[2])
    machine = MACHINES[apply(of)]
    chosen = settings(_LONG, phases=[Phase.generate]) if ":" in of else _LONG
    while machine.steps < steps:
        run_state_machine_as_test(machine, settings=chosen)
    print(f"steps: {machine.steps}")


if __name__ == "__main__":
    main()
