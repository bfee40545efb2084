"""Sessions against a peer that can be scripted byte by byte."""

import asyncio
import resource

import pytest

from lane_api.isppolicy import Action, Category, Stage
from lane_relay.deliver.session_settings import Timeouts
from lane_relay.records import Attempt
from tests.lane_relay.deliver.delivery import BODY, PATIENT, SHORT, delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import DROP, STALL, Peer, running


async def test_a_message_arrives_as_it_is_from_the_egress_source() -> None:
    peer = Peer()
    async with running(peer), delivering(source="127.0.0.77") as delivery:
        delivery.send(route_to(peer.port), "b@peer.test", "c@peer.test")
        attempts = await delivery.attempted(1)
    (seen,) = peer.messages
    assert seen.source == "127.0.0.77"
    assert seen.recipients == ["b@peer.test", "c@peer.test"]
    assert seen.content == BODY.replace(b"\r\n.", b"\r\n..")
    assert [result.verdict.action for result in attempts[0].results] == [None, None]
    assert attempts[0].peer is not None
    assert (attempts[0].peer.source, attempts[0].peer.address) == ("127.0.0.77", "127.0.0.1")
    assert attempts[0].started_at <= attempts[0].ended_at


async def test_a_slot_with_an_ipv6_address_sends_over_ipv6() -> None:
    peer = Peer(hosts=("::1",))
    async with running(peer), delivering(source="::1") as delivery:
        delivery.send(route_to(peer.port, "::1"))
        attempts = await delivery.attempted(1)
    assert attempts[0].peer is not None
    assert (attempts[0].peer.source, len(peer.messages)) == ("::1", 1)


async def test_one_connection_serves_entry_after_entry() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1) as delivery:
        for _ in range(20):
            delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(20)
        assert {attempt.session for attempt in attempts} == {1}
    assert peer.connections == 1
    assert [command for command in peer.commands if command.startswith("EHLO")] == ["EHLO out.sender.test"]


async def test_a_connection_takes_no_more_messages_than_its_policy_allows() -> None:
    peer = Peer()
    policy = {"name": "isp", "connections": 1, "messagesPerConnection": 3}
    async with running(peer), delivering(policies=[policy]) as delivery:
        for _ in range(7):
            delivery.send(route_to(peer.port, site="isp", policy="isp"))
        await delivery.attempted(7)
    assert [message.connection for message in peer.messages] == [1, 1, 1, 2, 2, 2, 3]
    assert peer.most_open == 1


def _one(attempt: Attempt) -> tuple[Stage, int, Action | None, Category]:
    result = attempt.results[0]
    return result.stage, result.reply.code, result.verdict.action, result.verdict.category


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        ("mail", b"451 4.3.0 later\r\n", (Stage.MAIL, 451, Action.RETRY, Category.OTHER)),
        ("mail", b"550 5.1.8 Sender rejected\r\n", (Stage.MAIL, 550, Action.BOUNCE, Category.INVALID_SENDER)),
        ("rcpt", b"550 5.1.1 no such user\r\n", (Stage.RCPT, 550, Action.BOUNCE, Category.BAD_MAILBOX)),
        ("rcpt", b"450 4.7.1 Greylisted\r\n", (Stage.RCPT, 450, Action.RETRY, Category.GREYLISTED)),
        ("data", b"452 4.3.1 not now\r\n", (Stage.DATA, 452, Action.RETRY, Category.OTHER)),
        ("end", b"554 5.7.1 this is spam\r\n", (Stage.END_OF_DATA, 554, Action.BOUNCE, Category.SPAM_RELATED)),
        ("end", b"421 4.7.0 bye\r\n", (Stage.END_OF_DATA, 421, Action.RETRY, Category.BAD_CONNECTION)),
    ],
)
async def test_a_refusal_is_judged_with_the_stage_at_which_it_came(
    stage: str, reply: bytes, expected: tuple[Stage, int, Action, Category]
) -> None:
    peer = Peer({stage: reply})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
    assert _one(attempts[0]) == expected
    assert attempts[0].peer is not None


