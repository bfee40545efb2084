"""An idle cluster gets no writes from the operator, over several complete comparisons."""

import pytest

from e2e import figures
from e2e.idle import lane_that_rests, watched
from e2e.installation import RESYNC_S, Installation

pytestmark = pytest.mark.cluster

WINDOW_S = 2 * RESYNC_S  # five minutes of it are part of `make bench`


def test_an_idle_operator_writes_nothing_and_was_awake(installation: Installation) -> None:
    lane_that_rests(installation)

    seen = watched(installation, WINDOW_S)

    figures.record("e2e", "operator_idle_writes_short", len(seen.written), "writes", 0.0, "lower", "make e2e")
    figures.record("e2e", "operator_idle_window_short_s", WINDOW_S, "s", None, "higher", "make e2e")
    assert seen.written == []
    assert seen.before > 0
    assert seen.after > 0
