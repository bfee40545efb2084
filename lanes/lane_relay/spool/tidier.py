"""Does what `cleaning` decides: off the hot path, one piece of work at a time, only while things change.

Invariant: the index changes on the event loop only; a file is removed durably before the next one that depended on
it; nothing is done while the journal lacks what a segment holds. Before: `log` says when something died.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog

from lane_relay.spool.base import JournalSink
from lane_relay.spool.cleaning import Cleaned, choose_dead, choose_wasteful, rewrite
from lane_relay.spool.files import Files
from lane_relay.spool.index import LiveIndex, SegmentState

__all__ = ["Tidier"]

T = TypeVar("T")
_AGAIN: Final = 10
"""Times the usual pause, after something could not be done: nobody may come by until it is."""
_log = structlog.get_logger("spool")


class Tidier:
    """Removes and rewrites segments."""

    def __init__(
        self,
        files: Files,
        index: LiveIndex,
        journal: JournalSink,
        spool_id: bytes,
        loop: asyncio.AbstractEventLoop,
        *,
        budget: int,
        segment_size: int,
        every: float,
        resized: Callable[[int], None],
        damaged: Callable[[str], None],
    ) -> None:
        """`every` in seconds.

        `resized` is told by how many bytes the segments on disk grew or shrank, `damaged` of a place that cannot be
        read.
        """
        self._files = files
        self._index = index
        self._journal = journal
        self._spool_id = spool_id
        self._loop = loop
        self.budget = budget
        """Bytes that segments may take on disk; may be changed."""
        self.tight = False
        """The volume itself has no room for clients' messages."""
        self._segment_size = segment_size
        self._every = every
        self._resized = resized
        self._damaged = damaged
        self._thread = ThreadPoolExecutor(1, "spool-tidier")
        self._timer: asyncio.TimerHandle | None = None
        self._work: asyncio.Future[Any] | None = None
        self._stopped = False
        self._kept: dict[object, int] = {}
        """Who wants which segment, and all after it, left as it is."""

    def keep_from(self, number: int) -> Callable[[], None]:
        """This segment and later ones stay as they are until what is returned is called."""
        token = object()
        self._kept[token] = number

        def release() -> None:
            if self._kept.pop(token, None) is not None:
                self.soon()

        return release

    def soon(self) -> None:
        """Something died, or room is short: looks before long."""
        if self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(self._every, self.look)

    def look(self) -> None:
        """Starts one piece of work, if there is any and none is under way."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._work is not None or self._stopped:
            return
        segments = self._index.segments
        kept_from = min(self._kept.values(), default=None)
        dead = choose_dead(segments, kept_from)
        if dead:
            self._begin(partial(self._remove, dead), self._removed)
            return
        used = sum(one.size for one in segments.values())
        enough = 1 if self.tight or used > self.budget * 3 // 4 else min(4 * self._segment_size, self.budget // 8)
        tight = self.tight or used > self.budget * 7 // 8
        wasteful = choose_wasteful(segments, enough, kept_from, tight=tight)
        if wasteful is not None:
            present = {number: one.cleaned_at for number, one in segments.items()}
            work = partial(self._rewrite, wasteful, present, max(segments))
            self._begin(work, partial(self._rewritten, wasteful))

    async def stop(self) -> None:
        """Ends after the piece of work that is under way."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        while self._work is not None:
            await asyncio.wait([self._work])
            await asyncio.sleep(0)
        self._thread.shutdown()

    def _begin(self, work: Callable[[], T], then: Callable[[T], None]) -> None:
        future = self._loop.run_in_executor(self._thread, work)
        self._work = future
        future.add_done_callback(partial(self._ended, then))

    def _ended(self, then: Callable[[T], None], future: asyncio.Future[T]) -> None:
        self._work = None
        error = future.exception()
        if error is not None:
            self._again(error)
            return
        then(future.result())

    def _again(self, why: BaseException) -> None:
        _log.warning("cannot give back room", error=str(why))
        if self._timer is None and not self._stopped:
            self._timer = self._loop.call_later(_AGAIN * self._every, self.look)

    # --- removing ---

    def _remove(self, segments: list[SegmentState]) -> tuple[list[SegmentState], OSError | None]:
        """On the thread: each file is gone for good before the next goes; those that are, and why others are not."""
        removed = []
        try:
            for segment in segments:
                self._need_journal(segment)
                with suppress(FileNotFoundError):  # it went before, perhaps not for good
                    self._files.unlink(segment.path)
                self._files.sync_directory(segment.path.parent)
                removed.append(segment)
        except OSError as error:
            return removed, error
        return removed, None

    def _removed(self, done: tuple[list[SegmentState], OSError | None]) -> None:
        segments, error = done
        for segment in segments:
            del self._index.segments[segment.number]
            self._resized(-segment.size)
        if error is not None:
            self._again(error)
        elif segments:
            self.soon()

    def _need_journal(self, segment: SegmentState) -> None:
        """Raises OSError as long as the journal lacks what a segment holds."""
        if self._journal.synced_seq < segment.next_seq - 1:
            self._journal.sync()
        if self._journal.synced_seq < segment.next_seq - 1:
            raise BlockingIOError("the journal has no room")

    # --- rewriting ---

    def _rewrite(self, segment: SegmentState, present: dict[int, int], active: int) -> Cleaned | str:
        """On the thread; the old file stays until the index has moved."""
        self._need_journal(segment)
        return rewrite(self._files, segment, self._index.live_slots(segment), present, self._spool_id, active)

    def _rewritten(self, segment: SegmentState, cleaned: Cleaned | str) -> None:
        if isinstance(cleaned, str):
            segment.damaged = True
            self._damaged(cleaned)
            return
        old = segment.path
        self._index.move(segment, cleaned.moved)
        segment.path, segment.generation = cleaned.path, segment.generation + 1
        segment.homes, segment.kept, segment.cleaned_at = cleaned.homes, cleaned.kept, cleaned.cleaned_at
        self._resized(cleaned.size - segment.size)
        segment.size = cleaned.size
        self._begin(partial(self._drop, old), self._dropped)

    def _drop(self, path: Path) -> None:
        self._files.unlink(path)
        self._files.sync_directory(path.parent)

    def _dropped(self, _: None) -> None:
        self.soon()
