"""Two addresses of one slot: each has its own proof, and one that is not proved stops nothing of the other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from lane_api.relayconfig import Egress
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.egress import reflect
from lane_relay.egress.gates import Gates, second_of
from lane_relay.egress.proof import ProofState, ProofStatus
from tests.lane_relay.egress.test_prober import KEY, key_file

__all__ = ["key_file"]

V4, V6 = "127.0.0.41", "::1"
ELSEWHERE = "2001:db8::9"


@asynccontextmanager
async def reflectors() -> AsyncIterator[list[str]]:
    """One of each family, on one port."""
    shared = reflect.Reflector(KEY, SYSTEM_CLOCK.now)
    first = await reflect.serve("127.0.0.1", 0, shared)
    port = first.sockets[0].getsockname()[1]
    second = await reflect.serve("::1", port, shared)
    try:
        yield [f"tcp://127.0.0.1:{port}", f"tcp://[::1]:{port}"]
    finally:
        for server in (first, second):
            server.close()
        for transport in list(shared.open):
            transport.abort()


def both(key: Path, urls: list[str], second: str | None = V6) -> Egress:
    extra = {"second": {"address": second, "source": V6}} if second else {}
    proof = {"reflectors": urls, "keyFile": str(key)}
    return Egress.model_validate({"address": V4, "source": V4, "proof": proof, **extra})


@asynccontextmanager
async def running(gates: Gates) -> AsyncIterator[Callable[[Callable[[ProofStatus], bool]], "asyncio.Future[None]"]]:
    """The gates' task, and a way to wait for what they tell."""
    waiting: list[tuple[Callable[[ProofStatus], bool], asyncio.Future[None]]] = []

    def look(status: ProofStatus) -> None:
        for condition, future in waiting:
            if condition(status) and not future.done():
                future.set_result(None)

    def until(condition: Callable[[ProofStatus], bool]) -> "asyncio.Future[None]":
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append((condition, future))
        look(gates.status)
        return future

    gates.on_change = look
    task = asyncio.create_task(gates.run())
    try:
        async with asyncio.timeout(60):
            yield until
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def gates_of(egress: Egress) -> Gates:
    return Gates(egress, SYSTEM_CLOCK, lambda: 1.0)


async def test_both_addresses_are_proved_each_by_reflectors_of_its_family(key_file: Path) -> None:
    async with reflectors() as urls:
        gates = gates_of(both(key_file, urls))
        assert not gates.may_send()
        async with running(gates) as until:
            await until(lambda status: status.state is ProofState.PROVED and gates.leads_to("::2"))
            assert V4 in gates.status.message
            assert V6 in gates.status.message
            assert [gates.leads_to(address) for address in ("198.51.100.1", "2001:db8::1")] == [True, True]


async def test_an_address_that_is_seen_elsewhere_is_told_while_mail_leaves_from_the_other(key_file: Path) -> None:
    shut: list[bool] = []
    async with reflectors() as urls:
        gates = gates_of(both(key_file, urls, ELSEWHERE))
        gates.on_shut = lambda: shut.append(True)
        async with running(gates) as until:
            await until(lambda status: status.state is ProofState.MISMATCH and gates.is_open)
            assert (gates.may_send(), gates.may_send_first()) == (True, True)
            assert [gates.leads_to(address) for address in ("198.51.100.1", "2001:db8::1")] == [True, False]
            assert ELSEWHERE in gates.status.message
            assert f"mail leaves from {V4}" in gates.status.message
    assert shut == [], "one that was never open shuts nothing"


async def test_connections_are_let_go_once_when_a_proved_address_is_another(key_file: Path) -> None:
    shut: list[bool] = []
    async with reflectors() as urls:
        gates = gates_of(both(key_file, urls))
        gates.on_shut = lambda: shut.append(True)
        async with running(gates) as until:
            await until(lambda _status: gates.leads_to("::2") and gates.leads_to("192.0.2.1"))
            gates.apply(both(key_file, urls, ELSEWHERE))
            assert shut == [True]
            assert [gates.leads_to(address) for address in ("198.51.100.1", "2001:db8::1")] == [True, False]
            gates.apply(both(key_file, urls, None))
            assert gates.status.state is ProofState.PROVED
            assert gates.leads_to("2001:db8::1"), "one address alone decides by the gate as a whole"


def test_without_a_second_address_all_is_as_with_one(key_file: Path) -> None:
    alone = both(key_file, ["tcp://127.0.0.1"], None)

    assert second_of(alone) is None
    gates = gates_of(alone)
    assert (gates.is_open, gates.may_send(), gates.leads_to("::1")) == (False, False, True)
    assert gates.status.state is ProofState.UNPROVED
    assert gates_of(Egress()).is_open


class Names:
    """DNS as the test has it."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.wrong: dict[str, str] = {}
        self.applied: list[tuple[str, str, tuple[str, ...]]] = []
        self.state = None

    def apply(self, mode: str, host: str, addresses: tuple[str, ...]) -> None:
        self.applied.append((mode, host, addresses))

    def problem(self, address: str) -> str:
        return self.wrong.get(address, "")

    def say(self, wrong: str = "") -> None:
        self.wrong = {V4: wrong}
        self.on_change()

    async def run(self) -> None:
        await asyncio.Event().wait()


async def test_a_proved_address_whose_name_is_wrong_is_told_as_unproved_and_shut_until_it_is_right(
    key_file: Path,
) -> None:
    names, shut = Names(), list[bool]()
    names.wrong = {V4: "not looked up yet"}
    async with reflectors() as urls:
        egress = both(key_file, urls, None)
        gates = Gates(egress, SYSTEM_CLOCK, lambda: 1.0, names, "out.example.test")
        gates.on_shut = lambda: shut.append(True)
        async with running(gates) as until:
            await until(lambda status: "not looked up yet" in status.message)  # proved, but for its name
            assert (gates.status.state, gates.is_open, gates.may_send()) == (ProofState.UNPROVED, False, False)
            names.say()
            assert (gates.status.state, gates.may_send()) == (ProofState.PROVED, True)
            names.say(wrong="no PTR record")
            assert (gates.status.state, gates.status.message) == (ProofState.UNPROVED, "no PTR record")
            assert (gates.may_send(), shut) == (False, [True])
            names.say()
            assert gates.may_send(), "what reflectors proved was not forgotten"
            gates.apply(egress, "other.example.test")
    assert names.applied == [("Warn", "out.example.test", (V4,)), ("Warn", "other.example.test", (V4,))]


async def test_a_wrong_name_stops_its_own_family_alone(key_file: Path) -> None:
    names = Names()
    async with reflectors() as urls:
        gates = Gates(both(key_file, urls), SYSTEM_CLOCK, lambda: 1.0, names, "out.example.test")
        async with running(gates) as until:
            await until(lambda _status: gates.leads_to("::2") and gates.leads_to("192.0.2.1"))
            names.say(wrong="no PTR record")
            assert [gates.leads_to(address) for address in ("198.51.100.1", "2001:db8::1")] == [False, True]
            assert names.applied == [("Warn", "out.example.test", (V4, V6))]
