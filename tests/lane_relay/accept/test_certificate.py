"""The listeners' certificate: made, loaded, reloaded."""

import asyncio
import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from lane_api.relayconfig import SlotIdentity, TlsFiles
from lane_relay.accept.certificate import Certificate, self_signed
from lane_relay.errors import ConfigError
from tests.lane_relay.accept.conftest import Start, make_config


def rsa(hostname: str) -> bytes:
    """An RSA key and its certificate in one PEM."""
    key = generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, hostname)])
    began = datetime.now(UTC) - timedelta(hours=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, began, began + timedelta(days=1))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def shown(port: int, trusting: ssl.SSLContext, name: str, *, starttls: bool = False) -> str:
    """The common name that a client is shown which asks for this server name, or for none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    if starttls:
        writer.write(b"EHLO a\r\nSTARTTLS\r\n")
        await reader.readuntil(b"Ready to start TLS\r\n")
    await writer.start_tls(trusting, server_hostname=name)
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    (common_name,) = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(common_name.value)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["out1.example.com", ""])
async def test_what_was_loaded_last_is_shown_whatever_its_kind_of_key(
    start: Start, trusting: ssl.SSLContext, tmp_path: Path, version: ssl.TLSVersion, name: str
) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    listener = await start()

    async def all_show() -> set[str]:
        starttls, implicit = listener.ports
        return {await shown(starttls, trusting, name, starttls=True), await shown(implicit, trusting, name)}

    assert await all_show() == {"out1.example.com"}
    listener.apply(make_config(tls=write(tmp_path, rsa("rsa.example.com"))))
    assert await all_show() == {"rsa.example.com"}
    write(tmp_path, self_signed("ecdsa.example.com", time.time()))
    listener.sweep()
    assert await all_show() == {"ecdsa.example.com"}
    write(tmp_path, rsa("again.example.com"))
    listener.sweep()
    assert await all_show() == {"again.example.com"}
    listener.apply(make_config())
    assert await all_show() == {"out1.example.com"}


def write(folder: Path, pem: bytes) -> TlsFiles:
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(pem)
    # the same size and inode in the same tick of the file system's clock would look unchanged
    os.utime(folder / "tls.crt", ns=(time.time_ns(), time.time_ns()))
    return TlsFiles(certificate=str(folder / "tls.crt"), key=str(folder / "tls.key"))


def test_without_files_a_certificate_for_the_hostname_is_made() -> None:
    certificate = x509.load_pem_x509_certificate(self_signed("out1.example.com", 1_790_000_000.0))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == ["out1.example.com"]
    assert certificate.not_valid_before_utc.timestamp() < 1_790_000_000 < certificate.not_valid_after_utc.timestamp()


def test_files_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    certificate = Certificate(write(tmp_path, self_signed("one.example", time.time())))
    assert not certificate.reload()

    write(tmp_path, self_signed("two.example.com", time.time()))
    assert certificate.reload()
    assert not certificate.reload()


def test_a_broken_pair_is_said_once_and_the_last_good_one_stays(tmp_path: Path) -> None:
    files = write(tmp_path, self_signed("one.example", time.time()))
    certificate = Certificate(files)
    Path(files.key).write_bytes(self_signed("other.example.com", time.time()))

    with pytest.raises(ConfigError, match=r"intake\.tls"):
        certificate.reload()
    assert not certificate.reload()


def test_files_that_are_not_there_are_a_config_error(tmp_path: Path) -> None:
    files = TlsFiles(certificate=str(tmp_path / "no.crt"), key=str(tmp_path / "no.key"))

    with pytest.raises(ConfigError, match=r"no\.crt .* cannot be used"):
        Certificate(files)


async def test_files_that_come_late_are_taken_when_they_are_there(
    start: Start, trusting: ssl.SSLContext, tmp_path: Path
) -> None:
    listener = await start()
    with pytest.raises(ConfigError):
        listener.apply(make_config(tls={"certificate": str(tmp_path / "tls.crt"), "key": str(tmp_path / "tls.key")}))
    listener.sweep()
    assert await shown(listener.ports[1], trusting, "") == "out1.example.com"

    write(tmp_path, self_signed("late.example.com", time.time()))
    listener.sweep()
    assert await shown(listener.ports[1], trusting, "") == "late.example.com"


async def test_a_slot_that_is_renamed_shows_its_new_name(start: Start, trusting: ssl.SSLContext) -> None:
    listener, config = await start(), make_config()
    renamed = config.model_copy(update={"slot": SlotIdentity(name="otp-0", hostname="out2.example.com")})
    listener.apply(renamed)
    assert await shown(listener.ports[1], trusting, "") == "out2.example.com"
    assert await shown(listener.ports[0], trusting, "", starttls=True) == "out2.example.com"
