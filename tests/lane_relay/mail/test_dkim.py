"""The signer against dkimpy, which is its independent oracle."""

import re
import time
from collections.abc import Callable

import dkim
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lane_relay.errors import ConfigError
from lane_relay.mail.dkim import DkimKey, canonical_body, canonical_value, cover, generate_ed25519_key, generate_key
from lane_relay.mail.dkim_check import fields_named, signature_problem
from lane_relay.smtp.data import stuff

PEM = generate_key()
KEY = DkimKey.load(PEM)
NOW = 1_790_000_000.0


def sign(content: bytes) -> bytes:
    return KEY.sign(cover(content), domain="notify.example.com", selector="s2026a", now=NOW) + content


def verifies(message: bytes) -> bool:
    def txt(name: bytes, timeout: int = 5) -> bytes | None:
        return KEY.public_record().encode() if name == b"s2026a._domainkey.notify.example.com." else None

    return bool(dkim.verify(message, dnsfunc=txt))


@pytest.fixture(autouse=True)
def oracle_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dkim.time.time", lambda: NOW + 60)


FIXTURES = {
    "plain": b"From: a@notify.example.com\r\nTo: b@example.net\r\nSubject: Hi\r\n\r\nHello\r\n",
    "empty body": b"From: a@notify.example.com\r\nSubject: Hi\r\n\r\n",
    "no blank line": b"From: a@notify.example.com\r\nSubject: Hi\r\n",
    "only empty lines": b"From: a@notify.example.com\r\n\r\n\r\n\r\n\r\n",
    "trailing empty lines": b"From: a@notify.example.com\r\n\r\ntext\r\n\r\n \t \r\n\r\n",
    "tabs and runs": b"From: a@notify.example.com\r\n\r\na\t\tb   c \t\r\n  d\r\n",
    "folded fields": b"From: A\r\n\t<a@notify.example.com>\r\nSubject: one\r\n  two\r\n\tthree \r\n\r\nx\r\n",
    "duplicates": b"From: a@notify.example.com\r\nTo: b@x.example\r\n"
    b"To: c@x.example\r\nSubject: 1\r\nSubject: 2\r\n\r\nx\r\n",
    "odd spelling": b"FROM:  a@notify.example.com\r\nsUbJeCt:x\r\nMIME-version: 1.0\r\n\r\nx\r\n",
    "utf-8": "From: Käthe <a@notify.example.com>\r\nSubject: grüße\r\n\r\nü\r\n".encode(),
    "list fields": b"From: a@notify.example.com\r\nList-Unsubscribe: <https://u.example/x>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Feedback-ID: a:b:c:d\r\nCFBL-Address: f@x; report=arf\r\n\r\nx\r\n",
    **{
        f"{where} a value: {blank!a}": f"From: a@notify.example.com\r\nSubject: {subject}\r\n\r\nx\r\n".encode()
        for blank in ("\u00a0", "\u0085", "\u3000", "\u2028", "\u1680")
        for where, subject in (("before", f"{blank}x"), ("behind", f"x{blank}"), ("alone in", blank))
    },
    "unsigned fields": b"Received: from x\r\nReturn-Path: <x@y>\r\nFrom: a@notify.example.com\r\nX-Y: z\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_oracle_verifies_the_signature(name: str) -> None:
    assert verifies(sign(FIXTURES[name]))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"Hello\r\n", b"Hellp\r\n"),
        (b"Subject: Hi", b"Subject: Ho"),
        (b"From: a@", b"From: c@"),
    ],
)
def test_the_oracle_notices_a_change(before: bytes, after: bytes) -> None:
    signed = sign(FIXTURES["plain"])

    assert before in signed
    assert not verifies(signed.replace(before, after))


def test_a_second_from_added_on_the_way_breaks_the_signature() -> None:
    assert not verifies(b"From: evil@example.org\r\n" + sign(FIXTURES["plain"]))


