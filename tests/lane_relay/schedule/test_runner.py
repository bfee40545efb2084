"""The runner sleeps until something is due; its time is faked, so nothing here waits."""

import asyncio
from collections.abc import Callable
from typing import Any

from lane_relay.clock import Clock
from lane_relay.records import QueueEntry
from lane_relay.schedule.runner import Runner
from lane_relay.schedule.scheduled_queue import ScheduledQueue


class FakeLoop(asyncio.SelectorEventLoop):
    """An event loop of which only timers are used, and whose time is moved by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, **_: Any) -> asyncio.TimerHandle:  # type: ignore[override]  # any arguments
        handle = asyncio.TimerHandle(self.now + delay, callback, args, self)
        self.timers.append((self.now + delay, handle))
        return handle

    def call_soon(self, callback: Callable[..., object], *args: Any, **_: Any) -> asyncio.Handle:  # type: ignore[override]  # as call_later
        return self.call_later(0.0, callback, *args)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers = [timer for timer in self.timers if timer[1] is not handle]

    def advance(self, until: float) -> None:
        """Runs what is due up to this time, in order."""
        while due := [timer for timer in self.timers if timer[0] <= until and not timer[1].cancelled()]:
            timer = min(due, key=lambda one: one[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]._run()
        self.now = until


class Rig:
    def __init__(self) -> None:
        self.loop = FakeLoop()
        self.given: list[tuple[float, list[int]]] = []
        self.set_by = 0.0
        """Seconds that the wall clock was set by, as an administrator or NTP does it."""
        clock = Clock(now=lambda: self.loop.now + self.set_by, monotonic=lambda: self.loop.now)
        self.queue = ScheduledQueue()
        self.runner = Runner(self.queue, clock, self.loop, self._dispatch)

    def _dispatch(self, entries: list[QueueEntry]) -> None:
        self.given.append((self.loop.now, [entry.id for entry in entries]))


def _entry(number: int, due: float) -> QueueEntry:
    return QueueEntry(number, 0, "example.com", (0,), 100, due)


def test_an_entry_is_dispatched_when_it_is_due() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1010.0))

    rig.loop.advance(1009.9)
    assert rig.given == []
    rig.loop.advance(1011.0)
    assert rig.given == [(1010.0, [1])]
    rig.loop.close()


def test_adding_an_earlier_entry_wakes_the_runner_in_time() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1050.0))
    rig.runner.add(_entry(2, 1005.0))

    rig.loop.advance(1060.0)

    assert rig.given == [(1005.0, [2]), (1050.0, [1])]
    rig.loop.close()


def test_many_due_entries_come_in_portions_with_the_loop_free_between_them() -> None:
    rig = Rig()
    rig.runner.add_all(_entry(number, 900.0) for number in range(450))
    rig.runner.start()

    rig.loop.advance(1000.0)

    assert [len(ids) for _, ids in rig.given] == [200, 200, 50]
    assert sorted(one for _, ids in rig.given for one in ids) == list(range(450))
    rig.loop.close()


def test_what_waits_beyond_its_end_is_due_then_and_the_others_wait_on() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add_all(_entry(number, 4000.0 + number) for number in range(12_000))
    rig.runner.add(_entry(12_000, 1500.0))
    rig.runner.end_by(lambda entry: 2000.0 if entry.id < 11_000 else 900.0 if entry.id < 11_500 else 1e9)

    rig.loop.advance(1400.0)
    assert sum(len(ids) for _, ids in rig.given) == 500, "their end was past"
    rig.loop.advance(3000.0)
    given = {one for at, ids in rig.given if at >= 2000.0 for one in ids}
    assert (given, len(rig.runner)) == (set(range(11_000)), 500)
    rig.loop.close()


def test_nothing_is_dispatched_before_the_start_or_after_the_stop() -> None:
    rig = Rig()
    rig.runner.add(_entry(1, 900.0))
    rig.loop.advance(1001.0)
    assert rig.given == []
    rig.runner.start()
    rig.runner.stop()
    rig.loop.advance(1100.0)
    assert rig.given == []
    assert len(rig.queue) == 1
    rig.loop.close()


def test_an_idle_runner_has_no_timer() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1001.0))
    rig.loop.advance(1002.0)

    assert rig.loop.timers == []
    rig.loop.close()


def test_a_sleep_is_never_longer_than_a_minute_so_that_a_set_clock_is_noticed() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 9000.0))

    assert [at for at, _ in rig.loop.timers] == [1060.0]
    rig.loop.close()


def test_a_wall_clock_set_back_makes_nothing_wait_longer_than_it_was_to() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1010.0))
    rig.runner.add(_entry(2, 1300.5))
    rig.loop.advance(1005.0)
    rig.set_by = -3600.0
    rig.runner.add(_entry(3, 1005.0 - 3600 + 20))  # what is put off from now on is so by the new time
    rig.loop.advance(1400.0)
    assert [ids for _, ids in rig.given] == [[1], [3], [2]]
    for (at, _), due in zip(rig.given, (1010.0, 1025.0, 1300.5), strict=True):
        assert due <= at < due + 1
    rig.loop.close()


def test_a_wall_clock_set_back_little_by_little_is_followed_as_well() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1100.0))
    for second in range(1, 91):
        rig.loop.advance(1000.0 + second)
        rig.set_by -= 0.5
        rig.runner.add(_entry(1000 + second, 5000.0))
    rig.loop.advance(1102.0)
    assert [ids for _, ids in rig.given] == [[1]]
    rig.loop.close()


def test_what_is_due_by_a_wall_clock_set_forward_goes_at_once() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add(_entry(1, 1030.0))
    rig.set_by = 3600.0
    rig.loop.advance(1061.0)
    rig.set_by = 3590.0
    rig.runner.add(_entry(2, 1061.0 + 3590 + 5))
    rig.loop.advance(1067.0)
    assert [ids for _, ids in rig.given] == [[1], [2]]
    rig.loop.close()


def test_giving_mail_away_makes_no_other_go_before_its_time() -> None:
    rig = Rig()
    rig.runner.start()
    rig.runner.add_all(_entry(number, 1900.0) for number in range(1000))

    assert len(rig.runner.take(50)) == 50

    rig.loop.advance(1899.0)
    assert rig.given == []
    rig.loop.advance(1901.0)
    assert sum(len(ids) for _, ids in rig.given) == 950
    rig.loop.close()


def test_a_wall_clock_set_back_while_a_backlog_goes_out_does_not_slow_it_down() -> None:
    rig = Rig()
    rig.runner.add_all(_entry(number, 900.0) for number in range(2000))
    rig.runner.start()
    rig.loop.timers[0][1]._run()
    rig.loop.timers = rig.loop.timers[1:]
    rig.set_by = -900.0

    rig.loop.advance(1000.0)

    assert sum(len(ids) for _, ids in rig.given) == 2000
    rig.loop.close()
