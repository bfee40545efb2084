"""What all sessions together hold of mail that is coming in, however many of them stall inside a message."""

import pytest

from lane_relay.accept.listener import Listener
from lane_relay.accept.session import Session
from tests.lane_relay.accept.clients import Hands
from tests.lane_relay.accept.conftest import Spool, Start, make_config
from tests.lane_relay.accept.test_session import Transport

BUDGET = 8 * 2**20
HELLO = b"EHLO a\r\nMAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<b@isp.example>\r\n"
LETTER = b"From: otp@notify.example.com\r\n\r\nx\r\n"


def opened(listener: Listener, *sent: bytes) -> tuple[Session, Transport]:
    """A session whose client has sent this, a read each."""
    session, transport = Session(listener, tls=False), Transport()
    session.connection_made(transport)
    for data in sent:
        session.data_received(data)
    return session, transport


async def _listening(start: Start, hands: Hands) -> Listener:
    config = make_config(
        clients=["127.0.0.0/8"], max_message_size=2**20, limits={"sessions": 6000, "sessionsPerClient": 6000}
    )
    return await start(config.model_copy(update={"active_bytes": BUDGET}), clock=hands.clock)


STALLS = {
    "inside a chunk": (HELLO, b"BDAT 100000\r\n" + b"x" * 8000),
    "between two chunks": (HELLO, b"BDAT 8000\r\n" + b"x" * 8000),
    "behind DATA": (HELLO + b"DATA\r\n", b"x" * 8000),
    "inside a command": (HELLO, b"x" * 8000),
}


@pytest.mark.parametrize("how", STALLS)
async def test_five_thousand_sessions_that_stall_stay_inside_the_bound_and_make_room_when_it_is_short(
    start: Start, spool: Spool, how: str
) -> None:
    hands = Hands()
    listener = await _listening(start, hands)
    stalled = [opened(listener, *STALLS[how]) for _ in range(5000)]
    assert BUDGET - 8000 <= listener.held_bytes <= BUDGET + 8000 + 5000 * 8

    session, transport = opened(listener, HELLO)
    assert transport.written[-1].count(b"452 4.3.1 Too much mail") >= (listener.held_bytes > BUDGET)
    for _ in range(2):  # said first, and then cut off
        hands.time += 30
        listener.sweep()
    cut = [transport for _, transport in stalled if b"421 4.4.2" in transport.written[-1]]
    assert len(cut) >= BUDGET // 8000 // 2
    assert all(transport.is_aborted for transport in cut)
    for session, transport in stalled:
        if transport.is_aborted:
            session.connection_lost(None)
    assert listener.held_bytes <= BUDGET // 2

    last, transport = opened(listener, HELLO + b"DATA\r\n", LETTER + b".\r\n")
    assert b"250 2.0.0 Ok: queued" in transport.written[-1]
    assert len(spool.messages) == 1
    for session, _ in [*stalled, (last, transport)]:
        session.connection_lost(None)
    assert listener.held_bytes == 0


async def test_a_chunk_that_is_given_up_between_two_is_refused_with_the_next_and_the_session_goes_on(
    start: Start, spool: Spool
) -> None:
    listener = await _listening(start, Hands())
    listener.held_bytes = BUDGET
    session, transport = opened(listener, HELLO[:8])
    listener.held_bytes = 0
    session.data_received(HELLO[8:])
    listener.held_bytes = BUDGET
    session.data_received(b"BDAT 10\r\nFrom: otp@")
    assert transport.written[-1].startswith(b"250 2.0.0")
    assert listener.held_bytes == BUDGET
    session.data_received(b"BDAT 10 LAST\r\n0123456789")
    assert transport.written[-1].startswith(b"452 4.3.1")

    listener.held_bytes = 0
    session.data_received(HELLO[8:] + b"DATA\r\n")
    session.data_received(LETTER + b".\r\n")
    assert b"250 2.0.0 Ok: queued" in transport.written[-1]
    session.connection_lost(None)


async def test_where_memory_is_not_short_a_client_may_take_its_five_minutes(start: Start) -> None:
    hands = Hands()
    listener = await _listening(start, hands)
    session, transport = opened(listener, *STALLS["inside a chunk"])
    for _ in range(5):
        hands.time += 59
        listener.sweep()
    assert b"421" not in transport.written[-1]
    session.connection_lost(None)


async def test_a_slow_client_that_goes_on_keeps_its_message_when_memory_is_short(start: Start, spool: Spool) -> None:
    """At 8 KB a second: who is slower than 4 KB a second holds memory for longer than it is worth."""
    hands = Hands()
    listener = await _listening(start, hands)
    slow, slow_said = opened(listener, HELLO, b"BDAT 1000000 LAST\r\n")
    drip, drip_said = opened(listener, HELLO, b"BDAT 1000000 LAST\r\n" + b"x" * 5000)
    listener.held_bytes += BUDGET // 2
    for _ in range(20):
        hands.time += 5
        listener.sweep()
        slow.data_received(b"x" * 40_000)
        drip.data_received(b"x")
    assert b"421" not in slow_said.written[-1]
    assert b"421 4.4.2" in drip_said.written[-1]
    for session in (slow, drip):
        session.connection_lost(None)


async def test_what_is_sent_into_a_wait_is_not_read_while_memory_is_short(start: Start, spool: Spool) -> None:
    listener = await _listening(start, Hands())
    spool.hold = True
    session, transport = opened(listener, HELLO + b"DATA\r\n", LETTER + b".\r\n")
    listener.held_bytes += BUDGET
    session.data_received(HELLO[8:])
    assert not transport.is_read
    listener.held_bytes -= BUDGET
    spool.waiting.pop()(None)
    assert transport.is_read
    session.connection_lost(None)
    assert listener.held_bytes == 0
