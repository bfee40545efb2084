"""Limits, sharing and changes of configuration, with real connections on loopback."""

import asyncio

from lane_api.isppolicy import Action
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.records import QueueEntry
from tests.lane_relay.deliver.delivery import BODY, PATIENT, delivering, make_config, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running
from tests.lane_relay.deliver.test_limits import most_in_window


async def test_connections_at_the_isp_never_exceed_the_limit_over_two_mx_sets() -> None:
    one, other = Peer(hosts=("127.0.0.5",), close_delay=0.02), Peer(hosts=("127.0.0.6",), close_delay=0.02)
    most = 0

    def count(line: str) -> bytes:
        nonlocal most
        most = max(most, one.open + other.open)
        return b"250 ok\r\n"

    one.script["mail"] = other.script["mail"] = count
    policy = {"name": "isp", "connections": 3, "messagesPerConnection": 2}
    async with running(one, other), delivering(policies=[policy]) as delivery:
        for number in range(60):
            delivery.send(route_to(one.port, "127.0.0.5" if number % 2 else "127.0.0.6", site="isp", policy="isp"))
        # the two MX sets differ by name, so that they are two destinations of one site
        await delivery.attempted(60)
    assert most == 3
    assert len(one.messages) + len(other.messages) == 60


async def test_a_connection_counts_until_the_isp_has_closed_it() -> None:
    peer = Peer(close_delay=0.15)
    policy = {"name": "isp", "connections": 1, "messagesPerConnection": 1}
    async with running(peer), delivering(policies=[policy]) as delivery:
        for _ in range(4):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(4)
    assert peer.most_open == 1
    assert peer.connections == 4


async def test_messages_are_paced_within_every_window() -> None:
    peer = Peer()
    policy = {"name": "isp", "connections": 5, "messageRate": "10/s"}
    async with running(peer), delivering(policies=[policy]) as delivery:
        for _ in range(25):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(25)
    assert most_in_window([message.at for message in peer.messages], 1.0) <= 10
    assert peer.most_open <= 5


async def test_new_connections_are_paced_too() -> None:
    peer = Peer()
    policy = {"name": "isp", "connections": 5, "messagesPerConnection": 1, "connectRate": "4/s"}
    async with running(peer), delivering(policies=[policy]) as delivery:
        for _ in range(9):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(9)
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
    # the peer is in our own loop and notes a connection a little after the handshake: a tenth less than the window
    assert most_in_window(peer.accepted_at, 0.9) <= 4


