"""Kubernetes quantities (`resource.Quantity`): the number behind a spelling, as the API server keeps it; pure.

The API server stores its own spelling of what is sent: 1E3 as 1k, and nothing finer than a billionth. What pods and
claims ask for it also rounds up to thousandths (`SetDefaults_ResourceList`). Invariant: two spellings are the same here
if it stores one and the same for both, however they are written.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

__all__ = ["as_asked", "quantity"]

_SPELLING: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?:(?P<unit>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,4}))?"
)
_LONGEST: Final = 64
_UNITS: Final = {
    **{unit: Fraction(1000) ** power for power, unit in enumerate("num", -3)},
    **{unit: Fraction(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Fraction(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_NANO: Final = 10**9
_MILLI: Final = 1000
_LARGEST: Final = Fraction(2**63 - 1)
"""Of a binary unit; decimal ones have no end."""


@lru_cache(maxsize=4096)
def _spelled(text: str) -> Fraction | None:
    matched = _SPELLING.fullmatch(text) if len(text) <= _LONGEST else None
    if matched is None or not (matched["whole"] or matched["part"]):
        return None
    part = matched["part"] or ""
    number = Fraction(int(matched["whole"] + part), 10 ** len(part)) * _UNITS.get(matched["unit"], 1)
    number = _up(number * Fraction(10) ** int(matched["exponent"] or 0), _NANO)
    if (matched["unit"] or "").endswith("i"):
        number = min(number, _LARGEST)
    return -number if matched["sign"] == "-" else number


def quantity(value: object) -> Fraction | None:
    """The number that it spells, rounded up to billionths; None for what is no quantity."""
    return _spelled(str(value))


def as_asked(value: object) -> Fraction | None:
    """The same of what a pod or a claim asks for: rounded up to thousandths."""
    found = quantity(value)
    return None if found is None else _up(abs(found), _MILLI) * (-1 if found < 0 else 1)


def _up(number: Fraction, parts: int) -> Fraction:
    """Rounded up to this part of one; below 0 the other way, so that what is something stays something."""
    return Fraction(-(-number.numerator * parts // number.denominator), parts)
