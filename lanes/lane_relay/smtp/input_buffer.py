"""What a peer has sent and the server has not used yet, cut into lines and content.

Invariant: content ends at CRLF.CRLF only; while it comes in, no byte is searched twice and none is copied but once.
"""

from typing import Final

from lane_relay.smtp.command import MAX_SASL_LINE
from lane_relay.smtp.data import END_OF_DATA

__all__ = ["END_OF_CONTENT", "InputBuffer"]

END_OF_CONTENT: Final = b"\r\n" + END_OF_DATA


class InputBuffer:
    """Bytes of one session; `smtp.server` is its only user."""

    __slots__ = ("_at_start", "_resume", "data")

    def __init__(self) -> None:
        self.data = bytearray()
        self._resume = 0
        """Where the search for the end of content goes on."""
        self._at_start = True
        """No byte of the content has been looked at."""

    def cut_line(self) -> bytes | None:
        """The next line with its LF; longer ones are cut off where every limit is passed. None: it has not come."""
        end = self.data.find(b"\n", 0, MAX_SASL_LINE) + 1
        if not end:
            if len(self.data) < MAX_SASL_LINE:
                return None
            end = MAX_SASL_LINE
        line = bytes(self.data[:end])
        del self.data[:end]
        return line

    def begin_content(self) -> None:
        """What comes next is content."""
        self._resume = 0
        self._at_start = True

    def find_end(self) -> int:
        """Where the line with the lone dot begins, or -1 if it has not come."""
        data = self.data
        if self._at_start:
            if data.startswith(END_OF_DATA):
                return 0
            if END_OF_DATA.startswith(data):
                return -1
            self._at_start = False
        found = data.find(END_OF_CONTENT, self._resume)
        if found >= 0:
            return found + 2
        self._resume = max(len(data) - len(END_OF_CONTENT) + 1, 0)
        return -1

    def take_content(self, end: int) -> bytes:
        """The content before `end`, taken out together with the line behind it."""
        with memoryview(self.data) as view:
            content = bytes(view[:end])
        del self.data[: end + len(END_OF_DATA)]
        return content

    def drop_content(self) -> None:
        """Forgets all content but what the end of data might begin with."""
        if not self._at_start:
            del self.data[: -len(END_OF_CONTENT) + 1]
            self._resume = 0
