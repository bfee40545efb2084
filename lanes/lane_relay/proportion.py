"""What a share is at least, as far as counts can prove it: small numbers lie."""

from math import sqrt
from typing import Final

__all__ = ["at_least"]

_Z: Final = 1.96
"""95 % (Wilson, 1927): of 1,000 mails 3 complaints prove more than 0.1 %, of 10,000 it takes 17."""


def at_least(count: int, of: int) -> float:
    """The lower bound of a share; 0 of none."""
    if of <= 0:
        return 0.0
    share, z2 = min(count, of) / of, _Z * _Z
    spread = _Z * sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, (share + z2 / (2 * of) - spread) / (1 + z2 / of))
