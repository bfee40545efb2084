"""Our own check of a signature before its key goes live: a verifier (RFC 6376 section 6) that shares nothing with the
signer but the key's record.

A record may carry the right key and still fail everywhere: for other hashes (h=), other services (s=), of another kind
(k=), or with a text that no verifier reads. It is written as the RFC says it, line by line, where the signer is written
for speed; the tests hold both against dkimpy. Signatures of others are checked by the same words, within bounds that
keep the time for a hostile header that of its size.
Before it: the record as DNS answers it. After it: `resolve.selectors`, and `feedback.reporters` for who reports.
"""

import hashlib
import re
from base64 import b64decode
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from msgspec import Struct

__all__ = ["Signature", "fields_named", "signature_problem", "signatures", "signed_part", "verify_problem"]

_MIN_BITS = 1024
"""RFC 8301 section 3.2: verifiers take nothing below it."""
_MOST_HEAD: Final = 128 * 1024
_MOST_FIELDS: Final = 500
_MOST_SIGNATURES: Final = 4
_MOST_NAMES: Final = 200
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LINE_ENDS_BACKWARDS: Final = re.compile(rb"(?:\n\r)*")
_FORMS: Final = ("relaxed", "simple")
_BLANKS: Final = " \t"
"""All that the RFC calls WSP: Python's strip also takes U+00A0 or U+3000 off, which signers leave in what they sign."""
_FOLDED_BLANKS: Final = " \t\r\n"
Tags = dict[str, str]
Fields = list[tuple[str, str]]


class Signature(Struct, frozen=True):
    """One DKIM-Signature of a message that may verify; all of the body is under it, and has the hash that it says."""

    at: int
    """Its place among the fields."""
    domain: str
    record_name: str
    """Where its key is."""
    tags: Tags


class _FailedError(Exception):
    """Why the signature does not verify."""


def signature_problem(message: bytes, record: str) -> str:
    """Why a receiver that finds this TXT record would not accept the first signature of the message, or empty."""
    try:
        _verify(message, record)
    except _FailedError as failed:
        return str(failed)
    return ""


def fields_named(message: bytes, name: str) -> list[str]:
    """The values of all fields that a verifier takes for this one, in the message's order; `name` in lower case."""
    head = message.partition(b"\r\n\r\n")[0]
    return [value for found, value in _fields(head) if _folded(found) == name] if len(head) <= _MOST_HEAD else []


def signatures(message: bytes) -> tuple[Signature, ...]:
    """The first signatures of a message, without those that cover a part of the body or say what no RFC has.

    The body is gone through once for each canonical form that is named, whatever the number of signatures.
    """
    head, _, body = message.partition(b"\r\n\r\n")
    fields = _fields(head) if len(head) <= _MOST_HEAD else []
    if len(fields) > _MOST_FIELDS:
        return ()
    found = [at for at, (name, _) in enumerate(fields) if _folded(name) == "dkim-signature"]
    read = [one for at in found[:_MOST_SIGNATURES] if (one := _signature(at, fields[at][1])) is not None]
    hashes_of = {form: _body_hash(form, body) for form in {_body_form(one.tags) for one in read}}
    return tuple(one for one in read if _is_hash(one.tags["bh"], hashes_of[_body_form(one.tags)]))


def verify_problem(message: bytes, signature: Signature, record: str, now: float) -> str:
    """Why this signature of `signatures(message)` does not verify with this record at this time, or empty."""
    expires = signature.tags.get("x", "")
    if expires and (not expires.isdecimal() or int(expires[:20]) < now):
        return "the signature has run out"
    try:
        _check_header(_fields(message.partition(b"\r\n\r\n")[0]), signature.at, signature.tags, record)
    except _FailedError as failed:
        return str(failed)
    return ""


def signed_part(message: bytes, signature: Signature) -> bytes:
    """The message without the fields that the signature does not cover: anybody may have added those."""
    head, gap, body = message.partition(b"\r\n\r\n")
    taken = _taken(_fields(head), signature.tags["h"])
    lines = "\r\n".join(f"{name}:{value}" for name, value in taken)
    return lines.encode("utf-8", "surrogateescape") + gap + body


def _signature(at: int, value: str) -> Signature | None:
    try:
        tags = _tags(value, "the signature")
    except _FailedError:
        return None
    domain, selector = tags.get("d", "").lower(), tags.get("s", "").lower()
    header, _, body = tags.get("c", "simple").lower().partition("/")
    names = [_folded(one) for one in tags.get("h", "").split(":")]
    if (
        not all(tags.get(name) for name in ("a", "b", "bh", "d", "h", "s"))
        or tags.get("v") != "1"
        or "l" in tags  # what is behind the length is anybody's
        or header not in _FORMS
        or (body or "simple") not in _FORMS
        or not _NAME.fullmatch(domain)
        or not _NAME.fullmatch(selector)
        or "from" not in names
        or len(names) > _MOST_NAMES
    ):
        return None
    return Signature(at, domain, f"{selector}._domainkey.{domain}", tags)


def _verify(message: bytes, record: str) -> None:
    head, _, body = message.partition(b"\r\n\r\n")
    fields = _fields(head)
    at = next((at for at, (name, _) in enumerate(fields) if name.lower() == "dkim-signature"), -1)
    if at < 0:
        raise _FailedError("the trial message carries no signature")
    tags = _tags(fields[at][1], "the signature")
    if not _is_hash(tags["bh"], _body_hash(_body_form(tags), body)):
        raise _FailedError("a trial signature does not verify with it: the body's hash is another")
    _check_header(fields, at, tags, record)


