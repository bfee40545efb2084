"""What nobody caught ends the process; what peers do does not."""

import asyncio
import ssl

import pytest

from lane_relay.guard import LoopGuard, StageFailed, report


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
