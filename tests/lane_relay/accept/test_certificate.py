"""The listeners' certificate: made, loaded, reloaded."""

import os
import time
from pathlib import Path

import pytest
from cryptography import x509

from lane_api.relayconfig import TlsFiles
from lane_relay.accept.certificate import Certificate, self_signed
from lane_relay.errors import ConfigError


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
    assert Certificate("out1.example.com", None, 1_790_000_000.0).is_self_signed


def test_files_are_read_again_only_when_they_changed(tmp_path: Path) -> None:
    certificate = Certificate("x", write(tmp_path, self_signed("one.example", time.time())), time.time())
    assert not certificate.reload()

    write(tmp_path, self_signed("two.example.com", time.time()))
    assert certificate.reload()
    assert not certificate.reload()


def test_a_broken_pair_is_said_once_and_the_last_good_one_stays(tmp_path: Path) -> None:
    files = write(tmp_path, self_signed("one.example", time.time()))
    certificate = Certificate("x", files, time.time())
    Path(files.key).write_bytes(self_signed("other.example.com", time.time()))

    with pytest.raises(ConfigError, match=r"intake\.tls"):
        certificate.reload()
    assert not certificate.reload()


def test_files_that_are_not_there_are_a_config_error(tmp_path: Path) -> None:
    files = TlsFiles(certificate=str(tmp_path / "no.crt"), key=str(tmp_path / "no.key"))

    with pytest.raises(ConfigError, match=r"no\.crt cannot be read"):
        Certificate("x", files, 0.0)


def test_other_files_are_taken_or_refused_as_a_whole(tmp_path: Path) -> None:
    certificate = Certificate("x", None, time.time())
    with pytest.raises(ConfigError):
        certificate.replace(TlsFiles(certificate="/nowhere/a", key="/nowhere/b"), time.time())
    assert certificate.is_self_signed

    certificate.replace(write(tmp_path, self_signed("one.example", time.time())), time.time())
    assert not certificate.is_self_signed
    certificate.replace(None, time.time())
    assert certificate.is_self_signed
