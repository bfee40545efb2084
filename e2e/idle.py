"""What the operator writes while nothing changes: counted in the API server's audit log by user, never by the operator.

Invariant: a window in which nothing was written counts only with a repair just before and just after it, written by
the same user: the operator was awake, and the log was read.
Before: `installation`. After: `test_an_idle_operator_writes_nothing`, `bench.operator_idle`.
"""

import time
from dataclasses import dataclass

from e2e.cluster.audit import Request
from e2e.eventually import eventually
from e2e.installation import OPERATOR_USER, Installation, lane, pool

LANE = "idle"
QUIET_S = 10  # the repair's own echoes and other lanes' ends are over


@dataclass(frozen=True)
class Window:
    """What was seen in one window, and around it."""

    seconds: int
    written: list[Request]
    before: int
    after: int


def lane_that_rests(here: Installation) -> None:
    """A Ready lane, and nobody who writes."""
    here.apply(pool("pool", here.namespace), lane(LANE, here.namespace))
    here.wait_ready(LANE)
    settle(here)


def watched(here: Installation, seconds: int, *, settled: bool = True) -> Window:
    """One window between two repairs; it begins when their echoes are over, where there is such a time."""
    before = repair(here)
    if settled:
        settle(here)
    start, deadline = here.cluster.audit_offset(), time.monotonic() + seconds
    while time.monotonic() < deadline:  # the window is the measurement; each look is a read
        assert here.is_there("sendinglane", LANE)
        time.sleep(min(5.0, max(0.0, deadline - time.monotonic())))
    written = here.cluster.writes(offset=start, user=OPERATOR_USER)
    return Window(seconds, written, before, repair(here))


def repair(here: Installation) -> int:
    """Breaks something, sees it repaired, and returns how many writes of the operator that was."""
    start = here.cluster.audit_offset()
    uid = here.get("service", LANE)["metadata"]["uid"]
    here.cluster.kubectl("delete", "service", LANE, "-n", here.namespace, "--wait=false")
    eventually(lambda: here.get("service", LANE)["metadata"]["uid"] != uid, "the Service is there again", within=10)
    return len(here.cluster.writes(offset=start, user=OPERATOR_USER))


def settle(here: Installation) -> None:
    """Waits until nothing has been written for a while: figures of the last mail.

    What other tests deleted is gone by then too: a pool gets its addresses back when the pods have ended, half a minute
    after their lane.
    """
    seen = [(time.monotonic(), here.cluster.audit_offset())]

    def quiet() -> bool:
        if here.cluster.writes(offset=seen[-1][1], user=OPERATOR_USER):
            seen.append((time.monotonic(), here.cluster.audit_offset()))
        left = here.cluster.get("sendinglanes,ippools,pods", "-A")["items"]
        if any("deletionTimestamp" in one["metadata"] for one in left):
            seen.append((time.monotonic(), here.cluster.audit_offset()))
        return time.monotonic() - seen[-1][0] > QUIET_S

    eventually(quiet, "the operator has nothing to do", within=240, every=1)
