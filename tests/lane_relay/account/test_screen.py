"""Who is not to be attempted any more."""

from msgspec.structs import replace

from lane_api.classes import TrafficClass
from lane_relay.account.screen import Screen
from lane_relay.account.settle import Outcome
from tests.lane_relay.account.attempts import NOW, config, entry_of, message


class Complaints:
    """A suppression list of one address."""

    def __init__(self) -> None:
        self.asked: list[TrafficClass] = []

    def is_suppressed(self, recipient: str, traffic_class: TrafficClass, from_domain: str = "") -> str:
        self.asked.append(traffic_class)
        return "complaint" if recipient == "user1@example.com" else ""


def _screen(**delivery: object) -> Screen:
    plain = config()
    return Screen(plain.model_copy(update={"delivery": plain.delivery.model_copy(update=delivery)}), Complaints())


def test_everybody_may_be_attempted_where_nothing_speaks_against_it() -> None:
    of = message(1)
    assert Screen(config()).endings(entry_of(of), of, NOW + 3599) == ()


def test_a_message_past_the_lanes_lifetime_is_not_attempted() -> None:
    of = message(2)
    (ending,) = _screen().endings(entry_of(of), of, NOW + 3601)
    assert (ending.recipients, ending.outcome) == ((0, 1), Outcome.EXPIRED)


def test_a_message_past_its_own_time_is_not_attempted_and_the_report_says_whose_time_it_was() -> None:
    of = replace(message(1), expires_at=NOW + 60)
    assert _screen().endings(entry_of(of), of, NOW + 60) == ()
    (ending,) = _screen().endings(entry_of(of), of, NOW + 61)
    assert "X-Lane-Expires-In" in str(ending.reply)


def test_a_suppressed_recipient_is_left_out_and_the_others_go_on() -> None:
    of = message(3)
    screen = _screen()
    (ending,) = screen.endings(entry_of(of), of, NOW)
    assert (ending.recipients, ending.outcome) == ((1,), Outcome.SUPPRESSED)
    assert "complaint" in str(ending.reply)


def test_a_recipient_that_is_settled_already_is_not_asked_for() -> None:
    of = message(3)
    entry = entry_of(of)
    entry.recipients = (0, 2)
    assert _screen().endings(entry, of, NOW) == ()


def test_a_lane_that_discards_sends_nothing_that_was_queued_before() -> None:
    of = message(2)
    (ending,) = _screen(mode="Discard").endings(entry_of(of), of, NOW)
    assert (ending.recipients, ending.outcome) == ((0, 1), Outcome.DROPPED)


def test_a_lane_that_redirects_holds_what_is_for_others() -> None:
    of = message(1)
    assert "Redirect" in _screen(mode="Redirect", redirect_to="qa@lane.example").why_held(entry_of(of), of)
    assert _screen(mode="Redirect", redirect_to="User0@Example.com").why_held(entry_of(of), of) == ""
    assert _screen().why_held(entry_of(of), of) == ""
