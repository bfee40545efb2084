"""Back-off: down on evidence, up in steps."""

from hypothesis import given
from hypothesis import strategies as st

from lane_api.outbound import Backoff
from lane_api.quantities import Rate
from lane_relay.deliver.backoff import InForce, SiteBackoff

POLICY = Backoff.model_validate(
    {"connectionsPerIP": 1, "messageRate": "1/s", "for": "30m", "recover": {"every": "10m", "factor": 2}}
)


def test_without_evidence_the_full_limits_are_in_force() -> None:
    assert SiteBackoff(POLICY, 8, Rate(10, 1.0)).in_force(0.0) == InForce(8, None, None)


def test_a_site_goes_to_the_foot_and_climbs_back_in_steps() -> None:
    site = SiteBackoff(POLICY, 8, Rate(10, 1.0))
    site.trigger(0.0, None, "421 slow down")
    steps = [site.in_force(minute * 60.0) for minute in (0, 29, 30, 40, 50, 60)]
    assert [(step.connections, step.per_second) for step in steps] == [
        (1, 1.0),
        (1, 1.0),
        (2, 2.0),
        (4, 4.0),
        (8, 8.0),
        (8, None),
    ]
    assert steps[0].until == 1800.0
    assert steps[2].until == 2400.0
    assert not site.is_active


def test_another_trigger_while_climbing_leads_back_to_the_foot() -> None:
    site = SiteBackoff(POLICY, 8, Rate(10, 1.0))
    site.trigger(0.0, None, "a")
    assert site.in_force(2450.0).connections == 4
    site.trigger(2450.0, None, "b")
    assert site.in_force(2460.0) == InForce(1, 1.0, 2450.0 + 1800.0)


def test_a_rule_may_ask_for_a_longer_hold_than_the_policy() -> None:
    site = SiteBackoff(POLICY, 8, Rate(10, 1.0))
    site.trigger(0.0, 7200.0, "blocked")
    site.trigger(1.0, 60.0, "slow down")
    assert site.in_force(7000.0).until == 7200.0


def test_without_a_rate_the_foot_is_a_tenth_or_one_a_second() -> None:
    plain = Backoff()
    slow = SiteBackoff(plain, 8, Rate(50, 1.0))
    slow.trigger(0.0, None, "")
    assert slow.in_force(0.0).per_second == 5.0
    unlimited = SiteBackoff(plain, 8, None)
    unlimited.trigger(0.0, None, "")
    assert unlimited.in_force(0.0).per_second == 1.0


@given(
    full=st.integers(1, 500),
    foot=st.integers(1, 600),
    rate=st.none() | st.builds(Rate, st.integers(1, 1000), st.sampled_from([1.0, 60.0])),
    factor=st.floats(1.01, 10),
    waited=st.lists(st.floats(0, 10_000), min_size=1, max_size=30),
)
def test_it_only_ever_climbs_and_never_above_the_full_limits(
    full: int, foot: int, rate: Rate | None, factor: float, waited: list[float]
) -> None:
    policy = Backoff.model_validate({"connectionsPerIP": foot, "recover": {"factor": factor}})
    site = SiteBackoff(policy, full, rate)
    site.trigger(0.0, None, "")
    before = 0
    for at in sorted(waited):
        now = site.in_force(at)
        assert 1 <= now.connections <= full
        assert now.connections >= before
        assert now.until is None or now.until > at
        if rate is not None and now.per_second is not None:
            assert now.per_second <= rate.per_second
        before = now.connections
