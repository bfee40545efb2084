"""What clients are shown: a certificate from files that are read again when they change, or a self-signed one.

Invariants: there is always a usable certificate, and files that do not fit together leave the last good pair in force.
What is shown is the pair that was loaded last, and it alone: an SSLContext keeps one pair for each kind of key, so that
in one for all an RSA certificate would stand beside the self-signed ECDSA one. Each load has a context of its own.
"""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lane_api.relayconfig import TlsFiles
from lane_relay.errors import ConfigError

__all__ = ["Certificate", "self_signed"]

_SELF_SIGNED_FOR: Final = timedelta(days=3650)
"""Longer than a process lives; nobody can check such a certificate but by pinning it."""

Fingerprint = tuple[tuple[int, int, int], ...]


class Certificate:
    """The pair in force; servers are given `context` once and for all."""

    def __init__(
        self,
        files: TlsFiles | None,
        *,
        hostname: str = "",
        now: float = 0.0,
        field: str = "intake.tls",
        client_authority: str | None = None,
    ) -> None:
        """`field` names the files in errors; `hostname` and `now` (Unix time) are for the self-signed one.

        With `client_authority`, a file in PEM, clients may show certificates, which must then be signed by it.
        Raises ConfigError if the files cannot be used.
        """
        self._client_authority = client_authority
        self._field = field
        self._hostname = hostname
        self._files = files
        self._seen: Fingerprint = ()
        self.context = _context()
        """Holds no pair: each handshake goes on in the context of the pair in force."""
        if client_authority is not None:  # the connection keeps the mode it began with
            self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.sni_callback = self._go_on
        self._in_force = self._load(files) if files is not None else _made(hostname, now)

    def _go_on(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """OpenSSL asks at each handshake, also of a client that names no server."""
        connection.context = self._in_force

    def replace(self, files: TlsFiles | None, *, hostname: str, now: float) -> None:
        """Takes other files or another name; raises ConfigError if the files cannot be used yet: `reload` tries on."""
        if files == self._files and (files is not None or hostname == self._hostname):
            return
        self._files, self._hostname = files, hostname
        self._in_force = self._load(files) if files is not None else _made(hostname, now)

    def reload(self) -> bool:
        """Reads the files again if they changed; True if so. Raises ConfigError if they cannot be used."""
        if self._files is None or self._fingerprint(self._files) == self._seen:
            return False
        self._in_force = self._load(self._files)
        return True

    def _load(self, files: TlsFiles) -> ssl.SSLContext:
        # Before it is tried: what is wrong is said once for each change, not at every look.
        self._seen = self._fingerprint(files)
        context = _context()
        try:
            context.load_cert_chain(files.certificate, files.key)
            if self._client_authority is not None:
                context.load_verify_locations(self._client_authority)
                context.verify_mode = ssl.CERT_OPTIONAL  # else Python shows no certificate of the client
        except (OSError, ssl.SSLError) as error:
            authority = f", with authority {self._client_authority}" if self._client_authority else ""
            what = f"{self._field}: {files.certificate} and {files.key}{authority}"
            raise ConfigError(f"{what} cannot be used: {error}") from error
        return context

    def _fingerprint(self, files: TlsFiles) -> Fingerprint:
        """What changes when a file does."""
        return _stamps(files.certificate, files.key, *([self._client_authority] if self._client_authority else ()))


def _stamps(*names: str) -> Fingerprint:
    """One for each file; zeros while there is none."""
    found = []
    for name in names:
        try:
            status = Path(name).stat()
            found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8997: 1.0 and 1.1 are deprecated for e-mail
    context.set_ciphers("DEFAULT:@SECLEVEL=2")  # said, for what is in force otherwise differs between builds of Python
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _made(hostname: str, now: float) -> ssl.SSLContext:
    """A context with a new self-signed pair; the ssl module reads files only, this one lives in memory."""
    context = _context()
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, self_signed(hostname, now))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
    return context


def self_signed(hostname: str, now: float) -> bytes:
    """A new key and a certificate for it that only itself vouches for, in one PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname[:64])])
    begins = datetime.fromtimestamp(now, UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + _SELF_SIGNED_FOR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)
