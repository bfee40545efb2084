"""The exposition: read back by Prometheus' own parser, bounded labels, edges that hold the objective exactly."""

import math
import re
import subprocess
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from lane_api.classes import CLASS_DEFAULTS
from lane_relay.metrics import CATALOGUE, OTHER_POLICY, PREFIX, Figures, Kind, Latencies, LatencyHistogram, expose

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
OF_ITS_OWN = {"info"}
"""Declared beside the catalogue."""


def figures(**values: object) -> Figures:
    latencies = Latencies(45.0, ["gmail"])
    latencies.of("gmail").observe(45.0, 3)
    latencies.of("other").observe(46.0)
    return Figures("1", "otp", "otp-0", "Transactional", latencies, **values)  # type: ignore[arg-type]  # fields by name


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
    for policy, inside, all_of_it, seconds in (("gmail", 3, 3, 135), ("other", 0, 1, 46)):
        assert found["delivery_latency_seconds_bucket", (("le", "45.0"), ("policy", policy))] == inside
        assert found["delivery_latency_seconds_bucket", (("le", "+Inf"), ("policy", policy))] == all_of_it
        assert found["delivery_latency_seconds_sum", (("policy", policy),)] == seconds


def test_latencies_of_each_policy_stand_from_the_start_and_those_of_no_policy_together() -> None:
    """A series that begins with its first delivery hides that one from `increase`."""
    latencies = Latencies(None, ["gmail", "orange"])
    latencies.of("gmail").observe(1.0, 2)
    assert list(latencies.by_policy) == ["gmail", "orange", OTHER_POLICY]
    latencies.of("of a policy that has gone").observe(9.0)
    assert latencies.by_policy[OTHER_POLICY].sum_s == 9.0
    assert sum(latencies.total().counts) == 3

    latencies.adopt(None, ["yahoo"])
    assert list(latencies.by_policy) == ["gmail", "yahoo", OTHER_POLICY], "what was counted is told of on"
    assert sum(latencies.total().counts) == 3
    latencies.adopt(77.0, ["yahoo"])
    assert list(latencies.by_policy) == ["yahoo", OTHER_POLICY]
    assert 77.0 in latencies.of("yahoo").edges
    assert sum(latencies.total().counts) == 0, "with other edges they begin anew"


def test_a_scrape_has_as_many_latency_series_as_policies_allow() -> None:
    latencies = Latencies(45.0, [f"isp-{number}" for number in range(20)])
    latencies.of("somebody.example").observe(1.0)
    text = expose(Figures("1", "otp", "otp-0", "Transactional", latencies)).decode()
    lines = [line for line in text.splitlines() if line.startswith("lane_relay_delivery_latency_seconds")]
    assert len(lines) == 21 * (len(latencies.total().edges) + 3)


def test_the_process_tells_of_itself_by_the_usual_names() -> None:
    found = {sample.name: sample.value for family in text_string_to_metric_families(expose(figures()).decode())
             for sample in family.samples}  # fmt: skip
    for name in ("resident_memory_bytes", "open_fds", "start_time_seconds", "cpu_seconds_total"):
        assert found["process_" + name] > 0


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
