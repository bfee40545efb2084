"""docs/scaling.md: its objects are taken by the kinds' own definitions, and ask for what the relay says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.identity import Layout
from lane_relay.metrics.catalogue import CATALOGUE
from tests.manifests.checkers import refused
from tests.manifests.definitions import OURS

PAGE = (Path(__file__).parents[2] / "docs" / "scaling.md").read_text()
BLOCKS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
SCALERS = {one["kind"]: one for one in BLOCKS if "kind" in one}
METRICS = {f"lane_relay_{one.name}" for one in CATALOGUE}


def test_the_page_has_an_object_for_each_way() -> None:
    assert SCALERS.keys() == {"ScaledObject", "HorizontalPodAutoscaler"}


def test_no_definition_refuses_what_the_page_has_applied(here: Layout, schemas: Path) -> None:
    assert refused(here, schemas, SCALERS.values()) == []


@pytest.mark.parametrize("kind", ["ScaledObject", "HorizontalPodAutoscaler"])
def test_a_misspelt_field_of_a_scaler_is_noticed(here: Layout, schemas: Path, kind: str) -> None:
    wrong = {**SCALERS[kind], "spec": {**SCALERS[kind]["spec"], "maxReplicass": 6}}

    assert [one.kind for one in refused(here, schemas, [wrong])] == [kind]


def test_they_scale_what_has_a_scale() -> None:
    definition: dict[str, Any] = yaml.safe_load((OURS / "sendinglanes.lanewright.dev.yaml").read_text())["spec"]
    scale = definition["versions"][0]["subresources"]["scale"]

    assert scale["specReplicasPath"] == ".spec.replicas"
    assert scale["labelSelectorPath"], "a HorizontalPodAutoscaler asks for it"
    for one in SCALERS.values():
        target = one["spec"]["scaleTargetRef"]
        assert target["kind"] == definition["names"]["kind"]
        assert target["apiVersion"] == f"{definition['group']}/{definition['versions'][0]['name']}"


def test_the_metrics_that_the_page_names_are_the_relays() -> None:
    named = set(re.findall(r"lane_relay_[a-z_]+", PAGE))

    assert "lane_relay_oldest_untried_age_seconds" in named
    assert named <= METRICS


def test_the_adapters_metric_is_the_one_that_is_scaled_by() -> None:
    (rule,) = next(one for one in BLOCKS if "rules" in one)["rules"]["external"]
    (metric,) = SCALERS["HorizontalPodAutoscaler"]["spec"]["metrics"]

    assert rule["name"]["as"] == metric["external"]["metric"]["name"]
    assert rule["seriesQuery"].partition("{")[0] in METRICS


def test_neither_ever_scales_a_lane_to_nothing() -> None:
    assert SCALERS["ScaledObject"]["spec"]["minReplicaCount"] > 0
    assert "idleReplicaCount" not in SCALERS["ScaledObject"]["spec"]
    assert SCALERS["HorizontalPodAutoscaler"]["spec"]["minReplicas"] > 0