async def test_a_flood_for_a_stalled_site_leaves_another_site_s_deliveries_flowing() -> None:
    for stage in ("connect", "mail", "end"):
        stalled, healthy = Peer({stage: STALL}, hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
        async with running(stalled, healthy), delivering(connections=10, totalConnections=12) as delivery:
            for _ in range(5000):
                delivery.send(route_to(stalled.port, "127.0.0.5", site="stalled"))
            await until(lambda stalled=stalled: stalled.open >= 1)  # type: ignore[misc] # binds the loop's variable
            for _ in range(200):
                delivery.send(route_to(healthy.port, "127.0.0.6", site="healthy"))
            await until(lambda healthy=healthy: len(healthy.messages) == 200)  # type: ignore[misc] # likewise
            assert len(stalled.messages) == 0
            assert delivery.dispatcher.figures().connections <= 12
            state = delivery.dispatcher.explain_site("stalled")
            assert state is not None
            assert state.waiting > 4900


async def test_many_stalled_sites_do_not_use_up_all_connections() -> None:
    stalled = Peer({"mail": STALL}, hosts=("127.0.0.5",))
    healthy = Peer(hosts=("127.0.0.6",))
    async with running(stalled, healthy), delivering(connections=10, totalConnections=40) as delivery:
        for site in range(6):
            for _ in range(50):
                delivery.send(route_to(stalled.port, "127.0.0.5", site=f"stalled-{site}"))
        await until(lambda: stalled.open == 12)
        delivery.send(route_to(healthy.port, "127.0.0.6", site="healthy"))
        await until(lambda: len(healthy.messages) == 1)
        assert delivery.dispatcher.figures().connections <= 40


async def test_a_connection_with_nothing_left_to_do_makes_room_at_once_for_sites_that_wait_for_one() -> None:
    peer = Peer()
    unhurried = Timeouts(stages=PATIENT, idle=3600.0)
    async with running(peer), delivering(totalConnections=3, timeouts=unhurried) as delivery:
        for number in range(60):
            delivery.send(route_to(peer.port, site=f"site-{number}"))
        await delivery.attempted(60)
    assert peer.most_open <= 3


async def test_a_site_that_waits_for_more_than_its_share_costs_others_no_connection_they_could_use_again() -> None:
    stalled, healthy = Peer({"mail": STALL}, hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
    unhurried = Timeouts(stages=PATIENT, idle=3600.0)
    async with (
        running(stalled, healthy),
        delivering(connections=10, totalConnections=10, timeouts=unhurried) as delivery,
    ):
        delivery.send(route_to(healthy.port, "127.0.0.6", site="healthy"))
        await delivery.attempted(1)
        for _ in range(50):
            delivery.send(route_to(stalled.port, "127.0.0.5", site="stalled"))
        await until(lambda: (state := delivery.dispatcher.explain_site("stalled")) is not None
                    and state.hold.limit == "total-connections")  # fmt: skip
        for number in range(2, 5):
            delivery.send(route_to(healthy.port, "127.0.0.6", site="healthy"))
            await delivery.attempted(number)
    assert healthy.connections <= 2  # one may have made room when the other was first refused


async def test_sites_in_line_for_a_connection_that_want_it_no_more_do_not_keep_it_from_the_others() -> None:
    stalled = asyncio.Event()

    def stall(_line: str) -> str:
        stalled.set()
        return STALL

    peer = Peer({"end": stall})
    async with running(peer), delivering(totalConnections=1, lifetime="1h") as delivery:
        delivery.send(route_to(peer.port, site="first"))
        await stalled.wait()
        for number in range(40):
            delivery.send(route_to(peer.port, site=f"late-{number}"), age=7200.0)
        delivery.send(route_to(peer.port, site="last"))
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)  # the late ones are told
        await delivery.attempted(40)
        peer.script["end"] = b"250 ok\r\n"
        peer.release.set()
        await delivery.attempted(42)
    assert len(peer.messages) == 1


async def test_an_isp_that_asks_to_slow_down_gets_one_connection_and_a_slower_pace() -> None:
    peer = Peer()
    policy = {
        "name": "isp",
        "connections": 4,
        "messageRate": "1000/s",
        "backoff": {"messageRate": "1/s", "connectionsPerIP": 1},
    }

    def after_five(line: str) -> bytes:
        return b"250 ok\r\n" if len(peer.messages) < 5 else b"421 4.7.28 unusual rate of mail from your IP\r\n"

    peer.script["end"] = after_five
    async with running(peer), delivering(policies=[policy]) as delivery:
        for _ in range(200):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await until(lambda: any(a.results[0].verdict.action is Action.BACKOFF for a in delivery.attempts))
        state = delivery.dispatcher.explain_site("isp")
        assert state is not None
        assert (state.connection_limit, state.messages_per_second) == (1, 1.0)
        assert "4.7.28" in state.backed_off
        assert state.waiting > 150
        assert len(delivery.attempts) < 20


async def test_a_destination_that_waits_gets_its_turn_although_another_has_endless_mail() -> None:
    """And gives it back at once: the site's one connection does not stay idle with it while the other waits."""
    one, other = Peer(hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
    policy = {"name": "isp", "connections": 1}
    unhurried = Timeouts(stages=PATIENT, idle=3600.0)
    async with running(one, other), delivering(policies=[policy], timeouts=unhurried) as delivery:
        route = route_to(one.port, "127.0.0.5", site="isp", policy="isp")
        from_other = route_to(one.port, "127.0.0.5", "127.0.0.6", site="isp", policy="isp")
        for _ in range(60):
            delivery.send(route)
        delivery.send(from_other)
        await delivery.attempted(61)
        order = [attempt.entry.id & 0xFFFF for attempt in delivery.attempts]
    assert order.index(61) <= 20


async def test_one_destination_that_waits_gets_one_connection_and_the_others_stay() -> None:
    peer = Peer({"end": STALL}, hosts=("127.0.0.5", "127.0.0.6"), late_answer=b"250 ok\r\n")
    policy = {"name": "isp", "connections": 3}
    unhurried = Timeouts(stages=PATIENT, idle=3600.0)
    async with running(peer), delivering(policies=[policy], timeouts=unhurried) as delivery:
        for _ in range(3):
            delivery.send(route_to(peer.port, "127.0.0.5", site="isp", policy="isp"))
        sessions = delivery.dispatcher._connections.sessions
        await until(lambda: [session.client.awaits_verdict for session in sessions] == [True] * 3)
        delivery.send(route_to(peer.port, "127.0.0.5", "127.0.0.6", site="isp", policy="isp"))
        peer.release.set()  # all three are idle in one turn, and one is missed elsewhere
        await delivery.attempted(4)
        await until(lambda: peer.open == 3)
        assert peer.connections == 4


async def test_a_new_limit_holds_without_a_restart() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1) as delivery:
        for _ in range(10):
            delivery.send(route_to(peer.port))
        await until(lambda: peer.open == 1)
        delivery.dispatcher.apply(make_config(connections=4))
        await until(lambda: peer.open == 4)
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert state.hold.limit == "connections"


async def test_idle_connections_beyond_a_limit_that_came_down_are_closed() -> None:
    """A lane that gets another slot halves the share of each: what one keeps for nothing is the other's."""
    peer = Peer()
    unhurried = Timeouts(stages=PATIENT, idle=3600.0)
    async with running(peer), delivering(connections=4, timeouts=unhurried) as delivery:
        for _ in range(60):
            delivery.send(route_to(peer.port))
        await delivery.attempted(60)
        assert peer.open == 4
        delivery.dispatcher.apply(make_config(connections=1))
        await until(lambda: peer.open <= 1)


async def test_a_suspended_configuration_stops_and_a_running_one_goes_on() -> None:
    peer = Peer()
    async with running(peer), delivering(state="Suspended") as delivery:
        for _ in range(3):
            delivery.send(route_to(peer.port))
        await asyncio.sleep(0)
        assert delivery.dispatcher.figures().connections == 0
        delivery.dispatcher.apply(make_config(state="Running"))
        await delivery.attempted(3)


async def test_entries_ask_for_their_route_again_when_sites_change() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=2) as delivery:
        for _ in range(1200):
            delivery.send(route_to(peer.port))
        await until(lambda: delivery.dispatcher.figures().in_flight == 2)
        delivery.dispatcher.apply(make_config(connections=2, policies=[{"name": "isp", "domains": ["peer.test"]}]))
        await until(lambda: len(delivery.rerouted) == 1198)
        assert delivery.dispatcher.figures().waiting == 0


