"""What becomes of each recipient of an attempt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lane_api.isppolicy import Category
from lane_api.relayconfig import RelayRetry
from lane_relay.account.backoff import asked_delay, is_expired, scheduled_delay
from lane_relay.account.settle import Outcome, Settlement, Terms, Wait, settle
from lane_relay.records import WAY_OUT, Attempt, Notify, RecipientOptions, RecipientResult, received_at
from tests.lane_relay.account.attempts import BOUNCE, GREYLISTED, NOW, OK, RETRY, attempt, message

SCHEDULE = RelayRetry(first=60.0, factor=2.0, max=900.0)


def _settle(made: Attempt, *, lifetime: float = 3600.0, now: float = NOW, jitter: float = 0.5) -> Settlement:
    return settle(made, Terms(SCHEDULE, lifetime), now, jitter)


def _due(made: Settlement) -> float:
    """Of the only group that waits."""
    (wait,) = made.waits
    return wait.due


def _waiting(made: Settlement) -> tuple[int, ...]:
    return tuple(sorted(index for wait in made.waits for index in wait.recipients))


def test_a_positive_reply_delivers() -> None:
    made = _settle(attempt(OK))
    assert (made.delivered, made.waits, made.failed, made.reported) == ((0,), (), (), ())


def test_a_final_reply_bounces_and_asks_for_a_report() -> None:
    made = _settle(attempt(BOUNCE))
    assert (made.failed, made.reported) == ((0,), (0,))
    assert made.outcomes[0].outcome is Outcome.BOUNCED


def test_a_bounce_of_the_null_sender_is_never_reported() -> None:
    made = _settle(attempt(BOUNCE, of=message(sender="")))
    assert (made.failed, made.reported) == ((0,), ())


def test_partial_success_splits_the_recipients() -> None:
    made = _settle(attempt(OK, RETRY, BOUNCE, OK))
    assert (made.delivered, _waiting(made), made.failed) == ((0, 3), (1,), (2,))


@pytest.mark.parametrize(("attempts", "delay"), [(0, 60), (1, 120), (2, 240), (3, 480), (4, 900), (400, 900)])
def test_delays_grow_up_to_their_maximum(attempts: int, delay: float) -> None:
    made = _settle(attempt(RETRY, attempts=attempts))
    assert _due(made) == pytest.approx(NOW + delay)


def test_a_rule_that_says_when_is_honoured_and_never_brought_forward() -> None:
    assert _due(_settle(attempt(GREYLISTED), jitter=0.0)) == NOW + 300
    assert NOW + 300 < _due(_settle(attempt(GREYLISTED), jitter=0.99)) < NOW + 331


def test_a_peer_that_asks_for_more_time_than_is_left_is_tried_once_more() -> None:
    made = attempt(GREYLISTED)  # in 300 s
    end = received_at(made.entry.id) + 250.0
    first = _settle(made, lifetime=250.0)
    assert _waiting(first) == (0,)
    assert NOW < _due(first) < end
    last = _settle(made, lifetime=250.0, now=_due(first))
    assert [one.outcome for one in last.outcomes] == [Outcome.EXPIRED]


@pytest.mark.parametrize("lifetime", [40.0, 250.0])
def test_a_schedule_that_waits_longer_than_is_left_tries_once_more(lifetime: float) -> None:
    made = attempt(RETRY, attempts=3)  # in 480 s
    end = received_at(made.entry.id) + lifetime
    first = _settle(made, lifetime=lifetime)
    assert _waiting(first) == (0,)
    assert NOW < _due(first) < end
    last = _settle(made, lifetime=lifetime, now=_due(first))
    assert [one.outcome for one in last.outcomes] == [Outcome.EXPIRED]


def test_recipients_whose_times_differ_much_wait_each_for_its_own() -> None:
    made = _settle(attempt(RETRY, GREYLISTED, RETRY))
    assert [wait.recipients for wait in made.waits] == [(0, 2), (1,)]
    assert made.waits[0].due == NOW + 60
    assert made.waits[1].due >= NOW + 300


def test_recipients_whose_times_differ_little_wait_together_for_the_latest() -> None:
    later = replace(GREYLISTED, verdict=replace(GREYLISTED.verdict, retry_after=329.0))
    made = _settle(attempt(GREYLISTED, later), jitter=0.0)
    assert made.waits == (Wait((0, 1), NOW + 329),)


def test_a_message_s_own_time_ends_sooner_than_the_lanes_lifetime() -> None:
    mine = replace(message(), expires_at=NOW + 30)
    made = _settle(attempt(RETRY, of=mine))
    assert NOW < _due(made) < NOW + 30
    last = _settle(attempt(RETRY, of=mine), now=_due(made))
    assert [one.outcome for one in last.outcomes] == [Outcome.EXPIRED]


ASKED = {
    "nothing": (Notify.DEFAULT, True, False),
    "never": (Notify.NEVER, False, False),
    "failure": (Notify.FAILURE, True, False),
    "success": (Notify.SUCCESS, False, True),
    "delay": (Notify.DELAY, False, False),
}


@pytest.mark.parametrize("asked", ASKED)
def test_a_sender_is_told_what_it_asked_for(asked: str) -> None:
    notify, failure, success = ASKED[asked]
    of = message(2)
    options = (RecipientOptions(notify), RecipientOptions(notify))
    of = replace(of, envelope=replace(of.envelope, options=options))
    made = _settle(attempt(OK, BOUNCE, of=of))
    assert (made.relayed, made.reported) == ((0,) if success else (), (1,) if failure else ())
    assert _settle(replace(attempt(OK, BOUNCE, of=of), passed_on=True)).relayed == ()


def test_a_late_message_is_reported_once_and_to_those_who_asked() -> None:
    of = message(2, accepted=NOW - 1900)
    options = (RecipientOptions(Notify.DELAY), RecipientOptions())
    made = attempt(RETRY, RETRY, of=replace(of, envelope=replace(of.envelope, options=options)))
    terms = Terms(SCHEDULE, 3600.0, delay_after=1800.0)
    assert settle(made, terms, NOW, 0.5).delayed == (0,)
    assert settle(made, replace(terms, delay_unasked=True), NOW, 0.5).delayed == (0, 1)
    assert settle(made, terms, NOW - 101, 0.5).delayed == ()
    made.entry.notified = True
    assert settle(made, terms, NOW, 0.5).delayed == ()


def test_a_message_expires_when_its_next_attempt_would_come_too_late() -> None:
    old = message(accepted=NOW - 3590)
    made = _settle(attempt(RETRY, of=old))
    assert made.outcomes[0].outcome is Outcome.EXPIRED
    assert (made.failed, made.reported) == ((0,), (0,))


def test_a_message_is_tried_while_the_next_attempt_comes_within_its_lifetime() -> None:
    made = _settle(attempt(RETRY, of=message(accepted=NOW - 3530)))
    assert made.outcomes[0].outcome is Outcome.DEFERRED


@given(st.lists(st.sampled_from([OK, BOUNCE, RETRY, GREYLISTED]), min_size=1, max_size=12), st.floats(0, 0.999))
def test_every_recipient_has_exactly_one_outcome(results: list[RecipientResult], jitter: float) -> None:
    made = _settle(attempt(*results), jitter=jitter)
    assert sorted(made.delivered + _waiting(made) + made.failed) == list(range(len(results)))
    assert len(made.outcomes) == len(results)
    assert all(wait.due > NOW for wait in made.waits)


@given(st.integers(1, 10_000), st.floats(0, 0.9999))
def test_a_scheduled_delay_stays_within_a_tenth_of_its_bounds(attempts: int, jitter: float) -> None:
    assert 54 <= scheduled_delay(SCHEDULE, attempts, jitter) <= 990


def test_expiry_is_counted_from_acceptance() -> None:
    assert not is_expired(100.0, 50.0, 150.0)
    assert is_expired(100.0, 50.0, 150.1)
    assert asked_delay(10.0, 0.0) == 10.0


def test_a_message_is_tried_and_reported_late_at_the_time_its_sender_asked_for() -> None:
    of = replace(message(), notice_at=NOW + 30)
    terms = Terms(SCHEDULE, 3600.0)
    before = settle(attempt(RETRY, of=of), terms, NOW, 0.5)
    assert (_due(before), before.delayed) == (NOW + 30, ())
    assert _due(settle(attempt(GREYLISTED, of=of), terms, NOW, 0.0)) == NOW + 300  # what a peer asked for holds

    at_the_time = settle(attempt(RETRY, of=of), terms, NOW + 30, 0.5)
    assert at_the_time.delayed == (0,)
    told = attempt(RETRY, of=of)
    told.entry.notified = True
    assert settle(told, terms, NOW + 40, 0.5).delayed == ()


def _way_out(*results: RecipientResult, asked: Notify = Notify.DEFAULT, passed_on: bool = False) -> Attempt:
    made = attempt(*results)
    envelope = replace(made.message.envelope, options=(RecipientOptions(notify=asked),) * len(results))
    return replace(made, site=WAY_OUT, passed_on=passed_on, message=replace(made.message, envelope=envelope))


def test_what_the_way_out_takes_is_handed_over_and_counts_as_no_delivery() -> None:
    made = _settle(_way_out(OK))
    assert [one.outcome for one in made.outcomes] == [Outcome.HANDED_OVER]
    assert (made.delivered, made.failed, made.waits, made.relayed) == ((), (), (), ())


def test_the_way_out_bounces_only_what_is_the_recipients_own() -> None:
    denied = replace(BOUNCE, verdict=replace(BOUNCE.verdict, category=Category.OTHER))
    made = _settle(_way_out(BOUNCE, denied, RETRY, OK))
    assert (made.failed, _waiting(made)) == ((0,), (1, 2))


def test_who_asked_for_success_hears_that_the_way_out_has_it_unless_that_tells_itself() -> None:
    assert _settle(_way_out(OK, BOUNCE, asked=Notify.SUCCESS)).relayed == (0,)
    assert _settle(_way_out(OK, asked=Notify.SUCCESS, passed_on=True)).relayed == ()
