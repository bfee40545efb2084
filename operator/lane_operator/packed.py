"""Children, kept small: as Python's objects a lane's parts take twenty times what their JSON takes when compressed.

Before the cache, which packs what it keeps; after it, whoever reads an entry of a Secret. Invariants: a packed text is
equal to the text that it was made of, and to no other; a packed object is unpacked as it was.
"""

import base64
import hashlib
import zlib
from typing import Any, Final

import msgspec

__all__ = ["Packed", "PackedObject", "entry_of"]

_LONG: Final = (".yaml.gz", ".json")
"""Ends of the names of what is long; whoever reads such an entry knows that it may be packed."""
_GZIP: Final = b"\x1f\x8b"
_WORTH: Final = 4096


class Packed:
    """A text by its digest and its compressed bytes; `encoded` where the text is base64 of what was compressed, and
    `stored` where that is compressed already."""

    __slots__ = ("_bytes", "_digest", "_encoded", "_stored")

    def __init__(self, text: str) -> None:
        raw, self._encoded = text.encode(), False
        self._digest = hashlib.sha256(raw).digest()
        try:
            plain = base64.b64decode(raw, validate=True)
            if base64.b64encode(plain) == raw:  # base64 hides what repeats
                raw, self._encoded = plain, True
        except ValueError:
            pass
        self._stored = self._encoded and raw.startswith(_GZIP)
        self._bytes = raw if self._stored else zlib.compress(raw, 1)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Packed):
            return self._digest == other._digest
        if isinstance(other, str):
            return self._digest == hashlib.sha256(other.encode()).digest()
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._digest)

    def __str__(self) -> str:
        raw = self._bytes if self._stored else zlib.decompress(self._bytes)
        return (base64.b64encode(raw) if self._encoded else raw).decode()


class PackedObject:
    """An object of the API by its compressed JSON; its long texts apart, packed as they stay when it is unpacked."""

    __slots__ = ("_bytes", "_long")

    def __init__(self, body: dict[str, Any]) -> None:
        self._long = _long_of(body)
        if self._long:
            short = {name: text for name, text in body["data"].items() if name not in self._long}
            body = {**body, "data": short}
        self._bytes = zlib.compress(msgspec.json.encode(body), 1)

    def unpacked(self) -> dict[str, Any]:
        """The object, made anew with each call."""
        body: dict[str, Any] = msgspec.json.decode(zlib.decompress(self._bytes))
        if self._long:
            body["data"] |= self._long
        return body


def _long_of(body: dict[str, Any]) -> dict[str, Packed]:
    """The long entries of a Secret or ConfigMap."""
    data = body.get("data")
    if not isinstance(data, dict):
        return {}
    return {
        name: text if isinstance(text, Packed) else Packed(text)
        for name, text in data.items()
        if isinstance(text, Packed) or (name.endswith(_LONG) and isinstance(text, str) and len(text) > _WORTH)
    }


def entry_of(secret: dict[str, Any], name: str) -> bytes:
    """One entry of a Secret, packed or not; empty where it is missing. Raises ValueError for no base64."""
    found = (secret.get("data") or {}).get(name, "")
    return base64.b64decode(str(found))
