"""Makes 7-bit forms in a thread of its own, so that neither the loop nor what is to be signed waits for one.

Before: `prepared`. After: `mail.seven_bit`. Invariants: one form is made at a time, so that only one takes memory and
processor; it takes half a core at most, for it leaves the interpreter alone as long as it has used it.
"""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from lane_relay.mail.seven_bit import seven_bit

__all__ = ["Reducer"]

_AT_ONCE_S: Final = 0.001
"""Processor time between two pauses: the loop waits for the interpreter no longer than for any thread."""
_log = logging.getLogger(__name__)


class _ClosedError(Exception):
    """The relay ends: nobody needs the form any more."""


class Reducer:
    """The thread is there from the first message on."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "seven-bit")
        self._closed = False

    async def reduce(self, content: bytes) -> bytes | None:
        """The 7-bit form; None if there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._make, content)

    def close(self) -> None:
        """Gives up what is under way, within a piece of it."""
        self._closed = True
        self._thread.shutdown(wait=False)

    def _make(self, content: bytes) -> bytes | None:
        since = time.thread_time()

        def pause() -> None:
            nonlocal since
            if self._closed:
                raise _ClosedError
            used = time.thread_time() - since
            if used >= _AT_ONCE_S:
                time.sleep(used)
                since = time.thread_time()

        try:
            return seven_bit(content, pause)
        except _ClosedError:
            return None
        except Exception:  # noqa: BLE001 -- a thread's edge: one message must not end what is made for the others
            _log.exception("a message has no 7-bit form for a fault of ours")
            return None
