"""docs/metrics.md explains what `kubectl get lanes` shows and where the dashboard is; docs/remove.md the way out."""

import re
from pathlib import Path

import yaml

from lane_api.names import (
    DRAIN_FINALIZER,
    POOL_FINALIZER,
    QUEUE_FINALIZER,
    RELEASE_ANNOTATION,
    RELEASE_KEEP_VOLUMES,
)
from lane_operator.monitoring.dashboard import dashboard
from tests.lane_operator import made

ROOT = Path(__file__).parents[3]
METRICS = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
REMOVE = (ROOT / "docs/remove.md").read_text(encoding="utf-8")


def test_every_column_of_lanes_has_its_line_and_no_other_has() -> None:
    definition = yaml.safe_load((ROOT / "crds/sendinglanes.lanewright.dev.yaml").read_text(encoding="utf-8"))
    (version,) = definition["spec"]["versions"]
    shown = [one["name"] for one in version["additionalPrinterColumns"]]
    told = re.findall(r"^\| ((?:`[A-Z/]+`(?:, )?)+) \|", METRICS, re.MULTILINE)

    assert re.findall(r"`([A-Z/]+)`", "".join(told)) == shown


def test_the_dashboard_is_where_the_page_says() -> None:
    metadata = dashboard(made.lane("otp"))["metadata"]
    ((label, value),) = metadata["labels"].items()

    assert f"`{metadata['name'].replace('otp', 'LANE')}`" in METRICS
    assert f'`{label}: "{value}"`' in METRICS


def test_the_way_out_of_the_wrong_order_names_what_the_operator_reads() -> None:
    (part,) = re.findall(r"^## In the wrong order\n(.*?)(?=^## |\Z)", REMOVE, re.MULTILINE | re.DOTALL)

    assert f"{RELEASE_ANNOTATION}={RELEASE_KEEP_VOLUMES}" in part
    assert "servedNamespaces" in part
    for finalizer in (DRAIN_FINALIZER, QUEUE_FINALIZER, POOL_FINALIZER):
        assert f"`{finalizer}`" in part
