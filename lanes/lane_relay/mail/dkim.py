"""DKIM signatures (RFC 6376, RFC 8301): relaxed/relaxed, RSA-SHA256, From oversigned.

Before it: a stored message. After it: the header field that `deliver` sends in front of it.
`prepare` is pure and cheap and holds the interpreter lock; `DkimKey.sign` is the RSA operation, which releases it, so
that threads sign side by side. Invariant: a message that is not changed on its way verifies at the receiver.
"""

import hashlib
import re
from base64 import b64encode
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from msgspec import Struct

from lane_relay.errors import ConfigError

__all__ = ["DkimKey", "PreparedSignature", "generate_key", "prepare"]

SIGNED_FIELDS: Final = (
    b"from", b"to", b"cc", b"reply-to", b"subject", b"date", b"message-id", b"mime-version", b"content-type",
    b"content-transfer-encoding", b"in-reply-to", b"references", b"list-id", b"list-help", b"list-unsubscribe",
    b"list-unsubscribe-post", b"list-subscribe", b"list-post", b"list-owner", b"list-archive", b"feedback-id",
    b"cfbl-address", b"cfbl-feedback-id",
)  # fmt: skip
"""RFC 6376 section 5.4.1; RFC 8058 wants List-Unsubscribe*, RFC 9477 CFBL-*; Google ignores an unsigned Feedback-ID.
Never Return-Path, Received or Bcc, which change on the way."""
EXPIRES_AFTER_S: Final = 7 * 24 * 3600
"""x=: bounds replay; longer than a message may wait here and at a receiver."""
_KEY_BITS: Final = 2048
_MIN_KEY_BITS: Final = 1024
"""RFC 8301 section 3.2: verifiers take nothing below it."""
_LINE: Final = 72
_WHITESPACE = re.compile(rb"[ \t\r\n]+")


class PreparedSignature(Struct, frozen=True, gc=False):
    """All but the RSA operation."""

    field: bytes
    """`DKIM-Signature: ...; b=`, folded, without the value of b= and without CRLF."""
    data: bytes
    """What the signature covers."""


class DkimKey:
    """A private key, parsed once."""

    __slots__ = ("_key",)

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key

    @classmethod
    def load(cls, pem: bytes) -> Self:
        """The key in this PEM; raises ConfigError if it is no RSA key of 1024 bits or more."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"the DKIM key is no private key in PEM without a password: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey) or key.key_size < _MIN_KEY_BITS:
            raise ConfigError(f"the DKIM key must be RSA with {_MIN_KEY_BITS} bits or more; 2048 is usual")
        return cls(key)

    def sign(self, prepared: PreparedSignature) -> bytes:
        """The whole header field with its CRLF; takes a millisecond and may be called in any thread."""
        value = b64encode(self._key.sign(prepared.data, padding.PKCS1v15(), hashes.SHA256()))
        lines = [value[at : at + _LINE] for at in range(0, len(value), _LINE)]
        return prepared.field + b"\r\n\t".join(lines) + b"\r\n"

    def public_record(self) -> str:
        """The TXT record that publishes the public half (RFC 6376 section 3.6.1), unsplit."""
        public = self._key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return f"v=DKIM1; k=rsa; p={b64encode(public).decode('ascii')}"


def generate_key() -> bytes:
    """A new RSA-2048 key in PEM (PKCS 8)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def prepare(content: bytes, *, domain: str, selector: str, now: float) -> PreparedSignature:
    """What has to be signed for this message (CRLF line ends); `domain` and `selector` are A-labels."""
    fields, body = _split(content)
    chosen = _choose(fields)
    body_hash = b64encode(hashlib.sha256(canonical_body(body)).digest())
    names = b":".join([name for name, _ in chosen] + [b"from"])
    tags = (
        b"v=1; a=rsa-sha256; c=relaxed/relaxed; d=%b; s=%b;" % (domain.encode("ascii"), selector.encode("ascii")),
        b"t=%d; x=%d;" % (int(now), int(now) + EXPIRES_AFTER_S),
        b"h=%b;" % _fold_names(names),
        b"bh=%b;" % body_hash,
        b"b=",
    )
    field = b"DKIM-Signature: " + b"\r\n\t".join(tags)
    signed = [b"%b:%b" % (name, canonical_value(value)) for name, value in chosen]
    signed.append(b"dkim-signature:" + canonical_value(field[len(b"DKIM-Signature:") :]))
    return PreparedSignature(field, b"\r\n".join(signed))


def _split(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields as (lower-case name, folded value), and the body."""
    if content[:2] == b"\r\n":
        return [], content[2:]
    end = content.find(b"\r\n\r\n")
    head, body = (content, b"") if end < 0 else (content[:end], content[end + 4 :])
    fields: list[tuple[bytes, bytes]] = []
    for line in head.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):
            if fields:
                name, value = fields[-1]
                fields[-1] = (name, value + b"\r\n" + line)
        else:
            name, colon, value = line.partition(b":")
            if colon:
                fields.append((name.rstrip(b" \t").lower(), value))
    return fields, body


def _choose(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Every instance of the fields we sign; of one name the last comes first (RFC 6376 section 5.4.2)."""
    found: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        found.setdefault(name, []).append(value)
    return [(name, value) for name in SIGNED_FIELDS for value in reversed(found.get(name, ()))]


def _fold_names(names: bytes) -> bytes:
    """h= on lines of bearable length; white space around its colons means nothing."""
    lines, line = [], b""
    for name in names.split(b":"):
        if line and len(line) + len(name) > _LINE:
            lines.append(line)
            line = b""
        line += name + b":"
    lines.append(line)
    return b"\r\n\t".join(lines)[:-1]


def canonical_value(value: bytes) -> bytes:
    """A field's value in relaxed form (RFC 6376 section 3.4.2): unfolded, white space runs one blank, ends trimmed."""
    return _WHITESPACE.sub(b" ", value).strip(b" ")


def canonical_body(body: bytes) -> bytes:
    """The body in relaxed form (RFC 6376 section 3.4.4): no blanks at line ends, runs one, no empty last lines."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    body = body.removesuffix(b" ").rstrip(b"\r\n")  # CR and LF come in pairs only, so this takes whole lines
    return body + b"\r\n" if body else b""
