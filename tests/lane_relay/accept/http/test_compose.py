"""Composed messages as an independent parser reads them, whatever stands in their parts."""

import email
import re
from email.message import EmailMessage
from email.policy import SMTP
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_relay.accept.http.compose import Content, compose, mailbox_field, refuse_header, refuse_value, seal
from lane_relay.accept.http.request import Attachment

BOUNDARY = "=_0123456789abcdef01234567"
HEADER_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300)
BODY = st.text(st.characters(exclude_categories=["Cs"]), max_size=2000)


def content(**more: object) -> Content:
    plain = {"sender": "app@brand.test", "to": "ann@isp.test", "subject": "Hi", "reply_to": "", "headers": ()}
    return Content(**{**plain, "text": "hello", "html": None, **more})  # type: ignore[arg-type]  # a test's table


def read(message: bytes) -> EmailMessage:
    """The message as the standard library reads it, once its lines are known to be such as every server takes."""
    assert message.endswith(b"\r\n")
    rest = message.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    assert max(map(len, message.split(b"\r\n"))) <= 998
    return email.message_from_bytes(message, policy=SMTP)


def plain_lines(text: str) -> str:
    """As a text comes out: CRLF or LF line ends, one at the end."""
    text = re.sub(r"\r\n|\r", "\n", text)
    return text if text.endswith("\n") else text + "\n"


@settings(max_examples=150, deadline=None)
@given(HEADER_TEXT, HEADER_TEXT, BODY, BODY)
def test_any_text_comes_out_as_it_went_in(name: str, subject: str, text: str, html: str) -> None:
    if refuse_value("x", name) or refuse_value("x", subject):
        return
    read_back = read(
        compose(content(to=mailbox_field("ann@isp.test", name), subject=subject, text=text, html=html), BOUNDARY)
    )
    assert read_back["To"].addresses[0].addr_spec == "ann@isp.test"
    assert list(read_back.keys())[:4] == ["From", "To", "Subject", "MIME-Version"]
    if not re.search(r"  |^ | $|=\?", subject):
        assert str(read_back["Subject"]) == subject
    parts = [part.get_payload(decode=True) for part in read_back.walk() if not part.is_multipart()]
    assert [cast("bytes", part).decode().replace("\r\n", "\n") for part in parts] == [
        plain_lines(text),
        plain_lines(html),
    ]


def test_a_name_that_needs_quotes_or_encoding_gets_them() -> None:
    assert mailbox_field("a@x.test", "") == "a@x.test"
    assert mailbox_field("a@x.test", "Ann Lee") == "Ann Lee <a@x.test>"
    assert mailbox_field("a@x.test", 'Lee, "Ann"') == '"Lee, \\"Ann\\"" <a@x.test>'
    assert mailbox_field("a@x.test", "Änn") == "=?utf-8?B?w4Rubg==?= <a@x.test>"
    assert mailbox_field("a@x.test", "=?x?").startswith("=?utf-8?B?")


def test_the_shape_follows_the_parts() -> None:
    logo = seal(Attachment(name="logo.png", type="image/png", content="iVBORw==", cid="logo"))  # type: ignore[arg-type]
    terms = seal(Attachment(name="Größe.pdf", type="application/pdf", content="JVBERi0="))  # type: ignore[arg-type]
    whole = read(compose(content(text="t", html="<img src='cid:logo'>", attachments=(logo, terms)), BOUNDARY))
    assert [part.get_content_type() for part in whole.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png",
        "application/pdf",
    ]  # fmt: skip
    (attached,) = whole.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("Größe.pdf", b"%PDF-")
    inline = next(part for part in whole.walk() if part.get_content_type() == "image/png")
    assert inline["Content-ID"] == "<logo>"
    assert inline.get_content_disposition() == "inline"
    assert read(compose(content(), BOUNDARY)).get_content_type() == "text/plain"
    assert read(compose(content(text=None, html="<p>"), BOUNDARY)).get_content_type() == "text/html"


@pytest.mark.parametrize(("text", "encoding"), [
    ("plain\n.dot\nFrom here\n", "7bit"), ("x" * 2000, "quoted-printable"),
    ("Größe der Bestellung", "quoted-printable"),
    ("你好世界", "base64"), ("a\0b", "quoted-printable"),
])  # fmt: skip
def test_text_is_encoded_only_where_it_must_be(text: str, encoding: str) -> None:
    assert read(compose(content(text=text), BOUNDARY))["Content-Transfer-Encoding"] == encoding


@pytest.mark.parametrize("name", [
    "From", "from", "Bcc", "Subject", "Content-Type", "Resent-To", "Received", "DKIM-Signature", "MIME-Version",
    "Sender",
    "a b", "x:y", "", "Ö", "x\r\ny", "x" * 80,
])  # fmt: skip
def test_fields_that_are_not_the_requests_to_set_are_refused(name: str) -> None:
    assert refuse_header(name, "value") is not None


@pytest.mark.parametrize("value", ["a\r\nBcc: x@y.test", "a\nb", "a\rb", "a\0b", "a\u2028b", "a\x85b", "x" * 1000])
def test_no_value_begins_a_field_of_its_own(value: str) -> None:
    assert refuse_header("X-Tag", value) is not None
    assert refuse_header("X-Tag", "an ordinary value") is None


def test_long_fields_are_folded() -> None:
    links = ", ".join(f"<https://brand.test/unsubscribe/{number}>" for number in range(20))
    whole = read(compose(content(headers=(("List-Unsubscribe", links),)), BOUNDARY))
    assert whole["List-Unsubscribe"] == links
