"""Heads: the signed entries of a journal's chain, one after another, each with the digest of the one before.

A head is one line of JSON, `{"head":{...},"key":"...","signature":"..."}`; what is hashed and signed is the text of its
`head` as it stands, so that nobody has to agree on a canonical form. Invariant: a head never changes once it is made.
Before: `chain` makes them. After: the volume, the archive and `/v1` keep them; `verify` judges them.
"""

import base64
import binascii
import hashlib
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from lane_relay.errors import NOT_OURS, ConfigError

__all__ = [
    "Continued",
    "Head",
    "HeadKey",
    "HeadKind",
    "Reason",
    "Signed",
    "key_text",
    "parse",
    "public_key",
    "public_key_id",
]

VERSION: Final = 1
_PURPOSE: Final = b"lanewright head 1\n"
"""Stands before the signed text, so that no signature made for anything else is one of a head."""


_Time = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""Unix time; of another there is no day (four digits for a year)."""


class HeadKind(StrEnum):
    """What a head says."""

    BEGIN = "Begin"
    """A journal was begun; the first, or one that goes on from another."""
    SEGMENT = "Segment"
    """A file of records is finished and never changes again."""
    DAY = "Day"
    """A day (UTC) is over: every record of it is in the chain up to here."""
    DROPPED = "Dropped"
    """Records were removed from the slot's volume by its own rules."""


class Reason(StrEnum):
    """Why records were removed."""

    RETENTION = "Retention"
    """Older than `retention`."""
    BUDGET = "Budget"
    """Beyond `maxSize`."""
    VOLUME_FULL = "VolumeFull"
    """The volume had no room for new records."""


class Continued(msgspec.Struct, frozen=True):
    """The entry of another journal after which a journal goes on, with the next number."""

    journal: str
    number: int
    digest: str


class Head(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry of the chain; fields that its kind does not have are left out."""

    version: int = msgspec.field(default=VERSION, name="v")
    kind: HeadKind
    journal: str
    """Identity of the journal, made with it."""
    lane: str
    """namespace/name."""
    slot: str
    number: int
    """Of this entry, counted from 1."""
    at: _Time
    """Unix time at which it was made."""
    previous: str = ""
    """SHA-256 of the entry before, in hexadecimal; empty for the first."""
    first_seq: int = 0
    last_seq: int = 0
    """Segment, Dropped: the records it is about. Begin: the first record to come. Day: the last one so far."""
    size: int = 0
    """Bytes of the segment."""
    sha256: str = ""
    """Of the segment's bytes; Dropped: of the segment that goes, empty where it was never sealed."""
    index_sha256: str = ""
    """Of the index beside the segment; empty where a release before this field sealed it: its index proves nothing."""
    began: _Time = 0.0
    ended: _Time = 0.0
    """Unix times of the segment."""
    gaps: tuple[tuple[int, int], ...] = ()
    """(first, last) of numbers that the segment lacked when it was sealed: lost by damage, not left out later."""
    continues: Continued | None = None
    """Begin: on a volume put back from a snapshot, the last entry that it came with; others may follow elsewhere."""
    public_key: str = ""
    """Begin: who signs, in base64, as the journal itself says."""
    day: str = ""
    """YYYY-MM-DD."""
    reason: Reason | None = None
    archived: bool = False
    """Whether the records that were dropped are in the archive."""
    dropped: dict[str, int] = {}
    """Records dropped so far, by reason."""
    unarchived: int = 0
    """Of these, records that an archive was to have and never got: lost."""
    kept_from: int = 0
    """Number of the oldest entry that the volume still keeps; what is before may be missing there."""
    kept_previous: str = ""
    """`previous` of that entry."""


class Signed(msgspec.Struct, frozen=True):
    """A head as it was read: its text, who signed it, and what it says."""

    text: bytes
    key: str
    """Identity of the signer's key; empty: not signed."""
    signature: bytes
    head: Head

    @property
    def digest(self) -> str:
        """What the next entry carries as `previous`."""
        return hashlib.sha256(self.text).hexdigest()

    def line(self) -> bytes:
        """As it is kept, with its line end."""
        return _ENVELOPE.encode(_Envelope(msgspec.Raw(self.text), self.key, _text(self.signature))) + b"\n"

    def is_signed_by(self, key: Ed25519PublicKey) -> bool:
        """Whether this key signed exactly this text."""
        try:
            key.verify(self.signature, _PURPOSE + self.text)
        except InvalidSignature:
            return False
        return True


class _Envelope(msgspec.Struct, frozen=True):
    head: msgspec.Raw
    key: str
    signature: str


_ENVELOPE: Final = msgspec.json.Encoder()
_OUTER: Final = msgspec.json.Decoder(_Envelope)
_INNER: Final = msgspec.json.Decoder(Head)


def parse(content: bytes) -> Signed:
    """Reads a kept head; raises ValueError that says what is wrong."""
    try:
        outer = _OUTER.decode(content)
        text = bytes(outer.head)
        return Signed(text, outer.key, base64.b64decode(outer.signature, validate=True), _INNER.decode(text))
    except (*NOT_OURS, binascii.Error) as error:
        raise ValueError(f"no head of a chain: {error}") from error


class HeadKey:
    """Signs heads; without a key they are chained and not signed."""

    def __init__(self, key: Ed25519PrivateKey | None) -> None:
        """Use `read`."""
        self._key = key
        self.public = key.public_key() if key is not None else None
        self.id = public_key_id(self.public) if self.public is not None else ""

    @classmethod
    def read(cls, pem: bytes) -> "HeadKey":
        """From PKCS #8 in PEM; raises ConfigError that names the fix."""
        try:
            key = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{_NO_KEY} ({error})") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError(_NO_KEY)
        return cls(key)

    def sign(self, head: Head) -> Signed:
        """The head, signed."""
        text = _ENVELOPE.encode(head)
        return Signed(text, self.id, self._key.sign(_PURPOSE + text) if self._key is not None else b"", head)


_NO_KEY: Final = (
    "the signing key is no Ed25519 key in PEM without a password: make one with openssl genpkey -algorithm ed25519"
)


def public_key(content: bytes) -> Ed25519PublicKey:
    """From PEM, or from base64 of its 32 octets as `/v1/slot` shows it; raises ValueError."""
    if b"-----BEGIN" in content:
        try:
            found = load_pem_public_key(content)
        except UnsupportedAlgorithm as error:
            raise ValueError(f"no Ed25519 public key: {error}") from error
        if isinstance(found, Ed25519PublicKey):
            return found
        raise ValueError("no Ed25519 public key")
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(content.strip(), validate=True))
    except binascii.Error as error:
        raise ValueError("neither PEM nor base64") from error


def public_key_id(key: Ed25519PublicKey) -> str:
    """Identity of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 octets."""
    return hashlib.sha256(raw(key)).hexdigest()[:16]


def raw(key: Ed25519PublicKey) -> bytes:
    """Its 32 octets."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def key_text(key: Ed25519PublicKey) -> str:
    """Its 32 octets in base64."""
    return _text(raw(key))


def _text(signature: bytes) -> str:
    return base64.b64encode(signature).decode()
