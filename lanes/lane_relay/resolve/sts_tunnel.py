"""One HTTPS GET through a SOCKS5 proxy, for a slot whose address a proxy holds: no HTTP client of ours speaks SOCKS.

HTTP/1.0 in what it asks, so that the answer ends with the connection; the standard library reads it.
Before it: `sts_fetch`, which names the address and judges the answer. After it: the policy's web server.
"""

import asyncio
import io
import ssl
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import Any, Final, cast

from lane_relay.socks.protocol import Refused
from lane_relay.socks.tunnel import Door, open_socket

__all__ = ["Answered", "get_through"]

_MAX_HEAD: Final = 64 * 1024
"""Octets of status line and header; what http.client takes of one line."""
_PIECE: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Answered:
    """What the web server said; `body` has one octet more than asked for where there was more."""

    status: int
    content_type: str
    body: bytes


async def get_through(
    door: Door, address: str, port: int, context: ssl.SSLContext, host: str, path: str, limit: int
) -> Answered:
    """Raises OSError (ssl.SSLError among them) for what network, proxy and peer do, ValueError for what is no HTTP."""
    found = await open_socket(door, address, port)
    if isinstance(found, Refused):
        raise OSError(f"SOCKS5 proxy {door}: {found.text}")
    sock, connected = found
    if door.is_wrong(connected):
        sock.close()
        raise OSError(f"SOCKS5 proxy {door} connected from {connected.bound} instead of {door.bound}")
    reader, writer = await asyncio.open_connection(sock=sock, ssl=context, server_hostname=host)
    try:
        name = host if port == 443 else f"{host}:{port}"
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {name}\r\nAccept: text/plain\r\n\r\n".encode())
        said = await _all(reader, _MAX_HEAD + limit)
    finally:
        writer.transport.abort()
    return _parsed(said, limit)


async def _all(reader: asyncio.StreamReader, limit: int) -> bytes:
    """What comes until the end, at most so much and a piece."""
    said = b""
    while len(said) <= limit:
        piece = await reader.read(_PIECE)
        if not piece:
            break
        said += piece
    return said


class _Said:
    """What http.client takes a socket for."""

    def __init__(self, said: bytes) -> None:
        self._said = said

    def makefile(self, *_: Any) -> io.BytesIO:
        """All that was said."""
        return io.BytesIO(self._said)


def _parsed(said: bytes, limit: int) -> Answered:
    response = HTTPResponse(cast("Any", _Said(said)), method="GET")
    try:
        response.begin()
        body = response.read(limit + 1)
    except HTTPException as error:
        raise ValueError(f"no HTTP answer: {str(error) or type(error).__name__}") from None
    if (
        response.length and len(body) <= limit
    ):  # that fewer octets came than were promised is an error without `amt` alone
        raise ValueError(f"the answer ended {response.length} octets early")
    # what email takes a missing or malformed field for is text/plain
    return Answered(
        response.status, (response.headers["Content-Type"] or "none").partition(";")[0].strip().lower(), body
    )
