"""What one session does with its transport."""

import asyncio

from lane_relay.accept.session import Session
from tests.lane_relay.accept.clients import eventually
from tests.lane_relay.accept.conftest import Spool, Start, make_config


class Transport(asyncio.Transport):
    """Stands for a socket: keeps what is written and whether it is read."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000)})
        self.written: list[bytes] = []
        self.is_read = True
        self.is_aborted = False
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def pause_reading(self) -> None:
        self.is_read = False

    def resume_reading(self) -> None:
        self.is_read = True

    def close(self) -> None:
        self.is_read = False
        self._is_closing = True

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self._is_closing


async def test_a_client_that_does_not_read_its_replies_is_not_read(start: Start) -> None:
    session, transport = Session(await start(), tls=False), Transport()
    session.connection_made(transport)
    session.pause_writing()
    assert not transport.is_read

    session.resume_writing()
    assert transport.is_read
    session.connection_lost(None)


async def test_what_is_pipelined_into_a_wait_is_bounded_by_reading_no_more(start: Start, spool: Spool) -> None:
    listener = await start()
    session, transport = Session(listener, tls=False), Transport()
    spool.hold = True
    session.connection_made(transport)
    session.data_received(
        b"EHLO a\r\nMAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<b@isp.example>\r\nDATA\r\n"
        b"From: otp@notify.example.com\r\n\r\nx\r\n.\r\n"
    )
    session.data_received(b"MAIL FROM:<>\r\nRCPT TO:<b@isp.example>\r\nDATA\r\n" + b"x" * 70_000)
    session.pause_writing()
    session.resume_writing()
    assert not transport.is_read

    spool.waiting.pop()(None)
    assert transport.is_read
    assert listener.held_bytes == 70_000
    session.connection_lost(None)
    assert listener.held_bytes == 0


async def test_replies_of_one_read_are_one_write(start: Start) -> None:
    session, transport = Session(await start(), tls=False), Transport()
    session.connection_made(transport)
    session.data_received(b"EHLO a\r\nMAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<b@isp.example>\r\nDATA\r\n")

    assert len(transport.written) == 2
    assert transport.written[1].count(b"\r\n250 2.1.") == 2
    session.connection_lost(None)


async def test_a_tarpitted_client_is_neither_answered_nor_read_and_costs_nothing_but_its_timer(start: Start) -> None:
    limits = {"tarpit": {"after": 1, "first": "20ms", "max": "20ms"}}
    listener = await start(make_config(clients=["127.0.0.0/8"], limits=limits))
    session, transport = Session(listener, tls=False), Transport()
    session.connection_made(transport)
    tasks = len(asyncio.all_tasks())
    session.data_received(b"EXPN a\r\nEXPN b\r\n")

    assert len(transport.written) == 1  # the banner
    assert not transport.is_read
    assert (len(asyncio.all_tasks()), listener.held_bytes) == (tasks, 0)
    await eventually(lambda: transport.is_read)
    assert transport.written[1].count(b"502 ") == 2
    session.connection_lost(None)


async def test_a_client_that_leaves_a_tarpit_leaves_nothing_behind(start: Start) -> None:
    limits = {"tarpit": {"after": 0, "first": "1ms", "max": "1ms"}, "errorRatePerClient": "2/m"}
    listener = await start(make_config(clients=["127.0.0.0/8"], limits=limits))
    for _ in range(2):
        session, transport = Session(listener, tls=False), Transport()
        session.connection_made(transport)
        session.data_received(b"EXPN a\r\n")
        session.connection_lost(None)
    late, transport = Session(listener, tls=False), Transport()
    late.connection_made(transport)

    assert transport.written[0].startswith(b"421 4.7.1 Client 127.0.0.1 made too many errors (2/m): come again in ")
    assert listener.session_count == 0


async def test_a_client_that_may_submit_is_not_shut_out_for_its_suppressed_recipients(start: Start) -> None:
    listener = await start(
        make_config(clients=["127.0.0.0/8"]), is_suppressed=lambda to, _: "bounce" * to.count("gone")
    )
    for _ in range(2):
        session, transport = Session(listener, tls=False), Transport()
        session.connection_made(transport)
        session.data_received(b"EHLO a\r\n")
        for number in range(700):
            session.data_received(
                f"MAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<gone{number}@isp.example>\r\nRSET\r\n".encode()
            )
        assert transport.is_read
        session.data_received(b"MAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<ann@isp.example>\r\n")
        assert transport.written[-1].endswith(b"250 2.1.5 Ok\r\n")
        session.connection_lost(None)


async def test_a_stranger_is_shut_out_for_what_is_refused(start: Start) -> None:
    listener = await start(make_config(limits={"errorRatePerClient": "2/m"}))
    for _ in range(2):
        session, transport = Session(listener, tls=False), Transport()
        session.connection_made(transport)
        session.data_received(b"EHLO a\r\nMAIL FROM:<otp@notify.example.com>\r\n")
        session.connection_lost(None)
    late, transport = Session(listener, tls=False), Transport()
    late.connection_made(transport)
    assert transport.written[0].startswith(b"421 4.7.1 Client 127.0.0.1 made too many errors")
