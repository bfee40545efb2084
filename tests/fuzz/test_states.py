"""The short form of the state machines; `make fuzz` runs them for long, and counts their steps."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.fuzz.states import MACHINES, SETTINGS


@pytest.mark.parametrize("name", MACHINES)
def test_what_must_hold_holds_whatever_happens_in_which_order(name: str) -> None:
    run_state_machine_as_test(MACHINES[name], settings=SETTINGS)
    assert MACHINES[name].steps > 0
