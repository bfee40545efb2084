"""What becomes of each recipient of an attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.relayconfig import RelayRetry
from lane_relay.account.backoff import asked_delay, is_expired, scheduled_delay
from lane_relay.account.settle import Outcome, Settlement, settle
from lane_relay.records import Attempt, RecipientResult, received_at
from tests.lane_relay.account.attempts import BOUNCE, GREYLISTED, NOW, OK, RETRY, attempt, message

SCHEDULE = RelayRetry(first=60.0, factor=2.0, max=900.0)


def _settle(made: Attempt, *, lifetime: float = 3600.0, now: float = NOW, jitter: float = 0.5) -> Settlement:
    return settle(made, SCHEDULE, lifetime, now, jitter)


def test_a_positive_reply_delivers() -> None:
    made = _settle(attempt(OK))
    assert (made.delivered, made.deferred, made.failed, made.reports) == ((0,), (), (), False)


def test_a_final_reply_bounces_and_asks_for_a_report() -> None:
    made = _settle(attempt(BOUNCE))
    assert (made.failed, made.reports) == ((0,), True)
    assert made.outcomes[0].outcome is Outcome.BOUNCED


def test_a_bounce_of_the_null_sender_is_never_reported() -> None:
    made = _settle(attempt(BOUNCE, of=message(sender="")))
    assert (made.failed, made.reports) == ((0,), False)


def test_partial_success_splits_the_recipients() -> None:
    made = _settle(attempt(OK, RETRY, BOUNCE, OK))
    assert (made.delivered, made.deferred, made.failed) == ((0, 3), (1,), (2,))


@pytest.mark.parametrize(("attempts", "delay"), [(0, 60), (1, 120), (2, 240), (3, 480), (4, 900), (400, 900)])
def test_delays_grow_up_to_their_maximum(attempts: int, delay: float) -> None:
    made = _settle(attempt(RETRY, attempts=attempts))
    assert made.due == pytest.approx(NOW + delay)


def test_a_rule_that_says_when_is_honoured_and_never_brought_forward() -> None:
    assert _settle(attempt(GREYLISTED), jitter=0.0).due == NOW + 300
    assert NOW + 300 < _settle(attempt(GREYLISTED), jitter=0.99).due < NOW + 331


def test_a_peer_that_asks_for_more_time_than_is_left_is_tried_once_more() -> None:
    made = attempt(GREYLISTED)  # in 300 s
    end = received_at(made.entry.id) + 250.0
    first = _settle(made, lifetime=250.0)
    assert first.deferred == (0,)
    assert NOW < first.due < end
    last = _settle(made, lifetime=250.0, now=first.due)
    assert [one.outcome for one in last.outcomes] == [Outcome.EXPIRED]


@pytest.mark.parametrize("lifetime", [40.0, 250.0])
def test_a_schedule_that_waits_longer_than_is_left_tries_once_more(lifetime: float) -> None:
    made = attempt(RETRY, attempts=3)  # in 480 s
    end = received_at(made.entry.id) + lifetime
    first = _settle(made, lifetime=lifetime)
    assert first.deferred == (0,)
    assert NOW < first.due < end
    last = _settle(made, lifetime=lifetime, now=first.due)
    assert [one.outcome for one in last.outcomes] == [Outcome.EXPIRED]


def test_recipients_that_wait_share_the_latest_due_time() -> None:
    made = _settle(attempt(RETRY, GREYLISTED))
    assert made.deferred == (0, 1)
    assert made.due >= NOW + 300


def test_a_message_expires_when_its_next_attempt_would_come_too_late() -> None:
    old = message(accepted=NOW - 3590)
    made = _settle(attempt(RETRY, of=old))
    assert made.outcomes[0].outcome is Outcome.EXPIRED
    assert (made.failed, made.reports) == ((0,), True)


def test_a_message_is_tried_while_the_next_attempt_comes_within_its_lifetime() -> None:
    made = _settle(attempt(RETRY, of=message(accepted=NOW - 3530)))
    assert made.outcomes[0].outcome is Outcome.DEFERRED


@given(st.lists(st.sampled_from([OK, BOUNCE, RETRY, GREYLISTED]), min_size=1, max_size=12), st.floats(0, 0.999))
def test_every_recipient_has_exactly_one_outcome(results: list[RecipientResult], jitter: float) -> None:
    made = _settle(attempt(*results), jitter=jitter)
    assert sorted(made.delivered + made.deferred + made.failed) == list(range(len(results)))
    assert len(made.outcomes) == len(results)
    assert made.due > NOW or not made.deferred


@given(st.integers(1, 10_000), st.floats(0, 0.9999))
def test_a_scheduled_delay_stays_within_a_tenth_of_its_bounds(attempts: int, jitter: float) -> None:
    assert 54 <= scheduled_delay(SCHEDULE, attempts, jitter) <= 990


def test_expiry_is_counted_from_acceptance() -> None:
    assert not is_expired(100.0, 50.0, 150.0)
    assert is_expired(100.0, 50.0, 150.1)
    assert asked_delay(10.0, 0.0) == 10.0
