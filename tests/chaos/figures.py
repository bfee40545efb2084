"""What the whole campaign found, as rows of `build/figures/chaos_relay.json`; each zero with its denominator.

Before: `__main__`. After: `e2e.figures`.
"""

from collections.abc import Sequence
from typing import Final

from e2e import figures
from tests.chaos.faults import FAULTS
from tests.chaos.kills import KillsReport
from tests.chaos.suffering import FaultReport

_FILE: Final = "chaos_relay"
_COMMAND: Final = "make chaos-relay"
_KILLS: Final = 1000
_RATIO: Final = 1.2


def record(killed: KillsReport, suffered: Sequence[FaultReport], missed: Sequence[str], seeded: int) -> bool:
    """Replaces the file; whether all that must not be is not, and all faults came to their end.

    Kills and the control ISP's p99 are figures to read: how many there are is asked for by the caller, and how even
    times are is up to the machine as well.
    """
    figures.clear(_FILE)
    rows = zeroes(killed, suffered, missed, seeded)
    for name, value, unit in rows:
        figures.record(_FILE, name, value, unit, 0, "lower", _COMMAND)
    kills = f"kills of {len(killed.kills)}, each with 8 deliveries in flight or more"
    figures.record(_FILE, "kills", killed.counted, kills, _KILLS, "higher", _COMMAND)
    figures.record(_FILE, "faults", len(suffered), "faults that came to their end", len(FAULTS), "higher", _COMMAND)
    isolated = [one for one in suffered if one.isolates]
    if isolated:
        worst = max(isolated, key=lambda one: one.ratio)
        unit = (
            f"control ISP's p99 of {worst.under_fault} beside '{worst.name}' to that of {worst.quiet} in quiet; "
            f"the worst of {len(isolated)} faults"
        )
        figures.record(_FILE, "control_p99_ratio", worst.ratio, unit, _RATIO, "lower", _COMMAND)
    return len(suffered) == len(FAULTS) and not any(value for _, value, _ in rows)


def zeroes(
    killed: KillsReport, suffered: Sequence[FaultReport], missed: Sequence[str], seeded: int
) -> tuple[tuple[str, int, str], ...]:
    """(name, value, unit) of all that must be zero, kills and faults together."""
    found = killed.findings
    accepted = found.accepted + sum(one.accepted for one in suffered)
    repeated = found.duplicates + sum(one.repeated for one in suffered)
    samples = killed.memory_samples + sum(one.memory_samples for one in suffered)
    refused = sum(one.refused for one in suffered)
    return (
        ("lost", len(found.lost) + sum(len(one.lost) for one in suffered), f"recipients of {accepted} accepted"),
        (
            "stranded",
            len(found.stranded),
            f"recipients in the spools after the drain, of {found.accepted + found.in_doubt} accepted or in doubt",
        ),
        (
            "unexplained_duplicates",
            len(found.unexplained) + sum(len(one.unexplained) for one in suffered),
            f"recipients of {accepted} accepted; {repeated} repeated",
        ),
        (
            "memory_bound_exceeded",
            killed.memory_exceeded + sum(one.memory_exceeded for one in suffered),
            f"samples of {samples}",
        ),
        ("two_owners", len(killed.two_owners), f"recipients of {killed.owned} counted and {killed.handed_over} given"),
        ("reports_lost", len(killed.reports_lost), f"reports of {killed.reports_taken}"),
        ("orders_broken", len(killed.orders_broken), f"orders over {len(killed.kills)} kills"),
        ("refused_for_good", sum(len(one.refused_for_good) for one in suffered), f"messages of {refused} refused"),
        ("mutants_missed", len(missed), f"broken relays of {seeded}"),
    )
