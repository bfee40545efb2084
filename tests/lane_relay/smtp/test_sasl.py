"""SASL exchanges from the receiving end."""

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.records import Reply
from lane_relay.smtp.sasl import Challenge, Credentials, begin_sasl

_texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@given(_texts, _texts)
def test_plain_and_login_agree(username: str, password: str) -> None:
    plain, login = begin_sasl("plain"), begin_sasl("LOGIN")
    assert plain is not None
    assert login is not None

    assert plain.answer(b64encode(f"\0{username}\0{password}".encode()).decode()) == Credentials(username, password)
    assert isinstance(login.answer(b64encode(username.encode()).decode() or "="), Challenge)
    assert login.answer(b64encode(password.encode()).decode() or "=") == Credentials(username, password)


def test_other_mechanisms_are_not_offered() -> None:
    assert begin_sasl("CRAM-MD5") is None


def test_nobody_acts_for_somebody_else() -> None:
    plain = begin_sasl("PLAIN")
    assert plain is not None

    assert plain.answer(b64encode(b"boss\0app\0secret").decode()) == Reply(535, ("5.7.8 Credentials malformed",))


@given(st.text(max_size=30))
def test_no_answer_makes_the_exchange_fail(line: str) -> None:
    for mechanism in ("PLAIN", "LOGIN"):
        exchange = begin_sasl(mechanism)
        assert exchange is not None
        assert isinstance(exchange.answer(line), Challenge | Credentials | Reply)
