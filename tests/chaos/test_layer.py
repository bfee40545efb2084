"""What the layer does to a process: its syncs fail or wait, its clock is off, and all of it ends."""

import errno
import subprocess
import sys
import time
from pathlib import Path

from tests.chaos.layer import Layer
from tests.lane_relay.running import eventually

PROBE = """
import os, sys, time
for line in sys.stdin:
    began = time.monotonic()
    try:
        os.fdatasync(file := os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT))
        failed = 0
    except OSError as error:
        failed = error.errno
    print(failed, int((time.monotonic() - began) * 1000), int(time.time()), flush=True)
"""


def test_a_process_on_the_layer_meets_what_is_steered_and_nothing_after_it(tmp_path: Path) -> None:
    layer = Layer(tmp_path)
    command = [sys.executable, "-c", PROBE, str(tmp_path / "file")]
    with subprocess.Popen(
        command, env=layer.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def probe() -> tuple[int, int, float]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            failed, took, now = process.stdout.readline().split()
            return int(failed), int(took), int(now) - time.time()

        layer.steer(error=errno.EIO)
        assert probe()[0] == errno.EIO
        layer.steer(delay_ms=50)
        failed, took, _ = probe()
        assert (failed, took >= 50) == (0, True)
        assert 0.05 <= layer.longest_sync_s() <= (took + 1) / 1e3
        assert layer.longest_sync_s() == 0, "since it was asked last"
        layer.steer(clock_s=-3600)
        assert -3700 < probe()[2] < -3500
        assert layer.met == 2
        layer.steer()
        failed, _, off = probe()
        assert (failed, abs(off) < 60, layer.met) == (0, True, 2)
        layer.steer(error=errno.EIO, only=2)
        assert [probe()[0] for _ in range(4)] == [0, errno.EIO, 0, 0]
        layer.steer(delay_ms=3_600_000, only=1)
        process.stdin.write("\n")
        process.stdin.flush()
        eventually(lambda: layer.met == 4, "a sync that hangs")
        layer.steer()
        assert process.stdout.readline().startswith("0 ")
        process.stdin.close()


def test_a_sync_of_a_file_that_is_not_named_is_not_counted_and_meets_nothing(tmp_path: Path) -> None:
    layer = Layer(tmp_path, ("/kept/", ".seg"))
    (tmp_path / "kept").mkdir()
    probe = """
import os, sys
for name in sys.argv[1:]:
    try:
        os.fsync(os.open(name, os.O_WRONLY | os.O_CREAT))
        print(0)
    except OSError as error:
        print(error.errno)
"""
    names = [str(tmp_path / one) for one in ("records", "kept/first", "records", "1.seg", "kept/last")]
    command = [sys.executable, "-c", probe, *names]

    def said() -> list[int]:
        done = subprocess.run(command, env=layer.environment, capture_output=True, text=True, check=True)
        return [int(one) for one in done.stdout.split()]

    layer.steer(error=errno.EIO, only=2)
    assert said() == [0, 0, 0, errno.EIO, 0]
    layer.steer(error=errno.EIO, only=2, word="/kept/")
    assert said() == [0, 0, 0, 0, errno.EIO], "of one of the words alone"
