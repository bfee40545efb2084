"""The chart's files that must agree with others; what it renders is tested where helm is (e2e)."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from lane_api import __version__
from lane_operator.inputs import DesiredSettings
from lane_operator.kube import CHILD_KINDS, CILIUM_GATEWAY, SECRET
from lane_operator.monitoring.runbook import RUNBOOK
from lane_operator.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "lanewright"


def test_the_chart_carries_the_generated_definitions() -> None:
    ours = {path.name: path.read_text() for path in (ROOT / "crds").glob("*.yaml")}
    theirs = {path.name: path.read_text() for path in (CHART / "files" / "crds").glob("*.yaml")}

    assert ours
    assert theirs == ours, "run `make crds`"


def test_every_default_value_is_allowed_by_the_schema_and_an_unknown_one_is_not() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    validator = Draft7Validator(schema)

    assert not list(validator.iter_errors(values))
    assert list(validator.iter_errors({**values, "watchNamespace": "mail"}))
    assert list(validator.iter_errors({**values, "servedNamespaces": ["Mail"]}))


@pytest.mark.parametrize(
    ("delivery", "allowed"),
    [({"force": "Redirect", "to": "all@test.example"}, True), ({"force": "Discard", "to": ""}, True),
     ({"force": "Redirect", "to": ""}, False), ({"force": "", "to": "all@test.example"}, False),
     ({"force": "Live", "to": ""}, False)],
)  # fmt: skip
def test_a_forced_delivery_names_its_address_with_redirect_and_only_then(
    delivery: dict[str, str], allowed: bool
) -> None:
    validator = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

    assert (not list(validator.iter_errors({**values, "delivery": delivery}))) is allowed


@pytest.mark.parametrize(
    ("page", "allowed"),
    [("docs/alerts.md", True), ("https://docs.example.com/a?b=c", True), ("", False),
     ("https://docs.example.com/#a", False), ("https://docs.example.com/a\" b", False)],
)  # fmt: skip
def test_the_page_of_alerts_is_an_address_without_an_anchor(page: str, allowed: bool) -> None:
    validator = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    values["monitoring"]["runbookURL"] = page

    assert (not list(validator.iter_errors(values))) is allowed


def test_who_names_no_page_of_alerts_gets_the_repositorys() -> None:
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())

    assert values["monitoring"]["runbookURL"] == RUNBOOK == Settings("", "").runbook_url
    assert DesiredSettings("", "", "").runbook_url == RUNBOOK


def test_every_variable_of_the_deployment_is_a_setting() -> None:
    template = (CHART / "templates" / "deployment.yaml").read_text()
    variables = set(re.findall(rf"{PREFIX}[A-Z_]+", template))

    known = {PREFIX + field.name.upper() for field in dataclasses.fields(Settings)}
    assert variables
    assert variables <= known


def _rules() -> list[dict[str, Any]]:
    """What the operator may do in every watched namespace, with every switch on."""
    template = (CHART / "templates" / "_names.tpl").read_text()
    block = template.split('define "lanewright.rules"')[1].split('{{- define "lanewright.volumes"')[0]
    lines = [line for line in block.splitlines()[1:] if "{{" not in line]
    found: list[dict[str, Any]] = yaml.safe_load("\n".join(lines))
    return found


def test_every_kind_of_child_may_be_written_and_nothing_else_may() -> None:
    writes = {"list", "watch", "create", "patch"}
    of_children = [rule for rule in _rules() if writes <= set(rule["verbs"])]

    elsewhere = {SECRET, CILIUM_GATEWAY}  # `rights.yaml`
    granted = {(rule["apiGroups"][0], resource) for rule in of_children for resource in rule["resources"]}
    assert granted == {(kind.group, kind.plural) for kind in CHILD_KINDS if kind not in elsewhere}
    stay = [rule["resources"] for rule in of_children if "delete" not in rule["verbs"]]
    assert stay == [["dnsendpoints"]], "a lane that goes leaves its records"
    got = [rule["resources"] for rule in of_children if "get" in rule["verbs"]]
    assert got == [], "what is not watched is found by a list"
    others = [rule for rule in _rules() if not writes <= set(rule["verbs"])]
    assert not [
        rule for rule in others if {"create", "delete"} & set(rule["verbs"]) and rule["resources"] != ["events"]
    ]


@pytest.mark.parametrize(
    ("given", "allowed"),
    [({"closed": ["10.244.0.0/16", "2001:db8::/32"]}, True), ({"closed": ["0.0.0.0/0"]}, False),
     ({"closed": ["10.244.0.1"]}, False), ({"metricsFrom": ["Mon"]}, False), ({"ports": []}, False)],
)  # fmt: skip
def test_networks_to_close_are_networks(given: dict[str, Any], allowed: bool) -> None:
    validator = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    values: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    policies = values["networkPolicies"] | given

    assert (not list(validator.iter_errors({**values, "networkPolicies": policies}))) is allowed


def test_what_carries_our_finalizer_may_be_patched() -> None:
    rules = (CHART / "templates" / "_names.tpl").read_text()

    assert "resources: [sendinglanes, ippools]\n  verbs: [patch]" in rules


def test_there_is_a_health_script_for_each_kind_and_the_patch_takes_them_all() -> None:
    kinds = {yaml.safe_load(path.read_text())["spec"]["names"]["kind"] for path in (ROOT / "crds").glob("*.yaml")}

    assert {path.stem for path in (CHART / "files" / "argocd").iterdir()} == kinds
    assert 'Files.Glob "files/argocd/*.lua"' in (CHART / "templates" / "argocd.yaml").read_text()


def test_the_flux_patch_judges_each_kind_as_it_is_served() -> None:
    patch = yaml.safe_load((CHART / "files" / "flux" / "kustomization-patch.yaml").read_text())
    crds = [yaml.safe_load(path.read_text())["spec"] for path in sorted((ROOT / "crds").glob("*.yaml"))]
    served = {
        (f"{crd['group']}/{version['name']}", crd["names"]["kind"]) for crd in crds for version in crd["versions"]
    }

    assert {(one["apiVersion"], one["kind"]) for one in patch["spec"]["healthCheckExprs"]} == served
    assert all(one.keys() == {"apiVersion", "kind", "inProgress", "failed", "current"}
               for one in patch["spec"]["healthCheckExprs"])  # fmt: skip


def test_chart_and_programs_have_one_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)
