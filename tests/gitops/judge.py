"""The tools' own code over objects: a Go program of kstatus, Argo CD's health and difference engines, and Flux's CEL.

The scripts and expressions that it runs are those that the chart ships. An evaluator's error is an error here too: a
script that does not run is not "wrong".
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import programs
from e2e.cluster.identity import Purpose, layout
from tests.gitops.truth import Verdict

CHART = Path(__file__).parents[2] / "charts" / "lanewright"
GROUP = "lanewright.dev"
KINDS = ("SendingLane", "IPPool", "ISPPolicy")


def program() -> Path:
    """The judge's program, built when there is none."""
    here = layout(os.environ, purpose=Purpose.TESTS)
    programs.ensure(here, ("gitops",))
    return programs.path(here, "gitops")


def argo_scripts() -> dict[str, str]:
    """Argo CD's key for a kind -> the chart's health script."""
    return {f"{GROUP}/{kind}": (CHART / "files" / "argocd" / f"{kind}.lua").read_text() for kind in KINDS}


def flux_checks() -> list[dict[str, str]]:
    """The entries of `healthCheckExprs` in the chart's patch."""
    patch = yaml.safe_load((CHART / "files" / "flux" / "kustomization-patch.yaml").read_text())
    checks: list[dict[str, str]] = patch["spec"]["healthCheckExprs"]
    return checks


def verdicts(
    bodies: Iterable[Mapping[str, Any]],
    scripts: Mapping[str, str] | None = None,
    checks: Iterable[Mapping[str, str]] | None = None,
) -> list[Verdict]:
    """What the tools say of each object; with the chart's scripts and checks unless others are given."""
    asked = {
        "argo": argo_scripts() if scripts is None else dict(scripts),
        "flux": flux_checks() if checks is None else list(checks),
        "objects": list(bodies),
    }
    said = _asked("judge", asked)
    return [Verdict(one["kstatus"], one["argo"], one["flux"], one["argoMessage"]) for one in said]


def differences(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Argo CD's difference of each wanted object and the live one: `modified`, and both as it compared them."""
    return _asked("diff", [{"wanted": wanted, "live": live} for wanted, live in pairs])


def _asked(what: str, question: object) -> list[dict[str, Any]]:
    done = subprocess.run(
        [str(program()), what], input=json.dumps(question), capture_output=True, text=True, check=False, timeout=50
    )
    if done.returncode:
        raise RuntimeError(f"the judge could not {what}: {done.stderr.strip()}")
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


if __name__ == "__main__":  # `make peers`: a build takes longer than a test may
    program()
