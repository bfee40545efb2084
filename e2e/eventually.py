"""Waiting for a condition with a deadline: the only way in which an end-to-end test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

from e2e.cluster.errors import ClusterError

T = TypeVar("T")
_SELDOMEST_S, _SHARE = 0.5, 0.05


def eventually(look: Callable[[], T], what: str, within: float = 60.0, every: float = 0.2) -> T:
    """Return the first truthy answer of `look`; AssertionError after `within` seconds.

    Asked every `every` seconds at first and seldomer as it takes longer, at most half a second apart: many a look is a
    process, which costs the machine a tenth of a second of what it is waited for. An AssertionError, LookupError or
    ClusterError inside `look` counts as "not yet", so that it may ask for what appears later.
    """
    began, last = time.monotonic(), "nothing was seen"
    while True:
        try:
            answer = look()
            if answer:
                return answer
            last = repr(answer)
        except (AssertionError, LookupError, ClusterError) as error:
            last = repr(error)
        waited = time.monotonic() - began
        if waited >= within:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {last[:500]}")
        time.sleep(max(every, min(_SELDOMEST_S, waited * _SHARE)))
