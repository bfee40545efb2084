"""Whether a chain of certificates is the one that TLSA records name (RFC 6698, 7671, 7672); pure.

Usage 3 names the server's own key or certificate: names and dates say nothing more. Usage 2 names an authority: the
chain up to it, its dates and one of the names must be right. Usages 0 and 1 are unusable for SMTP.
Before it: `resolve`, which keeps only secure and usable records, and `tls`, which has the chain. After it: `chain`.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification

from lane_relay.deliver.chain import Mismatch, read_chain, verify
from lane_relay.records import Tlsa, TlsFailure

__all__ = ["match"]

_TRUST_ANCHOR: Final = 2
_END_ENTITY: Final = 3
_DIGESTS: Final[dict[int, Callable[[bytes], bytes]]] = {
    0: lambda data: data,
    1: lambda data: hashlib.sha256(data).digest(),
    2: lambda data: hashlib.sha512(data).digest(),
}


def match(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> Mismatch | None:
    """None if one record is fulfilled by the chain (DER, the server's own first); `now` is Unix time.

    Several records are a change of keys under way: any one will do (RFC 7671 section 8).
    """
    certificates = read_chain(chain)
    if isinstance(certificates, Mismatch):
        return certificates
    if any(record.usage == _END_ENTITY and _is_named(record, certificates[0]) for record in records):
        return None
    wrong: Mismatch | None = None
    for anchor in _anchors(records, certificates):
        problem = verify(certificates, verification.Store([anchor]), names, now)
        if problem is None:
            return None
        wrong = wrong or problem
    return wrong or Mismatch(TlsFailure.VALIDATION, "no TLSA record names its certificate or an authority above it")


def _is_named(record: Tlsa, certificate: x509.Certificate) -> bool:
    """RFC 6698 section 2.1: the whole certificate or its key, as it is or as a digest."""
    if record.selector == 0:
        subject = certificate.public_bytes(Encoding.DER)
    else:
        try:
            subject = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except (ValueError, TypeError, UnsupportedAlgorithm):  # a key of a kind that nobody here can read
            return False
    return _DIGESTS[record.matching](subject) == record.data


def _anchors(records: Sequence[Tlsa], chain: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Authorities that records of usage 2 name: found in the chain, or wholly in a record (RFC 7672 section 3.1.2)."""
    found = []
    for record in records:
        if record.usage != _TRUST_ANCHOR:
            continue
        found += [certificate for certificate in chain[1:] if _is_named(record, certificate)]
        if (record.selector, record.matching) == (0, 0):
            whole = read_chain((record.data,))
            found += whole if not isinstance(whole, Mismatch) else []
    return found
