"""What an ISP writes down, one JSON line each; the evidence that the ledger is compared with.

Invariant: times are seconds of the machine's wall clock, taken when the thing happened at the ISP, not when it was
written; a line is never changed. Before: `listener`. After: `e2e.load.ledger`, the tests and the demo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec


class Connection(msgspec.Struct, tag_field="kind", tag="connection", frozen=True):
    """One TCP connection, from accept to the first FIN, RST or close; `closed` None: still open."""

    isp: str
    id: int
    source_ip: str
    source_port: int
    server_ip: str
    opened: float
    closed: float | None
    helo: str
    tls_version: str
    tls_cipher: str


class Message(msgspec.Struct, tag_field="kind", tag="message", frozen=True):
    """One message that the ISP took; `at` is when its 250 was sent, `answered` False if the client had gone by then."""

    isp: str
    at: float
    received: float
    answered: bool
    source_ip: str
    connection: int
    connection_opened: float
    sender: str
    recipients: tuple[str, ...]
    message_id: str
    correlation_id: str
    dkim_signed: bool
    tls: bool
    size: int
    body_sha256: str


class Refusal(msgspec.Struct, tag_field="kind", tag="refusal", frozen=True):
    """One 4xx or 5xx of the ISP, or a fault of its own: `code` 0 when it dropped the connection without a word."""

    isp: str
    at: float
    source_ip: str
    connection: int
    stage: str
    code: int
    text: str
    sender: str
    recipient: str


Record = Connection | Message | Refusal

encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


def parse(lines: bytes) -> list[Record]:
    """The records of a JSON-lines text; raises msgspec.DecodeError on a damaged line."""
    return [_decode(line) for line in lines.splitlines() if line]


def messages(records: Iterator[Record] | list[Record]) -> list[Message]:
    """Only the messages."""
    return [record for record in records if isinstance(record, Message)]


def read(file: Path) -> list[Record]:
    """The records of one file; none if it does not exist."""
    return parse(file.read_bytes()) if file.exists() else []
