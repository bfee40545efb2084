"""7-bit form: nothing above 127 is left, everything decodes to what it was, and what must not be changed is not."""

import tracemalloc
from email import message_from_bytes
from email.message import Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.mail.seven_bit import MOST_LONGER, is_signed, seven_bit

HEAD = b"From: a@brand.example\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
TEXT = b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
LATIN = "Grüße aus Köln, die Straße entlang und viel Weiteres\r\n".encode()


def _leaves(content: bytes) -> list[tuple[str, bytes]]:
    """Type and decoded body of each leaf."""
    found: list[Message] = [one for one in message_from_bytes(content).walk() if not one.is_multipart()]
    return [(one.get_content_type(), one.get_payload(decode=True)) for one in found]  # type: ignore[misc]


def _nested(levels: int, inner: bytes) -> bytes:
    for level in range(levels):
        head = b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level)
        inner = head + inner + b"\r\n--b%d--\r\n" % level
    return inner


def _lines_are_short(content: bytes) -> bool:
    return b"\n" not in content.replace(b"\r\n", b"") and max(map(len, content.split(b"\r\n"))) <= 78


def test_what_is_seven_bit_is_left_alone() -> None:
    content = HEAD + TEXT + b"hello\r\n"
    assert seven_bit(content) is content


def test_text_is_quoted_and_its_header_stays_but_for_the_encoding() -> None:
    made = seven_bit(HEAD + TEXT + LATIN)

    assert made is not None
    assert made.startswith(HEAD + TEXT.replace(b"8bit", b"quoted-printable"))
    assert b"Gr=C3=BC=C3=9Fe aus" in made
    assert _leaves(made) == [("text/plain", LATIN)]
    assert _lines_are_short(made)


def test_text_that_is_nearly_all_eight_bit_and_what_is_no_text_go_as_base64() -> None:
    for body, kind in (("Привет, мир\r\n".encode() * 30, b"text/plain; charset=utf-8"), (LATIN, b"application/json")):
        made = seven_bit(HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + body)

        assert made is not None
        assert made.isascii()
        assert b"Content-Transfer-Encoding: base64\r\n\r\n" in made
        assert _leaves(made)[0][1] == body
        assert _lines_are_short(made)


def test_only_the_parts_that_need_it_are_changed() -> None:
    plain = b"Content-Type: text/plain\r\n\r\nhello \r\n"
    picture = b"Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
    inner = b"--in\r\n" + TEXT + LATIN + b"\r\n--in\r\n" + plain + b"\r\n--in--"
    body = (
        b"preamble\r\n--out\r\n" + picture + b"\r\n--out \r\nContent-Type: multipart/alternative; boundary=in\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n" + inner + b"\r\n--out--\r\nepilogue\r\n"
    )
    content = HEAD + b'Content-Type: multipart/mixed; boundary="out"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n' + body

    made = seven_bit(content)

    assert made is not None
    assert made.isascii()
    assert picture in made
    assert plain in made
    assert made.count(b"Content-Transfer-Encoding: 7bit\r\n") == 2
    assert made.endswith(b"--in--\r\n--out--\r\nepilogue\r\n")
    assert _leaves(made) == _leaves(content)


def test_an_attached_message_is_converted_within() -> None:
    content = HEAD + b"Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + HEAD + TEXT + LATIN
    made = seven_bit(content)

    assert made is not None
    assert b"message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\nFrom:" in made
    assert _leaves(made) == [("text/plain", LATIN)]