async def test_each_recipient_has_its_own_outcome() -> None:
    peer = Peer({"rcpt": lambda line: b"550 5.1.1 unknown\r\n" if "nobody" in line else b"250 ok\r\n"})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port), "b@peer.test", "nobody@peer.test", "c@peer.test")
        attempts = await delivery.attempted(1)
    assert [(result.index, result.reply.code, result.verdict.action) for result in attempts[0].results] == [
        (0, 250, None),
        (1, 550, Action.BOUNCE),
        (2, 250, None),
    ]
    assert peer.messages[0].recipients == ["b@peer.test", "c@peer.test"]


@pytest.mark.parametrize(
    ("stage", "reported"),
    [("mail", Stage.MAIL), ("rcpt", Stage.RCPT), ("data", Stage.DATA), ("end", Stage.END_OF_DATA)],
)
async def test_a_dropped_connection_is_tried_again_later(stage: str, reported: Stage) -> None:
    peer = Peer({stage: DROP})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
    assert _one(attempts[0]) == (reported, 421, Action.RETRY, Category.BAD_CONNECTION)
    assert ("may have been delivered" in attempts[0].results[0].reply.text) is (stage == "end")


@pytest.mark.parametrize(
    ("stage", "reported"),
    [
        ("connect", Stage.CONNECT),
        ("ehlo", Stage.EHLO),
        ("mail", Stage.MAIL),
        ("rcpt", Stage.RCPT),
        ("data", Stage.DATA),
        ("end", Stage.END_OF_DATA),
    ],
)
async def test_a_peer_that_falls_silent_is_left_after_the_time_limit_of_the_stage(stage: str, reported: Stage) -> None:
    peer = Peer({stage: STALL})
    limits = {**PATIENT, reported: SHORT}
    async with running(peer), delivering(timeouts=Timeouts(stages=limits)) as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
        assert _one(attempts[0]) == (reported, 421, Action.RETRY, Category.NO_ANSWER_FROM_HOST)
        await until(lambda: delivery.dispatcher.figures().connections == 0)


async def test_garbage_ends_the_session_as_a_protocol_error() -> None:
    peer = Peer({"mail": b"hello there\r\n"})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
    assert _one(attempts[0]) == (Stage.MAIL, 421, Action.RETRY, Category.PROTOCOL_ERRORS)


async def test_a_dead_host_leads_to_the_next_mx() -> None:
    dead, alive = (
        Peer({"connect": b"421 4.3.2 down for maintenance\r\n"}, hosts=("127.0.0.5",)),
        Peer(hosts=("127.0.0.6",)),
    )
    async with running(dead, alive), delivering(connections=1) as delivery:
        route = route_to(dead.port, "127.0.0.4", "127.0.0.5", "127.0.0.6")  # nobody listens on the first
        for _ in range(5):
            delivery.send(route)
        attempts = await delivery.attempted(5)
        assert {attempt.peer.host for attempt in attempts if attempt.peer} == {"mx2.peer.test"}
    assert (dead.connections, alive.connections, len(alive.messages)) == (1, 1, 5)


async def test_when_every_host_is_dead_one_entry_is_told_and_the_rest_wait() -> None:
    async with delivering(retry={"first": "1h", "max": "2h"}) as delivery:
        route = route_to(1, "127.0.0.4", "127.0.0.5")
        for _ in range(50):
            delivery.send(route)
        attempts = await delivery.attempted(1)
        assert _one(attempts[0]) == (Stage.CONNECT, 421, Action.RETRY, Category.NO_ANSWER_FROM_HOST)
        assert attempts[0].peer is None
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert (state.hold.limit, state.waiting) == ("no-answer", 49)
        assert "127.0.0.5" in state.hold.detail
        delivery.send(route)
        assert delivery.dispatcher.figures().attempts == 1


async def test_a_parked_site_is_tried_again_when_its_time_has_come() -> None:
    peer = Peer({"connect": DROP})
    async with running(peer), delivering(retry={"first": "200ms", "max": "200ms"}) as delivery:
        for _ in range(3):
            delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        del peer.script["connect"]
        attempts = await delivery.attempted(3)
    assert [attempt.results[0].verdict.action for attempt in attempts].count(None) == 2


