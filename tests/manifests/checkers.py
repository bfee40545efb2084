"""Others' checkers over manifests: kubeconform for what a schema refuses, kube-score for what practice advises against.

What is argued in `exceptions.yaml` is left out of kube-score's findings; nothing is left out of kubeconform's.
"""

import json
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster import programs
from e2e.cluster.identity import Layout, Purpose, layout
from tests.manifests.definitions import LOCATION

__all__ = ["Argued", "Finding", "exceptions", "place", "refused", "scored"]

Manifest = dict[str, Any]
GOOD = 10  # kube-score's grade of a check that passes; what it only advises has 5 or 7
OPTIONAL = ("container-seccomp-profile",)
"""Checks that are not on by default and that we hold to."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing that a checker holds against one object."""

    check: str
    kind: str
    name: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class Argued:
    """A check that an object of this kind need not pass, and why; where it names engines, only with these."""

    check: str
    kind: str
    why: str
    engines: tuple[str, ...] = ()

    def covers(self, finding: Finding, engine: str = "") -> bool:
        """Whether it is about this finding, in a lane of this engine; none: in the chart."""
        return (self.check, self.kind) == (finding.check, finding.kind) and (not self.engines or engine in self.engines)


def place() -> Layout:
    """Where the programs are."""
    return layout(os.environ, purpose=Purpose.TESTS)


def exceptions() -> list[Argued]:
    """What is argued."""
    rows = yaml.safe_load(Path(__file__).with_name("exceptions.yaml").read_text())
    return [Argued(**{**row, "engines": tuple(row.get("engines", ()))}) for row in rows]


def refused(here: Layout, schemas: Path, manifests: Iterable[Manifest]) -> list[Finding]:
    """What kubeconform refuses; a kind without a schema is refused as well."""
    programs.ensure(here, ("manifests",))
    command = [str(programs.path(here, "kubeconform")), "-strict", "-output", "json", "-schema-location"]
    done = subprocess.run(
        [*command, str(schemas / LOCATION), "-"],
        input=_text(manifests), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode > 1 or not done.stdout.strip():
        raise RuntimeError(f"kubeconform failed: {done.stderr}")
    rows = json.loads(done.stdout)["resources"]
    return [Finding("schema", one["kind"], one["name"], one["msg"]) for one in rows]


def scored(here: Layout, manifests: Iterable[Manifest]) -> list[Finding]:
    """What kube-score holds against the objects, as one set: it also asks whether they fit together."""
    programs.ensure(here, ("manifests",))
    command = [str(programs.path(here, "kube-score")), "score", "-o", "json", "--kubernetes-version"]
    options = [part for name in OPTIONAL for part in ("--enable-optional-test", name)]
    done = subprocess.run(
        [*command, "v" + programs.KUBERNETES.rpartition(".")[0], *options, "-"],
        input=_text(manifests), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if not done.stdout.strip():
        raise RuntimeError(f"kube-score failed: {done.stderr}")
    return sorted(
        Finding(check["check"]["id"], one["type_meta"]["kind"], one["object_meta"]["name"], _said(check))
        for one in json.loads(done.stdout)
        for check in one["checks"]
        if not check["skipped"] and check["grade"] < GOOD
    )


def _text(manifests: Iterable[Manifest]) -> str:
    """As documents of JSON, which is YAML, in a hundredth of the time."""
    return "\n---\n".join(json.dumps(one) for one in manifests)


def _said(check: Manifest) -> str:
    return "; ".join(f"{one['path']}: {one['summary']}" for one in check["comments"] or ())


if __name__ == "__main__":  # `make peers`: a build takes longer than a test may
    programs.ensure(place(), ("manifests", "definitions", "cilium", "multus", "helm"))
