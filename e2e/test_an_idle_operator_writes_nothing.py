"""An idle cluster gets no writes from the operator, over several complete comparisons."""

import time

import pytest

from e2e import figures
from e2e.eventually import eventually
from e2e.installation import OPERATOR_USER, RESYNC_S, Installation, lane, pool

pytestmark = pytest.mark.cluster

WINDOW_S = 3 * RESYNC_S


def test_an_idle_operator_writes_nothing_and_was_awake(installation: Installation) -> None:
    here = installation
    here.apply(pool("pool", here.namespace), lane("idle", here.namespace))
    here.wait_ready("idle")
    _settle(here)

    before = _repair(here)
    start = here.cluster.audit_offset()
    deadline = time.monotonic() + WINDOW_S
    while time.monotonic() < deadline:  # the window is the measurement; each look is a read
        assert here.is_there("sendinglane", "idle")
        time.sleep(1)
    written = here.cluster.writes(offset=start, user=OPERATOR_USER)
    after = _repair(here)

    assert written == []
    assert before > 0
    assert after > 0
    figures.record("bench", "operator_idle_writes", len(written), "writes", 0.0, "lower", "make e2e")
    figures.record("bench", "operator_idle_window_s", WINDOW_S, "s", None, "higher", "make e2e")
    figures.record("bench", "operator_writes_around_the_window", before + after, "writes", None, "higher", "make e2e")


def _repair(here: Installation) -> int:
    """Breaks something, sees it repaired, and returns how many writes of the operator that was."""
    start = here.cluster.audit_offset()
    uid = here.get("service", "idle")["metadata"]["uid"]
    here.cluster.kubectl("delete", "service", "idle", "-n", here.namespace, "--wait=false")
    eventually(lambda: here.get("service", "idle")["metadata"]["uid"] != uid, "the Service is there again", within=10)
    return len(here.cluster.writes(offset=start, user=OPERATOR_USER))


def _settle(here: Installation) -> None:
    """Waits until nothing has been written for a while: figures of the last mail, other tests' lanes that go."""
    seen = [(time.monotonic(), here.cluster.audit_offset())]

    def quiet() -> bool:
        if here.cluster.writes(offset=seen[-1][1], user=OPERATOR_USER):
            seen.append((time.monotonic(), here.cluster.audit_offset()))
        return time.monotonic() - seen[-1][0] > 10

    eventually(quiet, "the operator has nothing to do", within=120, every=1)
