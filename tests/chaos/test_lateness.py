"""What a process waited for a processor is counted, and makes the time longer in which a kill explains a copy."""

import os
import subprocess
import sys

from tests.chaos.lateness import Lateness, window_s
from tests.lane_relay.running import eventually

_BUSY = "import time\nuntil = time.monotonic() + 60\nwhile time.monotonic() < until: pass"


def test_processes_that_want_one_processor_wait_for_it_and_one_that_has_ended_does_no_harm() -> None:
    processor = min(os.sched_getaffinity(0))
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(2)]
    try:
        for one in busy:
            os.sched_setaffinity(one.pid, {processor})
        with Lateness(lambda: [one.pid for one in busy]) as lateness:
            eventually(lambda: lateness.until_now()[-1][1] > 0.1, "they waited for a tenth of a second")
            waits = lateness.until_now()
            assert [before for before, _ in waits] == sorted(before for before, _ in waits)
            assert [total for _, total in waits] == sorted(total for _, total in waits)
            busy[0].kill()
            busy[0].wait()
            assert lateness.until_now()
    finally:
        for one in busy:
            one.kill()
            one.wait()


def test_the_time_is_as_long_as_what_it_takes_and_what_was_waited_in_it_and_never_longer_than_the_most() -> None:
    assert window_s(0.04, ((0.0, 0.0), (0.05, 0.0), (1.5, 0.0)), 1.0) == 0.04
    assert window_s(0.04, ((0.0, 0.0), (0.05, 0.02), (0.10, 0.03), (1.5, 0.5)), 1.0) == 0.07
    assert window_s(0.04, ((0.0, 0.0), (0.5, 0.4), (1.5, 3.0)), 1.0) == 0.44
    assert window_s(0.04, ((0.0, 0.0), (0.1, 2.0), (1.5, 3.0)), 1.0) == 1.0
    assert window_s(0.04, (), 1.0) == 0.04
