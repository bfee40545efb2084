"""The single values of a slot's answer, each of a kind, a range and a length; pure.

Whoever runs in a lane's pod may say anything, and what is said reaches records that lanes of several tenants share.
Invariants: a text is one line that every encoding has, no longer than what it is for; a count can be stored by the API
server; a time can be compared with any other. Before it: JSON as it came. After it: `slot_answers`.
"""

from collections.abc import Mapping
from typing import Any, Final

from lane_api.moment import moment

__all__ = [
    "MOST_ROWS",
    "count",
    "entries",
    "flag",
    "name",
    "number",
    "part",
    "rows",
    "sentence",
    "time",
    "verbatim",
    "whole",
    "word",
]

MOST_ROWS: Final = 256
"""Of a list: more than a relay keeps of anything, or a lane may ask for."""
LARGEST: Final = 10**15
"""Of a count: far beyond what there is of anything, and summed up over all slots still an int64."""
_SENTENCE, _NAME, _WORD = 1024, 253, 64


def count(said: Any) -> int:
    """A whole number of something; raises ValueError for anything else."""
    if isinstance(said, bool) or not isinstance(said, int) or not 0 <= said <= LARGEST:
        raise ValueError(f"no count: {str(said)[:32]}")
    return said


def whole(said: Any) -> int:
    """A whole number, below 0 too; raises ValueError for anything else."""
    return -count(-said) if isinstance(said, int) and said < 0 else count(said)


def number(said: Any) -> float | None:
    """A number of seconds; None where there is none."""
    is_number = isinstance(said, int | float) and not isinstance(said, bool)
    return float(said) if is_number and 0 <= said <= LARGEST else None


def time(said: Any) -> str | None:
    """A time as it is spelled; None for what is none."""
    return said if moment(said) is not None else None


def flag(said: Any) -> bool | None:
    """Yes or no; None where nothing is said."""
    return said if isinstance(said, bool) else None


def sentence(said: Any) -> str:
    """Words for people; empty for what is no text."""
    return _line(said, _SENTENCE)


def name(said: Any) -> str:
    """What something is called: a domain, a host, a slot, a rule."""
    return _line(said, _NAME).encode("ascii", "replace").decode()


def word(said: Any) -> str:
    """One of a program's own words, or an id."""
    return _line(said, _WORD).encode("ascii", "replace").decode()


def verbatim(said: Any, longest: int) -> str:
    """A text that counts letter by letter; empty for one that is longer, or could not be kept as it is."""
    kept = _line(said, longest)
    return kept if kept == said else ""


def part(said: Any) -> Mapping[str, Any]:
    """A part of the answer, empty where it is left out; raises ValueError for what is none."""
    if said is None:
        return {}
    if not isinstance(said, dict):
        raise ValueError("no part of an answer")  # noqa: TRY004  # a slot's word, no slip of ours
    return said


def rows(said: Any) -> list[Mapping[str, Any]]:
    """The first entries of a list of parts; raises ValueError for what is none."""
    return [part(one) for one in entries(said)]


def entries(said: Any) -> list[Any]:
    """The first entries of a list, none where it is left out; raises ValueError for what is none."""
    if said is None:
        return []
    if not isinstance(said, list | tuple):
        raise ValueError("no list")  # noqa: TRY004  # as above
    return list(said[:MOST_ROWS])


def _line(said: Any, most: int) -> str:
    """Without what a terminal would act on, and without halves of surrogate pairs, which no UTF-8 has."""
    if not isinstance(said, str):
        return ""
    cut = said[:most]
    if cut.isascii() and cut.isprintable():
        return cut
    whole = cut.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else " " for letter in whole)
