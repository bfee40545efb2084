"""The log: JSON lines on standard error, one an event of the process, never one a message.

What happened to a message is in the accounting records. Secrets and message content never come here, nor what a peer
of an HTTP port does wrong: it has its answer, and anybody could fill the volume of the log with it.
"""

import logging
import sys

import structlog
from structlog.typing import Processor

__all__ = ["last_word", "set_up"]

_SHARED: tuple[Processor, ...] = (
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
    structlog.processors.EventRenamer("message"),
)


def set_up(level: str = "info") -> None:
    """Sends structlog's and the standard library's events to standard error as JSON lines."""
    structlog.configure(
        processors=[*_SHARED, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_logger,
    )
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    lines.addFilter(_is_ours)
    logging.basicConfig(level=logging.WARNING, handlers=[lines], force=True)


def last_word(trouble: str, reason: str) -> None:
    """Why the process ends."""
    structlog.get_logger("lane-relay").critical(trouble, reason=reason)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether an event is not just a peer's mistake in HTTP; told by its module, for most commands need no aiohttp."""
    failed = record.exc_info[1] if record.exc_info else None
    return type(failed).__module__ != "aiohttp.http_exceptions"


def _logger(*_names: object) -> structlog.PrintLogger:
    """A writer to standard error, whatever name it was asked for by."""
    return structlog.PrintLogger(sys.stderr)
