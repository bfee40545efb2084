"""The last seconds of a relay that was told to stop: what it has just taken leaves before it.

The next start may be minutes away, as where a new image cannot be pulled, and a one-time code is not to wait for it.
Invariant: bounded; what has waited for longer already holds up no stop. Before it: intake, which is closing. After it:
`pipeline`, which then begins nothing else.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from lane_relay.backlog import Backlog
from lane_relay.clock import Clock

__all__ = ["READY_LAG_S", "Times", "finish_last"]

READY_LAG_S: Final = 1.0
"""A Service forgets an endpoint about a second after it is not ready any more."""
_INTAKE_S: Final = 10.0
_LAST_S: Final = 3.0
_DELIVERY_S: Final = 12.0
_CLOSING_S: Final = 8.0
"""Of `stopGrace`, kept for the lag, the last cuts and the spool."""
_LOOK_EVERY_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class Times:
    """How long each part of an orderly end may take, in seconds."""

    intake: float
    """Sessions with a message under way."""
    last: float
    """Mail that was accepted so shortly before the stop, or after it."""
    delivery: float
    """Deliveries that have begun."""
    answers: float
    """Those whose peer has the whole message."""

    @classmethod
    def of(cls, stop_grace: float) -> "Times":
        """Within `stopGrace` seconds, of which enough is kept for what follows."""
        whole = max(0.0, stop_grace - _CLOSING_S)
        last = min(_LAST_S, whole)
        left = whole - last
        return cls(min(_INTAKE_S, whole), last, min(_DELIVERY_S, left), left)


async def finish_last(
    intake: "asyncio.Future[Any]", backlog: Backlog, began: float, clock: Clock, within: float
) -> None:
    """Returns when intake is closed and nothing accepted since shortly before `began` is left, or after `within` s.

    `began`: Unix time of the order to stop.
    """
    until = clock.monotonic() + within
    while not intake.done() or backlog.since(began - _LAST_S):
        if clock.monotonic() >= until:
            return
        await asyncio.sleep(_LOOK_EVERY_S)
