"""The cluster's certificate authority and the identities it signs.

Invariant: a file that exists is kept, so a second `up` changes no identity. Keys are ECDSA P-256, in the cluster's
state folder, readable by root only. They guard a test cluster on this machine and nothing else.
"""

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from e2e.cluster import addresses

_VALID = datetime.timedelta(days=3650)


class Authority:
    """Signs the cluster's certificates into one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def ensure(self, nodes: tuple[str, ...]) -> None:
        """Make every identity that is missing."""
        self._ensure_ca()
        alternatives = [f"IP:{a}" for a in (addresses.CONTROL, addresses.API_SERVICE, "127.0.0.1")]
        self._sign("apiserver", "kube-apiserver", "", [*alternatives, "DNS:kubernetes.default.svc", "DNS:localhost"])
        self._sign("admin", "admin", "system:masters", [])
        self._sign("kcm", "system:kube-controller-manager", "", [])
        self._sign("scheduler", "system:kube-scheduler", "", [])
        self._sign("kubelet-client", "apiserver-kubelet-client", "system:masters", [])
        self._sign("front-proxy", "front-proxy", "", [])
        for node in nodes:
            self._sign(
                node, f"system:node:{node}", "system:nodes", [f"IP:{addresses.node_address(node)}", f"DNS:{node}"]
            )
        self._ensure_service_account_key()

    def _ensure_ca(self) -> None:
        if (self._folder / "ca.crt").exists():
            return
        key = self._new_key("ca")
        name = _name("lanewright e2e", "")
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = _builder(name, name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._write_certificate("ca", builder.add_extension(usage, critical=True).sign(key, hashes.SHA256()))

    def _sign(self, file: str, common_name: str, organization: str, alternatives: Sequence[str]) -> None:
        if (self._folder / f"{file}.crt").exists():
            return
        ca_key = serialization.load_pem_private_key((self._folder / "ca.key").read_bytes(), None)
        ca = x509.load_pem_x509_certificate((self._folder / "ca.crt").read_bytes())
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        key = self._new_key(file)
        builder = _builder(_name(common_name, organization), ca.subject, key.public_key()).add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if alternatives:
            names = x509.SubjectAlternativeName([_alternative(a) for a in alternatives])
            builder = builder.add_extension(names, critical=False)
        self._write_certificate(file, builder.sign(ca_key, hashes.SHA256()))

    def _ensure_service_account_key(self) -> None:
        public = self._folder / "service-accounts.pub"
        if not public.exists():
            key = self._new_key("service-accounts").public_key()
            kind = serialization.PublicFormat.SubjectPublicKeyInfo
            public.write_bytes(key.public_bytes(serialization.Encoding.PEM, kind))

    def _new_key(self, file: str) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self._folder / f"{file}.key"
        path.touch(mode=0o600)
        path.write_bytes(pem)
        return key

    def _write_certificate(self, file: str, certificate: x509.Certificate) -> None:
        (self._folder / f"{file}.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _name(common_name: str, organization: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(parts)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _VALID)
    )


def _alternative(text: str) -> x509.GeneralName:
    kind, _, value = text.partition(":")
    return x509.IPAddress(ipaddress.ip_address(value)) if kind == "IP" else x509.DNSName(value)