async def test_connections_of_before_still_count_after_sites_change() -> None:
    stalled = 0

    def stall(_line: str) -> str:
        nonlocal stalled
        stalled += 1
        return STALL

    peer = Peer({"end": stall})
    async with running(peer), delivering(connections=2) as delivery:
        for _ in range(10):
            delivery.send(route_to(peer.port))
        await until(lambda: stalled == 2)
        policies = [{"name": "isp", "domains": ["peer.test"], "connections": 2}]
        delivery.dispatcher.apply(make_config(policies=policies))
        await until(lambda: len(delivery.rerouted) == 8)
        for entry in delivery.rerouted:
            delivery.dispatcher.add(entry, route_to(peer.port, site="isp", policy="isp"))
        assert delivery.dispatcher.figures().connections == 2
        peer.script["end"] = b"250 ok\r\n"
        peer.release.set()
        await until(lambda: len(peer.messages) == 8)
    assert peer.most_open == 2


async def test_entries_past_their_lifetime_are_handed_on_although_their_site_is_held() -> None:
    async with delivering(lifetime="1h", retry={"first": "2h", "max": "2h"}) as delivery:
        route = route_to(1, "127.0.0.4")
        delivery.send(route)
        await delivery.attempted(1)
        old = delivery.send(route, age=7200.0)
        young = delivery.send(route)
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        attempts = await delivery.attempted(2)
        assert attempts[1].entry is old
        assert attempts[1].results[0].reply.enhanced == "4.4.7"
        assert "no-answer" in attempts[1].results[0].reply.text
        assert delivery.dispatcher.explain_entry(young.id)
        assert not delivery.dispatcher.explain_entry(old.id)


