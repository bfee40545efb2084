"""The last seconds of a relay: what was just taken leaves, within bounds."""

import asyncio

from lane_relay.backlog import Backlog
from lane_relay.clock import Clock
from lane_relay.ending import Times, finish_last

NOW = 1_795_940_000.0


class Looks:
    """Counts the looks at a clock that goes a second ahead with each."""

    def __init__(self) -> None:
        self.count = 0
        self.clock = Clock(now=lambda: NOW, monotonic=self._look)

    def _look(self) -> float:
        self.count += 1
        return float(self.count)


def ended() -> "asyncio.Future[None]":
    made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    made.set_result(None)
    return made


async def test_mail_that_waits_for_long_already_holds_up_no_stop() -> None:
    looks, backlog = Looks(), Backlog()
    backlog.add(NOW - 60.0)
    await finish_last(ended(), backlog, NOW, looks.clock, 1000.0)
    assert looks.count == 1


async def test_what_was_just_taken_and_does_not_go_is_waited_for_no_longer_than_that() -> None:
    looks, backlog = Looks(), Backlog()
    backlog.add(NOW - 1.0)
    await finish_last(ended(), backlog, NOW, looks.clock, 3.0)
    assert looks.count == 4


async def test_an_intake_that_does_not_close_is_waited_for_no_longer_than_that() -> None:
    looks = Looks()
    await finish_last(asyncio.get_running_loop().create_future(), Backlog(), NOW, looks.clock, 3.0)
    assert looks.count == 4


def test_all_of_it_fits_into_the_grace() -> None:
    for grace in (10.0, 15.0, 30.0, 300.0):
        times = Times.of(grace)
        assert times.last + times.answers <= grace - 8.0
        assert times.delivery <= times.answers
    assert Times.of(5.0) == Times(0.0, 0.0, 0.0, 0.0)
