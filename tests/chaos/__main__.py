"""The chaos campaign: `python -m tests.chaos [--kills N] [--only kills|mutants]`, or `make chaos-relay`.

Figures: build/figures/chaos_relay.json. With `--report FILE` one campaign of kills alone runs, for the short form, and
what it found is written there as JSON; no figures are.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from e2e import figures
from tests.chaos import ground, mutants
from tests.chaos.kills import Killing, KillsReport

_COMMAND: Final = "make chaos-relay"
_MUTANT_KILLS: Final = 25
_SEEN: Final[dict[str, Callable[[KillsReport], Sequence[object]]]] = {
    "answers-before-the-disk": lambda one: one.findings.lost,
    "settles-before-the-reply": lambda one: one.findings.lost,
    "settles-late": lambda one: one.findings.unexplained,
    "forgets-transfers": lambda one: one.two_owners,
}
"""What each broken relay must be found out by."""


def _told(report: KillsReport) -> str:
    found = report.findings
    return (
        f"{len(report.kills)} kills, {report.counted} with 8 deliveries in flight; of {found.accepted} accepted "
        f"{len(found.lost)} lost, {found.queued} queued; {found.duplicates} repeated, "
        f"{len(found.unexplained)} of them unexplained; {len(report.two_owners)} with two owners of {report.owned}; "
        f"{report.handed_over} handed over, {len(report.reports_lost)} of {report.reports_taken} reports lost, "
        f"{len(report.orders_broken)} orders broken; memory {report.memory_most / 1e6:.0f} MB at most, "
        f"{report.memory_exceeded} of {report.memory_samples} over; {report.seconds:.0f} s"
    )


def _killed(mutant: str, kills: int, seed: int) -> KillsReport:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = Killing(Path(folder), mutant, kills, seed, lambda text: click.echo(f"  {mutant}: {text}")).run()
    click.echo(f"{mutant}: {_told(report)}")
    return report


def _seeded(seed: int) -> list[str]:
    """What the judge did not see of relays that break a promise; each line says what that is."""
    missed: list[str] = []
    for name, sees in _SEEN.items():
        if not sees(_killed(name, _MUTANT_KILLS, seed)):
            missed.append(name)
    return missed


def _record(killed: KillsReport, missed: Sequence[str]) -> bool:
    """Writes the figures; whether all of them are what they are to be."""
    found = killed.findings
    zeroes: tuple[tuple[str, int, str], ...] = (
        ("lost", len(found.lost), f"recipients of {found.accepted} accepted"),
        ("unexplained_duplicates", len(found.unexplained), f"copies of {found.duplicates} repeated"),
        ("memory_bound_exceeded", killed.memory_exceeded, f"samples of {killed.memory_samples}"),
        ("two_owners", len(killed.two_owners), f"recipients of {killed.owned} counted and {killed.handed_over} given"),
        ("reports_lost", len(killed.reports_lost), f"reports of {killed.reports_taken}"),
        ("orders_broken", len(killed.orders_broken), f"orders over {len(killed.kills)} kills"),
        ("mutants_missed", len(missed), f"broken relays of {len(_SEEN)}"),
    )
    figures.record("chaos_relay", "kills", killed.counted, "kills, 8 deliveries in flight", 1000, "higher", _COMMAND)
    for name, value, unit in zeroes:
        figures.record("chaos_relay", name, value, unit, 0, "lower", _COMMAND)
    return not any(value for _, value, _ in zeroes)


@click.command()
@click.option("--kills", default=1000, show_default=True)
@click.option("--only", type=click.Choice(["kills", "mutants"]), help="One part; no figures are written.")
@click.option("--mutant", default=mutants.NONE, type=click.Choice(sorted(mutants.MUTANTS)), show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--report", type=click.Path(path_type=Path), help="Kills alone; what was found, as JSON.")
def main(kills: int, only: str | None, mutant: str, seed: int, report: Path | None) -> None:
    """Kills relays, sound and broken ones, and says what was lost."""
    if report:
        report.write_text(json.dumps(asdict(_killed(mutant, kills, seed))))
        return
    if only is None:
        figures.clear("chaos_relay")
    missed = _seeded(seed) if only in (None, "mutants") else []
    killed = _killed(mutant, kills, seed) if only in (None, "kills") else KillsReport()
    click.echo(f"broken relays that were not found out: {', '.join(missed) or 'none'}")
    if only is None and not _record(killed, missed):
        sys.exit(1)


if __name__ == "__main__":
    ground.enter(sys.argv[1:])
    main()
