"""The feedback listener over sockets: its limits, and what it says when a report cannot be kept."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from lane_api.relayconfig import Endpoint, RelayConfig
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.feedback.addresses import Addressee, Addresses
from lane_relay.feedback.listener import FeedbackListener, Limits
from lane_relay.feedback.session import FeedbackSession
from lane_relay.records import Reply
from tests.lane_relay.accept.test_proxy import header

KEY = b"k" * 32
TO = "postmaster@b.brand.test"
CLOSED = {"state": "Closed"}
TAKEN = Reply(250, ("2.0.0 Thank you",))


def config(*proxies: str) -> RelayConfig:
    return RelayConfig.model_validate(
        {
            "lane": {"name": "otp"},
            "slot": {"name": "otp-0", "hostname": "out1.brand.test"},
            "spool": {"path": "/unused"},
            "records": {"path": "/unused"},
            "intake": {"maxMessageSize": 1000},
            "domains": [{"name": "brand.test", "mode": "Off", "returnPath": {"domain": "b.brand.test"}}],
            "feedback": {"keyFile": "/unused", "proxies": proxies},
        }
    )


@dataclass
class Desk:
    """Takes what comes, or answers as the test says."""

    answer: Callable[[], Awaitable[Reply]] | None = None
    taken: list[bytes] = field(default_factory=list)
    clients: list[str] = field(default_factory=list)

    async def take(self, _addressee: Addressee, content: bytes, client: str, _helo: str) -> Reply:
        if self.answer is not None:
            return await self.answer()
        self.taken.append(content)
        self.clients.append(client)
        return TAKEN


Made = Callable[..., Awaitable[tuple[FeedbackListener, Desk]]]


@pytest.fixture
async def made() -> AsyncIterator[Made]:
    listeners: list[FeedbackListener] = []

    async def make(**limits: int) -> tuple[FeedbackListener, Desk]:
        bounds, desk = Limits(), Desk()
        for name, value in limits.items():
            setattr(bounds, name, value)
        find = Addresses(config(), KEY).find
        listener = FeedbackListener(config(), find, desk.take, SYSTEM_CLOCK, bounds)
        await listener.start(Endpoint(host="127.0.0.1", port=0))
        listeners.append(listener)
        return listener, desk

    yield make
    for listener in listeners:
        await listener.stop(5.0)


class Peer:
    """Speaks to it line by line."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, listener: FeedbackListener, source: str = "127.0.0.1") -> "Peer":
        return cls(*await asyncio.open_connection("127.0.0.1", listener.port, local_addr=(source, 0)))

    def write(self, data: bytes) -> None:
        """What a balancer says in front."""
        self._writer.write(data)

    async def hear(self) -> str:
        """The last line of a reply."""
        while True:
            line = (await self._reader.readline()).decode()
            if line[3:4] != "-":
                return line.rstrip()

    async def say(self, *lines: str) -> str:
        """Says lines one by one; the answer to the last."""
        answer = ""
        for line in lines:
            self._writer.write(line.encode() + b"\r\n")
            answer = await self.hear()
        return answer

    async def bring(self, content: str = "Subject: x\r\n\r\nx") -> str:
        """One mail to the postmaster."""
        for line in ("MAIL FROM:<>", f"RCPT TO:<{TO}>"):
            answer = await self.say(line)
            if not answer.startswith("250"):
                return answer
        return await self.say("DATA", f"{content}\r\n.")

    async def leave(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def test_mail_is_taken_and_answered_once_it_is_kept(made: Made) -> None:
    listener, desk = await made()
    kept = asyncio.Event()

    async def later() -> Reply:
        await kept.wait()
        return TAKEN

    desk.answer = later
    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    bringing = asyncio.ensure_future(peer.bring())
    done, _ = await asyncio.wait([bringing], timeout=0.2)
    assert not done
    kept.set()
    assert await bringing == "250 2.0.0 Thank you"
    await peer.leave()


async def test_behind_a_balancer_each_reporter_has_a_share_of_its_own_and_is_on_record(made: Made) -> None:
    listener, desk = await made(sessions_per_client=1, mails_per_minute_per_client=1)
    listener.apply(config("127.0.0.0/8"))

    async def come(source: str) -> tuple[Peer, str]:
        peer = await Peer.connect(listener)
        peer.write(header(source))
        return peer, await peer.hear()

    one, greeted = await come("203.0.113.7")
    assert greeted.startswith("220 ")
    other, greeted = await come("2001:db8::7")
    assert greeted.startswith("220 ")
    late, refused = await come("203.0.113.7")
    assert refused.startswith("421 4.7.0 Too many sessions")
    for peer in (one, other):
        await peer.say("EHLO mx.isp.test")
        assert (await peer.bring()).startswith("250")
        assert (await peer.bring()).startswith("450 4.7.1")
    assert desk.clients == ["203.0.113.7", "2001:db8::7"]
    for peer in (one, other, late):
        await peer.leave()


@pytest.mark.parametrize(
    ("proxies", "first", "answer"),
    [
        (("127.0.0.1/32",), b"EHLO mx.isp.test\r\n", "421 4.7.0 This peer is named in feedback.proxies: begin with"),
        (
            ("192.0.2.0/24",),
            header("203.0.113.7"),
            "421 4.7.0 The PROXY protocol is for peers named in submission.clie",
        ),
        ((), b"PROXY TCP4 203.0.113.7 192.0.2.1 40000 25\r\n", "421 4.7.0 The PROXY protocol is for peers named in su"),
    ],
    ids=["named and says nothing", "not named", "version 1"],
)
async def test_who_is_named_speaks_for_others_and_nobody_else_is_believed(
    made: Made, proxies: tuple[str, ...], first: bytes, answer: str
) -> None:
    listener, _ = await made()
    listener.apply(config(*proxies))
    peer = await Peer.connect(listener)
    peer.write(first)
    heard = [await peer.hear()]
    while heard[-1] and not heard[-1].startswith("421"):  # the header's first lines are answered one by one
        heard.append(await peer.hear())
    assert heard[-1].startswith(answer)
    await peer.leave()


async def test_who_has_not_said_for_whom_it_comes_takes_one_of_the_places_and_no_time_at_the_end(made: Made) -> None:
    listener, _ = await made(sessions=2)
    listener.apply(config("127.0.0.2/32"))
    silent = [await Peer.connect(listener, "127.0.0.2") for _ in range(3)]
    assert await silent[0].hear() == ""  # made room for the third
    peer = await Peer.connect(listener)
    assert (await peer.hear()).startswith("220 ")
    assert listener.under_way == 0  # no mail
    await listener.stop(5.0)
    assert not listener._at_door
    for one in (*silent, peer):
        await one.leave()


async def test_a_report_that_cannot_be_kept_is_to_be_sent_again(made: Made) -> None:
    listener, desk = await made()

    async def full() -> Reply:
        return Reply(451, ("4.3.0 The report cannot be kept now, send it again",))

    async def broken() -> Reply:
        raise ValueError("a mistake of ours")

    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    for answer in (full, broken):
        desk.answer = answer
        assert (await peer.bring()).startswith("451 4.3.0")
    desk.answer = None
    assert (await peer.bring()).startswith("250")  # the session goes on
    await peer.leave()


async def test_of_mail_for_two_that_one_could_not_get_the_second_try_is_for_that_one(made: Made) -> None:
    listener, desk = await made()
    heard: list[tuple[Addressee, int]] = []
    answers = [TAKEN, Reply(451, ("4.3.0 later",)), TAKEN, TAKEN]

    async def take(addressee: Addressee, *_: object) -> Reply:
        reply = answers.pop(0)
        heard.append((addressee, reply.code))
        return reply

    listener.take = take
    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    envelope = ["MAIL FROM:<>", f"RCPT TO:<{TO}>", "RCPT TO:<fbl@b.brand.test>", f"RCPT TO:<{TO}>", "DATA"]
    assert (await peer.say(*envelope, "x: y\r\n\r\nx\r\n.")).startswith("451")
    assert (await peer.say(*envelope, "x: y\r\n\r\nx\r\n.")).startswith("250")
    assert [code for _, code in heard] == [250, 451, 250]
    assert heard[1][0] == heard[2][0] != heard[0][0]
    assert desk.taken == []
    await peer.leave()


async def test_while_intake_is_closed_reports_are_to_be_sent_again_and_what_is_with_the_desk_is_counted(
    made: Made,
) -> None:
    listener, desk = await made()
    open_, closed = config(), config().model_copy(update={"intake": config().intake.model_copy(update=CLOSED)})
    begun, kept = asyncio.Event(), asyncio.Event()

    async def later() -> Reply:
        begun.set()
        await kept.wait()
        return TAKEN

    desk.answer = later
    first, second = await Peer.connect(listener), await Peer.connect(listener)
    for peer in (first, second):
        await peer.hear()
        await peer.say("EHLO mx.isp.test")
    await second.say("MAIL FROM:<>", f"RCPT TO:<{TO}>", "DATA")
    bringing = asyncio.ensure_future(first.bring())
    await begun.wait()
    listener.apply(closed)
    assert listener.under_way == 1
    kept.set()
    assert await bringing == "250 2.0.0 Thank you"  # it was here before
    assert (await second.say("Subject: x\r\n\r\nx\r\n.")).startswith("451 4.3.2")
    assert (await first.bring()).startswith("451 4.3.2")
    assert (listener.under_way, desk.taken) == (0, [])
    desk.answer = None
    listener.apply(open_)
    assert (await second.bring()).startswith("250")
    for peer in (first, second):
        await peer.leave()


async def test_there_is_no_auth_and_no_relaying(made: Made) -> None:
    listener, desk = await made()
    peer = await Peer.connect(listener)
    await peer.hear()
    assert not (await peer.say("EHLO mx.isp.test")).startswith("5")
    assert (await peer.say("AUTH PLAIN AGEAYg==")).startswith("5")
    await peer.say("MAIL FROM:<a@isp.test>")
    for stranger in ("b@isp.test", "x@brand.test", f"b-{'a' * 60}@b.brand.test"):
        assert (await peer.say(f"RCPT TO:<{stranger}>")) == "550 5.1.1 There is no such mailbox here"
    assert (await peer.say("DATA")).startswith("5")
    assert desk.taken == []
    assert listener.refused == 3
    await peer.leave()


async def test_mail_larger_than_a_report_can_be_is_refused(made: Made) -> None:
    listener, desk = await made()
    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    assert (await peer.bring("x" * 900 + "\r\n" + ("y" * 900 + "\r\n") * 1200)).startswith("552 5.3.4")
    assert desk.taken == []
    await peer.leave()


async def test_one_client_has_so_many_sessions_and_others_have_theirs(made: Made) -> None:
    listener, _ = await made(sessions_per_client=2)
    peers = [await Peer.connect(listener) for _ in range(3)]
    heard = [await peer.hear() for peer in peers]
    assert [line[:3] for line in heard] == ["220", "220", "421"]
    for peer in peers:
        await peer.leave()


async def test_silent_peers_shut_out_nobody_who_reports(made: Made) -> None:
    listener, desk = await made(sessions=5, sessions_per_client=2)
    reporting = await Peer.connect(listener)
    await reporting.hear()
    await reporting.say("EHLO mx.isp.test")
    assert (await reporting.say("MAIL FROM:<>")).startswith("250")
    silent = [await Peer.connect(listener, f"127.0.1.{number // 2}") for number in range(4)]
    for peer in silent:
        assert (await peer.hear()).startswith("220")
    late = await Peer.connect(listener, "127.0.2.1")
    assert (await late.hear()).startswith("220")
    await late.say("EHLO mx.other.test")
    assert (await late.bring()).startswith("250")
    assert (await silent[0].hear()).startswith("421 4.7.0 Too many sessions, and this one brought nothing")
    assert (await reporting.say(f"RCPT TO:<{TO}>")).startswith("250")
    assert len(desk.taken) == 1
    for peer in (*silent, late, reporting):
        await peer.leave()


async def test_who_has_a_64_is_one_client(made: Made) -> None:
    listener, _ = await made(sessions_per_client=2)
    sessions = [FeedbackSession(listener, f"2001:db8:1::{number}") for number in range(3)]
    assert [listener.admit(one) is None for one in sessions] == [True, True, False]
    other = FeedbackSession(listener, "2001:db8:2::1")
    assert listener.admit(other) is None
    for one in (*sessions, other):
        listener.forget(one)
    assert not listener._sessions._by_client


async def test_one_client_brings_so_much_a_minute(made: Made) -> None:
    listener, desk = await made(mails_per_minute_per_client=2)
    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    assert [(await peer.bring())[:3] for _ in range(3)] == ["250", "250", "450"]
    assert len(desk.taken) == 2
    await peer.leave()


async def test_all_that_comes_in_at_once_stays_inside_the_memory_for_it(made: Made) -> None:
    listener, _ = await made()
    listener.held_bytes = listener.memory_budget
    peer = await Peer.connect(listener)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    assert (await peer.say("MAIL FROM:<> SIZE=1000")).startswith("452 4.3.1")
    listener.held_bytes = 0
    assert (await peer.bring()).startswith("250")
    await peer.leave()


async def test_starttls_is_offered_and_works(made: Made) -> None:
    listener, _ = await made()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    peer = Peer(reader, writer)
    await peer.hear()
    await peer.say("EHLO mx.isp.test")
    assert (await peer.say("STARTTLS")).startswith("220")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await writer.start_tls(context)
    await peer.say("EHLO mx.isp.test")
    assert (await peer.bring()).startswith("250")
    await peer.leave()


async def test_a_peer_that_takes_no_replies_is_read_no_more_and_cut_off_in_the_end(made: Made) -> None:
    listener, _ = await made()
    _, writer = await asyncio.open_connection("127.0.0.1", listener.port, limit=1)  # it reads hardly anything
    writer.write(f"EHLO mx.isp.test\r\nMAIL FROM:<>\r\nRCPT TO:<{TO}>\r\n".encode())
    for _ in range(2000):
        writer.write(b"BDAT 1\r\nx" * 1000)  # each is answered, and none is an error
    async with asyncio.timeout(60):
        while not listener._sessions:  # noqa: ASYNC110 -- the listener tells nobody of it
            await asyncio.sleep(0.01)
        (session,) = listener._sessions
        while not session._replies_stuck:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert session._transport is not None
    assert not session._transport.is_reading()
    assert session._transport.get_write_buffer_size() < 2**20
    session.sweep(session.last_active + 301)
    async with asyncio.timeout(60):
        while listener.session_count:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    writer.close()
