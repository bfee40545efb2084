"""DKIM signatures (RFC 6376, RFC 8301, RFC 8463): relaxed/relaxed, RSA-SHA256 and Ed25519, From oversigned.

Before it: a stored message. After it: the header fields that `deliver` sends in front of it.
`cover` reads the message once for all its signatures and holds the interpreter lock; `DkimKey.sign` is the operation
with the key, which releases it, so that threads sign side by side. There is no ARC (RFC 8617): a lane forwards nothing.
Invariant: a message that is not changed on its way verifies at the receiver.
"""

import hashlib
import re
from base64 import b64encode
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lane_relay.errors import ConfigError
from lane_relay.records import Record, TrackedRecord

__all__ = ["Covered", "DkimKey", "Publication", "cover", "generate_ed25519_key", "generate_key"]

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


class Covered(Record, frozen=True, gc=False):
    """What every signature of one message covers."""

    names: bytes
    """The value of h=, folded."""
    fields: bytes
    """The chosen fields in canonical form, each with its CRLF."""
    body_hash: bytes
    """The value of bh=."""


class Publication(TrackedRecord, frozen=True):
    """What DNS has to answer before a key may sign."""

    domain: str
    record_name: str
    """SELECTOR._domainkey.DOMAIN."""
    public_half: str
    """The record's `p=`."""
    holds_mail: bool = True
    """The domain's mail waits for it; an Ed25519 key only joins in once it is published."""


class DkimKey:
    """A private key, parsed once."""

    __slots__ = ("_key", "algorithm")

    def __init__(self, key: rsa.RSAPrivateKey | Ed25519PrivateKey) -> None:
        self._key = key
        self.algorithm = b"rsa-sha256" if isinstance(key, rsa.RSAPrivateKey) else b"ed25519-sha256"
        """The value of a=."""

    @classmethod
    def load(cls, pem: bytes) -> Self:
        """The key in this PEM; raises ConfigError if it is no RSA key of 1024 bits or more and no Ed25519 key."""
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"the DKIM key is no private key in PEM without a password: {error}") from error
        if isinstance(key, Ed25519PrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _MIN_KEY_BITS):
            return cls(key)
        raise ConfigError(f"the DKIM key must be RSA with {_MIN_KEY_BITS} bits or more (2048 is usual) or Ed25519")

    @property
    def is_rsa(self) -> bool:
        """Every receiver can check it."""
        return isinstance(self._key, rsa.RSAPrivateKey)

    def sign(self, covered: Covered, *, domain: str, selector: str, now: float) -> bytes:
        """The whole header field with its CRLF; `domain` and `selector` are A-labels, `now` is Unix time.

        RSA takes a millisecond, Ed25519 a twentieth of it; it may be called in any thread.
        """
        tags = (
            b"v=1; a=%b; c=relaxed/relaxed; d=%b; s=%b;"
            % (self.algorithm, domain.encode("ascii"), selector.encode("ascii")),
            b"t=%d; x=%d;" % (int(now), int(now) + EXPIRES_AFTER_S),
            b"h=%b;" % covered.names,
            b"bh=%b;" % covered.body_hash,
            b"b=",
        )
        value = b" " + b"\r\n\t".join(tags)
        signature = b64encode(self._signature(covered.fields + b"dkim-signature:" + canonical_value(value)))
        lines = [signature[at : at + _LINE] for at in range(0, len(signature), _LINE)]
        return b"DKIM-Signature:" + value + b"\r\n\t".join(lines) + b"\r\n"

    def _signature(self, data: bytes) -> bytes:
        if isinstance(self._key, rsa.RSAPrivateKey):
            return self._key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self._key.sign(hashlib.sha256(data).digest())  # RFC 8463 section 3: the hash is what is signed

    def public_half(self) -> str:
        """The base64 that the record publishes as `p=`."""
        public = self._key.public_key()
        if isinstance(public, rsa.RSAPublicKey):
            der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
            return b64encode(der).decode("ascii")
        return b64encode(public.public_bytes_raw()).decode("ascii")

    def public_record(self) -> str:
        """The TXT record that publishes the public half (RFC 6376 section 3.6.1, RFC 8463 section 4), unsplit."""
        return f"v=DKIM1; k={'rsa' if self.is_rsa else 'ed25519'}; p={self.public_half()}"


def generate_key() -> bytes:
    """A new RSA-2048 key in PEM (PKCS 8)."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=_KEY_BITS))


def generate_ed25519_key() -> bytes:
    """A new Ed25519 key in PEM (PKCS 8)."""
    return _pem(Ed25519PrivateKey.generate())


def _pem(key: rsa.RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def cover(content: bytes) -> Covered:
    """What is signed of this message (CRLF line ends), whatever the key."""
    fields, body = _split(content)
    chosen = _choose(fields)
    return Covered(
        _fold_names(b":".join([name for name, _ in chosen] + [b"from"])),
        b"".join([b"%b:%b\r\n" % (name, canonical_value(value)) for name, value in chosen]),
        b64encode(hashlib.sha256(canonical_body(body)).digest()),
    )


def _split(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Header fields as (lower-case name, unfolded value), and the body."""
    if content[:2] == b"\r\n":
        return [], content[2:]
    end = content.find(b"\r\n\r\n")
    head, body = (content, b"") if end < 0 else (content[:end], content[end + 4 :])
    fields: list[tuple[bytes, bytes]] = []
    # All of it unfolded at once: value by value it takes the square of the time for twice the lines.
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon and line[:1] not in (b" ", b"\t"):
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
