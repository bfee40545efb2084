"""Content that comes by BDAT (RFC 3030): so many octets as were announced, and nothing in them ends it.

BINARYMIME is not offered: binary content has line ends that are none, which hardly any host takes, and which DKIM and
this relay's rule against smuggling read as faults. What comes by BDAT is text, held to the same rules as behind DATA.
Before it: `smtp.server`, which cuts the command lines between chunks.
"""

import re

from lane_relay.records import Record, Reply

__all__ = ["Chunk", "Chunks", "parse_chunk"]

_ARGUMENT = re.compile(r" *([0-9]{1,19})(?: +(LAST))? *", re.IGNORECASE)


class Chunk(Record, frozen=True, gc=False):
    """The argument of BDAT."""

    size: int
    is_last: bool


def parse_chunk(argument: str) -> Chunk | None:
    """The chunk that is announced; None: nobody can tell where what follows ends."""
    matched = _ARGUMENT.fullmatch(argument)
    return Chunk(int(matched[1]), matched[2] is not None) if matched is not None else None


class Chunks:
    """The content of one transaction so far, and the chunk that is coming in."""

    __slots__ = ("_remaining", "content", "is_last", "refusal")

    def __init__(self) -> None:
        self.content = bytearray()
        self._remaining = 0
        self.is_last = False
        self.refusal: Reply | None = None
        """The chunk that is coming in is not kept; this is said at its end."""

    def begin(self, chunk: Chunk, refusal: Reply | None) -> None:
        """The next octets are this chunk's."""
        self._remaining = chunk.size
        self.is_last = chunk.is_last
        if refusal is not None:
            self.refuse(refusal)

    def refuse(self, refusal: Reply) -> None:
        """Keeps nothing; the rest of the chunk is read all the same, for commands follow it."""
        self.refusal = refusal
        self.content.clear()

    def take(self, data: bytearray) -> bool:
        """Takes the chunk's octets off what has come; True once it is complete."""
        count = min(self._remaining, len(data))
        if self.refusal is None:
            with memoryview(data) as view:
                self.content += view[:count]
        del data[:count]
        self._remaining -= count
        return not self._remaining
