"""When a site is not believed about its mailboxes: far above its usual share, and never for a few messages."""

from lane_relay.feedback.holding_back import LEAST, HoldingBack

START = 1_800_000_000.0
MINUTE = 60.0
HOUR = 3600.0


def digest(number: int) -> bytes:
    return number.to_bytes(12, "big")


def sent(of: HoldingBack, good: int, bad: int, now: float, site: str = "gmail", first: int = 0) -> list[bytes]:
    """A minute's mail, the bad ones evenly among the good; the words of before that are taken back."""
    back: list[bytes] = []
    told = 0
    for number in range(1, good + bad + 1):
        if number * bad // (good + bad) == told:
            of.delivered(site, 1, now)
            continue
        back += of.unknown(site, int(now) * 10_000 + first + told, [digest(first + told)], now)
        told += 1
    return back


def test_an_hour_in_which_an_isp_knows_nobody_is_not_believed_and_ends() -> None:
    of = HoldingBack()
    for minute in range(120):
        assert sent(of, 100, 2, START + minute * MINUTE) == []
        assert not of.held(START + minute * MINUTE)
    lies = START + 120 * MINUTE
    for minute in range(60):
        sent(of, 0, 100, lies + minute * MINUTE)
        assert of.held(lies + minute * MINUTE) == ("gmail",)
    calm = lies + HOUR
    for minute in range(40):
        sent(of, 100, 2, calm + minute * MINUTE)
    assert not of.is_held("gmail", calm + 40 * MINUTE)


def test_the_words_of_the_minutes_before_are_taken_back_and_those_of_another_site_are_not() -> None:
    of = HoldingBack()
    sent(of, 1, 3, START - HOUR, first=1000)  # long before
    sent(of, 0, 5, START, "outlook", first=500)
    back = sent(of, 0, 40, START + 1)
    assert back == [digest(number) for number in range(LEAST - 1)]
    assert sent(of, 0, 40, START + 2, first=100) == []  # once
    assert of.held(START + 2) == ("gmail",)


def test_few_messages_prove_nothing_however_many_recipients_they_have() -> None:
    of = HoldingBack()
    for number in range(LEAST - 1):
        assert of.unknown("gmail", number, map(digest, range(100)), START + number) == []
    assert of.held(START + LEAST) == ()


def test_single_messages_over_a_day_are_believed() -> None:
    of = HoldingBack()
    for number in range(200):
        of.unknown("tiny", number, [digest(number)], START + number * 7 * MINUTE)
        assert not of.is_held("tiny", START + number * 7 * MINUTE)


def test_a_campaign_with_a_few_bad_addresses_in_a_hundred_is_believed() -> None:
    of = HoldingBack()
    for minute in range(60):
        sent(of, 1000, 60, START + minute * MINUTE)
    assert of.held(START + HOUR) == ()


def test_what_is_usual_of_a_site_is_learnt_and_known_after_a_restart() -> None:
    of = HoldingBack()
    for minute in range(600):
        sent(of, 92, 8, START + minute * MINUTE)
    at = START + 600 * MINUTE
    again = HoldingBack(of.dump())
    for known in (of, again):
        sent(known, 70, 30, at + HOUR)
        assert known.held(at + HOUR) == ()
        sent(known, 10, 90, at + 2 * HOUR)
        assert known.held(at + 2 * HOUR) == ("gmail",)
    fresh = HoldingBack()
    sent(fresh, 70, 30, at)
    assert fresh.held(at) == ("gmail",)


def test_who_is_not_believed_is_not_after_a_restart_and_an_episode_is_not_usual() -> None:
    of = HoldingBack()
    for minute in range(300):
        sent(of, 0, 50, START + minute * MINUTE)
    again = HoldingBack(of.dump())
    assert again.held(START + 300 * MINUTE) == ("gmail",)
    assert again.held(START + 320 * MINUTE) == ()
    sent(again, 50, 50, START + 400 * MINUTE)
    assert again.held(START + 400 * MINUTE) == ("gmail",)


def test_what_a_site_says_for_more_than_a_day_is_believed() -> None:
    of = HoldingBack()
    for minute in range(27 * 60):
        sent(of, 30, 30, START + minute * MINUTE)
    assert of.held(START + 27 * HOUR) == ()


def test_damaged_counts_begin_anew_and_a_clock_that_steps_back_breaks_nothing() -> None:
    of = HoldingBack("{")
    sent(of, 10, 0, START)
    sent(of, 10, 0, START - HOUR)
    assert sent(of, 0, 40, START - HOUR + 1)


def test_what_is_kept_is_bounded() -> None:
    of = HoldingBack()
    for number in range(10_000):
        of.delivered(f"site{number}", 1, START)
    for number in range(10_000):
        of.delivered(f"site{number % 5000}", 1, START + HOUR)
    assert len(of._sites) <= 4096
    assert len(of.dump()) < 20_000


def test_of_a_storm_of_unknown_mailboxes_no_more_messages_are_told_apart_than_are_needed() -> None:
    of = HoldingBack()
    for number in range(50_000):
        of.unknown("gmail", number, [digest(number)], START + number / 1000)
    assert of.held(START + 50) == ("gmail",)
    assert max(len(minute.messages) for minute in of._sites["gmail"].minutes) == LEAST