def test_text_without_mime_is_called_what_it_is() -> None:
    made = seven_bit(b"From: a@brand.example\r\n\r\n" + LATIN)

    assert made is not None
    assert b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=unknown-8bit\r\n\r\n" in made
    assert _leaves(made) == [("text/plain", LATIN)]


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + LATIN + b"--b--\r\n",
        HEAD + b"Content-Type: multipart/encrypted; boundary=b\r\n\r\n--b\r\n\r\n" + LATIN + b"--b--\r\n",
        HEAD + b"Content-Type: message/partial\r\n\r\n" + LATIN,
        HEAD + b"Content-Type: message/delivery-status\r\n\r\n" + LATIN,
        HEAD + b"Content-Type: multipart/mixed\r\n\r\n" + LATIN,
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + LATIN + b"--b\r\n\r\nx\r\n--b--\r\n",
        HEAD + b"Content-Type: multipart/mixed; boundary*0=a; boundary*=b\r\n\r\n--b\r\n\r\n" + LATIN + b"--b--\r\n",
        HEAD + b"Content-Type: multipart/mixed; boundary*=a%00''b\r\n\r\n--b\r\n\r\n" + LATIN + b"--b--\r\n",
        HEAD + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + LATIN,
        "Subject: ü\r\n\r\nbody\r\n".encode(),
        HEAD + TEXT + LATIN + b"bare\nline end\r\n",
        HEAD + TEXT + LATIN + b"\r",
    ],
)
def test_what_must_not_be_changed_or_makes_no_sense_is_refused(content: bytes) -> None:
    assert seven_bit(content) is None


def test_messages_within_messages_end_somewhere() -> None:
    content = HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    for _ in range(500):
        content += b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    assert seven_bit(content + LATIN) is None or seven_bit(content + LATIN).isascii()  # type: ignore[union-attr]
    assert seven_bit((HEAD + b"Content-Type: message/rfc822\r\n\r\n") * 2000 + LATIN) is None


@pytest.mark.parametrize(
    "header",
    [
        b"X-Mailer : php\r\nContent-Type: multipart/alternative; boundary=i\r\n",
        b"no field\r\nContent-Type: multipart/alternative; boundary=i\r\n",
        b" folded: x\r\nContent-Type: multipart/alternative; boundary=i\r\n",
        b"X: a\r\n \r\nContent-Type: multipart/alternative; boundary=i\r\n",
        b"Content-Type: text/plain\r\nContent-Type: multipart/alternative; boundary=i\r\n",
        b"Content-Type: multipart/alternative (x); boundary=i\r\n",
        b"Content-Type: multipart/alternative boundary=i\r\n",
        b"Content-Type: multipart\r\n",
        b"Content-Type: message/rfc822/x\r\n",
        b"Content-Transfer-Encoding: 8bit\r\nContent-Transfer-Encoding: base64\r\n",
    ],
)
def test_a_part_whose_header_is_read_in_more_than_one_way_is_not_changed(header: bytes) -> None:
    inner = b"--i\r\n" + TEXT + LATIN + b"\r\n--i--"
    whole = HEAD + b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\n" + header + b"\r\n" + inner
    assert seven_bit(whole + b"\r\n--o--\r\n") is None


@pytest.mark.parametrize(
    "parameters",
    [b'boundary="a\\b"', b"boundary*=us-ascii''b", b"boundary*0=b", b"boundary=b; boundary=c", b"boundary=(c)b",
     b'boundary="b ', b"boundary", b"boundary=" + b"b" * 300],
)  # fmt: skip
def test_a_boundary_that_is_read_in_more_than_one_way_is_none(parameters: bytes) -> None:
    for boundary in (b"b", b"a\\b", b"c", b"(c)b", b"b" * 300):
        body = b"--" + boundary + b"\r\n" + TEXT + LATIN + b"\r\n--" + boundary + b"--\r\n"
        assert seven_bit(HEAD + b"Content-Type: multipart/mixed; " + parameters + b"\r\n\r\n" + body) is None


@pytest.mark.parametrize("boundary", [b"----=_Part/1:2", b'"----=_Part (1)"; charset="x;y"', b"b;", b" b ; x = y"])
def test_a_boundary_is_taken_as_programs_write_it(boundary: bytes) -> None:
    line = b"--" + boundary.partition(b";")[0].strip().strip(b'"')
    body = line + b"\r\n" + TEXT + LATIN + b"\r\n" + line + b"--\r\n"
    content = HEAD + b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n" + body
    made = seven_bit(content)
    assert made is not None
    assert _leaves(made) == _leaves(content)


def test_parts_of_a_digest_are_messages() -> None:
    part = b"--b\r\n\r\nSubject: inner\r\n" + TEXT + LATIN + b"\r\n"
    content = HEAD + b"Content-Type: multipart/digest; boundary=b\r\n\r\n" + part + part + b"--b--\r\n"
    made = seven_bit(content)

    assert made is not None
    assert made.count(b"\r\n\r\nSubject: inner\r\nContent-Type: text/plain") == 2
    assert _leaves(made) == _leaves(content) == [("text/plain", LATIN)] * 2


