"""How often kstatus, Argo CD and Flux misread our objects, over the whole corpus: `make gitops`.

Prints each disagreement. Records, beside the counts, how many moments were judged, and how many faults that were put in
on purpose were noticed: a count of 0 says something only if it can be another.
"""

import sys
from collections.abc import Callable, Iterable
from copy import deepcopy
from typing import Any

from e2e.figures import record
from tests.gitops.corpus import corpus
from tests.gitops.judge import argo_scripts, flux_checks, verdicts
from tests.gitops.truth import Moment, Truth, Verdict

TOOLS = ("kstatus", "argo", "flux")
COMMAND = "make gitops"
Fault = Callable[[dict[str, Any]], None]


def wrong(moments: Iterable[Moment], said: Iterable[Verdict]) -> dict[str, list[str]]:
    """By tool: what it misread, in words."""
    found: dict[str, list[str]] = {tool: [] for tool in TOOLS}
    for moment, verdict in zip(moments, said, strict=True):
        for tool in verdict.wrong(moment.truth):
            found[tool].append(f"{moment.body['kind']}, {moment.name}: {moment.truth}, said {getattr(verdict, tool)}")
    return found


def _condition(body: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next((one for one in body["status"].get("conditions", ()) if one["type"] == kind), {})
    return found


def _sees_no_generation(body: dict[str, Any]) -> None:
    body["status"]["observedGeneration"] = body["metadata"]["generation"]


def _says_nothing(body: dict[str, Any]) -> None:
    body["status"] = {}


def _never_stalls(body: dict[str, Any]) -> None:
    _condition(body, "Stalled")["status"] = "False"


def _never_reconciles(body: dict[str, Any]) -> None:
    _condition(body, "Reconciling")["status"] = "False"


def _forgets_ready(body: dict[str, Any]) -> None:
    _condition(body, "Ready")["status"] = "Unknown"


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "a status that never lags": (_sees_no_generation, TOOLS),
    "no status before the first pass": (_says_nothing, ("kstatus",)),
    "no Stalled": (_never_stalls, TOOLS),
    "no Reconciling": (_never_reconciles, TOOLS),
    "no Ready": (_forgets_ready, TOOLS),
}
"""What an operator might do wrong, and who must misread objects then."""


def unnoticed(moments: Iterable[Moment]) -> list[str]:
    """The faults that change no count of a tool that they should."""
    moments, missed = list(moments), []
    for name, (fault, tools) in FAULTS.items():
        bodies = [deepcopy(moment.body) for moment in moments]
        for body in bodies:
            fault(body)
        scripts, checks = argo_scripts(), flux_checks()
        if fault is _says_nothing:  # Flux asks nothing of an object without a status field: our definition gives it one
            checks = []
        found = wrong(moments, verdicts(bodies, scripts, checks))
        missed += [f"{name}: {tool}" for tool in tools if not found[tool]]
    without = wrong(moments, verdicts((moment.body for moment in moments), {}))
    return missed + ([] if without["argo"] else ["no script for Argo CD: argo"])


def main() -> int:
    """Judges, prints, records; 1 where a tool misreads anything or a fault goes unnoticed."""
    moments = corpus()
    found = wrong(moments, verdicts(moment.body for moment in moments))
    for tool in TOOLS:
        for text in found[tool]:
            print(f"{tool}: {text}")
        record("gitops", f"{tool}_wrong", len(found[tool]), "moments", 0, "lower", COMMAND)
    missed = unnoticed(moments)
    for text in missed:
        print(f"unnoticed: {text}")
    faults = sum(len(tools) for _, tools in FAULTS.values()) + 1
    record("gitops", "moments_judged", len(moments), "moments", None, "higher", COMMAND)
    record("gitops", "faults_noticed", faults - len(missed), f"of {faults}", faults, "higher", COMMAND)
    counted = ", ".join(f"{sum(moment.truth is truth for moment in moments)} {truth}" for truth in Truth)
    counts = ", ".join(f"{tool} {len(found[tool])}" for tool in TOOLS)
    print(f"of {len(moments)} moments ({counted}), misread: {counts}; {len(missed)} of {faults} faults unnoticed")
    return 1 if missed or any(found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
