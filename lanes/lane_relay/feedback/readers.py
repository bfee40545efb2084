"""Who is read next: returned mail of many peers, one at a time, in turns.

Reading is pure Python, so more threads would take the same lock from the loop. What one report may cost is bounded by
`mail.reports` (256 KiB, 64 parts, some tens of milliseconds at worst, measured with hostile ones), how many one peer
brings by the listener; turns see to it that who brings many waits behind his own and nobody else does.
Before it: the desk. After it: `mail.reports.read`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from msgspec import Struct

from lane_relay.mail.reports.read import read_report
from lane_relay.mail.reports.reading import Reading
from lane_relay.turns import Turns

__all__ = ["Readers"]

T = TypeVar("T")


class _Waiting(Struct, frozen=True):
    work: Callable[[], Any]
    answer: asyncio.Future[Any]


class Readers:
    """One thread, and the line before it; on the event loop."""

    def __init__(self, read: Callable[[bytes], Reading] = read_report) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reports")
        self._line: Turns[_Waiting] = Turns()
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Mail that is to be read."""
        return len(self._line)

    async def read(self, peer: str, content: bytes) -> Reading:
        """What this peer's mail says, when its turn has come."""
        return await self.work(peer, partial(self._read, content))

    async def work(self, peer: str, work: Callable[[], T]) -> T:
        """Something else about this peer's mail, in the same line."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        mine = _Waiting(work, answer)
        self._line.append(peer, mine)
        if self._worker is None:
            self._worker = loop.create_task(self._work(loop))
        return await answer

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._line:
                one = self._line.popleft()
                if one.answer.done():
                    continue  # nobody waits for it any more
                try:
                    reading = await loop.run_in_executor(self._thread, one.work)
                except Exception as broken:  # noqa: BLE001 -- it is the caller's, whose mail it is
                    if not one.answer.done():
                        one.answer.set_exception(broken)
                else:
                    if not one.answer.done():
                        one.answer.set_result(reading)
        finally:
            self._worker = None

    def close(self) -> None:
        """Gives up the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
