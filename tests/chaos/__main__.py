"""The chaos campaign: `python -m tests.chaos [--kills N] [--only kills|steps|mutants|faults]`, or `make chaos-relay`.

Figures: build/figures/chaos_relay.json. With `--report FILE` one campaign alone runs, of kills or of the one fault that
`--fault` names, and what it found is written there as JSON; no figures are. That is the short form.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Final

import click

from tests.chaos import ground, mutants
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.figures import is_met, record
from tests.chaos.kills import Killing, KillsReport
from tests.chaos.pairs import PairsReport, all_pairs
from tests.chaos.stepping import Stepping, StepsReport
from tests.chaos.steps import Case, each_once, every
from tests.chaos.suffering import FaultReport, Suffering

_MUTANT_KILLS: Final = 25
_FELT: Final = 2.0
"""The control ISP feels a fault for sure if its p99 is so many times the quiet one."""
_SEEN_BY_KILLS: Final[dict[str, Callable[[KillsReport], object]]] = {
    "answers-before-the-disk": lambda one: one.findings.lost,
    "settles-before-the-reply": lambda one: one.findings.lost,
    "settles-late": lambda one: one.findings.unexplained,
    "settles-a-little-late": lambda one: one.findings.unexplained,
    "forgets-transfers": lambda one: [*one.two_owners, *one.findings.unexplained],
    "goes-on-sending": lambda one: one.findings.two_owners,
    "takes-up-a-part": lambda one: one.findings.stranded,
    "never-asks-again": lambda one: one.findings.stranded,
}
"""What each broken relay must be found out by."""
_SEEN_BY_FAULTS: Final[tuple[tuple[str, str, Callable[[FaultReport], object]], ...]] = (
    ("answers-before-the-disk", "EIO of each sync", lambda one: one.lost),
    ("gives-up-early", "late answers to whole messages", lambda one: one.unexplained),
    ("holds-all-bodies", "large mail for ISPs that stall", lambda one: one.memory_exceeded),
    ("asks-one-by-one", "resolver that is silent, fails or lies", lambda one: one.ratio > _FELT),
    ("makes-no-room", "5,000 idle clients of few addresses", lambda one: one.ratio > _FELT),
)
"""The same: mutant, the fault under which it is seen, and by what."""


_SEEN_BY_STEPS: Final[dict[str, Callable[[StepsReport], object]]] = {
    "lets-go-before-the-answer": lambda one: one.lost,
    "takes-before-the-disk": lambda one: one.early,
    "forgets-transfers": lambda one: one.two_owners or one.early,
    "never-asks-again": lambda one: one.stranded,
}
_STEPS_REPEATED: Final = 4
"""Twice in either order in which the survivor and the victim may learn of each other."""


def _killed(mutant: str, kills: int, seed: int) -> KillsReport:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = Killing(Path(folder), mutant, kills, seed, lambda text: click.echo(f"  {mutant}: {text}")).run()
    click.echo(f"{mutant}: {report.told()}")
    return report


def _stepped(mutant: str, cases: list[Case], pairs: Callable[[], PairsReport] = PairsReport) -> StepsReport:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = Stepping(Path(folder), mutant, cases, lambda text: click.echo(f"  {mutant}: {text}")).run()
    report.paired = pairs()
    click.echo(f"{mutant}: {report.told()}; {report.paired.told()}")
    return report


def _suffered(fault: Fault, mutant: str = mutants.NONE, seconds: float = 20.0) -> FaultReport:
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = Suffering(Path(folder), fault, mutant, seconds=seconds).run()
    click.echo(f"{mutant}: {report.told()}")
    return report


def _faults(faults: Sequence[Fault]) -> list[FaultReport]:
    """Each by itself; one that does not come to its end is missing from what is returned."""
    found: list[FaultReport] = []
    for fault in faults:
        try:
            found.append(_suffered(fault))
        except AssertionError as broken:
            click.echo(f"{fault.name}: BROKE OFF: {broken}")
    return found


def _seeded(seed: int) -> list[str]:
    """The broken relays that were not found out; a campaign that breaks off has found nothing."""
    campaigns: list[tuple[str, Callable[[], object]]] = [
        (name, partial(_seen_by_kills, name, sees, seed)) for name, sees in _SEEN_BY_KILLS.items()
    ]
    campaigns += [(f"{name} at steps", partial(_seen_by_steps, name, sees)) for name, sees in _SEEN_BY_STEPS.items()]
    campaigns += [
        (f"{name} under {under}", partial(_seen_by_fault, name, under, sees)) for name, under, sees in _SEEN_BY_FAULTS
    ]
    missed: list[str] = []
    for name, finds in campaigns:
        try:
            found = finds()
        except AssertionError as broken:
            click.echo(f"{name}: BROKE OFF: {broken}")
            found = False
        if not found:
            missed.append(name)
    return missed


def _seen_by_kills(name: str, sees: Callable[[KillsReport], object], seed: int) -> object:
    return sees(_killed(name, _MUTANT_KILLS, seed))


def _seen_by_steps(name: str, sees: Callable[[StepsReport], object]) -> object:
    return sees(_stepped(name, each_once()))


def _seen_by_fault(name: str, under: str, sees: Callable[[FaultReport], object]) -> object:
    (fault,) = (one for one in FAULTS if one.name == under)
    return sees(_suffered(fault, name, seconds=10.0))


@click.command()
@click.option("--kills", default=1000, show_default=True)
@click.option(
    "--only", type=click.Choice(["kills", "steps", "mutants", "faults"]), help="One part; no figures are written."
)
@click.option("--fault", default="", help="With --only faults or --report: those whose names hold this.")
@click.option("--seconds", default=20.0, show_default=True, help="Of either phase of a fault, with --report.")
@click.option("--mutant", default=mutants.NONE, type=click.Choice(sorted(mutants.MUTANTS)), show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--report", type=click.Path(path_type=Path), help="One campaign alone; what was found, as JSON.")
def main(kills: int, only: str | None, fault: str, seconds: float, mutant: str, seed: int, report: Path | None) -> None:
    """Kills relays, breaks what they stand on, and says what was lost."""
    if report:
        (one,) = [each for each in FAULTS if fault in each.name] if fault else [None]
        found = _killed(mutant, kills, seed) if one is None else _suffered(one, mutant, seconds)
        report.write_text(json.dumps(asdict(found)))
        return
    killed = _killed(mutant, kills, seed) if only in (None, "kills") else KillsReport()
    stepped = _stepped(mutant, every(_STEPS_REPEATED), all_pairs) if only in (None, "steps") else StepsReport()
    missed = _seeded(seed) if only in (None, "mutants") else []
    faults = [one for one in FAULTS if fault in one.name] if only in (None, "faults") else []
    suffered = _faults(faults)
    click.echo(f"broken relays that were not found out: {', '.join(missed) or 'none'}")
    seeded = len(_SEEN_BY_KILLS) + len(_SEEN_BY_STEPS) + len(_SEEN_BY_FAULTS)
    judged = record if only is None else is_met
    if not judged(killed, suffered, missed, seeded, stepped) or len(suffered) < len(faults):
        sys.exit(1)


if __name__ == "__main__":
    ground.enter(sys.argv[1:])
    main()
