"""What reply rules stop and slow down: triggers, protection, ends, restarts, bounds."""

import msgspec
import pytest
from msgspec.structs import replace

from lane_api.classes import Protection, TrafficClass
from lane_api.isppolicy import Action, Category, Scope
from lane_relay.deliver.acts import Act, Acts, weigh
from lane_relay.records import Verdict

FREE, CAREFUL = Protection.PAUSABLE, Protection.CONSERVATIVE


def verdict(action: Action, scope: Scope = Scope.IP, **more: object) -> Verdict:
    values = {"category": Category.SPAM_RELATED, "rule": "isp/r", **more}
    return Verdict(action=action, scope=scope, **values)  # type: ignore[arg-type]


def act(site: str = "isp", until: float = 100.0, **more: object) -> Act:
    values = {"action": Action.SUSPEND_SITE, "since": 0.0, "rule": "isp/r", **more}
    return Act(site=site, until=until, **values)  # type: ignore[arg-type]


def test_an_act_waits_for_its_trigger_within_the_time_and_for_one_subject() -> None:
    acts, twice = Acts(), verdict(Action.BACKOFF, trigger=(2, 60.0))
    assert not acts.is_due(twice, "isp", 0.0, FREE)
    assert not acts.is_due(twice, "other", 1.0, FREE)
    assert not acts.is_due(twice, "isp", 61.0, FREE)
    assert acts.is_due(twice, "isp", 100.0, FREE)
    assert not acts.is_due(twice, "isp", 101.0, FREE)


def test_a_pause_in_which_nobody_was_asked_is_no_time_of_a_trigger() -> None:
    acts, thrice = Acts(), verdict(Action.BACKOFF, trigger=(3, 60.0))
    assert not acts.is_due(thrice, "isp", acts.time_of("isp", 1000.0), FREE)
    acts.pass_over("isp", 1000.0, 2000.0)
    acts.pass_over("other", 1000.0, 2059.0)
    assert not acts.is_due(thrice, "isp", acts.time_of("isp", 2001.0), FREE)
    assert acts.is_due(thrice, "isp", acts.time_of("isp", 2059.0), FREE)


def test_what_pauses_have_in_common_is_taken_from_a_trigger_s_time_once() -> None:
    acts = Acts()
    acts.pass_over("isp", 100.0, 199.0)
    acts.pass_over("isp", 100.0, 199.0)
    assert acts.time_of("isp", 200.0) == 101.0
    acts.pass_over("isp", 150.0, 209.0)
    assert acts.time_of("isp", 210.0) == 101.0
    acts.pass_over("isp", 120.0, 130.0)
    assert acts.time_of("isp", 210.0) == 101.0
    acts.pass_over("isp", 300.0, 350.0)
    assert acts.time_of("isp", 400.0) == 241.0


def test_without_a_trigger_the_first_reply_counts_and_a_conservative_lane_waits_for_none() -> None:
    assert Acts().is_due(verdict(Action.BACKOFF), "isp", 0.0, FREE)
    assert Acts().is_due(verdict(Action.BACKOFF, trigger=(9, 60.0)), "isp", 0.0, CAREFUL)


@pytest.mark.parametrize(
    ("protection", "asked", "done", "alert"),
    [
        ("Pausable", Action.QUARANTINE_IP, Action.QUARANTINE_IP, True),
        ("Pausable", Action.SUSPEND_SITE, Action.SUSPEND_SITE, False),
        ("Pausable", Action.BACKOFF, Action.BACKOFF, False),
        ("NeverPause", Action.QUARANTINE_IP, Action.BACKOFF, True),
        ("NeverPause", Action.SUSPEND_SITE, Action.BACKOFF, True),
        ("NeverPause", Action.BACKOFF, Action.BACKOFF, False),
        ("NeverPause", Action.ALERT, Action.ALERT, True),
        ("Conservative", Action.BACKOFF, Action.SUSPEND_SITE, False),
        ("Conservative", Action.QUARANTINE_IP, Action.QUARANTINE_IP, True),
    ],
)
def test_protection_decides_what_may_be_stopped(protection: str, asked: Action, done: Action, alert: bool) -> None:
    weighed = weigh(verdict(asked), Protection(protection), TrafficClass.BULK)
    assert weighed is not None
    assert (weighed.action, weighed.alert) == (done, alert)


def test_a_lane_that_is_never_paused_stops_an_address_when_another_takes_over() -> None:
    weighed = weigh(verdict(Action.QUARANTINE_IP), Protection.NEVER_PAUSE, TrafficClass.TRANSACTIONAL, has_standby=True)
    assert weighed is not None
    assert weighed.action is Action.QUARANTINE_IP


def test_a_notification_lane_is_stopped_for_one_isp_at_most() -> None:
    everywhere = verdict(Action.SUSPEND_SITE, Scope.LANE)
    scopes = [weigh(everywhere, FREE, of) for of in (TrafficClass.NOTIFICATION, TrafficClass.BULK)]
    assert [one.scope for one in scopes if one is not None] == [Scope.IP, Scope.LANE]


