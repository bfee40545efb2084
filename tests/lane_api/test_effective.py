"""What a class fills in, and that what the lane says always wins."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_api.classes import CLASS_DEFAULTS, TrafficClass
from lane_api.effective import effective
from lane_api.sendinglane import SendingLaneSpec


def spec(**changes: Any) -> SendingLaneSpec:
    lane = {
        "trafficClass": "Transactional",
        "poolRef": {"name": "p"},
        "submission": {"senders": ["@a.example"]},
        "domains": [{"name": "a.example"}],
    }
    return SendingLaneSpec.model_validate(lane | changes)


@pytest.mark.parametrize("traffic_class", list(TrafficClass))
def test_a_bare_lane_has_the_defaults_of_its_class(traffic_class: TrafficClass) -> None:
    values, of_class = effective(spec(trafficClass=traffic_class)), CLASS_DEFAULTS[traffic_class]

    assert (of_class.lifetime_s, of_class.retry_first_s, of_class.retry_max_s) == (
        values.lifetime_s,
        values.retry_first_s,
        values.retry_max_s,
    )
    assert (of_class.slo_latency_s, of_class.guaranteed) == (values.slo_latency_s, values.guaranteed)
    if of_class.p95_alert_s is not None:
        assert of_class.p95_alert_s == values.p95_alert_s


def test_what_the_lane_gives_wins() -> None:
    values = effective(
        spec(queue={"lifetime": "1h", "retry": {"first": "5s", "max": "1m"}}, slo={"latency": "30s", "p95Alert": "7s"})
    )

    assert (values.lifetime_s, values.retry_first_s, values.retry_max_s) == (3600, 5, 60)
    assert (values.slo_latency_s, values.p95_alert_s) == (30, 7)


def test_a_promise_without_alert_is_guarded_at_a_third() -> None:
    assert effective(spec(slo={"latency": "30s"})).p95_alert_s == 10


@settings(deadline=None)
@given(first=st.none() | st.floats(0.1, 1e6), longest=st.none() | st.floats(0.1, 1e6))
def test_the_first_wait_never_exceeds_the_longest(first: float | None, longest: float | None) -> None:
    if first is not None and longest is not None and first > longest:
        return
    values = effective(spec(queue={"retry": {"first": first, "max": longest}}))

    assert values.retry_first_s <= values.retry_max_s


@settings(deadline=None)
@given(size=st.integers(2**30, 2**42), records=st.integers(2**20, 2**29))
def test_spool_and_records_fit_the_volume_together(size: int, records: int) -> None:
    values = effective(spec(queue={"size": size}, audit={"maxSize": records}))

    assert 0 < values.spool_bytes + values.records_bytes < values.queue_bytes


def test_status_shows_the_values_as_users_write_them() -> None:
    shown = effective(spec()).as_status()

    assert shown["queue"]["lifetime"] == "4h"
    assert shown["slo"] == {"latency": "1m", "objective": 99.7, "p95Alert": "20s"}
    figures = {"cpu": "500m", "memory": "512Mi"}
    assert shown["pod"] == {"resources": {"requests": figures, "limits": figures}, "qos": "Guaranteed"}