def _check_header(fields: Fields, at: int, tags: Tags, record: str) -> None:
    """The signature at this place verifies with this record, or _FailedError; the body's hash is looked at before."""
    key = _key(_tags(record, "the record"), tags)
    form = _relaxed_field if tags.get("c", "simple").lower().partition("/")[0] == "relaxed" else _simple_field
    name, value = fields[at]
    own = form(name, re.sub(r"(?<=[; \t\n]b=)[^;]*", "", value))
    signed = "".join(form(*field) + "\r\n" for field in _taken(fields, tags["h"])) + own
    if not _is_valid(key, _decoded(tags["b"]), signed.encode("utf-8", "surrogateescape")):
        raise _FailedError("a trial signature does not verify with it")


def _body_form(tags: Tags) -> str:
    return tags.get("c", "simple").lower().partition("/")[2] or "simple"


def _body_hash(form: str, body: bytes) -> bytes:
    return hashlib.sha256(_relaxed_body(body) if form == "relaxed" else _simple_body(body)).digest()


def _is_hash(text: str, wanted: bytes) -> bool:
    try:
        return _decoded(text) == wanted
    except _FailedError:
        return False


def _decoded(text: str) -> bytes:
    try:
        return b64decode(_packed(text), validate=True)
    except ValueError:
        raise _FailedError("the signature is no base64") from None


def _key(record: Tags, signature: Tags) -> rsa.RSAPublicKey | Ed25519PublicKey:
    """The record's key, if it is for what the signature says (RFC 6376 section 3.6.1, RFC 8463)."""
    if record.get("v", "DKIM1") != "DKIM1":
        raise _FailedError(f"the record's v={record['v']} is not DKIM1")
    if "sha256" not in record.get("h", "sha256").replace(" ", "").split(":"):
        raise _FailedError(f"the record's h={record['h']} allows no sha256, with which we sign: remove h=")
    if not {"*", "email"} & set(record.get("s", "*").replace(" ", "").split(":")):
        raise _FailedError(f"the record's s={record['s']} is not for email: remove s=")
    kind = record.get("k", "rsa")
    if signature["a"] != f"{kind}-sha256":
        raise _FailedError(f"a trial signature does not verify with it: k={kind} is no key for a={signature['a']}")
    try:
        raw = b64decode(_packed(record.get("p", "")), validate=True)
        if kind == "ed25519":
            return Ed25519PublicKey.from_public_bytes(raw)
        key = serialization.load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:  # binascii's is a ValueError
        raise _FailedError(f"the record's p= is no {kind} key: {error}") from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < _MIN_BITS:
        raise _FailedError(f"the record's p= is no RSA key of {_MIN_BITS} bits or more")
    return key


def _is_valid(key: rsa.RSAPublicKey | Ed25519PublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        else:
            key.verify(signature, hashlib.sha256(signed).digest())
    except InvalidSignature:
        return False
    return True


def _tags(text: str, what: str) -> Tags:
    """A tag list (RFC 6376 section 3.2)."""
    found: Tags = {}
    for one in text.split(";"):
        name, equals, value = one.partition("=")
        name = name.strip(_FOLDED_BLANKS)
        if not name and not equals:
            continue
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise _FailedError(f"{what} is no list of tags: {one.strip()[:40]!r}")
        if name in found:
            raise _FailedError(f"{what} is no list of tags: {name}= stands twice")
        found[name] = value.strip(_FOLDED_BLANKS)
    return found


def _packed(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", "", text)


def _fields(head: bytes) -> Fields:
    """Names and values as they stand, folding kept."""
    lines = re.split(r"\r\n(?![ \t])", head.decode("utf-8", "surrogateescape"))
    return [(name, value) for name, colon, value in (line.partition(":") for line in lines) if colon]


def _relaxed_field(name: str, value: str) -> str:
    """RFC 6376 section 3.4.2."""
    unfolded = value.replace("\r\n", "")
    return f"{name.strip(_BLANKS).lower()}:{re.sub(r'[ ' + chr(9) + r']+', ' ', unfolded).strip(_BLANKS)}"


def _simple_field(name: str, value: str) -> str:
    """RFC 6376 section 3.4.1."""
    return f"{name}:{value}"


def _folded(name: str) -> str:
    """The name as it is compared: what is blank around it is no part of it."""
    return name.strip(_FOLDED_BLANKS).lower()


def _taken(fields: Fields, names: str) -> Fields:
    """The fields of h= in its order, of one name the last first; those that are not there count as nothing."""
    left: dict[str, Fields] = {}
    for field in fields:
        left.setdefault(_folded(field[0]), []).append(field)
    wanted = [_folded(name) for name in names.split(":")]
    return [left[name].pop() for name in wanted if left.get(name)]


def _simple_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.3."""
    return _without_empty_lines(body) + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4; runs of blanks by halves, for a line at a time costs a hundred times its octets."""
    body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = _without_empty_lines(body.replace(b" \r\n", b"\r\n").removesuffix(b" "))
    return body + b"\r\n" if body else b""


def _without_empty_lines(body: bytes) -> bytes:
    """The body without the line ends at its end."""
    end = len(body.rstrip(b"\r\n"))
    ends = _LINE_ENDS_BACKWARDS.match(body[end:][::-1])
    return body[: len(body) - ends.end()] if ends is not None else body