def test_a_lane_that_is_only_watched_says_what_its_protection_would_allow() -> None:
    for protection, asked, would in (
        (Protection.NEVER_PAUSE, Action.QUARANTINE_IP, Action.BACKOFF),
        (FREE, Action.QUARANTINE_IP, Action.QUARANTINE_IP),
        (CAREFUL, Action.BACKOFF, Action.SUSPEND_SITE),
    ):
        found = weigh(verdict(asked), protection, TrafficClass.BULK, observe=True)
        assert found is not None
        assert (found.action, found.observed, found.alert) == (would, True, True)
    alert = weigh(verdict(Action.ALERT), FREE, TrafficClass.BULK, observe=True)
    assert alert is not None
    assert not alert.observed
    assert weigh(verdict(Action.RETRY), FREE, TrafficClass.BULK, observe=True) is None


def test_what_is_observed_ends_in_its_time_also_when_the_clock_is_set_back_and_is_bounded() -> None:
    acts = Acts()
    assert acts.observe(act(since=1000.0, until=1060.0))
    assert not acts.observe(act(since=1030.0, until=1090.0))
    assert [one.until for one in acts.observed(1059.0)] == [1060.0]
    assert acts.observed(1060.0) == acts.observed(999.0) == ()
    assert acts.observe(act(since=1060.0, until=1120.0))
    assert acts.observe(act(since=500.0, until=560.0))
    for number in range(300):
        assert acts.observe(act(f"isp{number}", since=500.0, until=600.0 + number))
    assert len(acts.observed(500.0)) == 200
    assert acts.dump() == ""


@pytest.mark.parametrize("action", [Action.BOUNCE, Action.RETRY])
def test_a_bounce_and_a_retry_are_no_acts(action: Action) -> None:
    assert weigh(verdict(action), FREE, TrafficClass.COLD) is None


def test_acts_end_by_themselves_and_the_longer_one_stays() -> None:
    acts = Acts()
    assert acts.place(act(until=100.0))
    assert not acts.place(act(until=60.0))
    assert acts.place(act(until=200.0, since=50.0))
    assert [(one.since, one.until) for one in acts.listed()] == [(0.0, 200.0)]
    assert acts.expire(199.0) == []
    assert [one.until for one in acts.expire(200.0)] == [200.0]
    assert acts.stop_of("isp") is None


def test_an_act_about_everything_holds_every_site() -> None:
    acts = Acts()
    acts.place(act(site="", until=50.0))
    acts.place(act(site="isp", until=100.0))
    held = [acts.stop_of(site) for site in ("isp", "other")]
    assert [one.until for one in held if one is not None] == [100.0, 50.0]


def test_a_from_domain_that_is_stopped_leaves_the_others_alone() -> None:
    acts = Acts()
    acts.place(act(domain="a.example", action=Action.SUSPEND_DOMAIN))
    assert acts.has_domains
    assert acts.stop_of("isp") is None
    found = acts.wait_of("isp", "a.example", 40.0)
    assert found is not None
    assert found[1] == 60.0
    assert acts.wait_of("isp", "b.example", 40.0) is None
    assert acts.wait_of("other", "a.example", 40.0) is None
    acts.expire(100.0)
    assert not acts.has_domains


def test_messages_of_a_slowed_down_from_domain_take_turns_and_none_waits_beyond_its_end() -> None:
    acts = Acts()
    acts.place(act(domain="a.example", action=Action.BACKOFF, every=10.0, until=25.0))
    waits = [acts.wait_of("isp", "a.example", 0.0) for _ in range(5)]
    assert [found[1] if found is not None else 0.0 for found in waits] == [0.0, 10.0, 20.0, 25.0, 25.0]
    assert acts.wait_of("isp", "a.example", 25.0) is None


def test_a_message_of_a_slowed_down_from_domain_goes_when_its_turn_has_come() -> None:
    acts = Acts()
    acts.place(act(domain="a.example", action=Action.BACKOFF, every=10.0, until=1000.0))
    assert acts.wait_of("isp", "a.example", 0.0) is None
    due, gone = [1.0, 2.0, 3.0], list[float]()
    while due:
        at = due.pop(0)
        found = acts.wait_of("isp", "a.example", at)
        if found is None:
            gone.append(at)
        else:
            due.append(at + found[1])
    assert gone == [10.0, 20.0, 30.0]


def test_a_look_ahead_takes_no_turn_of_a_slowed_down_from_domain() -> None:
    acts = Acts()
    acts.place(act(domain="a.example", action=Action.BACKOFF, every=10.0, until=1000.0))
    assert [acts.wait_of("isp", "a.example", 0.0, takes=False) for _ in range(3)] == [None] * 3
    assert acts.wait_of("isp", "a.example", 0.0) is None
    assert acts.wait_of("isp", "a.example", 1.0, takes=False) is not None