async def test_a_host_that_accepts_no_mail_bounces_all_that_waits_for_it() -> None:
    peer = Peer({"connect": b"521 5.3.2 no mail here\r\n"})
    async with running(peer), delivering() as delivery:
        for _ in range(30):
            delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(30)
    assert {_one(attempt)[2] for attempt in attempts} == {Action.BOUNCE}
    assert peer.connections <= 4


async def test_a_block_of_our_address_at_the_greeting_never_bounces_and_stops_knocking() -> None:
    first = Peer({"connect": b"554 IP=127.0.0.1 - A problem occurred. (BL)\r\n"}, hosts=("127.0.0.5",))
    second = Peer(hosts=("127.0.0.6",))
    async with running(first, second), delivering() as delivery:
        for _ in range(30):
            delivery.send(route_to(first.port, "127.0.0.5", "127.0.0.6"))
        attempts = await delivery.attempted(1)
        assert _one(attempts[0])[2] is Action.SUSPEND_SITE
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        assert len(delivery.attempts) <= 2
    assert first.connections <= 2
    assert second.connections == 0


@pytest.mark.parametrize("greeting", [b"554 mx1 not accepting messages\r\n", b"421 4.3.2 server busy\r\n"])
async def test_a_host_that_says_no_of_itself_leads_to_the_next_mx(greeting: bytes) -> None:
    first, second = Peer({"connect": greeting}, hosts=("127.0.0.5",)), Peer(hosts=("127.0.0.6",))
    async with running(first, second), delivering() as delivery:
        delivery.send(route_to(first.port, "127.0.0.5", "127.0.0.6"))
        (attempt,) = await delivery.attempted(1)
    assert attempt.results[0].verdict.action is None
    assert (first.connections, second.connections) == (1, 1)


async def test_hosts_that_were_only_spared_come_first_after_the_pause() -> None:
    busy = b"421 4.7.0 Too many connections from your IP\r\n"
    first, second, third = (
        Peer({"connect": busy}, hosts=("127.0.0.5",)),
        Peer({"connect": busy}, hosts=("127.0.0.6",)),
        Peer(hosts=("127.0.0.7",)),
    )
    policy = {"name": "isp", "connections": 1, "backoff": {"messageRate": "100/s", "for": "10ms"}}
    retry = {"first": "100ms", "max": "100ms"}
    async with running(first, second, third), delivering(policies=[policy], retry=retry) as delivery:
        for _ in range(5):
            delivery.send(route_to(first.port, "127.0.0.5", "127.0.0.6", "127.0.0.7", site="isp", policy="isp"))
        await delivery.attempted(5)
    assert (first.connections, second.connections, len(third.messages)) == (1, 1, 3)


async def test_a_peer_that_trickles_a_reply_is_left_at_the_time_limit_too() -> None:
    peer = Peer(trickles="mail")
    limits = {**PATIENT, Stage.MAIL: SHORT}
    async with running(peer), delivering(timeouts=Timeouts(stages=limits)) as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
        assert _one(attempts[0]) == (Stage.MAIL, 421, Action.RETRY, Category.NO_ANSWER_FROM_HOST)


@pytest.mark.parametrize("last_word", [DROP, b"421 4.4.2 peer.test Error: timeout exceeded\r\n"])
async def test_a_kept_connection_that_the_peer_has_closed_costs_no_attempt(last_word: bytes | str) -> None:
    peer = Peer()

    def close_second(line: str) -> bytes | str:
        return last_word if len(peer.messages) == 1 and peer.connections == 1 else b"250 ok\r\n"

    peer.script["mail"] = close_second
    async with running(peer), delivering(connections=1) as delivery:
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(2)
    assert [attempt.results[0].reply.code for attempt in attempts] == [250, 250]
    assert [message.connection for message in peer.messages] == [1, 2]


async def test_a_kept_connection_that_ends_for_our_rate_is_an_attempt() -> None:
    peer = Peer()
    word = b"421 4.7.28 Our system has detected an unusual rate of mail from your IP address\r\n"
    peer.script["mail"] = lambda _: word if peer.messages else b"250 ok\r\n"
    async with running(peer), delivering(connections=1) as delivery:
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(2)
    assert [attempt.results[0].reply.code for attempt in attempts] == [250, 421]


