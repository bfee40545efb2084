"""What a client hears when the spool does not take its message: by SMTP and HTTP alike, with what mends it.

Before it: the spool's errors. After it: `session`, `http.injection`.
"""

from typing import Final

from lane_relay.errors import SpoolError, SpoolFullError, VolumeFullError
from lane_relay.records import Reply

__all__ = ["unstored"]

_FULL: Final = Reply(452, ("4.3.1 The queue is full, try again later; a larger queue.size gives it room",))
_VOLUME_FULL: Final = Reply(
    452, ("4.3.1 The queue's volume is full, try again later; a larger queue.size gives it room",)
)
_FAILED: Final = Reply(451, ("4.3.0 The queue cannot be written, try another slot",))


def unstored(error: SpoolError) -> Reply:
    """The refusal for this error."""
    if isinstance(error, VolumeFullError):
        return _VOLUME_FULL
    return _FULL if isinstance(error, SpoolFullError) else _FAILED
