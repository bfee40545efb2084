"""Looks after what only keeps evidence, lists and figures: what breaks there is told and counted, and begins again.

No mail waits for any of it, so an exception that nobody foresaw ends one turn of that task, never the process. What has
mail in its hands, or says whether mail may leave, is no ward of it: that ends the process (`guard`), and the next start
reads from the spool what was in memory. lanes/DESIGN.md says which is which.
Invariants: each broken turn is in the log with its traceback, and counted; cancelling goes through.
Before it: `pipeline`, the auditor and the office of feedback, whose tasks it runs. After it: `slot` shows the counts.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Final

import structlog

__all__ = ["Supervisor", "Work"]

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0

_log = structlog.get_logger("supervisor")

Work = Callable[[], Coroutine[Any, Any, None]]


class Supervisor:
    """Of one slot."""

    def __init__(self, jitter: Callable[[], float], first_wait_s: float = FIRST_WAIT_S) -> None:
        """`jitter`: a random number in [0, 1); `first_wait_s`: after the first broken turn, then twice as long each."""
        self._jitter = jitter
        self._first_wait_s = first_wait_s
        self.broken: dict[str, int] = {}
        """Turns that broke, by task; 0 from the start on, so that the first one is an increase."""

    async def keep(self, task: str, work: Work) -> None:
        """Runs it until it returns; after each broken turn it begins anew, with back-off."""
        loop, tries = asyncio.get_running_loop(), 0
        began = loop.time()
        while not await self.once(task, work):
            tries = 1 if loop.time() - began > LONGEST_WAIT_S else tries + 1
            await asyncio.sleep(self.wait_s(tries))
            began = loop.time()

    def wait_s(self, tries: int) -> float:
        """Seconds after so many broken turns, one after another."""
        longest = min(LONGEST_WAIT_S, self._first_wait_s * 2.0 ** min(tries - 1, 20))
        return longest * (0.5 + self._jitter() / 2)

    async def once(self, task: str, work: Work) -> bool:
        """Runs it once; False if it broke."""
        self.name(task)
        try:
            await work()
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except asyncio.CancelledError as stopped:
            if _is_cancelled():
                raise
            self.note(task, stopped)  # what it waited for was cancelled, not it
        except BaseException as broken:  # noqa: BLE001 -- a library's panic is no Exception
            self.note(task, broken)
        else:
            return True
        return False

    def name(self, *tasks: str) -> None:
        """Shows these from now on, with what broke of them so far."""
        for task in tasks:
            self.broken.setdefault(task, 0)

    def note(self, task: str, broken: BaseException) -> None:
        """Logs and counts what broke."""
        self.broken[task] = self.broken.get(task, 0) + 1
        _log.error("broke off, mail goes on and so will it", task=task, exc_info=broken)

    def watch(self, task: str) -> Callable[[asyncio.Task[None]], None]:
        """A done callback for tasks that nobody awaits and that are not begun again."""
        self.name(task)

        def ended(done: asyncio.Task[None]) -> None:
            with suppress(asyncio.CancelledError):
                broken = done.exception()
                if broken is not None:
                    self.note(task, broken)

        return ended


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
