"""Tokens in return paths and links."""

from hypothesis import given
from hypothesis import strategies as st

from lane_relay.mail.token import SEVERAL, Token, TokenKind, address_digest, read_token, write_token
from lane_relay.smtp.address import Mailbox, parse_mailbox

KEY = b"k" * 32
TOKENS = st.builds(
    Token,
    st.sampled_from(TokenKind),
    st.integers(0, 2**96 - 1),
    st.integers(0, SEVERAL),
    st.binary(min_size=12, max_size=12),
    st.booleans(),
)


@given(TOKENS)
def test_what_is_written_is_read_again(token: Token) -> None:
    assert read_token(KEY, write_token(KEY, token)) == token


@given(TOKENS)
def test_a_return_path_is_a_mailbox_within_the_limits(token: Token) -> None:
    local = f"b-{write_token(KEY, token)}"
    assert len(local) <= 64
    assert parse_mailbox(f"{local}@b.example.com") == Mailbox(local, "b.example.com")


@given(TOKENS)
def test_case_makes_no_difference(token: Token) -> None:
    assert read_token(KEY, write_token(KEY, token).upper()) == token


@given(TOKENS, st.integers(0, 59), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_changed_character_makes_it_nobodys(token: Token, at: int, character: str) -> None:
    text = write_token(KEY, token)
    changed = text[:at] + character + text[at + 1 :]
    assert read_token(KEY, changed) == (token if changed == text else None)


@given(TOKENS)
def test_bits_that_its_last_character_has_to_spare_are_nobodys_to_set(token: Token) -> None:
    text = write_token(KEY, token)
    ends = "abcdefghijklmnopqrstuvwxyz234567"
    assert [end for end in ends if read_token(KEY, text[:-1] + end) is not None] == [text[-1]]


@given(TOKENS)
def test_another_key_does_not_read_it(token: Token) -> None:
    assert read_token(b"j" * 32, write_token(KEY, token)) is None


@given(st.text(max_size=80))
def test_any_other_text_is_nobodys(text: str) -> None:
    assert read_token(KEY, text) is None


def test_an_address_has_one_digest_whatever_its_case() -> None:
    assert address_digest(KEY, "Jo.Doe@Example.COM") == address_digest(KEY, "jo.doe@example.com")
    assert address_digest(KEY, "jo@bücher.example") == address_digest(KEY, "jo@xn--bcher-kva.example")
    assert address_digest(KEY, "jo@example.com") != address_digest(KEY, "jo@example.com", "shop.example")
    assert address_digest(KEY, "jo@example.com") != address_digest(b"j" * 32, "jo@example.com")


def test_only_a_token_of_one_recipient_names_one() -> None:
    assert not Token(TokenKind.BOUNCE, 1, SEVERAL).names_recipient
    assert Token(TokenKind.BOUNCE, 1, 0, address_digest(KEY, "jo@example.com")).names_recipient
