"""The exposition: read back by Prometheus' own parser, bounded labels, edges that hold the objective exactly."""

import math

from prometheus_client.parser import text_string_to_metric_families

from lane_api.classes import CLASS_DEFAULTS
from lane_relay.metrics import CATALOGUE, PREFIX, Figures, LatencyHistogram, expose


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
    assert found["egress_proof", (("state", "Proved"),)] == 1
    assert found["egress_proof", (("state", "Mismatch"),)] == 0
    assert found["spool_commit_seconds_count", ()] == 4
    assert not any(math.isnan(value) for value in found.values())
