"""The tables and the figures of what was measured: medians with minimum and maximum, ratios of one run."""

import statistics

from bench.rounds import Load, Measured, Round, median
from e2e.figures import record

__all__ = ["TARGETS", "record_load", "report", "spread"]

TARGETS = {"relay_vs_postfix_20": 6.0, "relay_vs_postfix_100": 8.0, "relay_vs_postfix_100k": 3.5}
"""Delivered per second against tuned Postfix, by the figure's name."""


def spread(values: list[float], digits: int) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def report(measured: Measured, target: float) -> None:
    """The table and the ratios of one load."""
    load = measured.load
    print(
        f"\n{load.messages} messages of {load.size} octets, {load.sessions} sessions, "
        f"{len(measured.peer)} interleaved rounds"
    )
    print(f"{'':24}{'accepted/s':>22}{'delivered/s':>22}{'CPU ms/message':>24}{'PSS MB':>10}")
    rows = [("Postfix tuned", measured.peer), ("lane-relay", measured.ours), ("lane-relay, RSA-2048", measured.signed)]
    for name, rounds in rows:
        if rounds:
            print(_row(name, rounds))
    print(f"delivered/s, relay / Postfix:             {spread(measured.ratios, 2)} x (at least {target})")
    if measured.signed:
        rsa_ms = statistics.median(measured.rsa_costs)
        less = median(measured.signed, "cpu_ms") - rsa_ms
        print(f"RSA-2048 in this run: {spread(measured.rsa_costs, 3)} ms CPU a signature")
        print(f"CPU with RSA-2048 less the signature: {less:.3f} ms a message (at most 0.45)")
        print(
            f"delivered/s, relay with RSA-2048 / Postfix without: {spread(measured.signed_ratios, 2)} x (at least 2.8)"
        )
        print(f"CPU a message, relay / Postfix:           1/{_cpu(measured):.1f} (at most 1/9)", flush=True)


def _row(name: str, rounds: list[Round]) -> str:
    cells = [spread([r.accepted_per_s for r in rounds], 0), spread([r.delivered_per_s for r in rounds], 0)]
    cells.append(spread([r.cpu_ms for r in rounds], 3))
    return f"{name:24}{cells[0]:>22}{cells[1]:>22}{cells[2]:>24}{median(rounds, 'memory_mb'):>10.0f}"


def _cpu(measured: Measured) -> float:
    return median(measured.peer, "cpu_ms") / median(measured.ours, "cpu_ms")


def record_load(name: str, measured: Measured, command: str) -> None:
    """Writes the figures of one load."""
    ratios = measured.ratios
    record("bench.json", name, round(statistics.median(ratios), 2), "x", TARGETS[name], "higher", command)
    for which, value in (("least", min(ratios)), ("most", max(ratios))):
        record("bench.json", f"{name}_{which}", round(value, 2), "x", None, "higher", command)
    if not measured.signed:
        return
    record("bench.json", "cpu_vs_postfix", round(1 / _cpu(measured), 4), "ratio", round(1 / 9, 4), "lower", command)
    signed = round(statistics.median(measured.signed_ratios), 2)
    record("bench.json", "dkim_vs_postfix_plain", signed, "x", 2.8, "higher", command)
    less_rsa = round(median(measured.signed, "cpu_ms") - statistics.median(measured.rsa_costs), 3)
    record("bench.json", "dkim_cpu_ms_without_rsa", less_rsa, "ms", 0.45, "lower", command)


def case_of(load: Load) -> str:
    """The figure's name of a load."""
    return "relay_vs_postfix_100k" if load.size > 50_000 else f"relay_vs_postfix_{load.sessions}"