async def test_what_was_made_ready_expires_too_when_no_session_comes_for_it() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1, lifetime="1h") as delivery:
        delivery.messages.cold = True
        for _ in range(4):
            delivery.send(route_to(peer.port), age=7200.0)
        await until(lambda: delivery.dispatcher.figures().in_flight == 1 and delivery.messages.loaded == 4)
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        attempts = await delivery.attempted(3)
        assert {attempt.results[0].reply.enhanced for attempt in attempts} == {"4.4.7"}
        assert delivery.dispatcher.sites["peer"].body_bytes == len(BODY)


async def test_what_is_on_its_way_to_be_ready_when_the_gate_shuts_waits_as_an_entry() -> None:
    peer = Peer()
    async with running(peer), delivering(lifetime="1h") as delivery:
        delivery.messages.cold = True
        delivery.messages.gate.clear()
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await until(lambda: delivery.messages.loading > 0)
        delivery.gate = False
        delivery.dispatcher.shut()
        delivery.messages.gate.set()
        await until(lambda: delivery.messages.loading == 0)
        assert delivery.dispatcher.sites["peer"].body_bytes == 0  # nothing in memory for hours
        delivery.gate = True
        delivery.dispatcher.wake()
        await delivery.attempted(4)
    assert len(peer.messages) == 4


async def test_a_quiet_dispatcher_forgets_its_sites() -> None:
    peer = Peer()
    async with running(peer), delivering(timeouts=Timeouts(stages=PATIENT, idle=0.05)) as delivery:
        for number in range(30):
            delivery.send(route_to(peer.port, site=f"site-{number}"))
        await delivery.attempted(30)
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        assert delivery.dispatcher.sites == {}


async def test_a_quiet_site_s_rate_is_not_forgotten_before_its_window_is_over() -> None:
    peer = Peer()
    policy = {"name": "isp", "messageRate": "2/h"}
    async with running(peer), delivering(policies=[policy], timeouts=Timeouts(stages=PATIENT, idle=0.05)) as delivery:
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(1)
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        dispatcher = delivery.dispatcher
        dispatcher._go_round(dispatcher.monotonic() + 60.0)
        delivery.send(route_to(peer.port, site="isp", policy="isp"))
        state = dispatcher.explain_site("isp")
        assert state is not None
        assert state.hold.limit == "message-rate"
        dispatcher._go_round(dispatcher.monotonic() + 7200.0)
        assert "isp" in dispatcher.sites  # something waits


async def test_connections_from_before_the_gate_shut_take_no_other_message() -> None:
    """Behind an engine that translates they may still lead through the wrong address."""
    peer = Peer()
    async with running(peer), delivering(connections=1) as delivery:

        def shut_and_open(_line: str) -> bytes:
            if len(peer.messages) == 1:
                delivery.gate = False
                delivery.dispatcher.shut()
                delivery.gate = True
                delivery.dispatcher.wake()
            return b"250 ok\r\n"

        peer.script["end"] = shut_and_open
        for _ in range(4):
            delivery.send(route_to(peer.port))
        await delivery.attempted(4)
    assert [message.connection for message in peer.messages] == [1, 1, 2, 2]


