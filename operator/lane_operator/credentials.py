"""Keys, certificates, tokens and passwords: how each is made, and when one is due again.

Pure but for the operating system's randomness; `provision.py` decides which are missing and stores them. Invariant:
what is made here is put into a Secret and nowhere else: no log, event, status, argument or variable.
"""

import base64
import datetime as dt
import re
import secrets
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "CA_LIFETIME",
    "LEAF_LIFETIME",
    "Pem",
    "authority_is_due",
    "dkim_record",
    "ed25519_record",
    "is_pair",
    "is_token",
    "leaf_is_due",
    "make_ca",
    "make_dkim_key",
    "make_ed25519_key",
    "make_leaf",
    "make_password",
    "make_recipients_key",
    "make_token",
    "may_sign",
    "readable",
    "signed_by",
    "signing_public",
]

CA_LIFETIME = dt.timedelta(days=3650)
LEAF_LIFETIME = dt.timedelta(days=30)
CLOCK_SKEW = dt.timedelta(minutes=5)
SPREAD = dt.timedelta(days=1)
"""How long an authority is trusted before it signs. A kubelet brings a Secret to a pod within two minutes; the rest is
for nodes that are cut off for hours."""
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library says of certificates and keys that a hand has put into a Secret."""
DKIM_KEY_BITS = 2048  # RFC 8301 section 3.2: at least 1024, should be at least 2048; longer ones overflow DNS over UDP


@dataclass(frozen=True, slots=True)
class Pem:
    """A certificate with its private key, in PEM."""

    certificate: bytes
    key: bytes


def make_ca(common_name: str, now: dt.datetime) -> Pem:
    """A self-signed ECDSA authority (P-256)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])  # RFC 5280: at most 64
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _pem(certificate, key)


def make_leaf(ca: Pem, names: tuple[str, ...], now: dt.datetime) -> Pem:
    """A 30-day certificate for these DNS names, for either end of a connection; raises ValueError."""
    authority = x509.load_pem_x509_certificate(ca.certificate)
    signer = serialization.load_pem_private_key(ca.key, password=None)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ValueError("the lane's authority has no ECDSA key")  # noqa: TRY004  # content of a Secret, no type error
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(ca=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return _pem(certificate, key)


def authority_is_due(ca: Pem, now: dt.datetime) -> bool:
    """Whether another authority is to follow this one, which is whole: a leaf that it signs now would outlive it."""
    return now + LEAF_LIFETIME >= x509.load_pem_x509_certificate(ca.certificate).not_valid_after_utc


def may_sign(ca: Pem, successor: Pem, now: dt.datetime) -> bool:
    """Whether the authority that follows is to sign from now on: everybody has learnt to trust it, or the one before
    has run out and is trusted by nobody any more."""
    made = x509.load_pem_x509_certificate(successor.certificate).not_valid_before_utc + CLOCK_SKEW
    return now >= made + SPREAD or now >= x509.load_pem_x509_certificate(ca.certificate).not_valid_after_utc


def leaf_is_due(pair: Pem, names: tuple[str, ...], now: dt.datetime) -> bool:
    """Whether a leaf is to be made again: two thirds of its life are over, or it is for other names, or damaged."""
    if not is_pair(pair):
        return True
    leaf = x509.load_pem_x509_certificate(pair.certificate)
    try:
        carried = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *_UNREADABLE):
        return True  # no certificate of ours
    life = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    return now >= leaf.not_valid_before_utc + life * 2 / 3 or set(carried.get_values_for_type(x509.DNSName)) != set(
        names
    )


def signed_by(certificate: bytes, authority: bytes) -> bool:
    """Whether a leaf was signed by this authority; unreadable ones were not."""
    try:
        x509.load_pem_x509_certificate(certificate).verify_directly_issued_by(x509.load_pem_x509_certificate(authority))
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def readable(certificate: bytes) -> bytes:
    """A certificate in plain PEM, without what a hand wrote around it; empty where there is none."""
    try:
        return x509.load_pem_x509_certificate(certificate).public_bytes(serialization.Encoding.PEM)
    except _UNREADABLE:
        return b""


def is_token(token: bytes) -> bool:
    """Whether it can be sent as a bearer token (RFC 6750 section 2.1)."""
    return _TOKEN.fullmatch(token) is not None


def make_token() -> str:
    """A bearer token of 256 bits."""
    return secrets.token_urlsafe(32)


def make_password() -> str:
    """A password of 192 bits, in letters that a shell leaves alone."""
    return secrets.token_urlsafe(24)


def make_dkim_key() -> bytes:
    """An RSA private key for DKIM, PKCS #8 in PEM."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=DKIM_KEY_BITS)
    return _key_bytes(key)


def make_ed25519_key() -> bytes:
    """An Ed25519 private key, for DKIM (RFC 8463) or for the heads of a lane's records, PKCS #8 in PEM."""
    return _key_bytes(ed25519.Ed25519PrivateKey.generate())


def ed25519_record(private_key: bytes) -> str:
    """The TXT record for an Ed25519 key (RFC 8463 section 4.2), in one string; raises ValueError for anything else."""
    public = _ed25519(private_key).public_bytes_raw()
    return f"v=DKIM1; k=ed25519; p={base64.b64encode(public).decode()}"


def signing_public(private_key: bytes) -> bytes:
    """The public half of such a key in PEM, to be kept where no slot writes; raises ValueError for no Ed25519 key."""
    public = _ed25519(private_key)
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def _ed25519(private_key: bytes) -> ed25519.Ed25519PublicKey:
    """The public half of an Ed25519 key in PEM; raises ValueError for anything else."""
    key = _loaded(private_key)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")  # noqa: TRY004  # content of a Secret, no type error
    return key.public_key()


def _loaded(private_key: bytes) -> PrivateKeyTypes:
    """A private key in PEM without a password; raises ValueError.

    That an RSA key's primes are primes is not proved again: each pass over a lane asks for the public half, and the
    proof costs 40 ms. Who signs with the key proves it.
    """
    try:
        return serialization.load_pem_private_key(private_key, None, unsafe_skip_rsa_key_validation=True)
    except TypeError as error:  # an encrypted key
        raise ValueError("the key asks for a password") from error
    except UnsupportedAlgorithm as error:
        raise ValueError("the key is of a kind that nobody here knows") from error


def make_recipients_key() -> bytes:
    """The key under which a lane's records hash recipients: 256 bits in hexadecimal."""
    return secrets.token_hex(32).encode()


def dkim_record(private_key: bytes) -> str:
    """The TXT record for a DKIM key (RFC 6376 section 3.6.1), in one string; raises ValueError for no RSA key."""
    key = _loaded(private_key)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA key")  # noqa: TRY004  # content of a Secret, no type error
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return f"v=DKIM1; k=rsa; p={base64.b64encode(public).decode()}"


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: dt.datetime, life: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + life)
    )


def is_pair(pair: Pem) -> bool:
    """Whether certificate and key can be read, are of elliptic curves and belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
        return isinstance(key, ec.EllipticCurvePrivateKey) and key.public_key() == certificate.public_key()
    except _UNREADABLE:
        return False


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Pem:
    return Pem(certificate.public_bytes(serialization.Encoding.PEM), _key_bytes(key))


def _key_bytes(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
