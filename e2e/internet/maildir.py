"""What a plain Postfix ISP received, read from its maildir as ISP records.

Invariant: one file is one copy of one message; its time is the file name's, taken when Postfix delivered it, its
source address is the one that Postfix itself wrote into its own, topmost Received field.
Before: `postfix.plain_isp`. After: `e2e.load.ledger`.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from e2e.internet.records import Message

_NAME = re.compile(r"^(\d+)\..*?M(\d+)")
_CLIENT = re.compile(rb"^Received: from \S+ \([^\[\n]*\[([0-9.]+)\]\)(.*?)^\S", re.MULTILINE | re.DOTALL)


def delivered_at(file_name: str) -> float:
    """The wall-clock time in a maildir file's name; raises ValueError if it has none."""
    found = _NAME.match(file_name)
    if not found:
        raise ValueError(f"{file_name} is no maildir file name")
    return int(found[1]) + int(found[2]) / 1e6


def _field(header: bytes, name: bytes) -> str:
    found = re.search(rb"^" + name + rb":[ \t]*((?:.*)(?:\n[ \t].*)*)", header, re.MULTILINE | re.IGNORECASE)
    return found[1].replace(b"\n", b"").decode("utf-8", "replace").strip() if found else ""


def as_message(isp: str, file_name: str, content: bytes) -> Message:
    """One maildir file as a record; it knows no connection, so it counts as one of its own."""
    header, _, body = content.partition(b"\n\n")
    body = body.replace(b"\n", b"\r\n")
    client = _CLIENT.search(header + b"\n.")
    at = delivered_at(file_name)
    return Message(
        isp=isp,
        at=at,
        received=at,
        answered=True,
        source_ip=client[1].decode() if client else "",
        connection=0,
        connection_opened=at,
        sender=_field(header, b"Return-Path").strip("<>"),
        recipients=(_field(header, b"X-Original-To"),),
        message_id=_field(header, b"Message-ID"),
        correlation_id=_field(header, b"X-Correlation-Id"),
        dkim_signed=bool(_field(header, b"DKIM-Signature")),
        tls=b"(using TLS" in (client[2] if client else b""),
        size=len(content),
        body_sha256=hashlib.sha256(body).hexdigest(),
    )


def received(isp: str, folder: Path) -> list[Message]:
    """Everything in the instance's maildir `folder`/mail/all, oldest first."""
    files = sorted((folder / "mail" / "all" / "new").glob("*"))
    return sorted((as_message(isp, file.name, file.read_bytes()) for file in files), key=lambda message: message.at)
