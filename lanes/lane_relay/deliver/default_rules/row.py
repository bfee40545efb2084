"""How a row of the default reply table is written: its columns, in their order."""

from typing import Final

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage, Trigger

__all__ = ["HOUR", "THRICE", "rule"]

HOUR: Final = 3600.0
THRICE: Final = Trigger(count=3, per=600.0)
"""Of what one reply alone does not prove: a server may word the refusal of one message as one of its source."""


def rule(
    name: str,
    pattern: str,
    category: Category,
    action: Action,
    scope: Scope,
    *examples: str,
    stage: Stage = Stage.ANY,
    hold: float | None = None,
    again: float | None = None,
    trigger: Trigger | None = None,
) -> ResponseRule:
    """One row; `hold` is how long the act lasts, `again` when the message is tried again, both in seconds."""
    return ResponseRule(
        id=name,
        stage=stage,
        pattern=pattern,
        category=category,
        action=action,
        scope=scope,
        for_=hold,
        retry_after=again,
        trigger=trigger,
        examples=examples,
    )
