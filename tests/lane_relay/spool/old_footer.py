"""Footers as the first releases wrote them: one row a record; and a segment without any."""

import json
import struct
import zlib

from lane_relay.spool.format import HEADER_SIZE, Kind, Record, encode, salt_of, scan
from tests.lane_relay.spool.disk import Image
from tests.lane_relay.spool.making import SPOOL

ROW = struct.Struct("<BIII")


def segments(image: Image) -> list[str]:
    """Paths of the segments' files, oldest first."""
    return sorted(path for path in image if path.endswith(".seg"))


def salt(image: Image, path: str) -> int:
    identity = json.loads(image[str(SPOOL / "spool.json")])
    return salt_of(bytes.fromhex(identity["spool_id"]), int(path.rsplit("/", 1)[1].split(".")[0]))


def records(image: Image, path: str) -> list[Record]:
    return [one for one in scan(image[path], salt(image, path)) if isinstance(one, Record)]


def without_footers(image: Image) -> Image:
    """Each segment ends with its last record."""
    changed = dict(image)
    for path in segments(image):
        sealed = [one.offset for one in records(image, path) if one.kind == Kind.FOOTER]
        changed[path] = image[path][: min(sealed, default=len(image[path]))]
    return changed


def with_row_footers(image: Image) -> Image:
    """Each sealed segment ends as a first release ended it."""
    changed = without_footers(image)
    for path in segments(image):
        if changed[path] == image[path]:
            continue
        seed, at = salt(image, path), len(changed[path])
        held = [one for one in records(image, path) if one.kind not in (Kind.FOOTER, Kind.RECORD)]
        rows = b"".join(ROW.pack(one.kind, one.offset, one.length, len(one.index)) + one.index for one in held)
        plain = b"LNWSEAL1" + at.to_bytes(8, "little")
        trailer = plain + zlib.crc32(plain, seed).to_bytes(4, "little")
        (footer,) = [one for one in records(image, path) if one.kind == Kind.FOOTER]
        parts, _ = encode(Kind.FOOTER, rows, b"", (trailer,), seq=footer.seq, count=0, at=at, commit_at=at, salt=seed)
        changed[path] += b"".join(parts)
        assert at >= HEADER_SIZE
    return changed
