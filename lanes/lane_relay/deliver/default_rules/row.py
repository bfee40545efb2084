"""How a row of the default reply table is written: its columns, in their order."""

from typing import Final

from lane_api.isppolicy import Action, Category, ResponseRule, Scope, Stage

__all__ = ["HOUR", "rule"]

HOUR: Final = 3600.0


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
        examples=examples,
    )
