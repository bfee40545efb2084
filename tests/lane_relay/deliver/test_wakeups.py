"""Moments that are waited for: one that asks for a time that is past waits for the loop's turn like all others."""

import asyncio

from lane_relay.deliver.wakeups import Wakeups


async def test_a_callback_that_asks_again_for_the_past_leaves_others_their_turn() -> None:
    loop = asyncio.get_running_loop()
    wakeups = Wakeups(loop.time)
    asked, turns = 0, 0

    def again() -> None:
        nonlocal asked
        asked += 1
        if asked < 50:
            wakeups.add(loop.time() - 1.0, again)

    def turn() -> None:
        nonlocal turns
        turns += 1
        if asked < 50:
            loop.call_soon(turn)

    wakeups.add(loop.time(), again)
    loop.call_soon(turn)
    async with asyncio.timeout(60):
        while asked < 50:  # noqa: ASYNC110  # how often the loop had its turn meanwhile is the question
            await asyncio.sleep(0)
    wakeups.close()
    assert turns >= 49
