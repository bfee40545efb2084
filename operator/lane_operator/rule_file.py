"""`python3 -m lane_operator.rule_file < LANES`: the alerts of lanes as a file of rules that any Prometheus loads.

For clusters without the kind PrometheusRule, and to see what a lane's alerts are. LANES is what `kubectl get lanes -A
-o json` prints, or the manifests that are applied. Nothing is asked of the cluster, and a lane with `monitoring.rules:
false` has none here either. Before it: a person. After it: `monitoring`.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final

import yaml
from pydantic import ValidationError

from lane_api.lane_status import LaneStatus
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.inputs import Lane, Manifest
from lane_operator.kube import SENDING_LANE
from lane_operator.monitoring import prometheus_rule
from lane_operator.references import faults_of
from lane_operator.settings import PREFIX, Settings

__all__ = ["main", "rule_file"]

BAD_INPUT: Final = 2


def rule_file(text: str, runbook: str) -> str:
    """The rules of the lanes in this JSON or YAML, as YAML; raises ValueError that says what cannot be read."""
    groups = [
        group
        for lane in _lanes(text)
        if lane.spec.monitoring.rules
        for group in prometheus_rule(lane, {}, runbook)["spec"]["groups"]
    ]
    if not groups:
        raise ValueError(f"no {SENDING_LANE.kind} with rules is in the input: give it `kubectl get lanes -A -o json`")
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=120, allow_unicode=True)


def _lanes(text: str) -> Iterator[Lane]:
    for body in _objects(_documents(text)):
        if body.get("kind") == SENDING_LANE.kind:
            try:
                yield _lane(body)
            except (KeyError, TypeError, AttributeError) as missing:
                raise ValueError(f"a {SENDING_LANE.kind} lacks {missing}") from missing


def _lane(body: Manifest) -> Lane:
    """One lane; a manifest that was not applied yet has neither a uid nor a generation, and `references` keeps what it
    reads by these."""
    metadata = body["metadata"]
    name = metadata["name"]
    try:
        spec = SendingLaneSpec.model_validate(body["spec"])
    except ValidationError as refused:
        raise ValueError(f"{name}: {faults_of(refused)}") from refused
    return Lane(metadata.get("namespace", "default"), name, "", 0, spec, LaneStatus())


def _documents(text: str) -> Iterable[Any]:
    try:
        return [json.loads(text)] if text.lstrip().startswith("{") else list(yaml.safe_load_all(text))
    except (ValueError, yaml.YAMLError) as broken:
        raise ValueError(f"the input is neither JSON nor YAML: {broken}") from broken


def _objects(documents: Iterable[Any]) -> Iterator[Manifest]:
    """Objects, and what stands in lists of them."""
    for document in documents:
        if isinstance(document, dict):
            items = document.get("items")
            yield from (one for one in items if isinstance(one, dict)) if isinstance(items, list) else (document,)


def main() -> int:
    """Reads standard input, prints the rules; 2 for what cannot be read."""
    argparse.ArgumentParser(prog="python3 -m lane_operator.rule_file", description=__doc__).parse_args()
    default = Settings("", "").runbook_url
    try:
        print(rule_file(sys.stdin.read(), os.environ.get(f"{PREFIX}RUNBOOK_URL") or default), end="")
    except ValueError as wrong:
        print(f"rule_file: {wrong}", file=sys.stderr)
        return BAD_INPUT
    return 0


if __name__ == "__main__":
    sys.exit(main())
