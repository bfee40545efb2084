"""The content of one message as it comes in, behind DATA or by BDAT: read to its end, bounded, judged.

Before it: `smtp.server`, which says how the content comes and reads commands before and behind it. Invariants: it ends
where it was said to end and nowhere else; what is over the limit or to be discarded is read past and not kept; what is
handed over is text that every server takes.

    how it comes     its end                         what is not kept
    DATA             CRLF.CRLF                       all but what might begin that end
    BDAT             the last octet of the last      the chunk, octet by octet; its transaction is over then
                     chunk (RFC 3030)
"""

from typing import Final

from lane_relay.records import Reply
from lane_relay.smtp.chunks import Chunk, Chunks
from lane_relay.smtp.data import END_OF_DATA, too_big, unfit_content, unstuff
from lane_relay.smtp.input_buffer import END_OF_CONTENT, InputBuffer

__all__ = ["CHUNK_TAKEN", "ContentReader"]

CHUNK_TAKEN: Final = Reply(250, ("2.0.0 Ok",))
"""The answer to a chunk that is not the last one."""


class ContentReader:
    """Of one session, for one message after another; its outcome is content, or the Reply that refuses it."""

    __slots__ = ("_input", "_max_size", "_refusal", "chunks")

    def __init__(self, waiting: InputBuffer, max_size: int) -> None:
        self._input = waiting
        self._max_size = max_size
        self.chunks: Chunks | None = None
        """Of the message that comes in chunks now."""
        self._refusal: Reply | None = None
        """Of content behind DATA that is not kept."""

    @property
    def is_chunked(self) -> bool:
        """Chunks came, and more are to come."""
        return self.chunks is not None

    def end(self) -> None:
        """The transaction is over."""
        self.chunks = None

    def begin_data(self) -> None:
        """What comes next is content behind DATA."""
        self._refusal = None
        self._input.begin_content()

    def begin_chunk(self, chunk: Chunk, refusal: Reply | None) -> None:
        """What comes next is a chunk; with a refusal, one that is read past."""
        chunks = self.chunks = self.chunks or Chunks()
        if refusal is None and len(chunks.content) + chunk.size > self._max_size:
            refusal = too_big(self._max_size)
        chunks.begin(chunk, refusal)

    def discard(self, refusal: Reply) -> None:
        """What is coming in is kept no longer."""
        if self.chunks is not None:
            self.chunks.refuse(refusal)
        else:
            self._refusal = refusal
            self._input.drop_content()

    def read_at_once(self, data: bytes) -> bytes | Reply | None:
        """The outcome if these bytes, with nothing before them, are all of the content; the common case, uncopied."""
        if self.chunks is not None or self._refusal is not None or data[:3] == END_OF_DATA:
            return None
        return self._judged(unstuff(data[:-3])) if 0 <= data.find(END_OF_CONTENT) == len(data) - 5 else None

    def read(self) -> bytes | Reply | None:
        """The outcome, or None if the end has not come."""
        if self.chunks is not None:
            return self._read_chunk(self.chunks)
        end = self._input.find_end()
        if end < 0:
            self._bound()
            return None
        content = self._input.take_content(end)
        return self._judged(unstuff(content)) if self._refusal is None else self._refusal

    def _read_chunk(self, chunks: Chunks) -> bytes | Reply | None:
        if not chunks.take(self._input.data):
            return None
        if chunks.refusal is not None:
            return chunks.refusal
        if not chunks.is_last:
            return CHUNK_TAKEN
        content = bytes(chunks.content)
        chunks.content = bytearray()  # held once, not twice, until the answer
        return self._judged(content if content[-2:] == b"\r\n" or not content else content + b"\r\n")

    def _bound(self) -> None:
        """Content over the limit is not kept; the slack is for dots that are yet to be taken off."""
        limit = self._max_size
        if self._refusal is not None:
            self._input.drop_content()
        elif len(self._input.data) > limit + (limit >> 6) + 1024:
            self.discard(too_big(limit))

    def _judged(self, content: bytes) -> bytes | Reply:
        refusal = unfit_content(content)
        if refusal is not None:
            return refusal
        return content if len(content) <= self._max_size else too_big(self._max_size)
