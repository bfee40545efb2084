"""Mailboxes as RFC 5321 section 4.1.2 and RFC 6531 write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.smtp.address import BadAddress, Mailbox, normalise_domain, parse_mailbox


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("user@example.com", Mailbox("user", "example.com")),
        ("User.Name+tag@EXAMPLE.Com", Mailbox("User.Name+tag", "example.com")),
        ("a!#$%&'*/=?^_`{|}~-@x.example", Mailbox("a!#$%&'*/=?^_`{|}~-", "x.example")),
        ('"needless"@x.example', Mailbox("needless", "x.example")),
        ('"two words"@x.example', Mailbox('"two words"', "x.example")),
        ('"a@b"@x.example', Mailbox('"a@b"', "x.example")),
        (r'"a\"b\\"@x.example', Mailbox(r'"a\"b\\"', "x.example")),
        (r'"a\b c"@x.example', Mailbox('"ab c"', "x.example")),
        ('""@x.example', Mailbox('""', "x.example")),
        ("käthe@x.example", Mailbox("käthe", "x.example")),
        ("u@bücher.example", Mailbox("u", "xn--bcher-kva.example")),
        ("u@BÜCHER.example", Mailbox("u", "xn--bcher-kva.example")),
        ("u@localhost", Mailbox("u", "localhost")),
    ],
)
def test_a_mailbox_is_normalised(text: str, mailbox: Mailbox) -> None:
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    ("text", "about_domain"),
    [
        ("", False), ("user", False), ("@example.com", False), ("user@", True), ("user@[192.0.2.1]", True),
        ("user@[IPv6:2001:db8::1]", True), ("user@192.0.2.1", True), ("user@example..com", True),
        ("user@-example.com", True), ("user@example.com.", True), ("user@exa_mple.com", True),
        ("a b@example.com", False), (".a@example.com", False), ("a..b@example.com", False),
        ("a\r\nb@example.com", False),
        ('"a\r\nb"@example.com', False), ('"a"b"@example.com', False), ("a\x00@example.com", False),
        ("u@exa\nmple.com", True), ("x" * 65 + "@example.com", False), ("u@" + "x" * 64 + ".example", True),
        ("ü" * 33 + "@example.com", False), ("u@" + ".".join(["x" * 60] * 5), True),
        ("x" * 60 + "@" + ".".join(["x" * 60] * 4), False), ("u@xn--\u200d.example", True),
    ],
)  # fmt: skip
def test_what_is_no_mailbox_is_a_value_that_says_which_part(text: str, about_domain: bool) -> None:
    bad = parse_mailbox(text)

    assert isinstance(bad, BadAddress)
    assert bad.about_domain is about_domain
    assert bad.reason


@given(st.text(max_size=80))
def test_no_text_makes_parsing_fail(text: str) -> None:
    parsed = parse_mailbox(text)

    if isinstance(parsed, Mailbox):
        assert parse_mailbox(str(parsed)) == parsed
        assert str(parsed).isprintable()


_printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)


@given(_printable)
def test_any_local_part_can_be_written_with_quotes_and_read_again(local: str) -> None:
    escaped = local.replace("\\", "\\\\").replace('"', '\\"')
    parsed = parse_mailbox(f'"{escaped}"@x.example')

    assert isinstance(parsed, Mailbox)
    assert parse_mailbox(str(parsed)) == parsed


def test_a_normalised_domain_stays_as_it_is() -> None:
    assert normalise_domain(normalise_domain("Bücher.Example")) == "xn--bcher-kva.example"
