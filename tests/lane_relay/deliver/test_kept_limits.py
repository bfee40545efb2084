"""A slow pace goes on over restarts where it was."""

from lane_api.relayconfig import Delivery as Asked
from lane_relay.clock import SYSTEM_CLOCK, Clock
from lane_relay.deliver.day_count import KEPT_EVERY_S
from lane_relay.deliver.kept_limits import KeptLimits, KeptPaces
from lane_relay.deliver.pacing import Hold, Limit, site_limits
from lane_relay.deliver.ready_queue import ReadyQueue
from lane_relay.errors import SpoolError
from tests.lane_relay.deliver.delivery import Delivery, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import Peer, running

OFFSET = 1_700_000_000.0
HOUR = 3600.0


class Life:
    """The spool's facts over the lives of a relay, each with a monotonic clock of its own."""

    def __init__(self, rate: str = "2/h") -> None:
        self.facts: dict[str, str] = {}
        self.writes = 0
        self.full = False
        self.began, self.now = OFFSET, 50.0
        limits = {"name": "isp", "message_rate": rate, "connect_rate": "1/m"}
        self.limits = site_limits(Asked.model_validate({"policies": [limits]}), "isp")

    def write(self, name: str, value: str) -> None:
        if self.full:
            raise SpoolError("failed")
        self.writes += 1
        self.facts[name] = value

    def begin(self, after: float = 0.0) -> KeptPaces:
        """A start, so many seconds later, of a machine whose monotonic clock begins anew."""
        self.began, self.now = self.began + self.now + after - 7.0, 7.0
        return KeptPaces(
            Clock(lambda: self.began + self.now, lambda: self.now), lambda name: self.facts.get(name, ""), self.write
        )

    def site(self, paces: KeptPaces, name: str = "isp") -> ReadyQueue:
        made = ReadyQueue(name, "isp", self.limits)
        paces.resume(made)
        return made


def sent(life: Life, site: ReadyQueue) -> None:
    assert site.pacing is not None
    for begin, end in (
        (site.pacing.begin_connect, site.pacing.end_connect),
        (site.pacing.begin_message, site.pacing.end_message),
    ):
        begin(life.now)
        end(life.now, life.now)


def waits(life: Life, site: ReadyQueue) -> float:
    assert site.pacing is not None
    hold = site.pacing.hold_message(life.now)
    assert hold is None or (isinstance(hold, Hold) and hold.limit is Limit.MESSAGE_RATE)
    return 0.0 if hold is None else hold.until - life.now


def test_the_next_message_is_due_when_it_was_before_the_restart() -> None:
    life = Life()
    paces = life.begin()
    first = life.site(paces)
    sent(life, first)
    paces.keep([first], life.now)
    assert 1799.0 < waits(life, first) <= 1800.0
    for _ in range(5):
        again = life.begin(after=60.0)
        second = life.site(again)
        again.keep([second], life.now)
    assert 1490.0 < waits(life, second) <= 1500.0
    assert second.pacing is not None
    assert second.pacing.hold_connect(life.now) is not None
    late = life.begin(after=HOUR)
    assert waits(life, life.site(late)) == 0.0


def test_a_site_without_mail_since_the_start_is_kept_all_the_same_and_another_is_not_held_up() -> None:
    life = Life()
    paces = life.begin()
    one = life.site(paces)
    sent(life, one)
    paces.keep([one], life.now)
    other_life = life.begin(after=60.0)
    other = life.site(other_life, "other")
    assert waits(life, other) == 0.0
    sent(life, other)
    other_life.keep([other], life.now, at_once=True)
    last = life.begin(after=60.0)
    assert 1600.0 < waits(life, life.site(last)) < waits(life, life.site(last, "other")) < 1800.0


def test_a_faster_pace_of_by_now_or_a_clock_set_back_holds_up_for_one_message_at_most() -> None:
    life = Life()
    paces = life.begin()
    site = life.site(paces)
    sent(life, site)
    paces.keep([site], life.now)
    faster = Life("60/h")
    faster.facts = life.facts
    assert 59.0 < waits(faster, faster.site(faster.begin())) <= 60.0
    assert 1799.0 < waits(life, life.site(life.begin(after=-9 * HOUR))) <= 1800.0


def test_it_is_written_only_when_something_changed_and_not_too_often() -> None:
    life = Life("3600/h")
    paces = life.begin()
    site = life.site(paces)
    for _ in range(200):
        sent(life, site)
        paces.keep([site], life.now)
        life.now += 0.1
    assert 0 < life.writes <= 1 + 20 / KEPT_EVERY_S
    before = life.writes
    life.now += HOUR
    paces.keep([site], life.now)
    life.now += HOUR
    paces.keep([site], life.now)
    assert life.writes == before + 1, "that nothing waits, once"


def test_a_fast_pace_writes_nothing() -> None:
    life = Life("100/s")
    paces = life.begin()
    site = ReadyQueue(
        "isp",
        "isp",
        site_limits(Asked.model_validate({"policies": [{"name": "isp", "message_rate": "100/s"}]}), "isp"),
    )
    sent(life, site)
    paces.keep([site], life.now, at_once=True)
    assert life.writes == 0


def test_what_cannot_be_read_or_written_holds_nothing_up() -> None:
    life = Life()
    life.facts["paces"] = '{"isp": 5'
    paces = life.begin()
    site = life.site(paces)
    assert waits(life, site) == 0.0
    sent(life, site)
    life.full = True
    paces.keep([site], life.now)
    life.full = False
    life.now += KEPT_EVERY_S
    paces.keep([site], life.now)
    assert waits(life, life.site(life.begin())) > 1700.0


def test_of_very_many_sites_those_that_wait_longest_are_kept() -> None:
    life = Life()
    paces = life.begin()
    sites = [life.site(paces, f"site{number}") for number in range(2100)]
    for site in sites:
        sent(life, site)
        life.now += 0.2
    paces.keep(sites, life.now)
    again = life.begin()
    assert waits(life, life.site(again, "site0")) == 0.0
    assert waits(life, life.site(again, "site2099")) > 0.0


async def test_a_dispatcher_that_begins_anew_sends_no_more_than_its_rate() -> None:
    facts, peer = dict[str, str](), Peer()
    policy = {"name": "isp", "domains": ["x.test"], "message_rate": "2/h"}
    async with running(peer):
        for _ in range(3):
            limits = KeptLimits(SYSTEM_CLOCK, lambda name: facts.get(name, ""), facts.__setitem__)
            async with delivering(policies=[policy], limits=limits) as relay:
                for _ in range(2):
                    relay.send(route_to(peer.port, site="isp", policy="isp"))
                await until(lambda relay=relay: held_by_rate(relay))  # type: ignore[misc]
        assert len(peer.messages) == 1


def held_by_rate(relay: Delivery) -> bool:
    """One mail or two wait for the rate."""
    state = relay.dispatcher.explain_site("isp")
    return state is not None and state.hold is not None and state.hold.limit is Limit.MESSAGE_RATE
