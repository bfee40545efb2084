"""Children, chart and examples, by others' checkers: no schema refuses one; what practice advises against is argued."""

import copy
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from e2e.cluster.identity import Layout
from lane_operator.settings import Settings
from tests.manifests.checkers import Finding, exceptions, place, refused, scored
from tests.manifests.rendered import CHILD_SETS, chart, children, examples

Manifest = dict[str, Any]
CHARTS = {
    "as it comes": ("servedNamespaces={mail}",),
    "for one namespace": ("watchNamespaces={mail}", "rights.nodes=false", "crds.install=false"),
    "with what is off": ("servedNamespaces={mail}", "argocd.patch=true", "webhook.enabled=true"),
}


WATCHED = ("monitoring.coreos.com/v1/PodMonitor", "monitoring.coreos.com/v1/PrometheusRule")


def lanes() -> Iterator[Manifest]:
    for of_class, engine in CHILD_SETS:
        for everything in (False, True):
            yield from children(of_class, engine, everything=everything)


def test_no_schema_refuses_a_child(here: Layout, schemas: Path) -> None:
    assert refused(here, schemas, lanes()) == []


@pytest.mark.parametrize("values", CHARTS.values(), ids=CHARTS.keys())
def test_no_schema_refuses_an_object_of_the_chart(here: Layout, schemas: Path, values: tuple[str, ...]) -> None:
    assert refused(here, schemas, chart(here, *values)) == []


def test_the_operator_is_told_what_each_namespace_may_have_published(here: Layout) -> None:
    found = chart(here, "dns.domains.mail={example.com,b.example}", "dns.domains.shop={*}")
    (deployment,) = (one for one in found if one["kind"] == "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {one["name"]: one["value"] for one in variables if "value" in one}

    settings = Settings.from_environment(given)
    assert settings.publishable("mail") == ("example.com", "b.example")
    assert (settings.publishable("shop"), settings.publishable("other")) == (("*",), ())


@pytest.mark.parametrize(
    "page", ["docs/alerts.md", "https://git.example.com/lanewright/blob/v0.1.0/docs/alerts.md?a=b"]
)
def test_the_operators_alerts_lead_to_the_installations_page(here: Layout, schemas: Path, page: str) -> None:
    found = chart(here, "servedNamespaces={mail}", f"monitoring.runbookURL={page}", serves=WATCHED)
    (rules,) = (one for one in found if one["kind"] == "PrometheusRule")
    (deployment,) = (one for one in found if one["kind"] == "Deployment")
    variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"]

    assert refused(here, schemas, found) == []
    for rule in rules["spec"]["groups"][0]["rules"]:
        assert rule["annotations"]["runbook_url"] == f"{page}#{rule['alert'].lower()}"
    assert {"name": "LANEWRIGHT_RUNBOOK_URL", "value": page} in variables


def test_no_schema_refuses_what_a_newcomer_applies(here: Layout, schemas: Path) -> None:
    assert refused(here, schemas, examples()) == []


@pytest.mark.parametrize("kind", ["StatefulSet", "Certificate", "DNSEndpoint", "PodMonitor", "PrometheusRule"])
def test_a_field_that_no_schema_names_is_noticed(here: Layout, schemas: Path, kind: str) -> None:
    wrong = copy.deepcopy(next(one for one in children("Bulk", "Multus", everything=True) if one["kind"] == kind))
    wrong["spec"]["nonesuch"] = 1
    (finding,) = refused(here, schemas, [wrong])
    assert finding.kind == kind
    assert "nonesuch" in finding.text


def unargued(findings: Iterable[Finding], engine: str = "") -> list[Finding]:
    argued = exceptions()
    return [one for one in findings if not any(exception.covers(one, engine) for exception in argued)]


@cache
def of_children(of_class: str, engine: str, *, everything: bool) -> tuple[Finding, ...]:
    return tuple(scored(place(), children(of_class, engine, everything=everything)))


@pytest.mark.parametrize(("of_class", "engine"), CHILD_SETS)
def test_what_practice_advises_against_in_children_is_argued(of_class: str, engine: str) -> None:
    for everything in (False, True):
        assert unargued(of_children(of_class, engine, everything=everything), engine) == []


def test_what_practice_advises_against_in_the_chart_is_argued(here: Layout) -> None:
    assert unargued(scored(here, chart(here, "servedNamespaces={mail}"))) == []


def test_every_exception_is_needed(here: Layout) -> None:
    found = [
        *((finding, "") for finding in scored(here, chart(here, "servedNamespaces={mail}"))),
        *((one, engine) for of, engine in CHILD_SETS for one in of_children(of, engine, everything=False)),
    ]
    unused = [one for one in exceptions() if not any(one.covers(finding, engine) for finding, engine in found)]
    assert unused == []


def test_a_pod_that_may_write_its_root_file_system_is_noticed(here: Layout) -> None:
    wrong = copy.deepcopy(children("Transactional", "Multus"))
    for one in wrong:
        if one["kind"] == "StatefulSet":
            one["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False
    checks = {one.check for one in unargued(scored(here, wrong))}
    assert checks == {"container-security-context-readonlyrootfilesystem"}
