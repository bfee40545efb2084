"""What goes back to the system."""

import subprocess
import sys

_MEASURE = """
import re
from lane_relay import memory

def resident() -> int:
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

kept = [bytes(2000) for _ in range(50_000)]
last = bytes(2000)  # above all of it: the heap cannot shrink from its end
del kept
before = resident()
memory.give_back()
print(before - resident())
"""


def test_freed_memory_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", _MEASURE], check=True, capture_output=True, text=True)

    assert int(done.stdout) > 50 * 2**20


def test_the_collector_looks_less_often_and_not_at_what_stays() -> None:
    looks = """
import gc
from lane_relay import memory
memory.settle()
print(gc.get_freeze_count() > 0, gc.get_threshold())
"""

    done = subprocess.run([sys.executable, "-c", looks], check=True, capture_output=True, text=True)

    assert done.stdout.split(" ", 1) == ["True", "(50000, 20, 50)\n"]


def test_large_messages_that_are_gone_leave_no_holes_behind() -> None:
    measure = """
import re
from lane_relay import memory

def anonymous() -> int:
    return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024

memory.settle()
before, small = anonymous(), []
for _ in range(3):  # freed once, glibc would take the next ones from its heap, between what stays
    large = []
    for number in range(150):
        large.append(b"x" * 400_000)
        small.append(bytearray(2000 + number))
    del large
print(anonymous() - before)
"""

    done = subprocess.run([sys.executable, "-c", measure], check=True, capture_output=True, text=True)

    assert int(done.stdout) < 10 * 2**20
