"""Reading what nobody should send: random, mutated and hostile mail has a reading, and soon."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lane_relay.mail.reports.parts import LOOKED_AT, take_apart
from lane_relay.mail.reports.read import read_report
from lane_relay.mail.reports.reading import Kind, Reading
from tests.lane_relay.mail.reports.test_shapes import NAMES, shape

HEAD = b"From: MAILER-DAEMON@x.example\nSubject: Undeliverable\n"
HOSTILE = {
    "one word of 256 KiB": HEAD + b"\n" + b"delivery" * 32000,
    "a tag that never ends": HEAD + b"Content-Type: text/html\n\n" + b"<a" * 120000,
    "nothing but brackets": HEAD + b"Content-Type: text/html\n\n" + b"<" * 250000,
    "60,000 parameters": b"Content-Type: text/plain" + b";a=b" * 60000 + b"\n\nx",
    "empty parameters": b"Content-Type: text/plain" + b";" * 250000 + b"\n\nx",
    "a quoted boundary": b'Content-Type: multipart/mixed; boundary="' + b'\\"' * 120000 + b"\n\nx",
    "a parameter in 20,000 pieces": b"Content-Type: text/plain"
    + b"".join(b";a*%d=b" % number for number in range(20000))
    + b"\n\nx",
    "25,000 fields": b"".join(b"X-%d: y\n" % number for number in range(25000)) + b"\nx",
    "one field of 80,000 lines": b"Subject: a\n" + b" b\n" * 80000 + b"\nx",
    "encoded words": b"Subject: " + b"=?utf-8?q?a?= " * 17000 + b"\n\nx",
    "a charset that is not ASCII": b"Subject: =?\x80utf-8?q?a?=\n\nx",
    "40,000 groups": HEAD + b"Content-Type: message/delivery-status\n\n" + b"A: b\n\n" * 40000,
    "nothing but at signs": HEAD + b"\ncould not be delivered to\n" + (b"a@" * 250 + b"\n") * 480,
    "recipients of nothing but at signs": HEAD
    + b"Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\n"
    + (b"Action: failed\nFinal-Recipient: " + b"@" * 900 + b"<\n\n") * 50,
    "50,000 parts": HEAD + b"Content-Type: multipart/mixed; boundary=a\n\n" + b"--a\n\n" * 50000,
    "3,000 deep": HEAD
    + b"Content-Type: multipart/mixed; boundary=n0\n\n"
    + b"".join(b"--n%d\nContent-Type: multipart/mixed; boundary=n%d\n\n" % (at, at + 1) for at in range(3000)),
    "8,000 mails in one another": HEAD + b"Content-Type: message/rfc822\n\n" * 8000,
    "blanks": HEAD + b"\n" + b" " * 250000,
    "a domain without end": HEAD + b"\nuser unknown a@" + b"a." * 120000 + b"\n",
}


@pytest.mark.timeout(20)  # each took up to a minute before its bound was there, and takes a quarter of a second with it
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_mail_is_read_in_bounded_time(content: bytes) -> None:
    assert read_report(content).kind in Kind


def test_lines_of_blanks_are_read_in_the_time_of_their_length() -> None:
    line = b"could not be delivered to " + b" " * 470 + b"\n"
    begun = time.thread_time()
    read_report(HEAD + b"\n" + line * 120)
    assert time.thread_time() - begun < 0.4  # with the square of them: 0.7 s, in which mail waits for the interpreter


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=3000))
def test_any_octets_have_a_reading(content: bytes) -> None:
    assert isinstance(read_report(content), Reading)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(NAMES), st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=6)), max_size=8))
def test_a_shape_with_octets_put_in_anywhere_has_a_reading(name: str, changes: list[tuple[int, bytes]]) -> None:
    mail = shape(name)[1][:10_000]
    for at, octets in changes:
        mail = mail[:at] + octets + mail[at + len(octets) // 2 :]
    reading = read_report(mail)
    assert all(failure.text.isprintable() for failure in reading.failures)
    assert all(len(failure.text) <= 1000 and len(failure.recipient) <= 500 for failure in reading.failures)


def test_what_lies_behind_the_looked_at_is_not_read() -> None:
    filler = b"could not be delivered\n" + b"x" * 70 * 3700
    assert len(filler) < LOOKED_AT
    reading = read_report(HEAD + b"\n" + filler + b"\n" * 4000 + b"<ann@example.org>: 550 5.1.1 unknown\n" * 5)
    assert reading.failures == ()


@pytest.mark.parametrize("charset", ["punycode", "PunyCode", "idna", "unicode_escape", "raw-unicode-escape"])
def test_a_codec_that_is_no_charset_of_mail_is_not_used(charset: str) -> None:
    mail = take_apart(f"Content-Type: text/plain; charset={charset}\n\n\\x41ab-cd\n".encode())
    assert not isinstance(mail, str)
    assert mail.parts[0].text == "\\x41ab-cd\n"