@pytest.mark.parametrize(
    ("boundary", "line"), [(b"b", "x" * 75 + "--b"), (b"a=3D", "--a="), (b"b", "x" * 75 + "--b--  ")]
)
def test_no_line_that_is_made_reads_as_a_delimiter(boundary: bytes, line: str) -> None:
    head = HEAD + b"Content-Type: multipart/mixed; boundary=" + boundary + b"\r\n\r\n--" + boundary + b"\r\n"
    content = head + TEXT + LATIN + line.encode() + b"\r\nmore\r\n\r\n--" + boundary + b"--\r\n"
    made = seven_bit(content)
    assert made is not None
    assert _leaves(made) == _leaves(content)


def test_a_mail_that_was_passed_on_four_times_as_an_attachment_is_still_converted() -> None:
    inner = _nested(1, TEXT + LATIN)
    for level in range(4):
        inner = (
            b"Content-Type: multipart/mixed; boundary=f%d\r\n\r\n--f%d\r\nContent-Type: message/rfc822\r\n\r\n"
            b"MIME-Version: 1.0\r\n%b\r\n--f%d--\r\n" % (level, level, inner, level)
        )
    assert seven_bit(HEAD + inner) is not None
    assert seven_bit(HEAD + _nested(20, TEXT + LATIN)) is None


_LARGE = 2 * 2**20


@pytest.mark.parametrize(
    "content",
    [
        HEAD + TEXT + LATIN * (_LARGE // len(LATIN)),
        HEAD + _nested(9, TEXT + LATIN * (_LARGE // len(LATIN))),
        HEAD + TEXT + (b"\xc3\xa9 " * 24 + b"\r\n") * (_LARGE // 74),
        HEAD + TEXT + b"\xc3\xa9" * (_LARGE // 2) + b"\r\n",
        HEAD + b"Content-Type: application/x\r\n\r\n" + b"\xff" * _LARGE,
        HEAD + _nested(1, b"\r\n--b0\r\n".join([TEXT + b"\xc3\xa9"] * 3000)),
        HEAD + _nested(1, b"\r\n--b0\r\n".join([b"\r\n\xc3\xa9"] * (_LARGE // 12))),
        HEAD + _nested(1, TEXT + b"\xff" + b"\r\n--b" * (_LARGE // 5)),
        HEAD + _nested(1, b"A:\r\n" * (_LARGE // 4) + b"\r\n\xff"),
    ],
    ids=["text", "nested", "blanks", "line", "bytes", "parts", "too many parts", "no delimiters", "header"],
)
def test_however_it_is_made_up_it_takes_little_memory_and_each_step_is_small(content: bytes) -> None:
    steps = 0

    def pause() -> None:
        nonlocal steps
        steps += 1

    tracemalloc.start()
    made = seven_bit(content, pause)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak <= MOST_LONGER * 1.15 * len(content) + 2**20
    assert made is None or (len(content) // 2**15 <= steps <= len(content) // 2**12 + 3 * 10_000)


def test_a_signature_of_the_senders_is_seen_in_the_header_only() -> None:
    assert is_signed(b"Subject: x\r\ndkim-signature: v=1\r\n\r\nbody\r\n")
    assert not is_signed(b"Subject: x\r\n\r\nDKIM-Signature: v=1\r\n")


@given(st.binary(max_size=300), st.sampled_from([b"text/plain", b"application/octet-stream"]))
def test_any_body_of_lines_decodes_to_what_it_was(noise: bytes, kind: bytes) -> None:
    body = b"\r\n".join(noise.replace(b"\r", b"\n").replace(b"\0", b"").split(b"\n")) + b"\xff\r\n"
    made = seven_bit(HEAD + b"Content-Type: " + kind + b"\r\n\r\n" + body)

    assert made is not None
    assert made.isascii()
    assert _leaves(made) == [(kind.decode(), body)]
    assert _lines_are_short(made)
