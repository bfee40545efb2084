"""The reflector protocol, version 1: one line asks, one line answers which address the asker was seen with.

    client: LANE-REFLECT/1 <nonce, 32 hexadecimal digits> CRLF
    server: {"v":1,"address":"203.0.113.10","port":40112,"nonce":"...","at":1764000000.123,"mac":"..."} CRLF, closes

`mac` is HMAC-SHA256 under the key that relay and reflector share, over version, address, port, nonce and time. The
nonce makes every answer good for one question: neither a recorded answer nor one made without the key is believed.
The server says nothing first, so that its port costs nothing to whoever scans it.

Invariant: bytes in, values out; no line grows beyond its bound. Before it: a TCP connection. After it: `proof`.
"""

import hmac
import json
import re
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Final

__all__ = [
    "ANSWER_LIMIT",
    "MINIMUM_KEY_BYTES",
    "NONCE_BYTES",
    "REQUEST_LIMIT",
    "BadAnswer",
    "LineBuffer",
    "Sighting",
    "answer",
    "parse_answer",
    "parse_key",
    "parse_request",
    "plain_address",
    "request",
]

VERSION: Final = 1
NONCE_BYTES: Final = 16  # 128 bits: never repeats by chance
REQUEST_LIMIT: Final = 64  # a request is 49 octets; the rest is room for a longer version number
ANSWER_LIMIT: Final = 512  # an answer is about 230 octets; RFC 5321's reply line limit as the roof
MINIMUM_KEY_BYTES: Final = 16  # RFC 2104 section 3: shorter than the hash weakens it; 128 bits is our floor

_REQUEST = re.compile(rb"^LANE-REFLECT/([0-9]{1,4}) ([0-9a-f]{32})$")
_FIELDS: Final = {"v", "address", "port", "nonce", "at", "mac"}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a reflector saw, believed: the signature is good and the nonce is ours."""

    address: str
    port: int
    at: float
    """Unix time of the reflector's clock, in seconds; for messages only."""


@dataclass(frozen=True, slots=True)
class BadAnswer:
    """Why an answer is not believed."""

    reason: str


class LineBuffer:
    """Collects octets up to the first CRLF (or LF); `overflow` is set beyond the limit."""

    __slots__ = ("_data", "_limit", "overflow")

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._limit = limit
        self.overflow = False

    def feed(self, data: bytes) -> bytes | None:
        """The line without its end, once complete; nothing after it is looked at."""
        self._data += data[: self._limit + 1]
        end = self._data.find(b"\n", 0, self._limit)
        if end >= 0:
            return bytes(self._data[:end]).removesuffix(b"\r")
        self.overflow = len(self._data) >= self._limit
        return None


def parse_key(text: bytes) -> bytes:
    """The shared key from the content of its file, line end taken off; raises ValueError if it is too short."""
    key = text.strip()
    if len(key) < MINIMUM_KEY_BYTES:
        raise ValueError(f"the reflector key has {len(key)} octets; at least {MINIMUM_KEY_BYTES} are needed")
    return key


def plain_address(text: str) -> str:
    """An address in its one canonical spelling: no scope, and IPv4 where a socket of both families maps it."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def request(nonce: bytes) -> bytes:
    """The line that asks."""
    return b"LANE-REFLECT/%d %s\r\n" % (VERSION, nonce.hex().encode())


def parse_request(line: bytes) -> bytes | None:
    """The nonce of a request of this version, or None for anything else."""
    matched = _REQUEST.match(line)
    if matched is None or int(matched[1]) != VERSION:
        return None
    return bytes.fromhex(matched[2].decode())


def _mac(key: bytes, address: str, port: int, nonce: bytes, at: float) -> str:
    """The signature over everything that an answer says."""
    said = f"lanewright-reflect/{VERSION}\n{address}\n{port}\n{nonce.hex()}\n{at!r}".encode()
    return hmac.new(key, said, sha256).hexdigest()


def answer(key: bytes, nonce: bytes, address: str, port: int, at: float) -> bytes:
    """The line that answers; `at` is the reflector's Unix time in seconds."""
    seen = plain_address(address)
    at = round(at, 3)
    said = {
        "v": VERSION,
        "address": seen,
        "port": port,
        "nonce": nonce.hex(),
        "at": at,
        "mac": _mac(key, seen, port, nonce, at),
    }
    return json.dumps(said, separators=(",", ":")).encode() + b"\r\n"


def _is_plain(value: object) -> bool:
    """Text as we write it; whoever answers there may send half of a surrogate pair, which has no octets."""
    return isinstance(value, str) and value.isascii()


def parse_answer(line: bytes, key: bytes, nonce: bytes) -> Sighting | BadAnswer:
    """What an answer says, if it is signed with the key and answers this nonce."""
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return BadAnswer("it is no reflector: the answer is not one line of JSON")
    if not isinstance(said, dict) or set(said) != _FIELDS or said["v"] != VERSION:
        return BadAnswer(f"the answer is not of reflector protocol version {VERSION}: use a reflector of this release")
    address, port, at, mac = said["address"], said["port"], said["at"], said["mac"]
    if not (_is_plain(address) and type(port) is int and type(at) is float and _is_plain(mac)):
        return BadAnswer("the answer's fields have the wrong types")
    if not hmac.compare_digest(_mac(key, address, port, nonce, at).encode(), mac.encode()):
        return BadAnswer("the signature is wrong: relay and reflector do not have the same key")
    try:
        return Sighting(plain_address(address), port, at)
    except ValueError:
        return BadAnswer("the answer names no IP address")
