"""Keyed digests in the place of recipients: the same for the same address, nothing plain left, found with the key."""

from pathlib import Path

import pytest

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