async def test_large_bodies_are_not_read_ahead_beyond_the_bound_on_memory() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1, active_bytes=400_000) as delivery:
        delivery.messages.cold = True
        delivery.messages.gate.clear()
        for _ in range(20):
            delivery.send(route_to(peer.port), body=BODY + b"x" * 60_000 + b"\r\n")
        await until(lambda: delivery.messages.loading > 0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert delivery.messages.loading <= 2  # a quarter of the active bytes, and the one that passes it


async def test_two_probes_that_are_both_asked_to_slow_down_leave_the_destination_alive() -> None:
    peer = Peer()
    both = asyncio.Event()

    def too_many_at_first(_line: str) -> bytes:
        if peer.connections == 2:
            both.set()
        return b"421 4.7.0 Too many connections from your IP\r\n" if peer.connections <= 2 else b"220 peer.test\r\n"

    peer.script["connect"] = too_many_at_first
    policy = {"name": "isp", "connections": 4, "backoff": {"messageRate": "100/s", "for": "10ms"}}
    retry = {"first": "300ms", "max": "300ms"}
    async with running(peer), delivering(policies=[policy], retry=retry) as delivery:
        for _ in range(5):
            delivery.send(route_to(peer.port, "127.0.0.1", site="isp", policy="isp"))
        await both.wait()
        await delivery.attempted(5)
    assert len(peer.messages) == 4


async def test_every_entry_has_exactly_one_attempt_whatever_the_peer_does() -> None:
    turn = 0

    def whim(line: str) -> bytes | str:
        nonlocal turn
        turn += 1
        whims: list[bytes | str] = [b"250 ok\r\n", "drop", b"450 no\r\n", b"250 ok\r\n", b"421 no\r\n", b"550 no\r\n"]
        return whims[turn % 6]

    peer = Peer({"mail": whim, "rcpt": whim, "end": whim})
    async with running(peer), delivering(connections=4, retry={"first": "10ms", "max": "10ms"}) as delivery:
        entries: list[QueueEntry] = [delivery.send(route_to(peer.port)) for _ in range(150)]
        await delivery.attempted(150)
        assert sorted(attempt.entry.id for attempt in delivery.attempts) == sorted(entry.id for entry in entries)
        assert delivery.dispatcher.figures().waiting == 0


async def test_many_overdue_entries_are_handed_on_in_portions() -> None:
    async with delivering(lifetime="1h", state="Suspended") as delivery:
        for _ in range(1200):
            delivery.send(route_to(1), age=7200.0)
        now = delivery.dispatcher.monotonic() + 60.0
        delivery.dispatcher._go_round(now)
        assert len(delivery.attempts) == 500
        delivery.dispatcher._go_round(now)
        delivery.dispatcher._go_round(now)
        await delivery.attempted(1200)
        assert {attempt.results[0].reply.enhanced for attempt in delivery.attempts} == {"4.4.7"}
        assert "gate" in delivery.attempts[0].results[0].reply.text
        assert all(one.results[0].ours for one in delivery.attempts)
        assert delivery.dispatcher.figures().waiting == 0


async def test_bodies_in_flight_stay_within_the_active_bytes_and_all_of_them_arrive() -> None:
    peer = Peer({"end": STALL})
    size = 60_000
    async with running(peer), delivering(connections=30, totalConnections=100, active_bytes=8 * size) as delivery:
        delivery.messages.cold = True
        for _ in range(40):
            delivery.send(route_to(peer.port), body=BODY + b"x" * size + b"\r\n")
        site = delivery.dispatcher.sites["peer"]
        await until(lambda: site.body_bytes > 3 * size)
        await until(lambda: (state := delivery.dispatcher.explain_site("peer")) is not None
                    and state.hold.limit == "memory")  # fmt: skip
        assert site.body_bytes <= 4.5 * size  # half: other sites have the other half
        peer.script["end"] = b"250 ok\r\n"
        peer.release.set()
        await until(lambda: len({message.content for message in peer.messages}) == 1 and len(peer.messages) >= 36)
        await until(lambda: site.body_bytes == 0)


async def test_a_site_may_always_have_one_message_however_large_and_however_full_the_memory() -> None:
    stalled, healthy = Peer({"end": STALL}, hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
    large = BODY + b"x" * 50_000 + b"\r\n"
    async with running(stalled, healthy), delivering(connections=10, active_bytes=10_000) as delivery:
        for _ in range(5):
            delivery.send(route_to(stalled.port, "127.0.0.5", site="stalled"), body=large)
        await until(lambda: delivery.dispatcher.figures().in_flight == 1)
        for _ in range(5):
            delivery.send(route_to(healthy.port, "127.0.0.6", site="healthy"), body=large)
        await until(lambda: len(healthy.messages) == 5)
        assert delivery.dispatcher.figures().in_flight == 1
        stalled.script["end"] = b"250 ok\r\n"
        stalled.release.set()
        await until(lambda: len(stalled.messages) == 4)


async def test_large_mail_of_more_sites_than_there_is_room_for_arrives_at_all_of_them() -> None:
    peer = Peer()
    large = BODY + b"x" * 50_000 + b"\r\n"
    async with running(peer), delivering(active_bytes=10_000, connections=2) as delivery:
        for number in range(60):
            delivery.send(route_to(peer.port, site=f"site-{number % 12}"), body=large)
        assert delivery.dispatcher.figures().waiting == 60
        await delivery.attempted(60)
    assert len(peer.messages) == 60