def test_mail_is_looked_at_only_where_that_of_some_from_domain_waits() -> None:
    acts = Acts()
    acts.place(act(domain="a.example", action=Action.SUSPEND_DOMAIN))
    assert (acts.has_domains_at("isp"), acts.has_domains_at("other")) == (True, False)
    acts.place(act(site="", domain="b.example", action=Action.SUSPEND_DOMAIN))
    assert acts.has_domains_at("other")
    acts.expire(100.0)
    assert not acts.has_domains_at("isp")


def test_a_restart_finds_what_was_stopped_and_not_what_is_over() -> None:
    acts = Acts()
    acts.place(act(until=100.0, reply="550 blocked " + "x" * 500))
    acts.place(act(site="over", until=10.0))
    again = Acts()
    again.load(acts.dump(), 50.0)
    assert [(one.site, one.until, len(one.reply)) for one in again.listed()] == [("isp", 100.0, 200)]
    assert Acts().dump() == ""


def test_a_wall_clock_set_back_makes_no_act_last_longer_than_it_was_to() -> None:
    acts = Acts()
    acts.place(act(since=90_000.0, until=93_600.0, lasts=3600.0))
    acts.place(act(site="other", since=1000.0, until=4600.0, lasts=3600.0))
    acts.place(act(site="old", until=93_600.0))  # of a relay that did not say for how long
    assert not acts.follow(90_000.0)
    assert not acts.follow(89_999.5), "half a second is no other time"
    assert acts.follow(2000.0)
    assert not acts.follow(2000.0)
    assert {one.site: (one.since, one.until) for one in acts.listed()} == {
        "isp": (2000.0, 5600.0),
        "other": (1000.0, 4600.0),
        "old": (0.0, 93_600.0),
    }


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"a": 1}'])
def test_what_is_no_list_of_acts_stops_nothing(text: str) -> None:
    acts = Acts()
    acts.load(text, 0.0)
    assert acts.listed() == ()


def test_the_act_that_is_one_too_many_is_in_force_though_it_ends_first_and_one_about_a_domain_goes() -> None:
    acts = Acts()
    assert acts.place(act("first", until=500.0))
    for number in range(199):
        assert acts.place(act(f"isp{number}", until=1000.0 + number, domain="brand.test"))
    assert acts.place(act("gmail", until=50.0, action=Action.QUARANTINE_IP))
    left = [one.site for one in acts.listed()]
    assert (len(left), left[:2], "isp0" in left) == (200, ["gmail", "first"], False)


def test_acts_and_counts_are_bounded() -> None:
    acts, twice = Acts(), verdict(Action.BACKOFF, trigger=(2, 60.0))
    for number in range(10_000):
        acts.place(act(site=f"site{number}", until=100.0 + number))
        acts.is_due(twice, f"site{number}", 0.0, FREE)
        acts.pass_over(f"site{number}", 0.0, 60.0)
    assert len(acts.listed()) == 200
    assert acts.listed()[0].site == "site9800"
    assert len(acts._counts) <= 4096
    assert len(acts._passed) <= 4096
    assert len(acts.dump()) < 64 * 1024


def slowed(site: str = "isp", until: float = 100.0, lasts: float = 100.0) -> Act:
    return act(site, until, action=Action.BACKOFF, lasts=lasts)


def test_a_sites_back_off_is_kept_with_its_climb_and_is_no_act_in_force() -> None:
    acts = Acts()
    assert acts.slow(slowed())
    assert acts.listed() == ()
    later = Acts()
    later.load(acts.dump(), now=5_000.0)
    assert later.slowed("isp") == slowed()
    assert later.slowed("other") is None
    much_later = Acts()
    much_later.load(acts.dump(), now=100.0 + 86_400.0)
    assert much_later.slowed("isp") is None
    acts.expire(100.0 + 86_400.0)
    assert acts.dump() == ""


def test_a_back_off_that_goes_on_has_begun_when_it_did_and_one_that_was_over_begins_anew() -> None:
    acts, later = Acts(), replace(slowed(until=900.0), since=300.0)
    acts.slow(slowed())
    acts.slow(later, goes_on=True)
    assert acts.slowed("isp") == replace(later, since=slowed().since)
    acts.slow(replace(later, since=800.0, until=1900.0))
    assert acts.slowed("isp") == replace(later, since=800.0, until=1900.0)


def test_a_back_off_that_a_clock_set_back_would_lengthen_lasts_as_long_as_it_was_to() -> None:
    acts, later = Acts(), Acts()
    acts.slow(slowed(until=90_100.0))
    later.load(acts.dump(), now=0.0)
    found = later.slowed("isp")
    assert found is not None
    assert found.until == 100.0


def test_a_storm_of_replies_writes_a_back_off_down_ten_times_a_hold_at_most_and_sites_are_bounded() -> None:
    acts = Acts()
    written = sum(acts.slow(slowed(until=100.0 + tick / 100)) for tick in range(10_000))
    assert written == 10
    for site in range(300):
        acts.slow(slowed(f"s{site}", until=float(site)))
    assert len(msgspec.json.decode(acts.dump())) == 200
    assert acts.slowed("s299") is not None
