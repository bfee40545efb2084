"""Our own check of a signature before its key goes live: a verifier (RFC 6376 section 6) that shares nothing with the
signer but the key's record.

A record may carry the right key and still fail everywhere: for other hashes (h=), other services (s=), of another kind
(k=), or with a text that no verifier reads. It is written as the RFC says it, line by line, where the signer is written
for speed; the tests hold both against dkimpy. Before it: the record as DNS answers it. After it: `resolve.selectors`.
"""

import binascii
import hashlib
import re
from base64 import b64decode

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

__all__ = ["signature_problem"]

_MIN_BITS = 1024
"""RFC 8301 section 3.2: verifiers take nothing below it."""
Tags = dict[str, str]


class _FailedError(Exception):
    """Why the signature does not verify."""


def signature_problem(message: bytes, record: str) -> str:
    """Why a receiver that finds this TXT record would not accept the first signature of the message, or empty."""
    try:
        _verify(message, record)
    except _FailedError as failed:
        return str(failed)
    return ""


def _verify(message: bytes, record: str) -> None:
    head, _, body = message.partition(b"\r\n\r\n")
    fields = _fields(head)
    name, value = next(((name, value) for name, value in fields if name.lower() == "dkim-signature"), ("", ""))
    if not name:
        raise _FailedError("the trial message carries no signature")
    tags = _tags(value, "the signature")
    key = _key(_tags(record, "the record"), tags)
    if b64decode(_packed(tags["bh"])) != hashlib.sha256(_relaxed_body(body)).digest():
        raise _FailedError("a trial signature does not verify with it: the body's hash is another")
    signed = _signed_fields(fields, tags["h"]) + _relaxed_field(name, re.sub(r"(?<=[; \t\n]b=)[^;]*", "", value))
    if not _is_valid(key, b64decode(_packed(tags["b"])), signed.encode("utf-8", "surrogateescape")):
        raise _FailedError("a trial signature does not verify with it")


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
    except (ValueError, binascii.Error) as error:
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
        name = name.strip()
        if not name and not equals and not one.strip():
            continue
        if not equals or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            raise _FailedError(f"{what} is no list of tags: {one.strip()[:40]!r}")
        if name in found:
            raise _FailedError(f"{what} is no list of tags: {name}= stands twice")
        found[name] = value.strip()
    return found


def _packed(text: str) -> str:
    return re.sub(r"[ \t\r\n]+", "", text)


def _fields(head: bytes) -> list[tuple[str, str]]:
    """Names and values as they stand, folding kept."""
    lines = re.split(r"\r\n(?![ \t])", head.decode("utf-8", "surrogateescape"))
    return [(name, value) for name, colon, value in (line.partition(":") for line in lines) if colon]


def _relaxed_field(name: str, value: str) -> str:
    """RFC 6376 section 3.4.2."""
    unfolded = value.replace("\r\n", "")
    return f"{name.strip().lower()}:{re.sub(r'[ ' + chr(9) + r']+', ' ', unfolded).strip()}"


def _signed_fields(fields: list[tuple[str, str]], names: str) -> str:
    """The fields of h= in its order, of one name the last first; those that are not there count as nothing."""
    left = list(fields)
    text = ""
    for wanted in names.split(":"):
        for at in range(len(left) - 1, -1, -1):
            if left[at][0].strip().lower() == wanted.strip().lower():
                text += _relaxed_field(*left.pop(at)) + "\r\n"
                break
    return text


def _relaxed_body(body: bytes) -> bytes:
    """RFC 6376 section 3.4.4."""
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
