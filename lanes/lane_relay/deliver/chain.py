"""Whether a chain of certificates is good for a name below given authorities, asked after the handshake; pure.

OpenSSL asks this inside the handshake where a wrong answer ends it. Here it is asked where the authority is known only
from the chain itself (DANE usage 2), or where a wrong answer is only written down (MTA-STS testing).
Before it: `dane`, `tls`. After it: nothing.
"""

import ssl
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from msgspec import Struct

from lane_relay.records import TlsFailure

__all__ = ["Authorities", "Mismatch", "read_chain", "verify"]

_MAX_CHAIN: Final = 10
"""Certificates of one chain that are looked at; real ones have two to five."""


class Mismatch(Struct, frozen=True, gc=False):
    """What is wrong with a chain."""

    failure: TlsFailure
    text: str


def read_chain(chain: Sequence[bytes]) -> list[x509.Certificate] | Mismatch:
    """The certificates of a chain as it was sent (DER, the server's own first)."""
    if not chain:
        return Mismatch(TlsFailure.VALIDATION, "the peer sent no certificate")
    try:
        return [_load(one) for one in chain[:_MAX_CHAIN]]
    except Exception as error:  # noqa: BLE001 -- the library has many of its own for what strangers present
        return Mismatch(TlsFailure.VALIDATION, f"the certificate cannot be read: {error}")


def verify(
    chain: Sequence[x509.Certificate], anchors: verification.Store, names: Sequence[str], now: float
) -> Mismatch | None:
    """What keeps the chain from leading to one of the anchors for one of the names; `now` is Unix time."""
    try:
        return _verify(chain, anchors, names, datetime.fromtimestamp(now, UTC))
    except Exception as error:  # noqa: BLE001 -- as in read_chain: much of a certificate is read only now
        return Mismatch(TlsFailure.NOT_TRUSTED, f"its certificate cannot be judged: {error}")


def _verify(
    chain: Sequence[x509.Certificate], anchors: verification.Store, names: Sequence[str], moment: datetime
) -> Mismatch | None:
    leaf = chain[0]
    if not leaf.not_valid_before_utc <= moment <= leaf.not_valid_after_utc:
        dates = f"{leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        return Mismatch(TlsFailure.EXPIRED, f"its certificate is valid from {dates}")
    policies = verification.PolicyBuilder().store(anchors).time(moment)
    policies = policies.extension_policies(ca_policy=_AUTHORITY, ee_policy=_SERVER)
    wrong = Mismatch(TlsFailure.HOST_MISMATCH, "there is no name to compare its certificate with")
    for name in names:
        try:
            policies.build_server_verifier(x509.DNSName(name)).verify(leaf, list(chain[1:]))
        except verification.VerificationError as error:
            if "subjectAltName" in str(error):
                wrong = Mismatch(TlsFailure.HOST_MISMATCH, f"its certificate is not for {' or '.join(names)}")
            else:
                wrong = Mismatch(TlsFailure.NOT_TRUSTED, f"its chain leads to no trusted authority: {error}")
        except ValueError:  # a host name that no certificate can carry
            continue
        else:
            return None
    return wrong


def _load(der: bytes) -> x509.Certificate:
    """Without a word about oddities that are no reason to refuse it: authorities with a serial of 0 are in use."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return x509.load_der_x509_certificate(der)


class Authorities:
    """Those of a context, read at the first question: some 140, which take a moment."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._store: verification.Store | None = None

    def problem(self, chain: Sequence[bytes], name: str, now: float) -> Mismatch | None:
        """What they would say against a chain (DER) of a server of this name, or None."""
        certificates = read_chain(chain)
        if isinstance(certificates, Mismatch):
            return certificates
        if self._store is None:
            known = []
            for one in self._context.get_ca_certs(binary_form=True):
                read = read_chain((one,))
                known += read if not isinstance(read, Mismatch) else []
            if not known:
                return Mismatch(TlsFailure.NOT_TRUSTED, "this machine knows no authorities (ca-certificates)")
            self._store = verification.Store(known)
        return verify(certificates, self._store, (name,), now)


def _may_sign(_policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("an authority's key is not for signing certificates")


_EITHER: Final = verification.Criticality.AGNOSTIC
_AUTHORITY: Final = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _may_sign)
)
"""Signatures, dates, cA, path lengths and name constraints are always checked; what the Web asks beyond is not asked,
since an authority of a mail server's own (RFC 7671 section 5.2) has never heard of it."""
_SERVER: Final = verification.ExtensionPolicy.permit_all().require_present(x509.SubjectAlternativeName, _EITHER, None)
