"""Keyed digests in the place of recipients: the same for the same address, nothing plain left, found with the key."""

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_api.relayconfig import Records
from lane_relay.audit.recipients import digest, hide, parse_key, read_key
from lane_relay.errors import ConfigError

KEY = b"0123456789abcdef"


def test_an_address_has_one_digest_whatever_its_case_and_keeps_its_domain() -> None:
    assert digest(KEY, "Ann@ISP.test") == digest(KEY, "ann@isp.test")
    assert digest(KEY, "ann@isp.test").endswith("@isp.test")
    assert digest(KEY, "ann@isp.test").startswith("h:")
    assert "ann" not in digest(KEY, "ann@isp.test")
    assert digest(KEY, "bob@isp.test") != digest(KEY, "ann@isp.test")
    assert digest(b"another key, too", "ann@isp.test") != digest(KEY, "ann@isp.test")


def test_a_digest_is_not_hashed_again() -> None:
    hashed = digest(KEY, "ann@isp.test")
    assert digest(KEY, hashed) == hashed
    assert digest(KEY, "") == ""


def test_replies_and_return_paths_do_not_give_the_address_away() -> None:
    hidden = hide(KEY, ("ann+x@isp.test",))
    said = hidden("5.1.1 <ANN+X@isp.test>: no such user; ann+x@isp.test, bounce-ann+x=isp.test@brand.test")
    assert "ann+x" not in said.lower()
    assert said.count(digest(KEY, "ann+x@isp.test")) == 2
    assert said.endswith("@brand.test")
    assert hide(KEY, ())("text") == "text"


def test_a_key_that_is_too_short_or_missing_names_the_fix(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="openssl rand -hex 32"):
        parse_key(b" short \n")
    hashed = Records(path="/r", recipients="Hashed", recipients_key_file=str(tmp_path / "key"))
    with pytest.raises(ConfigError, match=r"records\.recipientsKeyFile cannot be read"):
        read_key(hashed)
    (tmp_path / "key").write_bytes(KEY + b"\n")
    assert read_key(hashed) == KEY
    assert read_key(Records(path="/r")) is None
    with pytest.raises(ValueError, match="needs recipientsKeyFile"):
        Records(path="/r", recipients="Hashed")


@pytest.mark.parametrize("said", ["\u017fimon@isp.test", "S\u0131mon@isp.test", "s\u0130mon@ISP.test"])
def test_letters_that_only_a_search_takes_for_the_same_are_hidden_and_break_nothing(said: str) -> None:
    shown = hide(KEY, ("simon@isp.test",))(f"550 5.1.1 <{said}> is nobody")
    assert shown == f"550 5.1.1 <{digest(KEY, 'simon@isp.test')}> is nobody"


def test_many_recipients_are_hidden_in_the_time_of_the_text() -> None:
    many = tuple(f"s{number}@isp{number}.test" for number in range(1000))
    begun = time.thread_time()
    shown = hide(KEY, many)("SUCCESS,FAILURE,DELAY " * 1000 + many[999])
    assert time.thread_time() - begun < 1.0  # each beginning of each address at each place: 20 s, of the loop's
    assert shown.endswith(digest(KEY, many[999]))


@pytest.mark.parametrize("text", ["@" * 20_000, "s1=" * 7000, "s@isp.test" * 2000, "s" * 20_000])
def test_no_text_takes_long_to_be_looked_through(text: str) -> None:
    many = tuple(f"{'s' * (number % 60)}{number}@isp{'p' * (number % 50)}.test" for number in range(1000))
    begun = time.thread_time()
    assert len(hide(KEY, many)(text)) == len(text)
    assert time.thread_time() - begun < 1.0


def test_a_recipient_without_a_domain_is_hidden_where_it_is_no_part_of_another() -> None:
    shown = hide(KEY, ("postmaster", "postmaster@isp.test"))("Postmaster@isp.test, postmaster")
    assert shown == f"{digest(KEY, 'postmaster@isp.test')}, {digest(KEY, 'postmaster')}"


_ADDRESSES = st.lists(
    st.builds("{}@{}".format, st.text("ab.=@", min_size=1, max_size=4), st.text("ab.", min_size=1, max_size=3)),
    min_size=1,
    max_size=6,
)


@given(_ADDRESSES, st.text("abAB.=@< ", max_size=30))
def test_no_address_is_left_in_any_text(addresses: list[str], around: str) -> None:
    for address in addresses:
        shown = hide(KEY, tuple(addresses))(f"{around} <{address}> {around}")
        assert f"<{address}>" not in shown
        assert re.sub("h:[0-9a-f]{32}", "", shown).lower().find(f"<{address}") < 0
