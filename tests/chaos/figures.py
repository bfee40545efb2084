"""What the whole campaign found, as rows of `build/figures/chaos_relay.json`; each zero with its denominator.

Before: `__main__`. After: `e2e.figures`.
"""

from collections.abc import Sequence
from typing import Final

from e2e import figures
from tests.chaos.faults import FAULTS
from tests.chaos.kills import KillsReport
from tests.chaos.stepping import StepsReport
from tests.chaos.suffering import FaultReport

_FILE: Final = "chaos_relay"
_COMMAND: Final = "make chaos-relay"
_KILLS: Final = 1000
_RATIO: Final = 1.2


def record(
    killed: KillsReport,
    suffered: Sequence[FaultReport],
    missed: Sequence[str],
    seeded: int,
    stepped: StepsReport,
) -> bool:
    """Replaces the file; whether `is_met`, and all faults came to their end.

    How many kills there are is asked for by the caller.
    """
    figures.clear(_FILE)
    rows = zeroes(killed, suffered, missed, seeded, stepped)
    for name, value, unit in rows:
        figures.record(_FILE, name, value, unit, 0, "lower", _COMMAND)
    kills = f"kills of {len(killed.kills)}, each with 8 deliveries in flight or more"
    figures.record(_FILE, "kills", killed.counted, kills, _KILLS, "higher", _COMMAND)
    for act, count in killed.at.items():
        unit = f"kills of {len(killed.kills)}, by what the relay's log and the ISPs say it did last"
        figures.record(_FILE, f"kills_at_{act}", count, unit, None, "higher", _COMMAND)
    steps = "kills at steps of a hand-over: steps x victims x repetitions"
    figures.record(_FILE, "handover_steps_killed", stepped.killed, steps, stepped.planned, "higher", _COMMAND)
    figures.record(_FILE, "faults", len(suffered), "faults that came to their end", len(FAULTS), "higher", _COMMAND)
    worst = _worst(suffered)
    if worst is not None:
        unit = (
            f"control ISP's p99 of {worst.under_fault} beside '{worst.name}' to that of {worst.quiet} by a twin "
            f"without the fault; the worst of {sum(one.isolates for one in suffered)} faults"
        )
        figures.record(_FILE, "control_p99_ratio", worst.ratio, unit, _RATIO, "lower", _COMMAND)
    return len(suffered) == len(FAULTS) and is_met(killed, suffered, missed, seeded, stepped)


def is_met(
    killed: KillsReport, suffered: Sequence[FaultReport], missed: Sequence[str], seeded: int, stepped: StepsReport
) -> bool:
    """Whether all that must not be is not, all steps were killed, and no ISP feels a fault that is not its own."""
    worst = _worst(suffered)
    if stepped.killed != stepped.planned or (worst is not None and worst.ratio > _RATIO):
        return False
    return not any(value for _, value, _ in zeroes(killed, suffered, missed, seeded, stepped))


def _worst(suffered: Sequence[FaultReport]) -> FaultReport | None:
    """Of the faults that must not be felt the one that was felt most."""
    return max((one for one in suffered if one.isolates), key=lambda one: one.ratio, default=None)


def zeroes(
    killed: KillsReport,
    suffered: Sequence[FaultReport],
    missed: Sequence[str],
    seeded: int,
    stepped: StepsReport,
) -> tuple[tuple[str, int, str], ...]:
    """(name, value, unit) of all that must be zero, kills, steps and faults together."""
    found = killed.findings
    accepted = found.accepted + sum(one.accepted for one in suffered) + stepped.submitted
    repeated = found.duplicates + sum(one.repeated for one in suffered)
    promised = found.accepted + found.in_doubt + stepped.submitted
    samples = killed.memory_samples + sum(one.memory_samples for one in suffered)
    refused = sum(one.refused for one in suffered)
    both = f"{sum(killed.shared.values())} at ISPs of both slots"
    return (
        (
            "lost",
            len(found.lost) + sum(len(one.lost) for one in suffered) + len(stepped.lost),
            f"recipients of {accepted} accepted",
        ),
        (
            "stranded",
            len(found.stranded) + len(stepped.stranded),
            f"recipients in the spools after the drain, of {promised} accepted or in doubt",
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
        (
            "two_owners",
            len(killed.two_owners) + len(stepped.two_owners) + len(stepped.repeated),
            f"recipients of {killed.owned + stepped.owned} counted, {killed.handed_over} given, {both}",
        ),
        (
            "said_too_early",
            len(stepped.early) + len(stepped.offered_again),
            f"things said before the disk had them or said again, over {stepped.killed} kills at steps of a hand-over",
        ),
        ("crash_pairs_broken", len(stepped.paired.broken), f"pairs of crash images of {stepped.paired.pairs}"),
        ("reports_lost", len(killed.reports_lost), f"reports of {killed.reports_taken}"),
        ("orders_broken", len(killed.orders_broken), f"orders over {len(killed.kills)} kills"),
        ("refused_for_good", sum(len(one.refused_for_good) for one in suffered), f"messages of {refused} refused"),
        ("mutants_missed", len(missed), f"broken relays of {seeded}"),
    )
