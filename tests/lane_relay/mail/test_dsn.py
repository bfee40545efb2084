"""Failure reports, read back with the standard library's parser."""

from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import cast

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.mail.dsn import ReportedRecipient, ReportRequest, status_report
from lane_relay.records import Reply

CONTENT = b"From: App <app@notify.example.com>\r\nSubject: Hi\r\nMessage-ID: <m1@app>\r\n\r\nsecret body\r\n"


def request(
    *recipients: ReportedRecipient, sender: str = "app@notify.example.com", content: bytes = CONTENT
) -> ReportRequest:
    return ReportRequest(
        id="0f" * 12,
        now=1_790_000_000.0,
        hostname="out1.example.com",
        author="MAILER-DAEMON@out1.example.com",
        sender=sender,
        arrived=1_789_990_000.0,
        content=content,
        message_id="<m1@app>",
        recipients=recipients,
    )


UNKNOWN = ReportedRecipient("b@isp.example", Reply(550, ("5.1.1 No such user",)), "mx1.isp.example", 1_789_999_000.0)
EXPIRED = ReportedRecipient("c@isp.example", Reply(451, ("4.7.1 Try later",)), "mx1.isp.example", expired=True)
LOCAL = ReportedRecipient("d@null.example", Reply(556, ("5.1.10 The domain takes no mail",)))


def parse(report: bytes | None) -> EmailMessage:
    assert report is not None
    return message_from_bytes(report, policy=policy.SMTPUTF8)


def test_there_is_no_report_to_the_null_sender() -> None:
    assert status_report(request(UNKNOWN, sender="")) is None


def test_the_same_request_gives_the_same_bytes() -> None:
    assert status_report(request(UNKNOWN)) == status_report(request(UNKNOWN))


def test_the_report_is_a_multipart_report_to_the_sender_that_nobody_answers() -> None:
    message = parse(status_report(request(UNKNOWN)))

    assert message.get_content_type() == "multipart/report"
    assert message["Content-Type"].params["report-type"] == "delivery-status"
    assert message["To"] == "app@notify.example.com"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["In-Reply-To"] == "<m1@app>"
    assert not message.defects
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]


def blocks(report: bytes | None) -> list[EmailMessage]:
    status = list(parse(report).iter_parts())[1]
    return cast("list[EmailMessage]", status.get_payload())


def test_each_recipient_has_its_own_block() -> None:
    per_message, first, second, third = blocks(status_report(request(UNKNOWN, EXPIRED, LOCAL)))

    assert per_message["Reporting-MTA"] == "dns; out1.example.com"
    assert per_message["Arrival-Date"] == "Mon, 21 Sep 2026 11:26:40 +0000"
    assert first["Final-Recipient"] == "rfc822; b@isp.example"
    assert (first["Action"], first["Status"]) == ("failed", "5.1.1")
    assert first["Remote-MTA"] == "dns; mx1.isp.example"
    assert first["Diagnostic-Code"] == "smtp; 550 5.1.1 No such user"
    assert first["Last-Attempt-Date"] == "Mon, 21 Sep 2026 13:56:40 +0000"
    assert second["Status"] == "5.4.7"
    assert third["Remote-MTA"] is None
    assert third["Diagnostic-Code"].startswith("x-lanewright; 556")


def test_a_temporary_code_becomes_final_in_the_report() -> None:
    failed = ReportedRecipient("b@isp.example", Reply(451, ("4.3.2 Busy",)), "mx")

    assert blocks(status_report(request(failed)))[1]["Status"] == "5.3.2"


def test_only_the_header_is_returned() -> None:
    report = status_report(request(UNKNOWN))

    assert report is not None
    assert b"Subject: Hi" in report
    assert b"secret body" not in report


def test_the_text_says_what_happened_and_what_to_do() -> None:
    text = next(iter(parse(status_report(request(UNKNOWN, EXPIRED))).iter_parts())).get_content()

    assert "mx1.isp.example said: 550 5.1.1 No such user" in text
    assert "Check the address" in text
    assert "tried until its time was over" in text


def test_a_huge_header_is_returned_in_part() -> None:
    content = b"".join(b"X-%d: %b\r\n" % (number, b"y" * 900) for number in range(200)) + b"\r\nbody\r\n"
    report = status_report(request(UNKNOWN, content=content))

    assert report is not None
    assert len(report) < 70_000
    assert b"X-0: " in report


