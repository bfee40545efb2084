"""The listeners over real sockets, with other people's clients."""

import asyncio
import smtplib
import ssl
from base64 import b64encode
from pathlib import Path

import aiosmtplib
import pytest

from lane_relay.clock import Clock
from lane_relay.errors import SpoolError, SpoolFullError, VolumeFullError
from lane_relay.guard import CONTAINED
from lane_relay.records import received_at
from tests.lane_relay.accept.clients import CONTENT, RECIPIENT, SENDER, Hands, Raw, eventually
from tests.lane_relay.accept.conftest import Spool, Start, make_config


async def test_a_message_is_deposited_with_its_trace_and_answered_with_its_id(start: Start, spool: Spool) -> None:
    listener = await start()

    def send() -> tuple[int, bytes]:
        with smtplib.SMTP("127.0.0.1", listener.ports[0], local_hostname="app.example.net", timeout=60) as client:
            client.ehlo()
            client.mail(SENDER)
            client.rcpt(RECIPIENT)
            return client.data(CONTENT)

    code, text = await asyncio.to_thread(send)

    (message,) = spool.messages
    assert (code, text.decode()) == (250, f"2.0.0 Ok: queued as {message.id:024x}")
    assert message.envelope.sender == SENDER
    assert message.envelope.recipients == (RECIPIENT,)
    assert (message.client, message.user, message.correlation_id) == ("127.0.0.1", "", "o-1")
    assert message.from_domain == "notify.example.com"
    assert message.message_id == f"<{message.id:024x}@out1.example.com>"
    assert received_at(message.id) == 1_790_000_000.0
    assert message.body.startswith(
        b"Received: from app.example.net ([127.0.0.1])\r\n\tby out1.example.com with ESMTP id "
    )
    assert b"\r\nDate: " in message.body
    assert message.body.endswith(CONTENT)
    assert listener.counters.accepted == 1


@pytest.mark.parametrize("implicit", [False, True])
async def test_users_authenticate_inside_tls(
    start: Start, spool: Spool, trusting: ssl.SSLContext, tmp_path: Path, implicit: bool
) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start(make_config(users_dir=str(tmp_path)))
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=listener.ports[implicit], use_tls=implicit, start_tls=not implicit,
        tls_context=trusting, username="app", password="secret", timeout=60,
    )  # fmt: skip
    async with client:
        await client.sendmail(SENDER, [RECIPIENT, "c@isp.example"], CONTENT)

    (message,) = spool.messages
    assert message.user == "app"
    assert message.envelope.recipients == (RECIPIENT, "c@isp.example")
    assert b" with ESMTPSA id " in message.body


async def test_a_wrong_password_is_refused_and_leaves_a_record_that_names_nobody(
    start: Start, spool: Spool, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start(make_config(users_dir=str(tmp_path)))
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=listener.ports[1], use_tls=True, tls_context=trusting, timeout=60
    )
    await client.connect()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError, match=r"5\.7\.8 User name or password is wrong"):
        await client.login("app", "wrong")
    tried = {(one.reply.code, one.client, one.user) for one in spool.rejections}  # one for each mechanism
    assert tried == {(535, "127.0.0.1", "")}
    with pytest.raises(aiosmtplib.SMTPException, match=r"5\.7\.0 Authenticate first"):
        await client.sendmail(SENDER, [RECIPIENT], CONTENT)
    client.close()


async def test_who_guesses_passwords_is_answered_later_while_others_log_in(
    start: Start, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start(make_config(users_dir=str(tmp_path)))
    for number in range(30):
        answer = listener.verify("127.0.0.1", "app", f"wrong {number}")
        assert answer is not None
        assert not await answer

    async def connect(source: str) -> Raw:
        made = Raw(*await asyncio.open_connection("127.0.0.1", listener.ports[1], ssl=trusting, local_addr=(source, 0)))
        await made.ask(b"")
        await made.hello()
        return made

    guesser, other = await connect("127.0.0.1"), await connect("127.0.0.2")
    guesser.writer.write(b"AUTH PLAIN " + b64encode(b"\0app\0guess") + b"\r\n")
    refusal = asyncio.create_task(guesser.rest())
    await eventually(lambda: listener.counters.refused["535 5.7.8"] == 1)
    (said,) = await other.ask(b"AUTH PLAIN " + b64encode(b"\0app\0secret") + b"\r\n")
    assert said.startswith("235")
    assert not refusal.done()
    refusal.cancel()
    for one in (guesser, other):
        await one.close()


async def test_a_users_rate_and_senders_hold_over_all_its_sessions(
    start: Start, spool: Spool, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "app").write_text("secret")
    users = [{"name": "app", "senders": [SENDER], "rate": "2/h", "recipientRate": "3/h"}]
    listener = await start(make_config(users_dir=str(tmp_path), users=users))
    answers = []
    for recipients in ([RECIPIENT], ["c@isp.example", "d@isp.example", "e@isp.example"], [RECIPIENT]):
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=listener.ports[1], use_tls=True, tls_context=trusting, timeout=60
        )
        async with client:
            await client.login("app", "secret")
            with pytest.raises(aiosmtplib.SMTPResponseException, match=r"boss@.* is not one of user app"):
                await client.mail("boss@notify.example.com")
            try:
                refused, _ = await client.sendmail(SENDER, recipients, CONTENT)
                answers.append({name: answer.code for name, answer in refused.items()})
            except aiosmtplib.SMTPSenderRefused as over:
                answers.append({"MAIL": over.code})

    assert answers == [{}, {"e@isp.example": 451}, {"MAIL": 451}]
    assert [message.envelope.recipients for message in spool.messages] == [
        (RECIPIENT,), ("c@isp.example", "d@isp.example"),
    ]  # fmt: skip


