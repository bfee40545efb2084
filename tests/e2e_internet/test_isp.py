"""The scripted ISP as a running program: it refuses what it says, and counts on its own what it refuses."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from e2e.internet.control_client import ControlError
from e2e.internet.policy import Fault, Policy, Rate, Stage
from e2e.internet.records import Connection, Message, Refusal
from tests.e2e_internet.isps import Client, running_isps

FAST = Policy(round_trip_s=0)


async def eventually(condition: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.01)


async def test_a_message_is_recorded_with_its_source_connection_and_times(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST) as (control, at):
        client = await (await Client.connect(at["b"])).greeted()
        before = time.time()
        assert await client.send(message_id="<x@a.test>") == [250, 250, 354, 250]
        after = time.time()
        await client.close()

        async def closed() -> bool:
            return any(isinstance(one, Connection) and one.closed for one in await control.dump("b"))

        await eventually(closed)
        records = await control.dump("b")

    (message,) = [one for one in records if isinstance(one, Message)]
    (connection,) = [one for one in records if isinstance(one, Connection)]
    assert (message.message_id, message.source_ip, message.connection) == ("<x@a.test>", "127.0.0.41", connection.id)
    assert before <= message.received <= message.at <= after
    assert message.answered
    assert (connection.helo, connection.source_ip) == ("client.test", "127.0.0.41")
    assert connection.opened <= before
    assert connection.closed is not None
    assert connection.closed >= message.at


async def test_a_connection_over_the_limit_is_refused_and_seen_on_the_wire(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST.model_copy(update={"max_connections_per_ip": 1})) as (control, at):
        first = await (await Client.connect(at["b"])).greeted()
        second = await Client.connect(at["b"])
        assert (await second.reply())[0] == 421
        other = await (await Client.connect(at["b"], "127.0.0.42")).greeted()
        figures = (await control.counters("b"))["source_ips"]
        for client in (first, second, other):
            await client.close()

    assert figures["127.0.0.41"]["wire_connections_most"] == 2
    assert figures["127.0.0.41"]["connections_most"] == 2
    assert figures["127.0.0.41"]["refusals"] == {"connect 421": 1}
    assert figures["127.0.0.42"]["wire_connections_most"] == 1


async def test_a_limit_broken_while_nobody_enforces_it_is_still_seen(tmp_path: Path) -> None:
    policy = FAST.model_copy(
        update={"enforce": "observe", "max_connections_per_ip": 2, "message_rate": Rate(messages=3, seconds=60)}
    )
    async with running_isps(tmp_path, b=policy) as (control, at):
        clients = [await (await Client.connect(at["b"])).greeted() for _ in range(3)]
        for client in clients:
            assert (await client.send())[-1] == 250
            assert (await client.send())[-1] == 250
        figures = (await control.counters("b"))["source_ips"]["127.0.0.41"]
        for client in clients:
            await client.close()

    assert figures["wire_connections_most"] == 3
    assert figures["messages_most_in_window"] == 6
    assert figures["window_s"] == 60


async def test_connections_one_after_the_other_never_count_as_two(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST) as (control, at):
        for _ in range(50):
            client = await Client.connect(at["b"])
            await client.close()
        wire = await control.wire()
        figures = (await control.counters("b"))["source_ips"]["127.0.0.41"]

    assert wire["packets_lost"] == 0
    assert figures["wire_connections"] == 50
    assert figures["wire_connections_most"] == 1


async def test_a_pipelined_group_takes_one_round_trip_and_single_commands_one_each(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=Policy(round_trip_s=0.2)) as (_, at):
        client = await (await Client.connect(at["b"])).greeted()
        loop = asyncio.get_running_loop()
        start = loop.time()
        await client.say("MAIL FROM:<s@a.test>", "RCPT TO:<r@b.test>", "NOOP")
        group = loop.time() - start
        for _ in range(3):
            await client.say("NOOP")
        single = loop.time() - start - group
        await client.close()

    # the least that the script says; how much more the machine adds is not asserted, except that a group is one piece
    assert group >= 0.2
    assert single >= 0.6
    assert group < single


async def test_starttls_encrypts_and_the_connection_records_it(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST) as (control, at):
        client = await (await Client.connect(at["b"])).greeted()
        assert await client.say("STARTTLS") == [220]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        await client.writer.start_tls(context)
        assert await client.say("EHLO client.test") == [250]
        assert (await client.send())[-1] == 250
        records = await control.dump("b")
        client.writer.transport.abort()

    (connection,) = [one for one in records if isinstance(one, Connection)]
    (message,) = [one for one in records if isinstance(one, Message)]
    assert connection.tls_version == "TLSv1.3"
    assert connection.tls_cipher
    assert connection.closed is None
    assert message.tls


async def test_a_message_whose_sender_dies_before_the_250_is_recorded_as_unanswered(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST) as (control, at):
        client = await (await Client.connect(at["b"])).greeted()
        assert await client.say("MAIL FROM:<s@a.test>", "RCPT TO:<r@b.test>", "DATA") == [250, 250, 354]
        await control.change_policy("b", round_trip_s=30.0)
        client.writer.write(b"Message-ID: <lost-answer@a.test>\r\n\r\nbody\r\n.\r\n")
        await client.writer.drain()
        await client.close()

        async def recorded() -> bool:
            return bool(await control.messages("b"))

        await eventually(recorded)
        (message,) = await control.messages("b")

    assert message.message_id == "<lost-answer@a.test>"
    assert not message.answered


async def test_a_dropped_connection_is_recorded_and_gives_no_reply(tmp_path: Path) -> None:
    policy = FAST.model_copy(update={"faults": {Stage.END_OF_DATA: Fault(action="drop", times=1)}})
    async with running_isps(tmp_path, b=policy) as (control, at):
        client = await (await Client.connect(at["b"])).greeted()
        client.writer.write(b"MAIL FROM:<s@a.test>\r\nRCPT TO:<r@b.test>\r\nDATA\r\n")
        assert [(await client.reply())[0] for _ in range(3)] == [250, 250, 354]
        client.writer.write(b"A: b\r\n\r\nbody\r\n.\r\n")
        assert await client.reply() == (0, "")
        again = await (await Client.connect(at["b"])).greeted()
        assert (await again.send())[-1] == 250
        await again.close()
        records = await control.dump("b")

    assert [(one.stage, one.code) for one in records if isinstance(one, Refusal)] == [("dropped", 0)]
    assert len([one for one in records if isinstance(one, Message)]) == 1


async def test_a_stalled_connection_stays_open_and_silent(tmp_path: Path) -> None:
    policy = FAST.model_copy(update={"faults": {Stage.CONNECT: Fault(action="stall")}})
    async with running_isps(tmp_path, b=policy) as (control, at):
        client = await Client.connect(at["b"])
        client.writer.write(b"EHLO x\r\n")

        async def counted() -> bool:
            return bool((await control.counters("b"))["source_ips"])

        await eventually(counted)
        now = (await control.counters("b"))["source_ips"]["127.0.0.41"]["connections_now"]
        assert not client.reader.at_eof()
        await client.close()

    assert now == 1


async def test_an_isp_ends_all_its_connections_at_once_and_no_other_isps(tmp_path: Path) -> None:
    stalls = FAST.model_copy(update={"faults": {Stage.BANNER: Fault(action="stall")}})
    async with running_isps(tmp_path, b=stalls, c=FAST) as (control, at):
        stalled = [await Client.connect(at["b"]) for _ in range(2)]
        other = await (await Client.connect(at["c"])).greeted()
        assert await control.disconnect("b") == 2
        for client in stalled:
            assert await client.reply() == (0, "")
        assert await other.send() == [250, 250, 354, 250]
        await other.close()


async def test_a_policy_is_changed_live_and_a_wrong_one_is_refused_with_a_reason(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST, c=FAST) as (control, at):
        before = await control.change_policy("b", unavailable={"code": 421, "text": "4.3.2 Closed"})
        assert (await (await Client.connect(at["b"])).reply())[0] == 421
        assert (await (await Client.connect(at["c"])).reply())[0] == 220
        await control.set_policy("b", before)
        assert (await (await Client.connect(at["b"])).reply())[0] == 220
        with pytest.raises(ControlError, match="max_connections"):
            await control._ask("PUT", "/isps/b/policy", '{"max_connections": 1}')
        with pytest.raises(ControlError, match="no such ISP; there are b, c"):
            await control.policy("d")


async def test_a_reset_empties_the_recording_and_keeps_open_connections(tmp_path: Path) -> None:
    async with running_isps(tmp_path, b=FAST) as (control, at):
        client = await (await Client.connect(at["b"])).greeted()
        assert (await client.send())[-1] == 250
        by_sender = await control.senders()
        await control.reset("b")
        counters = await control.counters("b")
        assert (await control.counts())["b"] == {"127.0.0.41": {"messages": 0, "connections_now": 1}}
        assert (await client.send())[-1] == 250
        after = await control.messages("b")
        await client.close()

    assert list(by_sender.values()) == [1]
    assert counters["messages"] == 0
    assert counters["source_ips"]["127.0.0.41"]["connections_now"] == 1
    assert counters["source_ips"]["127.0.0.41"]["wire_connections"] == 1
    assert len(after) == 1