_words = st.text("ab \t.=:üX", max_size=12).map(str.encode)
_values = st.lists(_words.filter(lambda word: bool(word.strip())), min_size=1, max_size=3).map(b"\r\n\t".join)
_names = st.sampled_from(
    [b"To", b"CC", b"subject", b"Date", b"Message-ID", b"List-Id", b"X-Other", b"Reply-To", b"References"]
)
_fields = st.lists(st.tuples(_names, _values).map(lambda field: field[0] + b": " + field[1] + b"\r\n"), max_size=8)
_bodies = st.lists(_words, max_size=8).map(b"\r\n".join) | st.just(b"")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=_fields, after=_fields, body=_bodies, ends=st.booleans())
def test_the_oracle_verifies_whatever_message_is_signed(
    before: list[bytes], after: list[bytes], body: bytes, ends: bool
) -> None:
    head = b"".join([*before, b"From: a@notify.example.com\r\n", *after])

    signed = sign(head + b"\r\n" + body + (b"\r\n" if ends else b""))

    assert verifies(b"".join(stuff([signed])).removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n."))  # as a peer gets it


@given(st.lists(_words, max_size=12).map(b"\r\n".join))
def test_the_fast_body_equals_the_rules_of_the_rfc_line_by_line(body: bytes) -> None:
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()

    assert canonical_body(body) == b"".join(line + b"\r\n" for line in lines)


def test_a_relaxed_value_is_unfolded_and_trimmed() -> None:
    assert canonical_value(b" A\t\r\n\t B  ") == b"A B"


def test_from_is_listed_once_more_than_it_is_present() -> None:
    signed = sign(FIXTURES["plain"])
    names = re.search(rb"h=([^;]*);", signed)

    assert names is not None
    assert re.sub(rb"\s", b"", names[1]).split(b":").count(b"from") == 2


def test_the_signature_says_when_it_was_made_and_when_it_ends() -> None:
    assert b"t=1790000000; x=1790604800;" in sign(FIXTURES["plain"])


def test_lines_of_the_field_stay_short() -> None:
    many = b"".join(b"%b: x\r\n" % name for name in (b"To", b"Cc", b"Subject", b"Date") for _ in range(20))
    signed = sign(b"From: a@notify.example.com\r\n" + many + b"\r\nx\r\n")

    assert max(map(len, signed.split(b"\r\n"))) < 100


def test_the_record_is_what_dns_publishes() -> None:
    record = KEY.public_record()

    assert record.startswith("v=DKIM1; k=rsa; p=MII")
    assert len(record.partition("p=")[2]) == 392  # a 2048-bit key


@pytest.mark.parametrize("pem", [b"", b"nonsense", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_a_config_error(pem: bytes) -> None:
    with pytest.raises(ConfigError, match="DKIM key"):
        DkimKey.load(pem)


def test_a_short_or_foreign_key_is_a_config_error() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    with pytest.raises(ConfigError, match="RSA"):
        DkimKey.load(pem)


@pytest.mark.parametrize("name", FIXTURES)
def test_the_oracle_verifies_an_ed25519_signature(name: str) -> None:
    key = DkimKey.load(generate_ed25519_key())
    signed = key.sign(cover(FIXTURES[name]), domain="notify.example.com", selector="e", now=NOW) + FIXTURES[name]

    assert dkim.verify(signed, dnsfunc=lambda name, timeout=5: key.public_record().encode())
    assert len(key.public_half()) == 44  # 32 octets (RFC 8463 section 4.2)


@pytest.mark.parametrize("name", FIXTURES)
@pytest.mark.parametrize("make", [generate_key, generate_ed25519_key])
def test_our_own_check_agrees_with_the_oracle(name: str, make: Callable[[], bytes]) -> None:
    key = DkimKey.load(make())
    content = FIXTURES[name]
    signed = key.sign(cover(content), domain="notify.example.com", selector="s", now=NOW) + content

    assert signature_problem(signed, key.public_record()) == ""
    assert "does not verify" in signature_problem(signed.replace(b"@notify", b"@notifx"), key.public_record())
    assert signature_problem(signed, DkimKey.load(make()).public_record()) != ""


def test_a_tag_with_a_blank_that_is_none_of_the_rfcs_is_no_tag() -> None:
    assert "list of tags" in signature_problem(sign(FIXTURES["plain"]), KEY.public_record().replace("k=", "\u00a0k="))


def test_a_field_whose_name_ends_in_such_a_blank_is_another_field() -> None:
    assert fields_named("From\u00a0: a@x.example\r\nfrom \t: b@x.example\r\n\r\n".encode(), "from") == [" b@x.example"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("v=DKIM1; ", "v=DKIM2; "), "v="),
        (("k=rsa; ", "k=ed25519; "), "is no key for"),
        (("k=rsa; ", "k=rsa; h=sha1; "), "remove h="),
        (("k=rsa; ", "k=rsa; s=tlsrpt; "), "remove s="),
        (("k=rsa; ", "k=rsa; k=rsa; "), "twice"),
        (("k=rsa; ", "k rsa; "), "list of tags"),
        (("p=MII", "p=!II"), "no rsa key"),
    ],
)
def test_our_own_check_says_what_is_wrong_with_a_record(change: tuple[str, str], problem: str) -> None:
    assert problem in signature_problem(sign(FIXTURES["plain"]), KEY.public_record().replace(*change))


def test_a_field_of_very_many_lines_is_signed_and_verifies() -> None:
    lines = b" and so on\r\n" * 20_000
    assert verifies(sign(b"From: a@notify.example.com\r\nSubject: x\r\n" + lines + b"\r\nHello\r\n"))


def test_the_time_to_sign_grows_with_the_lines_of_a_field_and_not_with_their_square() -> None:
    begun = time.thread_time()
    cover(b"From: a@notify.example.com\r\nSubject: x\r\n" + b" y\r\n" * 500_000 + b"\r\nHello\r\n")
    assert time.thread_time() - begun < 10.0  # with the square of them: minutes
