"""Arguments of MAIL and RCPT."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.smtp.command import MailParameters, Path, parse_path, read_parameters


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
        ("AUTH=", "AUTH="),
        ("SIZE=-1", "SIZE=-1"),
        ("SIZE=" + "9" * 21, "SIZE=" + "9" * 21),
        ("SIZE=1 ENVID=x", "ENVID=x"),
        ("BODY=BINARYMIME", "BODY=BINARYMIME"),
        ("SMTPUTF8=yes", "SMTPUTF8=yes"),
    ],
)
def test_parameters_are_read_or_the_wrong_one_is_named(text: str, parameters: MailParameters | str) -> None:
    assert read_parameters(text) == parameters


@given(st.text('FROM:<>@,"\\ ab', max_size=40))
def test_no_argument_makes_parsing_fail_or_slow(argument: str) -> None:
    path = parse_path("FROM", argument)

    assert path is None or path.address in argument
