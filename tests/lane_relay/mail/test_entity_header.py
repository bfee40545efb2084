"""Headers of parts: what can be read in one way alone is read, and nothing else. More by way of `test_seven_bit`."""

import pytest

from lane_relay.mail.entity_header import read_entity_header


def test_what_is_said_is_read_and_what_is_not_has_its_default() -> None:
    found = read_entity_header(
        b'content-TYPE: Multipart/Mixed;\r\n\tx=y; BOUNDARY="a b"\r\n'
        b"Content-Transfer-Encoding: 8BIT\r\nMIME-version: 1.0\r\n",
        "text/plain",
    )
    assert found is not None
    assert (found.kind, found.encoding, found.boundary) == ("multipart/mixed", "8bit", b"a b")
    assert (found.has_type, found.is_mime) == (True, True)

    found = read_entity_header(b"", "message/rfc822")
    assert found is not None
    assert (found.kind, found.encoding, found.boundary, found.has_type) == ("message/rfc822", "", b"", False)


@pytest.mark.parametrize("value", [b"text", b"", b"text/plain/x", b"/", b"text plain; x"])
def test_a_type_that_means_nothing_is_text(value: bytes) -> None:
    found = read_entity_header(b"Content-Type: %b\r\n" % value, "message/rfc822")
    assert found is not None
    assert found.kind == "text/plain"


@pytest.mark.parametrize(
    "header",
    [
        b"Subject: \xc3\xbc\r\n", b"X: a\nb\r\n", b"X: a\rb\r\n", b": x\r\n", b"From x\r\n", b"X Y: z\r\n",
        b"Content-Type: a/b\r\ncontent-type: a/b\r\n", b"Content-Type: a/b; x=" + b"y" * 5000 + b"\r\n",
    ],
)  # fmt: skip
def test_a_header_with_a_defect_is_not_read(header: bytes) -> None:
    assert read_entity_header(header, "text/plain") is None
