"""A throw-away authority and server certificates for loopback peers."""

import datetime
import hashlib
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from lane_relay.records import Tlsa

__all__ = ["Issued", "make_authority", "server_context"]


def server_context(
    folder: Path, *names: str, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None, ciphers: str = ""
) -> tuple[ssl.SSLContext, Path]:
    """A server's context with a self-signed certificate for these names or addresses, and the file to trust it by."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([_general_name(text) for text in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain, key_file = folder / "server.pem", folder / "server.key"
    chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if ciphers:
        context.set_ciphers(ciphers)
    context.load_cert_chain(chain, key_file)
    return context, chain


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


@dataclass(frozen=True)
class Issued:
    """One certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        """As it travels."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        """As it lies in files."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        *names: str,
        authority: bool = False,
        days: tuple[int, int] = (-1, 1),
        key: "Issued | None" = None,
        may_sign: bool = True,
    ) -> "Issued":
        """A certificate below this one, valid between these days from now; `key`: whose key it keeps."""
        return _issue(names, self, authority, days, key, may_sign)

    def context(self, folder: Path, *above: "Issued") -> ssl.SSLContext:
        """A server's context that presents this certificate and those above it."""
        chain, key = folder / f"{self.certificate.serial_number}.pem", folder / f"{self.certificate.serial_number}.key"
        chain.write_bytes(self.pem + b"".join(one.pem for one in above))
        key.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        return context

    def tlsa(self, usage: int, selector: int, matching: int) -> Tlsa:
        """The record that names this certificate or its key; made by the rules of RFC 6698, not by the relay's code."""
        spki = self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        subject = spki if selector else self.der
        data = {0: subject, 1: hashlib.sha256(subject).digest(), 2: hashlib.sha512(subject).digest()}[matching]
        return Tlsa(usage, selector, matching, data)


def make_authority(name: str = "authority.test") -> Issued:
    """One that signs itself."""
    return _issue((name,), None, True, (-30, 30), None)


def _issue(
    names: tuple[str, ...],
    issuer: Issued | None,
    authority: bool,
    days: tuple[int, int],
    kept: Issued | None,
    may_sign: bool = True,
) -> Issued:
    key = kept.key if kept is not None else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "nobody")])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer is not None else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not may_sign:
        usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)  # digital signatures alone
        builder = builder.add_extension(usage, critical=True)
    if names and not authority:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(n) for n in names]), critical=False)
    return Issued(builder.sign(issuer.key if issuer is not None else key, hashes.SHA256()), key)
