"""One line of kept evidence as a record, or none: whoever writes into an archive may write any JSON.

Pure. Invariant: of what is a record here, the fields that readers use have the types that `account.log_record` gives
them; other fields are as they stand. Before: `evidence`. After: `trace`, `unsettled`.
"""

from typing import Annotated, Any, Final

from msgspec import Meta, Struct, convert
from msgspec.json import Decoder

from lane_relay.errors import NOT_OURS

__all__ = ["read_record"]

_Time = Annotated[float, Meta(ge=0, le=253_402_300_799)]
"""Unix time, up to the year 9999: beyond it there are no dates."""


class _Response(Struct):
    code: int
    content: str = ""
    enhanced_code: dict[str, int] | None = None


class _Peer(Struct):
    name: str = ""
    addr: str = ""


class _Source(Struct):
    address: str = ""


class _Shape(Struct):
    seq: Annotated[int, Meta(ge=0)] = 0
    type: str = ""
    lane: str = ""
    slot: str = ""
    timestamp: _Time = 0.0
    created: _Time = 0.0
    id: Annotated[str, Meta(pattern="^([0-9a-f]{24})?$")] = ""
    sender: str | None = None
    recipient: str | list[str] = ""
    reception_protocol: str = ""
    response: _Response | None = None
    peer_address: _Peer | None = None
    source_address: _Source | None = None
    rule: str = ""
    message_id: str = ""
    correlation_id: str = ""
    meta: dict[str, str] = {}


_decode: Final = Decoder(dict[str, Any]).decode


def read_record(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None: it is cut off, or no record."""
    try:
        record = _decode(line)
        convert(record, _Shape)
    except NOT_OURS:
        return None
    return record
