"""Times in status, and in what one program says to another: RFC 3339, read where anybody may have written them.

Invariant: a field of these types holds a time that can be compared with any other, and a century added to; or nothing.
"""

import datetime as dt
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Moment", "OptionalMoment", "moment"]

LONGEST = 40
FIRST_YEAR, LAST_YEAR = 1970, 2999
"""Further away no clock is, and the calendar ends: its end may be passed by what is added to a time."""


def moment(said: object) -> dt.datetime | None:
    """The time that a text names; None for what is none, for one without a zone, and for a year that no clock shows."""
    if not isinstance(said, str) or len(said) > LONGEST:
        return None
    try:
        found = dt.datetime.fromisoformat(said)
    except ValueError:
        return None
    return found if found.tzinfo is not None and FIRST_YEAR <= found.year <= LAST_YEAR else None


Moment = Annotated[str, AfterValidator(lambda said: said if moment(said) is not None else "")]
"""A time; empty for what is none."""
OptionalMoment = Annotated[str | None, AfterValidator(lambda said: said if moment(said) is not None else None)]
"""A time; None for what is none."""
