"""`docs/alerts.md` has every alert and no other, and names only metrics, conditions and sections that there are."""

import json
import re
from itertools import chain
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from lane_api.conditions import ConditionType
from lane_operator.monitoring import monitoring_children
from lane_operator.monitoring.runbook import DESCRIPTIONS, RUNBOOK
from lane_relay.api.report import SlotReport
from tests.lane_operator import made
from tests.lane_operator.monitoring.test_alerts_fire import LANE
from tests.lane_operator.monitoring.test_monitoring import DECLARED
from tests.lane_operator.monitoring.test_operator_alerts import RULES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / RUNBOOK).read_text(encoding="utf-8")
GROUPS = {"At once": "critical", "Today": "warning", "This week": "warning"}
PARTS = ["Means", "Mail", "Look", "Do", "Ends"]


def rules_of_lane(runbook: str = RUNBOOK) -> list[dict[str, Any]]:
    manifests, _ = monitoring_children(LANE, made.KINDS, {}, runbook)
    (rules,) = (one["spec"]["groups"][0]["rules"] for one in manifests if one["kind"] == "PrometheusRule")
    return list(rules)


def alerts() -> dict[str, dict[str, Any]]:
    """All of them, of the lane and of the operator, by name."""
    of_operator = (rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"])
    return {rule["alert"]: rule for rule in chain(rules_of_lane(), of_operator) if "alert" in rule}


def sections() -> dict[str, dict[str, str]]:
    """By group and alert, what is said of it."""
    found: dict[str, dict[str, str]] = {}
    for group in GROUPS:
        text = PAGE.split(f"\n## {group}\n", 1)[1].split("\n## ", 1)[0]
        pieces = re.split(r"^### (\w+)\n", text, flags=re.MULTILINE)[1:]
        found[group] = dict(zip(pieces[::2], pieces[1::2], strict=True))
    return found


def code_spans(text: str) -> list[str]:
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", outside)]


def test_each_alert_has_one_section_and_each_section_an_alert() -> None:
    headings = re.findall(r"^### (Lane\w+)$", PAGE, re.MULTILINE)

    assert len(headings) == len(set(headings))
    assert set(headings) == set(alerts())


def test_each_alert_stands_where_its_severity_belongs() -> None:
    known = alerts()
    for group, its in sections().items():
        assert {known[name]["labels"]["severity"] for name in its} == {GROUPS[group]}, group


@pytest.mark.parametrize("alert", sorted(alerts()))
def test_a_section_says_all_that_is_asked_in_the_night(alert: str) -> None:
    (text,) = (its[alert] for its in sections().values() if alert in its)

    assert re.findall(r"^- \*\*(\w+)\*\*: \S", text, re.MULTILINE) == PARTS
    assert code_spans(text.split("- **Look**", 1)[1].split("- **Do**")[0]), "an exact command or query"


def test_the_table_lists_the_sections_in_their_order() -> None:
    table = PAGE.split("| alert | mail is |", 1)[1].split("\n\n", 1)[0]
    listed = re.findall(r"^\| \[(\w+)\]\(#(\w+)\) \| [a-z]", table, re.MULTILINE)

    assert [name for name, _ in listed] == [name for its in sections().values() for name in its]


def test_every_link_leads_to_a_heading() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"\[(\w+)\]\(#([^)]+)\)", PAGE)

    assert links
    assert [(text, to) for text, to in links if to not in anchors or to != text.lower()] == []


def test_every_other_page_that_is_named_has_that_section() -> None:
    named = re.findall(r"(docs/[\w-]+\.md)(?:, ([A-Z][^;:)|.]*?)[).;:?])?", re.sub(r"\s+", " ", PAGE))

    assert any(section for _, section in named)
    for page, section in named:
        text = (ROOT / page).read_text(encoding="utf-8")
        assert not section or re.search(rf"^#+ {re.escape(section)}", text, re.MULTILINE), (page, section)


def test_every_alert_leads_to_its_section() -> None:
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"{RUNBOOK}#{name.lower()}"
    elsewhere = "https://git.example.com/lanewright/docs/alerts.md"
    for rule in rules_of_lane(elsewhere):
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"] == f"{elsewhere}#{rule['alert'].lower()}"


def test_every_alert_of_a_lane_says_what_becomes_of_mail() -> None:
    of_lane = {name for name in alerts() if not name.startswith("Lanewright")}

    assert set(DESCRIPTIONS) == of_lane
    assert [name for name in of_lane if not re.search(r"[Mm]ail\b|503", DESCRIPTIONS[name])] == []
    assert all(alerts()[name]["annotations"]["description"] == DESCRIPTIONS[name] for name in of_lane)


def test_every_metric_on_the_page_is_one() -> None:
    of_operator = set(re.findall(r"^\| `(lanewright_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
    histograms = {f"{name}_bucket" for name in of_operator}
    recorded = {rule["record"] for rule in rules_of_lane() if "record" in rule}
    plain = re.sub(r"lane:lane_relay_[\w:]+", "", PAGE)

    assert set(re.findall(r"lane:lane_relay_[\w:]+", PAGE)) <= recorded
    assert {name for name in re.findall(r"\blane_relay_\w+", plain) if name not in DECLARED} == set()
    assert set(re.findall(r"\blanewright_\w+", plain)) <= of_operator | histograms


def test_every_query_on_the_page_parses() -> None:
    queries = [span for span in code_spans(PAGE) if re.search(r"\blane(_relay|wright)_\w|lane:lane", span)]

    assert len(queries) > 30
    for query in queries:
        promql_parser.parse(query.replace("{...", '{namespace="mail",lane="transactional"'))


def test_every_condition_that_is_asked_for_is_one() -> None:
    asked = set(re.findall(r"`said (\w+)`", PAGE))

    assert asked
    assert asked <= {str(one) for one in ConditionType}


def test_every_line_of_a_log_that_is_looked_for_is_written() -> None:
    looked_for = set(re.findall(r"(?:grep|-e) '([^']+)'", PAGE))
    sources = "".join(one.read_text() for of in ("lanes", "operator") for one in (ROOT / of).rglob("*.py"))

    assert looked_for
    assert {words for words in looked_for if words not in sources} == set()


def test_every_field_of_a_slots_answer_that_is_named_is_one() -> None:
    answer = json.dumps(SlotReport.model_json_schema(by_alias=True))
    fields = {
        span for span in code_spans(PAGE) if re.fullmatch(r"(delivery|handover|records|suppressions)\.[\w.]+", span)
    }

    assert {"delivery.acts", "handover.doubts", "records.archive"} <= fields
    assert {span for span in fields if not all(f'"{part}":' in answer for part in span.split("."))} == set()
