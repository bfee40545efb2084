"""Slips in an archive's Secret or place are a reason and a fix, whatever the client of S3 makes of them."""

import base64
import hashlib
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lane_api.relayconfig import ArchiveS3
from lane_relay.audit.stores import S3Store, UnavailableError
from tests.ports import free_port

EMPTY_PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def store(folder: Path, files: dict[str, bytes] | None = None, **changed: Any) -> S3Store:
    for name, content in ({"access_key_id": b"a", "secret_access_key": b"s"} | (files or {})).items():
        (folder / name).write_bytes(content)
    fields = {"bucket": "bucket", "prefix": "p", "endpoint": "http://127.0.0.1:1", "credentials_dir": str(folder)}
    return S3Store(ArchiveS3.model_validate(fields | changed), request_s=2)


class _Bucket(BaseHTTPRequestHandler):
    """Takes what is put, and notes with which fields."""

    noted: ClassVar[list[tuple[str, str | None, str | None]]] = []

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        fields = (self.headers["If-None-Match"], self.headers["x-amz-checksum-sha256"])
        self.noted.append((self.path, *fields))
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        """Nothing is said."""


def test_what_is_put_carries_its_sha256_as_a_bucket_with_object_lock_asks(tmp_path: Path) -> None:
    _Bucket.noted.clear()
    with HTTPServer(("127.0.0.1", 0), _Bucket) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        store(tmp_path, endpoint=f"http://127.0.0.1:{server.server_port}").put("head", b"content")
        server.shutdown()
        thread.join(60)
    checksum = base64.b64encode(hashlib.sha256(b"content").digest()).decode()
    assert _Bucket.noted == [("/bucket/p/head", "*", checksum)]


SLIPS: dict[str, tuple[dict[str, bytes], dict[str, str], str]] = {
    "ca_that_is_none": ({"ca.crt": b"hello"}, {"endpoint": "https://127.0.0.1:1"}, "ca.crt holds no certificate"),
    "ca_that_is_broken": ({"ca.crt": EMPTY_PEM}, {"endpoint": "https://127.0.0.1:1"}, "ca.crt holds no certificate"),
    "ca_in_latin_1": ({"ca.crt": b"\xff"}, {}, "ca.crt holds no certificate"),
    "ca_that_is_empty": ({"ca.crt": b""}, {}, "ca.crt holds no certificate"),
    "key_in_two_lines": ({"access_key_id": b"a\nb"}, {}, "access_key_id holds a line end"),
    "key_beyond_ascii": ({"access_key_id": "ä".encode()}, {}, "access_key_id holds"),
    "secret_with_nul": ({"secret_access_key": b"a\x00b"}, {}, "secret_access_key holds"),
    "token_with_a_control_character": ({"session_token": b"a\x01b"}, {}, "session_token holds"),
    "no_key": ({"access_key_id": b" \n"}, {}, "access_key_id is missing or empty"),
    "half_an_address": ({}, {"endpoint": "http://[::1"}, "names no host"),
    "no_host": ({}, {"endpoint": "http://"}, "names no host"),
    "a_path_for_a_host": ({}, {"endpoint": "https:///bucket"}, "names no host"),
    "a_blank_in_the_host": ({}, {"endpoint": "http://a b"}, "names no host"),
    "a_port_that_cannot_be": ({}, {"endpoint": "http://127.0.0.1:99999"}, "names no host"),
    "a_region_with_a_line_end": ({}, {"region": "a b\n"}, "region 'a b\\n' is none"),
    "nobody_there": ({}, {}, "cannot be"),
}
ACTS: dict[str, Callable[[S3Store], object]] = {
    "put": lambda found: found.put("x", b"y"),
    "read": lambda found: found.read("x"),
    "names": lambda found: list(found.names()),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_says_what_is_wrong_at_each_thing_that_is_asked(tmp_path: Path, slip: str, act: str) -> None:
    files, changed, reason = SLIPS[slip]
    with pytest.raises(UnavailableError) as failed:
        ACTS[act](store(tmp_path, files, **changed))
    assert reason in str(failed.value)


@pytest.mark.parametrize("act", ACTS)
def test_a_panic_of_the_client_is_no_more_than_an_archive_that_is_away(tmp_path: Path, act: str) -> None:
    """A bucket's name with a line end: nothing asks for it before, and the client does not bear it."""
    with pytest.raises(UnavailableError, match="bucket a"):
        ACTS[act](store(tmp_path, bucket="a\n[b", endpoint=f"http://127.0.0.1:{free_port()}"))


def test_a_secret_that_is_mended_is_read_again(tmp_path: Path) -> None:
    found = store(tmp_path, {"access_key_id": b"a\nb"})
    with pytest.raises(UnavailableError, match="holds a line end"):
        found.put("x", b"y")
    (tmp_path / "access_key_id").write_bytes(b"mended\n")
    with pytest.raises(UnavailableError, match=r"cannot be written \(x\)"):
        found.put("x", b"y")
