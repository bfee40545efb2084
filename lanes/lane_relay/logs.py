"""The log: JSON lines on standard error, one an event of the process, never one a message.

What happened to a message is in the accounting records. Secrets and message content never come here.
"""

import logging
import sys

import structlog

__all__ = ["set_up"]


def set_up(level: str = "info") -> None:
    """Sends structlog and the standard library's warnings to standard error as JSON lines."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_named_logger,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(
        level=logging.WARNING, format='{"level": "warning", "stdlib": "%(name)s", "message": "%(message)s"}'
    )


def _named_logger(*names: object) -> structlog.PrintLogger:
    """A writer to standard error, whatever name it was asked for by."""
    del names
    return structlog.PrintLogger(sys.stderr)
