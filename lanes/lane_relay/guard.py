"""What nobody caught ends the process: callbacks of the loop, protocols, and tasks that no TaskGroup owns.

But where one peer's words meet code of ours for the first time (a session, a reply's judgement, a record, a report),
an exception is that peer's alone (`contain`): else whoever finds a mistake of ours ends the lane by it at each start.

An entry whose handling broke off would stay in memory, unsent, until a restart: so there is a restart, at once and with
the reason. What a peer or the network does (OSError, with TLS's errors among them) is only logged.
Before it: the event loop. After it: `pipeline`, whose TaskGroup awaits `watch`.
"""

import asyncio
from collections import Counter
from typing import Any, Final

import structlog

__all__ = ["CONTAINED", "LoopGuard", "StageFailed", "contain", "report"]

_log = structlog.get_logger("guard")


CONTAINED: Final[Counter[str]] = Counter(
    dict.fromkeys(("session", "submission", "reply rules", "samples", "records", "reports", "feedback"), 0)
)
"""By where: exceptions that were one peer's alone, in this process's life; all are told from the start."""


def contain(where: str, error: Exception, **about: str) -> None:
    """Logs with its traceback, and counts, what must not end more than one peer's business; the caller goes on."""
    CONTAINED[where] += 1
    _log.error("a mistake of ours, contained", where=where, exc_info=error, **about)


class StageFailed(Exception):  # noqa: N818 -- says what happened, as the log's reader sees it
    """Something broke outside the tasks of the pipeline; the cause is attached."""


class LoopGuard:
    """Takes over the loop's exception handler."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._failed: asyncio.Future[BaseException] = loop.create_future()
        loop.set_exception_handler(self._on_exception)

    async def watch(self) -> None:
        """Never returns; raises StageFailed for the first exception that is a bug of ours."""
        error = await self._failed
        raise StageFailed(f"{type(error).__name__}: {error}") from error

    def _on_exception(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error, what = context.get("exception"), context.get("message", "")
        if error is None or isinstance(error, OSError):
            _log.warning("the loop says", what=what, reason=str(error or ""))
            return
        _log.critical("broke off", what=what, exc_info=error)
        if not self._failed.done():
            self._failed.set_result(error)


def report(task: asyncio.Task[Any]) -> None:
    """Tells the loop's handler what a task ended with, at once: a done callback for tasks that nobody awaits."""
    if not task.cancelled() and (error := task.exception()) is not None:
        task.get_loop().call_exception_handler({"message": f"task {task.get_name()}", "exception": error})
