"""The reports a sender gets, read back by two parsers that are not ours: the standard library's and flufl.bounce's."""

from email import message_from_bytes, policy
from email.message import EmailMessage, Message
from typing import Any

import pytest
from flufl.bounce import all_failures
from msgspec.structs import replace

from lane_relay.account.reports import compose
from lane_relay.account.settle import Outcome, OutcomeOf
from lane_relay.guard import CONTAINED
from lane_relay.mail.dsn import News
from lane_relay.records import Attempt, RecipientOptions, Reply
from lane_relay.records import Message as Ours
from tests.lane_relay.account.attempts import BOUNCE, NOW, OK, RETRY, attempt, entry_of, message

UTF8 = "jäne@bücher.example"
KINDS = {
    News.FAILED: (BOUNCE, Outcome.BOUNCED, "5.1.1"),
    News.DELAYED: (RETRY, Outcome.DEFERRED, "4.3.0"),
    News.RELAYED: (OK, Outcome.DELIVERED, "2.0.0"),
    News.UNKNOWN: (RETRY, Outcome.DEFERRED, "4.3.0"),
}


ACTIONS = {News.FAILED: "failed", News.DELAYED: "delayed", News.RELAYED: "relayed", News.UNKNOWN: "delayed"}


def _about(news: News, *recipients: str, ret: str = "", of: Ours | None = None) -> Ours:
    result, outcome, _ = KINDS[news]
    of = of or message(len(recipients))
    options = tuple(RecipientOptions(orcpt=f"rfc822;first+2B{number}@x.test") for number in range(len(recipients)))
    envelope = replace(of.envelope, recipients=recipients, envid="order+2017", ret=ret, options=options)
    made = attempt(*[result] * len(recipients), of=replace(of, envelope=envelope))
    return _composed(made, outcome, news)


def _composed(made: Attempt, outcome: Outcome, news: News) -> Ours:
    outcomes = tuple(OutcomeOf(result, outcome) for result in made.results)
    about = tuple(result.index for result in made.results)
    until = NOW + 3600.0
    return compose(made, outcomes, about, news, report_id=7, hostname="out1.lane.example", now=NOW, retry_until=until)


def _blocks(report: Ours) -> list[Message]:
    parsed: Any = message_from_bytes(report.body, policy=policy.SMTPUTF8)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    _, status, _ = parsed.iter_parts()
    return list(status.get_payload())


@pytest.mark.parametrize("news", News)
def test_both_parsers_agree_on_whom_a_report_is_about_and_how_it_ended(news: News) -> None:
    report = _about(news, "ann@example.com", "bob@example.com")

    whole, *recipients = _blocks(report)
    assert whole["Original-Envelope-Id"] == "order 17"
    assert [block["Final-Recipient"] for block in recipients] == ["rfc822; ann@example.com", "rfc822; bob@example.com"]
    assert [block["Original-Recipient"] for block in recipients] == [
        "rfc822; first+0@x.test",
        "rfc822; first+1@x.test",
    ]
    assert {(block["Action"], block["Status"]) for block in recipients} == {(ACTIONS[news], KINDS[news][2])}
    assert (recipients[0]["Will-Retry-Until"] is not None) == (news is News.DELAYED)

    temporary, permanent = all_failures(message_from_bytes(report.body))
    both = {b"first+0@x.test", b"first+1@x.test"}  # it goes by what the sender knew the recipient as
    assert set(temporary) == (both if news in (News.DELAYED, News.UNKNOWN) else set())
    assert set(permanent) == (both if news is News.FAILED else set())


def test_a_report_of_our_own_words_names_no_host_that_said_them() -> None:
    unanswered = replace(BOUNCE, reply=Reply(421, ("4.4.2 mx1: did not answer in time",)), own_words=True)
    for result, remote, source in ((unanswered, None, "x-lanewright"), (BOUNCE, "dns; mx1.example.com", "smtp")):
        report = _composed(attempt(result), Outcome.BOUNCED, News.FAILED)
        _, told = _blocks(report)
        assert (told["Remote-MTA"], told["Diagnostic-Code"].partition(";")[0]) == (remote, source)
        assert (b"The reason: " in report.body, b" said: " in report.body) == (remote is None, remote is not None)


def test_a_report_about_an_address_beyond_ascii_is_a_global_one_that_hosts_without_smtputf8_take() -> None:
    report = _about(News.FAILED, UTF8)
    assert (report.envelope.eight_bit, report.envelope.smtp_utf8) == (True, False)
    assert f"\r\nFinal-Recipient: utf-8; {UTF8}\r\n".encode() in report.body
    assert b"Content-Type: message/global-delivery-status\r\n" in report.body


def test_a_report_of_failure_returns_the_whole_message_where_that_was_asked_for() -> None:
    assert b"\r\n\r\nbody\r\n" in _about(News.FAILED, "ann@example.com", ret="FULL").body
    assert b"\r\n\r\nbody\r\n" not in _about(News.FAILED, "ann@example.com", ret="HDRS").body
    assert b"\r\n\r\nbody\r\n" not in _about(News.DELAYED, "ann@example.com", ret="FULL").body


def test_a_long_message_is_never_returned_whole() -> None:
    long = replace(message(), body=message().body + b"x" * 78 * 1024)
    report = _about(News.FAILED, "ann@example.com", ret="FULL", of=long)
    assert len(report.body) < 4096
    assert b"Content-Type: text/rfc822-headers\r\n" in report.body
    assert b"The header of your message is attached" in report.body


def test_a_returned_message_cannot_end_its_part() -> None:
    of = replace(message(1), body=b"Subject: x\r\n\r\n--=_000000000000000000000007--\r\n")
    parsed = message_from_bytes(_about(News.FAILED, "ann@example.com", ret="FULL", of=of).body)
    assert len(parsed.get_payload()) == 3


def test_a_report_about_what_was_never_attempted_has_no_time_of_an_attempt() -> None:
    made = attempt(replace(BOUNCE, reply=Reply(550, ("5.7.1 suppressed",))), of=message(1))
    report = _composed(replace(made, started_at=0.0, peer=None), Outcome.SUPPRESSED, News.FAILED)
    block = _blocks(report)[1]
    assert (block["Status"], block["Last-Attempt-Date"], block["Remote-MTA"]) == ("5.7.1", None, None)


def test_a_report_is_from_nobody_to_the_sender_and_signed_by_the_messages_domain() -> None:
    report = _about(News.RELAYED, "ann@example.com")
    assert (report.envelope.sender, report.envelope.recipients) == ("", ("app@lane.example",))
    assert report.from_domain == "lane.example"


def test_a_report_that_others_words_break_goes_out_without_them() -> None:
    bodiless: Any = None  # a fault on purpose
    made = attempt(BOUNCE, of=replace(message(1), body=bodiless), entry=entry_of(message(1)))
    before = CONTAINED["reports"]

    report = _composed(made, Outcome.BOUNCED, News.FAILED)

    assert CONTAINED["reports"] == before + 1
    assert b"user0@example.com" in report.body
    assert b"550" in report.body
