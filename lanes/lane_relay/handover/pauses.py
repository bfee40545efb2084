"""How long hand-over waits before it does again what comes round; pure.

Before it: nothing. After it: `giver`, `doubts`, `stranded` and `exchange`, which are given one.
"""

from typing import Final

from msgspec import Struct

__all__ = ["USUAL", "Pauses"]


class Pauses(Struct, frozen=True):
    """In seconds."""

    ask_again: float = 2.0
    """Between two questions about a transfer in doubt."""
    forget_again: float = 60.0
    """Between two tries to take a transfer that is over out of the book."""
    look_at_stranded: float = 60.0
    """Between two looks at mail that has no way."""
    stale: float = 24 * 3600.0
    """Between two looks for transfers of which nobody asks any more."""


USUAL: Final = Pauses()
