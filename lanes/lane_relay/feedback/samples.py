"""Returned mail that nobody understood, kept for the person who teaches the readers: files, few and bounded.

Invariant: the newest are kept, within a number and a size; a volume without room costs a sample and nothing else.
"""

from pathlib import Path
from typing import Final

import structlog

__all__ = ["Samples"]

_MOST: Final = 200
_LARGEST: Final = 64 * 1024
_log = structlog.get_logger("feedback")


class Samples:
    """The folder; methods block, for a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, name: str, content: bytes) -> None:
        """Keeps the beginning of one; the oldest go."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / f"{name}.eml").write_bytes(content[:_LARGEST])
            for old in sorted(self._directory.glob("*.eml"))[:-_MOST]:
                old.unlink(missing_ok=True)
        except OSError as failed:
            _log.warning("a sample is not kept", reason=str(failed))
