"""A million queued messages: what they cost in memory, how long a start takes with them, and when the first one leaves.

They are put by the relay's own spool, through the same log as mail that came in, and lie on disk when the relay starts.
Memory is that of a relay whose delivery is held, less that of one with an empty queue.
"""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

from bench.cpu import memory_bytes
from bench.lanewright import Relay
from bench.surroundings import Bench
from e2e.figures import record
from lane_api.relayconfig import Records, Spool
from lane_relay.account.journal import Journal
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.records import Envelope, Message
from lane_relay.spool.log import SegmentSpool

__all__ = ["fill_in_child", "memory_of", "run", "settled"]

_BODY = b"From: bench@sender.test\r\nTo: rcpt@sink.test\r\nSubject: one of many\r\n\r\n" + b"x" * 900 + b"\r\n"
_DOMAINS = 5000
_AT_A_TIME = 2000
_STEADY = 2**18
_COMMAND = "python -m bench --only queue"


def run(folder: Path, count: int) -> None:
    """Measures and records."""
    bench = Bench(folder)
    with bench.surroundings() as sink:
        base = memory_of(bench.relay(state="Held", room="empty", await_proof=False))
        began = time.monotonic()
        fill_in_child(folder / "full", count, "d{}.sink.test", _DOMAINS)
        print(f"{count:,} messages put in {time.monotonic() - began:.0f} s", flush=True)
        full = memory_of(bench.relay(state="Held", room="full", await_proof=False), queued=count)
        before = sink.arrived
        _forget(folder / "full")
        began = time.monotonic()
        relay = bench.relay(state="Running", room="full", await_proof=False)
        try:
            first = sink.wait(before + 1, 120) - began
        finally:
            relay.kill()
    each = (full - base) / count
    total, empty = full / 2**20, base / 2**20
    print(f"{count:,} queued: {total:.0f} MB (less than 400), {each:.0f} B each over {empty:.0f} MB (<= 300)")
    print(
        f"from the start of the process, nothing of the volume in memory, to the first delivery: {first:.1f} s (<= 10)",
        flush=True,
    )
    record("bench.json", "rss_1m_mb", round(full / 2**20, 1), "MB", 400, "lower", _COMMAND)
    record("bench.json", "bytes_per_queued", round(each), "B", 300, "lower", _COMMAND)
    record("bench.json", "recovery_1m_s", round(first, 2), "s", 10, "lower", _COMMAND)


def _forget(room: Path) -> None:
    """Has the system read the volume from the disk again, as on another node."""
    for file in room.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            os.fsync(descriptor)  # what is not written yet cannot be forgotten
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def memory_of(relay: Relay, queued: int = 0) -> int:
    """Of a relay that has resumed all that it has; ends it."""
    try:
        deadline = time.monotonic() + 120
        while not relay.is_ready() or relay.resumed() < queued:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{relay.resumed()} of {queued} resumed")
            time.sleep(0.2)
        return settled(relay.pid, deadline)
    finally:
        relay.kill()


def settled(pid: int, deadline: float) -> int:
    """Its memory once that has been the same for some seconds."""
    seen = [0]
    while time.monotonic() < deadline:
        seen.append(memory_bytes(pid))
        if max(seen[-3:]) - min(seen[-3:]) < _STEADY:
            return seen[-1]
        time.sleep(1)
    raise TimeoutError(f"memory is not steady: {seen}")


def fill_in_child(room: Path, count: int, domain: str, domains: int) -> None:
    """In a process of its own, whose memory is not ours; `domain` has a place for the number of one of so many."""
    room.mkdir(parents=True)
    subprocess.run([sys.executable, "-m", "bench.long_queue", str(room), str(count), domain, str(domains)], check=True)


async def _fill(room: Path, count: int, domain: str, domains: int) -> None:
    journal = Journal.open(Records(path=str(room / "records"), max_size=2**32), SYSTEM_CLOCK)
    config = Spool(path=str(room / "spool"), max_size=2**35)
    spool = SegmentSpool.open(config, journal, SYSTEM_CLOCK, asyncio.get_running_loop())
    left = asyncio.Semaphore(_AT_A_TIME)
    for number in range(count):
        await left.acquire()
        envelope = Envelope("bench@sender.test", (f"rcpt@{domain.format(number % domains)}",))
        message = Message(spool.new_id(), envelope, _BODY, client="127.0.0.1", from_domain="sender.test")
        spool.put(message, b'{"type":"Reception"}', lambda _location, _error: left.release())
    await spool.flush()
    await spool.close()


if __name__ == "__main__":
    asyncio.run(_fill(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
