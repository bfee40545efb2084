"""The listeners' TLS context: from files that are read again when they change, or self-signed in memory.

Invariant: there is always a usable certificate; files that do not fit together leave the last good pair in force.
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
    """One SSLContext for all listeners; a reload changes what later handshakes show."""

    def __init__(self, hostname: str, files: TlsFiles | None, now: float) -> None:
        self._hostname = hostname
        self._files = files
        self._seen: Fingerprint = ()
        self.context = _context()
        if files is None:
            _load_pem(self.context, self_signed(hostname, now))
        else:
            self.reload()

    @property
    def is_self_signed(self) -> bool:
        """No files were given."""
        return self._files is None

    def replace(self, files: TlsFiles | None, now: float) -> None:
        """Takes other files from now on; raises ConfigError and keeps the old ones if they cannot be used."""
        if files == self._files:
            return
        if files is None:
            _load_pem(self.context, self_signed(self._hostname, now))
        else:
            self._load(files)
        self._files = files

    def reload(self) -> bool:
        """Reads the files again if they changed; True if so. Raises ConfigError if they cannot be used."""
        if self._files is None:
            return False
        before = self._seen
        return self._load(self._files) != before

    def _load(self, files: TlsFiles) -> Fingerprint:
        seen = _fingerprint(files)
        if seen == self._seen and files == self._files:
            return seen
        try:
            # A pair that does not fit would leave the live context half changed: try it on another one first.
            _context().load_cert_chain(files.certificate, files.key)
            self.context.load_cert_chain(files.certificate, files.key)
        except (OSError, ssl.SSLError) as error:
            self._seen = seen  # said once for each change, not at every look
            raise ConfigError(f"intake.tls: {files.certificate} and {files.key} cannot be used: {error}") from error
        self._seen = seen
        return seen


def _fingerprint(files: TlsFiles) -> Fingerprint:
    found = []
    for name in (files.certificate, files.key):
        try:
            status = Path(name).stat()
        except OSError as error:
            raise ConfigError(f"intake.tls: {name} cannot be read: {error.strerror}") from error
        found.append((status.st_mtime_ns, status.st_ino, status.st_size))
    return tuple(found)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8997: 1.0 and 1.1 are deprecated for e-mail
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    return context


def _load_pem(context: ssl.SSLContext, pem: bytes) -> None:
    """The ssl module reads files only; this one lives in memory."""
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, pem)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


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
