"""`lane-relay --config FILE`: runs the relay until it is told to stop.

Before it: `__main__`. After it: `pipeline`.
"""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
import uvloop

from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.config import ConfigSource
from lane_relay.errors import RelayError
from lane_relay.guard import StageFailed
from lane_relay.pipeline import Pipeline, check

__all__ = ["run_relay"]

TROUBLE: Final = 1

_log = structlog.get_logger("lane-relay")


def run_relay(file: Path) -> int:
    """Runs it with this configuration, for life; the status to exit with. Raises ConfigError, OSError."""
    return uvloop.run(_relay(file))


async def _relay(path: Path) -> int:
    """A failure of any of its tasks ends it with the reason."""
    pipeline = Pipeline(ConfigSource(path, check), SYSTEM_CLOCK)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, pipeline.stop)
    loop.add_signal_handler(signal.SIGHUP, pipeline.reread)
    status = 0
    try:
        await pipeline.run()
    except* (RelayError, StageFailed, OSError) as failed:
        for reason in _leaves(failed):
            _log.critical("stopped by a failure", reason=str(reason), kind=type(reason).__name__)
        status = TROUBLE
    return status


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions inside groups of groups."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one
