"""Keys and certificates: what is made works, and is made again only when it is due."""

import base64
import datetime as dt
import ssl
import tempfile
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from lane_operator import credentials
from lane_operator.credentials import LEAF_LIFETIME, Pem

NOW = dt.datetime(2026, 11, 23, tzinfo=dt.UTC)
NAMES = ("otp-0.otp-slots.mail.svc",)


@pytest.fixture(scope="module")
def ca() -> Pem:
    return credentials.make_ca("mail/otp", NOW)


def test_a_leaf_is_signed_by_its_authority_for_its_name(ca: Pem) -> None:
    leaf = credentials.make_leaf(ca, NAMES, NOW)
    certificate = x509.load_pem_x509_certificate(leaf.certificate)

    assert credentials.signed_by(leaf.certificate, ca.certificate)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == list(NAMES)


def test_another_lanes_authority_did_not_sign_it(ca: Pem) -> None:
    leaf = credentials.make_leaf(ca, NAMES, NOW)

    assert not credentials.signed_by(leaf.certificate, credentials.make_ca("mail/bulk", NOW).certificate)
    assert not credentials.signed_by(b"no certificate", ca.certificate)


def test_a_tls_connection_accepts_the_leaf_under_its_name_only(ca: Pem) -> None:
    now = dt.datetime.now(dt.UTC)
    fresh = credentials.make_ca("mail/otp", now)
    leaf = credentials.make_leaf(fresh, NAMES, now)

    assert _handshake(fresh, leaf, NAMES[0])
    assert not _handshake(fresh, leaf, "bulk-0.bulk-slots.mail.svc")
    assert not _handshake(credentials.make_ca("mail/bulk", now), leaf, NAMES[0])


@pytest.mark.parametrize(("life", "due"), [(0.0, False), (0.6, False), (0.7, True), (1.5, True)])
def test_a_leaf_is_due_after_two_thirds_of_its_life(ca: Pem, life: float, due: bool) -> None:
    leaf = credentials.make_leaf(ca, NAMES, NOW)

    assert credentials.leaf_is_due(leaf, NAMES, NOW + LEAF_LIFETIME * life) is due


def test_a_leaf_for_other_names_or_an_unreadable_one_is_due(ca: Pem) -> None:
    leaf = credentials.make_leaf(ca, NAMES, NOW)

    assert credentials.leaf_is_due(leaf, ("other.svc",), NOW)
    assert credentials.leaf_is_due(Pem(b"broken", leaf.key), NAMES, NOW)
    assert credentials.leaf_is_due(Pem(leaf.certificate, ca.key), NAMES, NOW), "the key is another one's"


def test_a_dkim_key_has_2048_bits_and_its_record_carries_the_public_half() -> None:
    key = credentials.make_dkim_key()
    record = credentials.dkim_record(key)

    assert record.startswith("v=DKIM1; k=rsa; p=")
    public = serialization.load_der_public_key(base64.b64decode(record.partition("p=")[2]))
    private = serialization.load_pem_private_key(key, password=None)
    assert isinstance(public, rsa.RSAPublicKey)
    assert isinstance(private, rsa.RSAPrivateKey)
    assert public.key_size == 2048
    assert public.public_numbers() == private.public_key().public_numbers()


def test_what_is_no_rsa_key_has_no_record(ca: Pem) -> None:
    with pytest.raises(ValueError, match="RSA"):
        credentials.dkim_record(ca.key)
    with pytest.raises(ValueError, match=r".+"):
        credentials.dkim_record(b"-----BEGIN NOTHING-----")


def test_tokens_and_passwords_differ_each_time() -> None:
    assert len({credentials.make_token() for _ in range(50)} | {credentials.make_password() for _ in range(50)}) == 100


def _handshake(authority: Pem, leaf: Pem, name: str) -> bool:
    """A TLS handshake in memory; True when the client accepts the server."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        chain = Path(folder, "chain.pem")
        chain.write_bytes(leaf.certificate + leaf.key)
        server.load_cert_chain(chain)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(cadata=authority.certificate.decode())
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client.wrap_bio(to_client, to_server, server_hostname=name)
    other = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(10):
        try:
            for side in (one, other):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
            if one.version() and one.cipher():
                return True
        except ssl.SSLCertVerificationError:
            return False
    return False


def _changed(pem: bytes, before: bytes, after: bytes) -> bytes:
    """PEM with other bytes in it, as a hand or a disk may have left it."""
    first, *body, last = pem.decode().splitlines()
    text = base64.b64decode("".join(body))
    assert before in text
    return f"{first}\n{base64.b64encode(text.replace(before, after)).decode()}\n{last}\n".encode()


def test_a_certificate_of_a_version_that_there_is_not_is_unreadable(ca: Pem) -> None:
    leaf = credentials.make_leaf(ca, NAMES, NOW)
    strange = _changed(leaf.certificate, b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07")

    assert credentials.readable(strange) == b""
    assert not credentials.is_pair(Pem(strange, leaf.key))
    assert not credentials.signed_by(strange, ca.certificate)
    assert credentials.leaf_is_due(Pem(strange, leaf.key), NAMES, NOW)


def test_a_key_of_an_unknown_kind_is_none() -> None:
    strange = _changed(credentials.make_ed25519_key(), b"\x06\x03\x2b\x65\x70", b"\x06\x03\x2b\x65\x7f")

    for read in (credentials.dkim_record, credentials.ed25519_record, credentials.signing_public):
        with pytest.raises(ValueError, match="kind"):
            read(strange)
