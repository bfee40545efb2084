"""The gate over real sockets on loopback: reflectors that are down, lie, come back, or sit behind a closed port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lane_api.relayconfig import Egress, Proof
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.egress import reflect, wire
from lane_relay.egress.prober import Gate, claim_from
from lane_relay.egress.proof import ProofState, ProofStatus
from lane_relay.errors import ConfigError
from tests.ports import free_port, own_address

KEY = b"0123456789abcdef0123456789abcdef"
NONCE = bytes(range(16))
OURS = "127.0.0.41"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(KEY + b"\n")
    return path


def egress(key_file: Path, *ports: int, address: str = OURS, source: str | None = OURS) -> Egress:
    return Egress.model_validate(
        {
            "address": address,
            "source": source,
            "proof": {"reflectors": [f"tcp://127.0.0.1:{port}" for port in ports], "keyFile": str(key_file)},
        }
    )


@asynccontextmanager
async def reflector(port: int = 0, key: bytes = KEY) -> AsyncIterator[int]:
    async with counted_reflector(port, key) as (_, listening):
        yield listening


@asynccontextmanager
async def counted_reflector(port: int = 0, key: bytes = KEY) -> AsyncIterator[tuple[reflect.Reflector, int]]:
    shared = reflect.Reflector(key, SYSTEM_CLOCK.now)
    server = await reflect.serve("127.0.0.1", port, shared)
    try:
        yield shared, server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for transport in list(shared.open):
            transport.abort()
        await server.wait_closed()


@asynccontextmanager
async def running(gate: Gate) -> AsyncIterator[Callable[[str], "asyncio.Future[ProofStatus]"]]:
    """The gate's task, and a way to wait for a state or for words in its message."""
    waiting: list[tuple[str, asyncio.Future[ProofStatus]]] = []

    def changed(status: ProofStatus) -> None:
        for wanted, future in waiting:
            if (status.state == wanted or wanted in status.message) and not future.done():
                future.set_result(status)

    def until(wanted: str) -> "asyncio.Future[ProofStatus]":
        future: asyncio.Future[ProofStatus] = asyncio.get_running_loop().create_future()
        waiting.append((wanted, future))
        changed(gate.status)
        return future

    gate.on_change = changed
    task = asyncio.create_task(gate.run())
    try:
        yield until
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def quick_gate(config: Egress) -> Gate:
    return Gate(config, SYSTEM_CLOCK, lambda: 1.0, dial_timeout_s=0.3)


async def test_the_reflector_sees_the_bound_source_and_opens_the_gate(key_file: Path) -> None:
    async with reflector() as port:
        gate = quick_gate(egress(key_file, port))
        assert not gate.may_send()
        async with running(gate) as until:
            status = await until(ProofState.PROVED)
        assert (status.seen, gate.may_send()) == (OURS, True)
        assert gate.shut_seconds() > 0


async def test_a_wrong_address_keeps_the_gate_shut_and_heals_without_a_restart(key_file: Path) -> None:
    async with reflector() as port:
        gate = quick_gate(egress(key_file, port, address="203.0.113.1"))
        async with running(gate) as until:
            assert "saw 127.0.0.41, not 203.0.113.1" in (await until(ProofState.MISMATCH)).message
            assert not gate.may_send()
            gate.apply(egress(key_file, port))
            assert gate.status.state is ProofState.UNPROVED
            await until(ProofState.PROVED)


async def test_a_reflector_that_is_down_keeps_the_gate_shut_until_it_comes(key_file: Path) -> None:
    port = free_port()
    gate = quick_gate(egress(key_file, port))
    async with running(gate) as until:
        await until("refused")
        assert not gate.may_send()
        async with reflector(port):
            await until(ProofState.PROVED)


async def test_a_reflector_with_another_key_is_not_believed(key_file: Path) -> None:
    async with reflector(key=b"y" * 32) as port:
        gate = quick_gate(egress(key_file, port))
        async with running(gate) as until:
            await until("same key")
        assert not gate.may_send()


async def test_half_a_character_from_whoever_answers_at_a_reflectors_address_ends_no_gate(key_file: Path) -> None:
    said = b'{"v":1,"address":"127.0.0.41","port":1,"nonce":"","at":1.5,"mac":"\\ud800"}\r\n'

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    gate = quick_gate(egress(key_file, server.sockets[0].getsockname()[1]))
    async with server, running(gate) as until:
        await until("wrong types")
        assert not gate.may_send()


async def test_a_key_is_rotated_at_the_relay_first_then_at_the_reflector_while_mail_goes_on(key_file: Path) -> None:
    new, port = b"n" * 32, free_port()
    config = egress(key_file, port)
    assert config.proof is not None
    gate = quick_gate(config.model_copy(update={"proof": config.proof.model_copy(update={"every": 0.05})}))
    async with running(gate) as until:
        async with reflector(port):
            await until(ProofState.PROVED)
            key_file.write_bytes(new)
            await until(ProofState.PROOF_STALE)
            assert gate.may_send()
        async with reflector(port, key=new):
            await until(ProofState.PROVED)
            assert gate.may_send()


async def test_a_source_that_is_not_ours_to_bind_is_told(key_file: Path) -> None:
    async with reflector() as port:
        gate = quick_gate(egress(key_file, port, address="203.0.113.1", source="203.0.113.1"))
        async with running(gate) as until:
            await until("cannot be bound")
        assert not gate.may_send()