async def test_users_come_and_go_with_the_configuration(start: Start, trusting: ssl.SSLContext, tmp_path: Path) -> None:
    (tmp_path / "app").write_text("secret")
    listener = await start()
    for users_dir, offered in ((None, False), (str(tmp_path), True), (None, False)):
        listener.apply(make_config(users_dir=users_dir))
        client = aiosmtplib.SMTP(
            hostname="127.0.0.1", port=listener.ports[1], use_tls=True, tls_context=trusting, timeout=60
        )
        async with client:
            await client.ehlo()
            assert client.supports_extension("auth") is offered
            if offered:
                await client.login("app", "secret")


@pytest.mark.parametrize("target", ["users", "nowhere"], ids=["a link to itself", "a link to nothing"])
async def test_users_that_cannot_be_read_are_a_4xx(
    start: Start, trusting: ssl.SSLContext, tmp_path: Path, target: str
) -> None:
    (tmp_path / "users").symlink_to(target)
    listener = await start(make_config(users_dir=str(tmp_path / "users")))
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=listener.ports[1], use_tls=True, tls_context=trusting, timeout=60
    )
    await client.connect()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError, match=r"4\.7\.0 Users cannot be checked now"):
        await client.login("app", "secret")
    client.close()


async def test_a_stranger_gets_nothing_in_and_the_refusal_is_recorded(start: Start, spool: Spool) -> None:
    listener = await start(make_config(clients=["192.0.2.0/24"]))
    client = await Raw.connect(listener.ports[0])
    await client.hello()

    (answer,) = await client.ask(b"MAIL FROM:<otp@notify.example.com>\r\n")

    assert answer.startswith("530 5.7.0")
    assert [(rejection.reply.code, rejection.sender, rejection.client) for rejection in spool.rejections] == [
        (530, SENDER, "127.0.0.1")
    ]
    assert listener.counters.refused == {"530 5.7.0": 1}
    await client.close()


async def test_commands_pipelined_behind_starttls_are_not_executed_inside_tls(
    start: Start, spool: Spool, trusting: ssl.SSLContext
) -> None:
    listener = await start()
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    answer = await client.ask(b"STARTTLS\r\nMAIL FROM:<otp@notify.example.com>\r\nRCPT TO:<v@isp.example>\r\n")
    assert answer == ["220 2.0.0 Ready to start TLS"]
    async with asyncio.timeout(60):
        await client.writer.start_tls(trusting)

    assert (await client.ask(b"DATA\r\n"))[0].startswith("503 5.5.1 Send MAIL first")
    assert (await client.hello())[-1] == "250 DELIVERBY"
    await client.close()


