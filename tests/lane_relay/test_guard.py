"""What nobody caught ends the process; what peers do does not."""

import asyncio
import ssl

import pytest

from lane_api.isppolicy import Action
from lane_relay.guard import CONTAINED, LoopGuard, StageFailed, report
from tests.lane_relay.deliver.delivery import delivering, route_to, until
from tests.lane_relay.deliver.scripted_peer import STALL, Peer, running


def fail(error: Exception) -> None:
    """A callback with a bug, or one that met a peer."""
    raise error


async def test_an_exception_in_a_callback_of_the_loop_ends_the_watch_with_its_reason() -> None:
    loop = asyncio.get_running_loop()
    guard = LoopGuard(loop)
    loop.call_soon(fail, KeyError("entry"))
    with pytest.raises(StageFailed, match="KeyError: 'entry'"):
        await asyncio.wait_for(guard.watch(), 10)


async def test_a_task_that_nobody_awaits_ends_the_watch_too() -> None:
    loop = asyncio.get_running_loop()
    guard = LoopGuard(loop)

    async def work() -> None:
        fail(ValueError("bug"))

    task = loop.create_task(work())
    task.add_done_callback(report)
    with pytest.raises(StageFailed, match="ValueError: bug"):
        await asyncio.wait_for(guard.watch(), 10)


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), ssl.SSLError("handshake"), TimeoutError()])
async def test_what_a_peer_does_to_a_connection_ends_nothing(error: Exception) -> None:
    loop = asyncio.get_running_loop()
    guard = LoopGuard(loop)
    loop.call_soon(fail, error)
    loop.call_soon(fail, RuntimeError("after it"))
    with pytest.raises(StageFailed, match="after it"):
        await asyncio.wait_for(guard.watch(), 10)


async def test_what_breaks_us_in_one_session_ends_that_session_alone() -> None:
    first, other = Peer(script={"data": STALL}), Peer()
    async with running(first), running(other), delivering() as delivery:
        delivery.send(route_to(first.port, site="first"))
        await until(lambda: bool(first.commands) and first.commands[-1] == "DATA")
        (session,) = delivery.dispatcher._connections.sessions
        before = CONTAINED["session"]
        session.data_received(None)  # type: ignore[arg-type]  # a fault on purpose: no octets at all
        (broken,) = await delivery.attempted(1)
        assert CONTAINED["session"] == before + 1
        assert "what it said broke us" in str(broken.results[0].reply)
        assert broken.results[0].verdict.action is Action.RETRY
        await until(lambda: not delivery.dispatcher.figures().connections)
        delivery.send(route_to(other.port, site="other"))
        await delivery.attempted(2)
        first.release.set()
    assert len(other.messages) == 1
