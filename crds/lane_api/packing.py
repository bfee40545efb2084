"""How a slot's configuration lies in its Secret: relay.yaml as one gzip member (RFC 1952).

The rules for replies make it 100 KB: plain, one apply of it costs the API server more than any other child's, and the
room of a Secret (1 MiB) would end at ten times what the shipped policies take. Before: whoever renders it. After: the
relay that reads it.
"""

import gzip
import zlib
from typing import Final

__all__ = ["packed", "unpacked"]

LARGEST: Final = 4 * 2**20
"""Octets that are unpacked: a megabyte of a Secret may hold a gigabyte."""
LEVEL: Final = 3
"""Half the time of the usual 6, for a fifth more; the operator packs in each pass."""
_GZIP: Final = 31  # zlib's window of 2^15 with gzip's head and end


def packed(text: str) -> bytes:
    """The text as a gzip file; the same text is the same octets."""
    return gzip.compress(text.encode(), LEVEL, mtime=0)


def unpacked(content: bytes) -> str:
    """The text of such a file; raises ValueError for what is none, cut off, not UTF-8 or longer than LARGEST."""
    reader = zlib.decompressobj(wbits=_GZIP)
    try:
        text = reader.decompress(content, LARGEST + 1)
    except zlib.error as error:
        raise ValueError(f"it is no gzip file ({error})") from None
    if len(text) > LARGEST:
        raise ValueError(f"it holds more than {LARGEST} octets, and no more are read")
    if not reader.eof or reader.unused_data:
        raise ValueError("it is no whole gzip file: write it anew")
    return text.decode()
