"""The exposition: read back by Prometheus' own parser, bounded labels, edges that hold the objective exactly."""

import math
import re
import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from lane_api.classes import CLASS_DEFAULTS
from lane_relay.metrics import CATALOGUE, PREFIX, Figures, Kind, LatencyHistogram, expose

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
OF_ITS_OWN = {"info"}
"""Declared beside the catalogue."""


def figures(**values: object) -> Figures:
    histogram = LatencyHistogram(45.0)
    histogram.observe(45.0, 3)
    histogram.observe(46.0)
    return Figures("1", "otp", "otp-0", "Transactional", histogram, **values)  # type: ignore[arg-type]  # fields by name


def samples(**values: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = expose(figures(**values)).decode()
    return {
        (sample.name.removeprefix(PREFIX), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_declared_metric_is_in_the_exposition_with_its_meaning() -> None:
    found = {family.name: family for family in text_string_to_metric_families(expose(figures()).decode())}
    for declared in CATALOGUE:
        assert found[PREFIX + declared.name].documentation == declared.meaning
        assert found[PREFIX + declared.name].type == declared.kind


def test_every_metric_has_its_line_in_the_docs_and_no_other_has() -> None:
    rows = [line.strip("|").split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `lane_relay_")]
    told = {(name.strip(" `"), kind.strip(), labels.strip(), said.strip()) for name, kind, labels, said in rows}
    declared = {
        (
            PREFIX + one.name + ("_total" if one.kind is Kind.COUNTER else ""),
            str(one.kind),
            ", ".join(one.labels),
            one.meaning,
        )
        for one in CATALOGUE
    }
    assert {row for row in told if row[0].removeprefix(PREFIX) not in OF_ITS_OWN} == declared
    assert len(rows) == len(declared) + len(OF_ITS_OWN)


def test_names_follow_the_rules_of_prometheus() -> None:
    """Of promtool's own linter, and what it cannot see: base units, and no unit that is none."""
    found = subprocess.run(["promtool", "check", "metrics"], input=expose(figures()), capture_output=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    for declared in CATALOGUE:
        assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|mb|percent|total)$", declared.name)
        assert set(declared.labels).isdisjoint({"domain", "site", "recipient", "sender", "campaign", "id", "host"})


def test_a_percentile_near_an_objective_is_told_well() -> None:
    edges = LatencyHistogram(None).edges
    for defaults in CLASS_DEFAULTS.values():
        for seconds in {defaults.slo_latency_s, defaults.p95_alert_s} - {None}:
            assert seconds is not None
            assert any(seconds < edge <= 1.5 * seconds for edge in edges)
            assert any(seconds / 1.5 <= edge < seconds for edge in edges)


def test_the_objective_is_an_edge_of_the_latency_histogram_exactly() -> None:
    found = samples()
    assert found["delivery_latency_seconds_bucket", (("class", "Transactional"), ("le", "45.0"))] == 3
    assert found["delivery_latency_seconds_bucket", (("class", "Transactional"), ("le", "+Inf"))] == 4
    assert found["delivery_latency_seconds_sum", (("class", "Transactional"),)] == 181


def test_every_class_objective_and_alert_is_an_edge_without_being_asked_for() -> None:
    edges = LatencyHistogram(None).edges
    for defaults in CLASS_DEFAULTS.values():
        assert {defaults.slo_latency_s, defaults.p95_alert_s} - {None} <= set(edges)


def test_a_latency_beyond_every_edge_is_counted() -> None:
    histogram = LatencyHistogram(None)
    histogram.observe(1e9)
    assert histogram.buckets()[-1] == ("+Inf", 1.0)
    assert histogram.buckets()[-2][1] == 0.0


def test_counters_and_states_are_shown_by_label() -> None:
    found = samples(
        attempts={("gmail", "delivered"): 5, ("other", "bounced"): 1},
        failures={("other", "bounced", "bad-mailbox"): 1},
        tls_attempts={("dane", "verified"): 3},
        refused={"spool-full": 2},
        egress_state="Proved",
        egress_states=("Proved", "Mismatch"),
        commits=4,
        commit_s=0.5,
    )
    assert found["tls_attempts_total", (("asked", "dane"), ("result", "verified"))] == 3
    assert found["attempts_total", (("policy", "gmail"), ("result", "delivered"))] == 5
    assert found["intake_refused_total", (("reason", "spool-full"),)] == 2
    assert found["failures_total", (("category", "bad-mailbox"), ("policy", "other"), ("result", "bounced"))] == 1
    assert found["egress_proof", (("state", "Proved"),)] == 1
    assert found["egress_proof", (("state", "Mismatch"),)] == 0
    assert found["spool_commit_seconds_count", ()] == 4
    assert not any(math.isnan(value) for value in found.values())
