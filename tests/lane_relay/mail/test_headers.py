"""What intake reads from a header and writes into it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.mail.author import Author, NoAuthor, parse_author
from lane_relay.mail.headers import Header, Trace, add_trace, read_header, rfc5322_date

TRACE = Trace("out1.example.com", "app.example.net", "192.0.2.7", "ESMTPSA", "0f" * 12, 1_790_000_000.5)
FULL = (
    b"From: App <app@notify.example.com>\r\nDate: Mon, 1 Jan 2026 00:00:00 +0000\r\n"
    b"Message-ID: <m1@app>\r\nX-Correlation-Id: order-7\r\n\r\nFrom: not a field\r\n"
)


def test_the_fields_that_intake_needs_are_read() -> None:
    header = read_header(FULL)

    assert header.author == Author("app@notify.example.com", "notify.example.com")
    assert (header.message_id, header.has_date, header.correlation_id) == ("<m1@app>", True, "order-7")
    assert not header.eight_bit
    assert FULL[header.end :] == b"\r\nFrom: not a field\r\n"


@pytest.mark.parametrize(
    "value",
    [
        b"a@x.example", b" <a@x.example>", b' "Doe, Jane" <a@x.example>', b" Jane Doe\r\n\t<a@x.example>",
        b" =?utf-8?q?J=C3=A4ne?= <A@X.example>", b" (comment) a@x.example", b" a@x.example (Jane)",
        "Jäne <a@x.example>".encode(),
        b' "<evil@other.example>" <a@x.example>',
    ],
)  # fmt: skip
def test_one_author_is_read_however_it_is_written(value: bytes) -> None:
    author = parse_author([value])

    assert isinstance(author, Author)
    assert (author.address.lower(), author.domain) == ("a@x.example", "x.example")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "no From field"),
        ([b"a@x.example", b"a@x.example"], "2 From fields"),
        ([b"a@x.example, b@x.example"], "exactly one address"),
        ([b"Group: a@x.example;"], "exactly one address"),
        ([b""], "exactly one address"),
        ([b"nobody"], "wrong|malformed"),
        ([b"a@[192.0.2.1]"], "address literals|malformed"),
        ([b"<a@x.example> <b@y.example>"], "malformed|exactly one"),
        ([b"\xff\xfe@x.example"], "UTF-8"),
        ([b"a@x.example\x00"], "wrong|malformed"),
    ],
)
def test_what_is_not_plainly_one_author_is_refused_with_its_reason(values: list[bytes], reason: str) -> None:
    author = parse_author(values)

    assert isinstance(author, NoAuthor)
    assert re.search(reason, author.reason), author.reason


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 29 Nov 2026 10:00:00 +0000", "29 Nov 26 10:00 GMT", "Sun, 29 Nov 2026 10:00:00 +0100 (CET)",
        "\r\n Sun,\r\n\t29 Nov 2026 10:00:00 -0500", "So, 1 Nov 2026 09:00 +0100",
    ],
)  # fmt: skip
@pytest.mark.parametrize("id_", ["<a@b>", "\r\n <a@b>", "<no-at-sign>", "(x) <a@b>"])
def test_a_message_id_and_a_date_are_taken_in_sloppy_forms(date: str, id_: str) -> None:
    assert read_header(f"Date: {date}\r\nMessage-ID: {id_}\r\n\r\n".encode()).malformed == ""


@pytest.mark.parametrize(
    "date", ["yesterday", "2026-11-29T10:00:00Z", "1764410000", "", "Sun, 29 Nov 2026", "1 " * 500]
)
def test_a_date_that_no_reader_understands_is_malformed(date: str) -> None:
    assert read_header(f"Date: {date}\r\n\r\n".encode()).malformed.startswith(
        "the Date field is no date: write it like"
    )


@pytest.mark.parametrize("id_", ["foo", "", "<a b>", "<>", "a@b"])
def test_a_message_id_without_an_identifier_is_malformed(id_: str) -> None:
    assert "no identifier in angle brackets" in read_header(f"Message-ID: {id_}\r\n\r\n".encode()).malformed


@pytest.mark.parametrize("octet", [octet for octet in range(32) if octet not in b"\t\r\n"])
@pytest.mark.parametrize(
    ("before", "behind"),
    [
        (b"Subject: x", b"\r\n\r\n"), (b"Subject:", b"x\r\nTo: b@y.example\r\n\r\n"), (b"Subject: x\r\n\tx", b"x"),
        (b"From: a@x.example\r\nSUBJECT: x", b"\r\nMessage-ID: foo\r\n\r\nbody\r\n"),
    ],
)  # fmt: skip
def test_a_control_character_is_malformed_and_its_field_is_named(octet: int, before: bytes, behind: bytes) -> None:
    named = "SUBJECT" if b"SUBJECT" in before else "Subject"
    assert read_header(before + bytes([octet]) + behind).malformed == (
        f"the {named} field has a control character (0x{octet:02X}), for which some receivers reject its DKIM "
        "signature: take it out, or encode the value (RFC 2047)"
    )


def test_tabs_folds_and_what_the_body_has_are_no_control_characters() -> None:
    content = "From: a@x.example\r\nSubject:\tü\r\n\t \u0085\u3000\x7f\r\n\r\na\x0b\x0c\x1b\r\n"
    assert read_header(content.encode()).malformed == ""


@pytest.mark.parametrize("second", [b"From: b@y.example", b"from : b@y.example", b"FROM\t: b@y.example"])
def test_a_second_from_is_seen_however_it_is_spelled(second: bytes) -> None:
    header = read_header(b"From: a@x.example\r\n" + second + b"\r\n\r\nx\r\n")

    assert isinstance(header.author, NoAuthor)
    assert "2 From fields" in header.author.reason


def test_fields_that_only_begin_alike_do_not_count() -> None:
    header = read_header(b"From-Spam: x\r\nFrom: a@x.example\r\nSubject: y\r\n from: z\r\nDated: x\r\n\r\n")

    assert isinstance(header.author, Author)
    assert not header.has_date


def test_a_body_that_looks_like_a_header_is_not_read() -> None:
    header = read_header(b"\r\nFrom: a@x.example\r\n")

    assert isinstance(header.author, NoAuthor)
    assert header.end == 0


def test_a_message_without_an_empty_line_is_all_header() -> None:
    content = b"Subject: x\r\nFrom: a@x.example\r\n"

    assert read_header(content).end == len(content)


def test_missing_date_and_message_id_are_added_below_received() -> None:
    content = b"From: a@x.example\r\n\r\nhi\r\n"
    stored, message_id = add_trace(content, read_header(content), TRACE)

    head, _, rest = stored.partition(b"From: ")
    assert message_id == f"<{'0f' * 12}@out1.example.com>"
    assert head.decode() == (
        "Received: from app.example.net ([192.0.2.7])\r\n"
        "\tby out1.example.com with ESMTPSA id 0f0f0f0f0f0f0f0f0f0f0f0f;\r\n"
        "\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
        "Date: Mon, 21 Sep 2026 14:13:20 +0000\r\n"
        f"Message-ID: {message_id}\r\n"
    )
    assert b"From: " + rest == content


def test_what_is_there_is_left_alone() -> None:
    stored, message_id = add_trace(FULL, read_header(FULL), TRACE)

    assert message_id == "<m1@app>"
    assert stored.endswith(FULL)
    assert stored.count(b"Date:") == stored.count(b"Message-ID:") == 1


def test_bcc_is_taken_out_with_its_folds_and_only_from_the_header() -> None:
    content = (
        b"bcc: a@x.example,\r\n b@x.example\r\nFrom: a@x.example\r\nResent-Bcc: c@x\r\nAbcc: 1\r\n\r\nBcc: body\r\n"
    )
    stored, _ = add_trace(content, read_header(content), TRACE)

    assert stored.endswith(b"\r\nFrom: a@x.example\r\nAbcc: 1\r\n\r\nBcc: body\r\n")
    assert b"b@x.example" not in stored


def test_a_message_that_does_not_end_in_a_line_end_gets_one() -> None:
    content = b"From: a@x.example\r\n\r\nhi"

    assert add_trace(content, read_header(content), TRACE)[0].endswith(b"hi\r\n")


@pytest.mark.parametrize("helo", ["x\r\nBcc: y", "x (by evil", "", "ü", "[not an address"])
def test_a_helo_that_is_no_name_is_not_written(helo: str) -> None:
    trace = Trace("out1.example.com", helo, "2001:db8::1", "ESMTP", "ab", 0.0)

    assert add_trace(FULL, read_header(FULL), trace)[0].startswith(
        b"Received: from unknown ([IPv6:2001:db8::1])\r\n\tby"
    )


def test_the_first_line_must_not_be_a_continuation() -> None:
    assert read_header(b" folded\r\nFrom: a@x.example\r\n\r\n").begins_folded


def test_received_fields_are_counted() -> None:
    assert read_header(b"Received: x\r\n" * 3 + FULL).hops == 3


def test_a_correlation_id_cannot_carry_control_characters_into_records() -> None:
    header = read_header(b"From: a@x.example\r\nx-correlation-id: a\x00\x1bb" + b"c" * 500 + b"\r\n\r\n")

    assert header.correlation_id.startswith("a  b")
    assert len(header.correlation_id) == 200


def test_the_name_of_the_correlation_field_may_be_chosen() -> None:
    assert read_header(b"X-Trace: t1\r\n\r\n", "X-Trace").correlation_id == "t1"


def test_eight_bit_fields_are_noticed_and_eight_bit_bodies_are_not_looked_at() -> None:
    assert read_header("Subject: ü\r\n\r\nx\r\n".encode()).eight_bit
    assert not read_header("Subject: u\r\n\r\nü\r\n".encode()).eight_bit


@pytest.mark.parametrize(("now", "text"), [(0, "Thu, 01 Jan 1970"), (951_782_400, "Tue, 29 Feb 2000")])
def test_dates_are_written_as_rfc_5322_wants_them(now: int, text: str) -> None:
    assert rfc5322_date(now) == f"{text} 00:00:00 +0000"


@given(st.binary(max_size=200))
def test_no_header_makes_reading_or_writing_fail(content: bytes) -> None:
    header = read_header(content)
    stored, _ = add_trace(content, header, TRACE)

    assert isinstance(header, Header)
    assert stored.startswith(b"Received: from app.example.net")