async def test_250_is_not_said_before_the_spool_has_answered(start: Start, spool: Spool) -> None:
    listener = await start()
    spool.hold = True
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
    client.writer.write(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\nNOOP\r\n")
    await eventually(lambda: spool.waiting)

    assert listener.held_bytes >= len(CONTENT)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.read(1), 0.05)
    spool.waiting.pop()(None)
    answers = await client.ask(b"", 2)
    assert [answer[:3] for answer in answers] == ["250", "250"]
    assert listener.held_bytes == 0
    await client.close()


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SpoolFullError("full"), "452 4.3.1 The queue is full, try again later; a larger queue.size gives it room"),
        (
            VolumeFullError("full"),
            "452 4.3.1 The queue's volume is full, try again later; a larger queue.size gives it room",
        ),
        (SpoolError("broken"), "451 4.3.0 The queue cannot be written, try another slot"),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_spool_that_cannot_take_it_is_a_4xx_with_its_reason(
    start: Start, spool: Spool, error: SpoolError, text: str, at_once: bool
) -> None:
    listener = await start()
    spool.hold = True
    spool.refuse_at_once = error if at_once else None
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
    client.writer.write(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    if not at_once:
        await eventually(lambda: spool.waiting)
        spool.waiting.pop()(error)

    assert await client.ask(b"") == [text]
    assert listener.counters.accepted == 0
    assert listener.held_bytes == 0
    await client.close()


async def test_what_breaks_at_one_message_is_a_451_for_its_session_alone(start: Start, spool: Spool) -> None:
    """A process that ended with it would meet the same message again after every restart."""
    times: list[float] = [1_790_000_000.0]  # the clock strikes once, for the certificate; then it is broken
    listener = await start(clock=Clock(now=times.pop, monotonic=lambda: 1000.0))
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    before = CONTAINED["submission"]
    for broken in (True, False):
        times[:] = [] if broken else [1_790_000_001.0]
        await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
        (answer,) = await client.ask(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        assert answer[:9] == ("451 4.3.0" if broken else "250 2.0.0")

    assert (reported, len(spool.messages), listener.held_bytes) == ([], 1, 0)
    assert CONTAINED["submission"] == before + 1
    await client.close()


async def test_a_from_field_of_nested_comments_ends_nothing(start: Start) -> None:
    listener = await start()
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
    nested = b"From: " + b"(" * 900 + b"\r\n " + b")" * 900 + b" <otp@notify.example.com>\r\n\r\nx\r\n.\r\n"

    assert (await client.ask(nested))[0].startswith("550 5.6.0 The From field")
    await client.close()


async def test_a_client_that_goes_before_250_does_not_undo_its_message(start: Start, spool: Spool) -> None:
    listener = await start()
    spool.hold = True
    client = await Raw.connect(listener.ports[0])
    client.writer.write(
        f"EHLO a\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode() + CONTENT[:-6] + b".\r\n"
    )
    await eventually(lambda: spool.waiting)
    await client.close()
    await eventually(lambda: listener.session_count == 0)
    spool.waiting.pop()(None)

    assert listener.counters.accepted == 1
    assert listener.held_bytes == 0


async def test_closing_the_intake_sends_new_and_idle_sessions_away(start: Start) -> None:
    listener = await start()
    idle = await Raw.connect(listener.ports[0])
    await idle.hello()
    listener.apply(make_config(clients=["127.0.0.0/8"], state="Closed"))

    assert (await idle.rest()).startswith("421 4.3.2")
    late = await Raw.connect(listener.ports[0])
    assert (await late.rest()).startswith("421 4.3.2 This slot takes no new mail")
    listener.apply(make_config(clients=["127.0.0.0/8"]))
    again = await Raw.connect(listener.ports[0])
    assert (await again.ask(b""))[0].startswith("220 ")
    for client in (idle, late, again):
        await client.close()


async def test_a_new_policy_counts_in_open_sessions(start: Start) -> None:
    listener = await start()
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    listener.apply(make_config(clients=["127.0.0.0/8"], senders=["@else.example"]))

    assert (await client.ask(f"MAIL FROM:<{SENDER}>\r\n".encode()))[0].startswith("550 5.7.1 The envelope sender")
    await client.close()


async def test_a_stop_lets_the_message_under_way_finish(start: Start, spool: Spool) -> None:
    listener = await start()
    spool.hold = True
    busy, idle = await Raw.connect(listener.ports[0]), await Raw.connect(listener.ports[0])
    await idle.hello()
    await busy.hello()
    await busy.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
    busy.writer.write(CONTENT.replace(b"\r\n.", b"\r\n..") + b".\r\n")
    await eventually(lambda: spool.waiting)
    stopping = asyncio.create_task(listener.stop(10.0))

    assert (await idle.rest()).startswith("421 4.3.2")
    assert not stopping.done()
    spool.waiting.pop()(None)
    rest = await busy.rest()
    assert rest.startswith("250 2.0.0 Ok: queued as")
    assert "\r\n421 4.3.2" in rest
    await asyncio.wait_for(stopping, 60)
    assert listener.session_count == 0
    for client in (busy, idle):
        await client.close()


async def test_a_stop_cuts_off_what_does_not_finish_in_time(start: Start) -> None:
    listener = await start()
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)

    await listener.stop(0.0)
    assert await client.rest() == ""
    await eventually(lambda: listener.session_count == 0)
    await client.close()


@pytest.mark.parametrize("limits", [{"sessions": 2}, {"sessionsPerClient": 2}])
async def test_sessions_beyond_the_limit_get_421(start: Start, limits: dict[str, int]) -> None:
    listener = await start(make_config(clients=["127.0.0.0/8"], limits=limits))
    clients = [await Raw.connect(listener.ports[0]) for _ in range(2)]
    for client in clients:
        await client.hello()
    third = await Raw.connect(listener.ports[0])

    assert (await third.rest()).startswith("421 4.7.0 Too many sessions")
    await clients[0].ask(b"QUIT\r\n")
    await eventually(lambda: listener.session_count == 1)
    again = await Raw.connect(listener.ports[0])
    assert (await again.ask(b""))[0].startswith("220 ")
    for client in (*clients, third, again):
        await client.close()


async def test_a_silent_session_is_timed_out_by_the_sweep(start: Start) -> None:
    hands = Hands()
    listener = await start(clock=hands.clock)
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    hands.time += 299
    listener.sweep()
    assert listener.session_count == 1
    hands.time += 2
    listener.sweep()

    assert (await client.rest()).startswith("421 4.4.2 Nothing came for too long")
    await client.close()


async def test_a_session_that_waits_for_the_spool_is_not_timed_out(start: Start, spool: Spool) -> None:
    hands = Hands()
    listener = await start(clock=hands.clock)
    spool.hold = True
    client = await Raw.connect(listener.ports[0])
    client.writer.write(
        f"EHLO a\r\nMAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode() + CONTENT[:-6] + b".\r\n"
    )
    await eventually(lambda: spool.waiting)
    hands.time += 1000
    listener.sweep()
    spool.waiting.pop()(None)

    assert (await client.ask(b"", 15))[-1].startswith("250 2.0.0 Ok: queued as")
    await client.close()


async def test_memory_for_incoming_mail_is_bounded(start: Start, spool: Spool) -> None:
    config = make_config(clients=["127.0.0.0/8"], max_message_size=100_000).model_copy(update={"active_bytes": 1})
    listener = await start(config)
    assert listener.memory_budget == 200_000
    clients = [await Raw.connect(listener.ports[0]) for _ in range(4)]
    for client in clients:
        await client.hello()
        await client.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
        client.writer.write(CONTENT[:80] + b"\r\n" + (b"x" * 78 + b"\r\n") * 1000)
        await client.writer.drain()
    await eventually(lambda: listener.peak_bytes > 200_000)
    answers = [(await client.ask(b"\r\n.\r\n"))[0] for client in clients]

    assert max(answer[:9] for answer in answers) == "452 4.3.1"
    assert listener.peak_bytes < 200_000 + 4 * 65_536 + 80_000
    assert listener.held_bytes == 0
    for client in clients:
        await client.close()


async def test_a_failed_handshake_leaves_nothing_behind(start: Start) -> None:
    listener = await start()
    client = await Raw.connect(listener.ports[0])
    await client.hello()
    await client.ask(b"STARTTLS\r\n")
    client.writer.write(b"this is no handshake\r\n" * 10)

    await eventually(lambda: listener.session_count == 0)
    await client.close()


async def test_many_sessions_at_once_lose_and_mix_nothing(start: Start, spool: Spool) -> None:
    listener = await start()

    async def send(number: int) -> None:
        client = aiosmtplib.SMTP(hostname="127.0.0.1", port=listener.ports[0], start_tls=False, timeout=60)
        async with client:
            for turn in range(20):
                content = CONTENT + f"{number}/{turn}\r\n".encode()
                await client.sendmail(SENDER, [f"r{number}-{turn}@isp.example"], content)

    await asyncio.gather(*(send(number) for number in range(5)))

    assert len({message.id for message in spool.messages}) == 100
    for message in spool.messages:
        number, turn = message.envelope.recipients[0].partition("@")[0][1:].split("-")
        assert message.body.endswith(f"\r\n{number}/{turn}\r\n".encode())


async def test_what_breaks_us_in_one_session_ends_that_session_alone(start: Start, spool: Spool) -> None:
    listener = await start()
    first = await Raw.connect(listener.ports[0])
    await first.hello()
    before = CONTAINED["submission"]
    (session,) = listener._sessions
    session.data_received(None)  # type: ignore[arg-type]  # a fault on purpose: no octets at all
    assert (await first.rest(), CONTAINED["submission"]) == ("", before + 1)
    await first.close()
    other = await Raw.connect(listener.ports[0])
    await other.hello()
    await other.ask(f"MAIL FROM:<{SENDER}>\r\nRCPT TO:<{RECIPIENT}>\r\nDATA\r\n".encode(), 3)
    assert (await other.ask(CONTENT + b".\r\n"))[0].startswith("250 2.0.0")
    await other.close()


async def test_what_breaks_us_behind_a_wait_ends_that_session_alone(start: Start) -> None:
    """What came meanwhile is read in the turn of whoever ended the wait: the spool's, or a timer's."""
    listener = await start()
    first = await Raw.connect(listener.ports[0])
    await first.hello()
    before = CONTAINED["submission"]
    (session,) = listener._sessions
    session._go_on(lambda: session._server.receive(None))  # type: ignore[arg-type]  # a fault on purpose
    assert (await first.rest(), CONTAINED["submission"]) == ("", before + 1)
    await first.close()
