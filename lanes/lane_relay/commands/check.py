"""`lane-relay check --config FILE`: says what is wrong with a configuration, or prints it with every default.

Before it: `__main__`. After it: `config`, and the stages' own judgement of it.
"""

import sys
from pathlib import Path
from typing import Final

from lane_relay.config import dump, read
from lane_relay.errors import ConfigError
from lane_relay.pipeline import check, rule_problems

__all__ = ["run_check"]

BAD_INPUT: Final = 2


def run_check(file: Path) -> int:
    """Prints the effective configuration, or why it would be refused."""
    try:
        config = read(file)
        check(config)
        problems = rule_problems(config)
    except ConfigError as refused:
        problems = [str(refused)]
    if problems:
        print("\n".join(f"{file}: {problem}" for problem in problems), file=sys.stderr)
        return BAD_INPUT
    print(dump(config), end="")
    return 0