def test_addresses_beyond_ascii_make_it_a_global_report() -> None:
    failed = ReportedRecipient("jäne@isp.example", Reply(550, ("5.1.1 Nobody",)), "mx")
    message = parse(status_report(request(failed)))

    assert [part.get_content_type() for part in message.iter_parts()][1:] == [
        "message/global-delivery-status",
        "message/global-headers",
    ]
    assert "utf-8; jäne@isp.example".encode() in (status_report(request(failed)) or b"")


def test_a_report_about_addresses_beyond_ascii_has_a_header_that_every_host_takes() -> None:
    failed = ReportedRecipient("用户" * 20 + "@isp.example", Reply(550, ("5.1.1 Nobody",)), "mx")
    asked = msgspec.structs.replace(request(failed), message_id="<jäne@app.example>")
    report = status_report(asked) or b""
    head, _, _ = report.partition(b"\r\n\r\n")
    assert head.isascii()
    assert b"\r\nContent-Transfer-Encoding: 8bit" in head
    assert b"\r\nContent-Transfer-Encoding:" not in (status_report(request(UNKNOWN)) or b"").partition(b"\r\n\r\n")[0]
    assert max(map(len, head.split(b"\r\n"))) <= 78
    assert parse(report)["Subject"] == f"Mail to {failed.recipient} was not delivered"
    assert parse(report)["In-Reply-To"] is None


def test_an_original_recipient_in_octets_of_utf8_is_told_as_such_an_address() -> None:
    failed = ReportedRecipient("x@isp.example", Reply(550, ("5.1.1 no",)), orcpt="rfc822;j+C3+A4ne@isp.example")

    report = status_report(request(failed)) or b""

    assert "Original-Recipient: utf-8; jäne@isp.example".encode() in report
    assert b"message/global-delivery-status" in report


def test_a_report_about_a_report_keeps_its_parts_apart() -> None:
    inner = b'Content-Type: multipart/report;\r\n\tboundary="=_' + b"0f" * 12 + b'"\r\n\r\nx\r\n'
    message = parse(status_report(request(UNKNOWN, content=inner)))

    assert len(list(message.iter_parts())) == 3


LONGEST = 998  # octets before the CRLF: RFC 5322 section 2.1.1
ENDLESS = st.builds(lambda piece, times: piece * times, st.text(min_size=1, max_size=3), st.integers(1, 3000))


def longest_line(report: bytes | None) -> int:
    return max(map(len, (report or b"").split(b"\r\n")))


@given(ENDLESS, ENDLESS)
def test_no_line_of_a_report_is_longer_than_every_server_takes(words: str, name: str) -> None:
    failed = ReportedRecipient(f"{'x' * 64}@isp.example", Reply(550, (words, name)), "mx1.isp.example")

    assert longest_line(status_report(request(failed))) <= LONGEST


def test_a_reply_without_a_blank_is_cut_into_lines_and_read_back_whole() -> None:
    words = "".join(f"{number:04}" for number in range(240))
    report = status_report(request(ReportedRecipient("b@isp.example", Reply(550, (words,)), "mx1.isp.example")))

    assert longest_line(report) <= LONGEST
    assert words in blocks(report)[1]["Diagnostic-Code"].replace("\t", "").replace(" ", "")


def test_a_reply_that_goes_on_for_ever_is_repeated_in_part_for_each_of_many_recipients() -> None:
    reply = Reply(550, ("5.1.1 " + "no " * 10_000,))
    many = [ReportedRecipient(f"b{number}@isp.example", reply, "mx1.isp.example") for number in range(100)]
    report = status_report(request(*many))

    assert report is not None
    assert len(report) < 400_000
    assert b"no no no [...]" in report


def test_lines_of_the_message_that_are_too_long_are_cut_where_its_header_is_returned() -> None:
    content = b"Subject: " + b"s" * 2000 + b"\r\nMessage-ID: <m1@app>\r\n\r\nbody\r\n"
    long_id = msgspec.structs.replace(request(UNKNOWN, content=content), message_id=f"<{'i' * 996}>")

    assert longest_line(status_report(long_id)) <= LONGEST
    assert b"Message-ID: <m1@app>\r\n" in (status_report(long_id) or b"")


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=30))
def test_a_peers_words_cannot_break_the_report(text: str, more: str, recipient: str) -> None:
    failed = ReportedRecipient(recipient, Reply(550, (text, more)), "mx")
    report = status_report(request(failed))

    assert report is not None
    assert b"\r" not in report.replace(b"\r\n", b"")
    assert b"\n" not in report.replace(b"\r\n", b"")
    assert report.count(b"\r\n--=_") == 4
    assert len(list(parse(report).iter_parts())) == 3
