"""`python -m bench`: the relay beside tuned Postfix under three loads, a long queue, a campaign within minutes, a busy
ISP beside a good one, an idle relay; then the operator's idle minutes on a cluster. Each figure is a ratio or a count
of this one run.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from bench import campaign, idle, long_queue, operator_idle, parked, second_isp
from bench.report import TARGETS, case_of, record_load, report
from bench.rounds import Load, run
from bench.surroundings import Bench, sync_ms
from e2e.figures import clear, missed, now
from e2e.internet import packages

_PROGRAMS = {"postfix": "postfix", "smtp-sink": "postfix", "smtp-source": "postfix", "named": "bind9"}
PARTS = ("relay", "queue", "parked", "campaign", "second-isp", "idle", "operator")


def main() -> None:
    """Runs and records."""
    arguments = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    arguments.add_argument("--quick", action="store_true", help="2 rounds of 1,000 messages; records no figures")
    arguments.add_argument("--rounds", type=int, default=5, help="interleaved rounds (default: 5)")
    arguments.add_argument("--messages", type=int, default=5000, help="messages a round (default: 5000)")
    arguments.add_argument(
        "--queued", type=int, default=1_000_000, help="messages of the long queue (default: 1000000)"
    )
    arguments.add_argument("--campaign", type=int, default=500_000, help="messages of the campaign (default: 500000)")
    arguments.add_argument(
        "--parked", type=int, default=60_000, help="domains of which no host answers (default: 60000)"
    )
    arguments.add_argument("--only", choices=PARTS, help="one of the parts; the other figures are kept")
    given = arguments.parse_args()
    parts = (given.only,) if given.only else ("relay",) if given.quick else PARTS
    if not (given.quick or given.only):
        clear("bench")
    began = now()
    installed = packages.install(_PROGRAMS)
    if installed:
        print(f"installed {', '.join(installed)}", flush=True)
    short = bench_relay(given) if "relay" in parts else ""
    with _folder() as folder:
        if "queue" in parts:
            long_queue.run(Path(folder), given.queued)
        if "parked" in parts:
            parked.run(Path(folder), given.parked)
        if "campaign" in parts:
            campaign.run(Path(folder), given.campaign)
        if "second-isp" in parts:
            second_isp.run(Path(folder))
        if "idle" in parts:
            idle.run(Path(folder))
    if "operator" in parts:
        operator_idle.run()
    if not given.quick:
        short = "; ".join(missed("bench", began))
    sys.exit(f"not shown: {short}" if short else None)


def _folder() -> "tempfile.TemporaryDirectory[str]":
    """On a disk, where /tmp may be memory."""
    return tempfile.TemporaryDirectory(prefix="lanewright-bench-", dir="/var/tmp")


def bench_relay(given: argparse.Namespace) -> str:
    """The relay beside Postfix; what keeps it from its targets, or empty."""
    rounds, messages = (2, 1000) if given.quick else (given.rounds, given.messages)
    loads = [
        Load(20, messages, signed=True),
        Load(100, messages),
        Load(20, max(200, messages // 5), size=100 * 1024),
    ]
    less, described = [], set[str]()
    with _folder() as folder:
        Path(folder).chmod(0o755)  # Postfix's daemons run as their own user
        print(f"all queues in {folder}: {sync_ms(Path(folder)):.2f} ms an fdatasync of 4 KiB", flush=True)
        bench = Bench(Path(folder))
        with bench.surroundings() as sink:
            for load in loads:
                name = case_of(load)
                measured = run(bench, sink, rounds, load, described)
                report(measured, TARGETS[name])
                if not given.quick:
                    record_load(name, measured, f"python -m bench --only relay --rounds {rounds} --messages {messages}")
                if statistics.median(measured.ratios) < TARGETS[name]:
                    less.append(f"{name}: {statistics.median(measured.ratios):.2f} x, less than {TARGETS[name]}")
    return "; ".join(less)


if __name__ == "__main__":
    main()