async def test_an_idle_connection_is_kept_for_a_while_and_then_closed_politely() -> None:
    peer = Peer()
    async with running(peer), delivering(timeouts=Timeouts(stages=PATIENT, idle=0.2)) as delivery:
        delivery.send(route_to(peer.port))
        await delivery.attempted(1)
        assert peer.open == 1
        await until(lambda: peer.open == 0 and delivery.dispatcher.figures().connections == 0)
    assert peer.commands[-1] == "QUIT"


async def test_a_message_that_the_peer_cannot_take_is_refused_here() -> None:
    peer = Peer({"ehlo": b"250-peer.test\r\n250 SIZE 1000\r\n"})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port), body=BODY + b"x" * 2000 + b"\r\n")
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(2)
    outcomes = sorted((attempt.results[0].reply.code, attempt.results[0].verdict.action) for attempt in attempts)
    assert [code for code, _ in outcomes] == [250, 552]
    assert len(peer.messages) == 1


async def test_a_peer_without_pipelining_is_spoken_to_in_turns() -> None:
    peer = Peer({"ehlo": b"250 peer.test\r\n"})
    async with running(peer), delivering(connections=1) as delivery:
        for _ in range(3):
            delivery.send(route_to(peer.port), "b@peer.test", "c@peer.test")
        await delivery.attempted(3)
    assert len(peer.messages) == 3


async def test_an_address_that_is_not_ours_is_never_sent_from() -> None:
    peer = Peer()
    async with running(peer), delivering(source="203.0.113.9") as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
    assert _one(attempts[0]) == (Stage.CONNECT, 451, Action.RETRY, Category.BAD_CONFIGURATION)
    assert "203.0.113.9" in attempts[0].results[0].reply.text
    assert peer.connections == 0


async def test_bodies_on_disk_are_loaded_ahead_of_the_sessions() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=2) as delivery:
        delivery.messages.cold = True
        for _ in range(40):
            delivery.send(route_to(peer.port))
        await delivery.attempted(40)
        assert delivery.messages.loaded == 40
    assert len(peer.messages) == 40


async def test_a_body_that_cannot_be_read_holds_up_nobody() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1) as delivery:
        delivery.messages.cold = True
        entries = [delivery.send(route_to(peer.port)) for _ in range(5)]
        delivery.messages.damaged.add(entries[3].id)
        await delivery.attempted(4)
        await until(lambda: delivery.dispatcher.figures().unreadable == 1)
    assert len(peer.messages) == 4


async def test_draining_lets_the_transaction_under_way_finish() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1) as delivery:
        for _ in range(5):
            delivery.send(route_to(peer.port))
        await until(lambda: "DATA" in peer.commands)
        peer.script["end"] = b"250 ok\r\n"
        draining = asyncio.create_task(delivery.dispatcher.drain(10.0))
        await asyncio.sleep(0)
        assert not draining.done()
        peer.release.set()
        await draining
        assert len(delivery.attempts) == 1


async def test_a_connection_that_our_stop_cuts_says_nothing_of_the_peer() -> None:
    peer = Peer({"connect": STALL})
    async with running(peer), delivering(connections=1) as delivery:
        for _ in range(3):
            delivery.send(route_to(peer.port))
        await until(lambda: peer.connections == 1)
        await delivery.dispatcher.drain(0.0)
        assert delivery.attempts == []  # still due: the next process tries them at once
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert (state.waiting, state.last_failure) == (3, "")


async def test_a_peer_that_has_the_whole_message_may_answer_longer_than_the_others() -> None:
    slow, stuck = Peer({"end": STALL}), Peer({"rcpt": STALL})
    async with running(slow), running(stuck), delivering(connections=1) as delivery:
        delivery.send(route_to(slow.port))
        delivery.send(route_to(stuck.port, site="stuck"))
        sessions = delivery.dispatcher._connections.sessions
        await until(lambda: any(one.client.awaits_verdict for one in sessions))
        await until(lambda: any("RCPT" in one for one in stuck.commands))
        slow.late_answer = b"250 ok\r\n"
        draining = asyncio.create_task(delivery.dispatcher.drain(0.0, 10.0))
        (cut,) = await delivery.attempted(1)
        slow.release.set()
        await draining
        _, sent = delivery.attempts
    assert (cut.site, cut.results[0].verdict.action) == ("stuck", Action.RETRY)
    assert (sent.site, sent.results[0].verdict.action) == ("peer", None)