async def test_a_key_that_cannot_be_read_is_told_and_heals(key_file: Path) -> None:
    key_file.unlink()
    async with reflector() as port:
        gate = quick_gate(egress(key_file, port))
        async with running(gate) as until:
            await until("shared key")
            key_file.write_bytes(KEY)
            await until(ProofState.PROVED)


async def test_a_port_25_that_swallows_packets_is_told_apart(key_file: Path) -> None:
    closed = own_address(42)
    with socket.socket() as swallowing:  # a full backlog drops SYNs, as a firewall does
        swallowing.bind((closed, 25))
        swallowing.listen(0)
        with socket.socket() as first:
            first.connect((closed, 25))
            async with reflector() as port:
                config = egress(key_file, port).model_copy(
                    update={
                        "proof": Proof(
                            reflectors=(f"tcp://{closed}", f"tcp://127.0.0.1:{port}"), key_file=str(key_file)
                        )
                    }
                )
                gate = quick_gate(config)
                async with running(gate) as until:
                    assert "port 25 outbound is closed" in (await until(ProofState.PORT_BLOCKED)).message
                assert not gate.may_send()


async def test_behind_a_translating_engine_flowing_mail_asks_for_a_new_proof(key_file: Path) -> None:
    async with counted_reflector() as (shared, port):
        config = egress(key_file, port, address="127.0.0.1", source=None)
        gate = Gate(config, SYSTEM_CLOCK, lambda: 1.0, translated_age_s=0.05)
        async with running(gate) as until:
            await until(ProofState.PROVED)
            await asyncio.sleep(0.3)  # several times the age: without mail there is nothing to prove
            assert shared.answered == 1
            async with asyncio.timeout(60):
                while shared.answered < 3:
                    assert gate.may_send()
                    await asyncio.sleep(0.01)


@pytest.mark.parametrize("own", ["127.0.0.41", "::1"])
async def test_one_listener_serves_both_families_with_plain_addresses(own: str) -> None:
    server = await reflect.serve("::", 0, reflect.Reflector(KEY, SYSTEM_CLOCK.now))
    host = "::1" if ":" in own else "127.0.0.1"
    port = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_connection(host, port, local_addr=(own, 0))
    writer.write(wire.request(bytes(16)))
    said = wire.parse_answer(await reader.readline(), KEY, bytes(16))
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    assert isinstance(said, wire.Sighting)
    assert said.address == own


async def test_a_reflector_that_ends_cuts_off_who_never_asks() -> None:
    async with counted_reflector() as (shared, port):
        silent, silent_end = await asyncio.open_connection("127.0.0.1", port)
        asking, asking_end = await asyncio.open_connection("127.0.0.1", port)  # accepted after the silent one
        asking_end.write(wire.request(bytes(16)))
        assert await asking.readline()
        await shared.drain(0.05)
        with contextlib.suppress(ConnectionResetError):
            assert await silent.read() == b""
        for end in (silent_end, asking_end):
            end.close()


async def test_the_reflector_says_nothing_to_other_protocols() -> None:
    async with reflector() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"EHLO scanner.example\r\n")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_the_reflector_answers_many_askers_at_once() -> None:
    async def ask(port: int, number: int) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(f"127.0.0.{number}", 0))
        nonce = bytes([number] * 16)
        writer.write(wire.request(nonce))
        said = wire.parse_answer(await reader.readline(), KEY, nonce)
        writer.close()
        await writer.wait_closed()
        assert isinstance(said, wire.Sighting)
        return said.address

    async with reflector() as port:
        answers = await asyncio.gather(*(ask(port, number) for number in range(2, 202)))
    assert answers == [f"127.0.0.{number}" for number in range(2, 202)]


async def test_who_keeps_connections_and_says_nothing_keeps_no_asker_out() -> None:
    shared = reflect.Reflector(KEY, SYSTEM_CLOCK.now, most=3)
    server = await reflect.serve("127.0.0.1", 0, shared)
    port = server.sockets[0].getsockname()[1]
    silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(wire.request(NONCE))
    assert isinstance(wire.parse_answer(await reader.readline(), KEY, NONCE), wire.Sighting)
    assert len(shared.open) <= 3
    for _, end in (*silent, (reader, writer)):
        end.close()
    await shared.drain(0.0)
    server.close()
    await server.wait_closed()


async def test_the_reflector_answers_only_so_many_a_second() -> None:
    shared = reflect.Reflector(KEY, lambda: 5.0)
    assert sum(shared.may_answer() for _ in range(reflect.MAX_PER_SECOND + 50)) == reflect.MAX_PER_SECOND


@pytest.mark.parametrize("text", ["http://a.example:25", "a.example:25", "tcp://", "tcp://a:99999", "tcp://a/x"])
def test_a_reflector_that_is_no_tcp_address_is_refused_with_the_fix(text: str) -> None:
    config = Egress.model_validate({"address": OURS, "proof": {"reflectors": [text], "keyFile": "k"}})
    with pytest.raises(ConfigError, match=r"egress\.proof\.reflectors: .*write tcp://host:port"):
        claim_from(config)


def test_a_reflector_without_a_port_is_asked_on_mails_port() -> None:
    config = Egress.model_validate({"address": OURS, "proof": {"reflectors": ["tcp://a.example"], "keyFile": "k"}})
    assert str(claim_from(config).reflectors[0]) == "a.example:25"
