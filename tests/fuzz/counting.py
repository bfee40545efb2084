"""State machines that count their steps, for the campaign says how many there were."""

from typing import Any, ClassVar

from hypothesis.stateful import RuleBasedStateMachine, invariant

__all__ = ["CountedStates"]


class CountedStates(RuleBasedStateMachine):
    """`steps` counts the rules that ran, over all runs of this process."""

    steps: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self._began = False

    @invariant()
    def _count(self) -> None:
        """After the beginning, and after each rule."""
        kind: Any = type(self)
        kind.steps += self._began
        self._began = True