async def test_a_transaction_that_our_stop_cuts_is_tried_again_at_once() -> None:
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=1) as delivery:
        delivery.send(route_to(peer.port))
        await until(lambda: "DATA" in peer.commands)
        await delivery.dispatcher.drain(0.0)
        (attempt,) = delivery.attempts
    (result,) = attempt.results
    assert (result.verdict.action, result.verdict.retry_after) == (Action.RETRY, 0.0)
    assert "this relay stopped" in str(result.reply)


async def test_a_halted_dispatcher_finishes_what_is_under_way_and_hands_nothing_else_on() -> None:
    """What is sent or told from then on could not be settled, and would be a duplicate after a restart."""
    peer = Peer({"end": STALL})
    async with running(peer), delivering(connections=2, lifetime="1h") as delivery:
        for number in range(6):
            delivery.send(route_to(peer.port), age=7200.0 if number > 3 else 0.0)
        await until(lambda: delivery.dispatcher.figures().in_flight == 2)
        delivery.dispatcher.halt()
        delivery.dispatcher._go_round(delivery.dispatcher.monotonic() + 60.0)
        delivery.send(route_to(peer.port))
        peer.script["end"] = b"250 ok\r\n"
        peer.release.set()
        await until(lambda: delivery.dispatcher.figures().connections == 0)
        assert len(delivery.attempts) == 2
        assert delivery.dispatcher.figures().waiting == 5


async def test_a_suspended_lane_finishes_what_is_under_way_and_sends_no_more() -> None:
    peer = Peer({"mail": STALL})
    async with running(peer), delivering(connections=1) as delivery:
        delivery.gate = False
        for _ in range(5):
            delivery.send(route_to(peer.port))
        assert delivery.dispatcher.figures().connections == 0
        state = delivery.dispatcher.explain_site("peer")
        assert state is not None
        assert state.hold.limit == "gate"
        peer.script["mail"] = b"250 ok\r\n"
        delivery.gate = True
        delivery.dispatcher.wake()
        await delivery.attempted(5)


async def test_the_gate_closes_between_two_messages() -> None:
    peer = Peer()
    async with running(peer), delivering(connections=1) as delivery:
        original = delivery.on_attempt

        def close_after_second(attempt: Attempt) -> None:
            original(attempt)
            delivery.gate = len(delivery.attempts) < 2

        delivery.on_attempt = close_after_second  # type: ignore[method-assign] # a test looks in between
        for _ in range(6):
            delivery.send(route_to(peer.port))
        await until(lambda: delivery.dispatcher.figures().connections == 0 and peer.connections == 1)
        assert len(delivery.attempts) == 2
    assert len(peer.messages) == 2


async def test_ehlo_refused_falls_back_to_helo() -> None:
    peer = Peer({"ehlo": b"502 5.5.1 what\r\n"})
    async with running(peer), delivering() as delivery:
        delivery.send(route_to(peer.port))
        attempts = await delivery.attempted(1)
    assert attempts[0].results[0].verdict.action is None
    assert "HELO out.sender.test" in peer.commands


async def test_a_socket_that_cannot_be_made_is_a_failed_connection_and_counts_no_longer() -> None:
    peer = Peer()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with running(peer), delivering(connections=1, retry={"first": "10ms", "max": "10ms"}) as delivery:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))  # whatever is opened now has a higher number
        try:
            delivery.send(route_to(peer.port))
            attempts = await delivery.attempted(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert attempts[0].results[0].verdict.action is Action.RETRY
        assert "Too many open files" in attempts[0].results[0].reply.text
        delivery.send(route_to(peer.port))
        await delivery.attempted(2)
    assert len(peer.messages) == 1


async def test_a_connection_that_is_cut_before_it_began_to_connect_is_gone_at_once() -> None:
    peer = Peer()
    async with running(peer), delivering() as relay:
        relay.send(route_to(peer.port))
        assert relay.dispatcher.figures().connections == 1
        await relay.dispatcher.drain(0.0)
        assert relay.dispatcher.figures().connections == 0
