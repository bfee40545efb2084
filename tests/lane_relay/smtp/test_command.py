"""Arguments of MAIL and RCPT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.records import Notify, RecipientOptions, Reply
from lane_relay.smtp.command import (
    MailParameters,
    Path,
    parse_path,
    read_mail_parameters,
    read_recipient_parameters,
)


@pytest.mark.parametrize(
    ("argument", "path"),
    [
        ("FROM:<a@x.example>", Path("a@x.example", "")),
        ("from:<>", Path("", "")),
        ("FROM: <a@x.example> SIZE=1  BODY=7BIT ", Path("a@x.example", "SIZE=1  BODY=7BIT")),
        ("FROM:<@one.example,@two.example:a@x.example>", Path("a@x.example", "")),
        ('FROM:<"a>b c"@x.example>', Path('"a>b c"@x.example', "")),
        (r'FROM:<"a\"b"@x.example>', Path(r'"a\"b"@x.example', "")),
    ],
)
def test_a_path_is_read(argument: str, path: Path) -> None:
    assert parse_path("FROM", argument) == path


@pytest.mark.parametrize(
    "argument",
    ["", "a@x.example", "FROM:a@x.example", "FROM:<a@x.example", "FROM <a@x.example>", "TO:<a@x.example>",
     "FROM:<a@x.example>SIZE=1", "FROM:<a b@x.example>", "FROM:<<a@x.example>>", "FROM:\t<a@x.example>"],
)  # fmt: skip
def test_what_is_no_path_is_none(argument: str) -> None:
    assert parse_path("FROM", argument) is None


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("", MailParameters()),
        ("size=12 body=8bitmime smtputf8", MailParameters(12, eight_bit=True, smtp_utf8=True)),
        ("BODY=7BIT AUTH=<>", MailParameters()),
        ("ret=hdrs ENVID=QQ+2B314159", MailParameters(ret="HDRS", envid="QQ+2B314159")),
        ("RET=FULL", MailParameters(ret="FULL")),
        ("BY=120;R", MailParameters(by_time=120, by_mode="R")),
        ("by=-5;n", MailParameters(by_time=-5, by_mode="N")),
        ("BY=+0;N", MailParameters(by_time=0, by_mode="N")),
        ("AUTH=", "555 5.5.4 Parameter AUTH= is not supported"),
        ("SIZE=-1", "555 5.5.4 Parameter SIZE=-1 is not supported"),
        ("SIZE=" + "9" * 21, "555 5.5.4 Parameter SIZE=" + "9" * 21),
        ("BODY=BINARYMIME", "501 5.5.4 BODY is 7BIT or 8BITMIME: encode binary parts (base64)"),
        ("SMTPUTF8=yes", "555 5.5.4 Parameter SMTPUTF8=yes is not supported"),
        ("SMTPUTF8=", "555 5.5.4 Parameter SMTPUTF8= is not supported"),
        ("RET=ALL", "501 5.5.4 RET is FULL or HDRS"),
        ("RET=FULL RET=HDRS", "501 5.5.4 Each parameter may stand once"),
        ("SIZE=1 size=2", "501 5.5.4 Each parameter may stand once"),
        ("ENVID=", "501 5.5.4 ENVID is xtext"), ("ENVID=a+b", "501 5.5.4 ENVID is xtext"),
        ("ENVID=a+0D+0AX:y", "501 5.5.4 ENVID is xtext"), ("ENVID=" + "x" * 101, "501 5.5.4 ENVID is xtext"),
        ("ENVID=ä", "501 5.5.4 ENVID is xtext"),
        ("BY=0;R", "501 5.5.4 BY is seconds;R above 0, or seconds;N"), ("BY=-1;R", "501 5.5.4 BY is"),
        ("BY=60", "501 5.5.4 BY is"), ("BY=60;RT", "501 5.5.4 BY is"), ("BY=9999999999;N", "501 5.5.4 BY is"),
    ],
)  # fmt: skip
def test_parameters_of_mail_are_read_or_the_wrong_one_is_named(text: str, parameters: MailParameters | str) -> None:
    read = read_mail_parameters(text)

    if isinstance(parameters, MailParameters):
        assert read == parameters
    else:
        assert str(read).startswith(parameters)


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", RecipientOptions()),
        ("NOTIFY=NEVER", RecipientOptions(Notify.NEVER)),
        ("notify=success,Delay", RecipientOptions(Notify.SUCCESS | Notify.DELAY)),
        ("NOTIFY=FAILURE ORCPT=rfc822;Bob+2B1@isp.example",
         RecipientOptions(Notify.FAILURE, "rfc822;Bob+2B1@isp.example")),
        ("ORCPT=utf-8;bücher@isp.example", RecipientOptions(Notify.DEFAULT, "utf-8;bücher@isp.example")),
        ("ORCPT=rfc822;j+C3+BCrgen@isp.example",  # as Postfix 3.7 sends it
         RecipientOptions(Notify.DEFAULT, "rfc822;j+C3+BCrgen@isp.example")),
        ("ORCPT=rfc822;j+FCrgen@isp.example", "501 5.5.4 ORCPT is"),
        ("ORCPT=rfc822;j+C2+85@isp.example", "501 5.5.4 ORCPT is"),
        ("NOTIFY=NEVER,SUCCESS", "501 5.5.4 NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY"),
        ("NOTIFY=", "501 5.5.4 NOTIFY is"), ("NOTIFY=ALWAYS", "501 5.5.4 NOTIFY is"),
        ("NOTIFY=NEVER NOTIFY=DELAY", "501 5.5.4 Each parameter may stand once"),
        ("ORCPT=bob@isp.example", "501 5.5.4 ORCPT is a type, ; and xtext"), ("ORCPT=rfc822;", "501 5.5.4 ORCPT is"),
        ("ORCPT=rfc822;a+0Ab", "501 5.5.4 ORCPT is"), ("ORCPT=rfc822;bücher@x", "501 5.5.4 ORCPT is"),
        ("ORCPT=rfc822;" + "x" * 494, "501 5.5.4 ORCPT is"), ("ORCPT=;a@x", "501 5.5.4 ORCPT is"),
        ("SIZE=1", "555 5.5.4 Parameter SIZE=1 is not supported"),
    ],
)  # fmt: skip
def test_parameters_of_rcpt_are_read_or_the_wrong_one_is_named(text: str, options: RecipientOptions | str) -> None:
    read = read_recipient_parameters(text)

    if isinstance(options, RecipientOptions):
        assert read == options
    else:
        assert str(read).startswith(options)


@given(st.text("NOTIFYRETBY=;+0DA,ü ", max_size=40))
def test_no_parameters_make_reading_fail(text: str) -> None:
    assert isinstance(read_mail_parameters(text), MailParameters | Reply)
    assert isinstance(read_recipient_parameters(text), RecipientOptions | Reply)


@given(st.text('FROM:<>@,"\\ ab', max_size=40))
def test_no_argument_makes_parsing_fail_or_slow(argument: str) -> None:
    path = parse_path("FROM", argument)

    assert path is None or path.address in argument
