"""Waiting for a condition with a deadline: the only way in which an end-to-end test waits."""

import time
from collections.abc import Callable
from typing import TypeVar

from e2e.cluster.errors import ClusterError

T = TypeVar("T")


def eventually(look: Callable[[], T], what: str, within: float = 60.0, every: float = 0.2) -> T:
    """Return the first truthy answer of `look`, asked every `every` seconds; AssertionError after `within` seconds.

    An AssertionError, LookupError or ClusterError inside `look` counts as "not yet", so that it may ask for what
    appears later.
    """
    deadline, last = time.monotonic() + within, "nothing was seen"
    while True:
        try:
            answer = look()
            if answer:
                return answer
            last = repr(answer)
        except (AssertionError, LookupError, ClusterError) as error:
            last = repr(error)
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {last[:500]}")
        time.sleep(every)
