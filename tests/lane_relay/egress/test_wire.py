"""The reflector protocol: what is believed, and what is not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lane_relay.egress import wire

KEY = b"0123456789abcdef0123456789abcdef"
NONCE = bytes(range(16))


def test_an_answer_to_our_nonce_under_our_key_is_believed() -> None:
    line = wire.answer(KEY, NONCE, "203.0.113.10", 40112, 1764000000.1234)
    assert wire.parse_answer(line, KEY, NONCE) == wire.Sighting("203.0.113.10", 40112, 1764000000.123)


def test_an_answer_under_another_key_is_not_believed() -> None:
    said = wire.parse_answer(wire.answer(b"x" * 16, NONCE, "203.0.113.10", 1, 1.5), KEY, NONCE)
    assert isinstance(said, wire.BadAnswer)
    assert "same key" in said.reason


def test_a_recorded_answer_to_an_older_nonce_is_not_believed() -> None:
    old = wire.answer(KEY, bytes(16), "203.0.113.10", 1, 1.5)
    assert isinstance(wire.parse_answer(old, KEY, NONCE), wire.BadAnswer)


@pytest.mark.parametrize("field", ["address", "port", "at"])
def test_no_field_of_an_answer_can_be_changed_on_the_way(field: str) -> None:
    said = json.loads(wire.answer(KEY, NONCE, "203.0.113.10", 40112, 1764000000.5))
    said[field] = {"address": "203.0.113.11", "port": 40113, "at": 1764000001.5}[field]
    assert isinstance(wire.parse_answer(json.dumps(said).encode(), KEY, NONCE), wire.BadAnswer)


def test_ipv4_seen_by_a_socket_of_both_families_is_ipv4() -> None:
    said = wire.parse_answer(wire.answer(KEY, NONCE, "::ffff:203.0.113.10", 1, 1.5), KEY, NONCE)
    assert isinstance(said, wire.Sighting)
    assert said.address == "203.0.113.10"


def test_a_request_carries_its_nonce_within_the_limit() -> None:
    line = wire.request(NONCE)
    assert len(line) <= wire.REQUEST_LIMIT
    assert wire.parse_request(line.removesuffix(b"\r\n")) == NONCE


@pytest.mark.parametrize(
    "line", [b"", b"EHLO x", b"LANE-REFLECT/2 " + NONCE.hex().encode(), b"LANE-REFLECT/1 00", b"GET / HTTP/1.1"]
)
def test_anything_but_a_request_of_this_version_is_none(line: bytes) -> None:
    assert wire.parse_request(line) is None


@given(st.binary(max_size=600))
def test_no_octets_make_the_answer_parser_fail(noise: bytes) -> None:
    assert isinstance(wire.parse_answer(noise, KEY, NONCE), wire.BadAnswer)


@pytest.mark.parametrize("field", ["address", "mac"])
def test_half_a_character_in_an_answer_is_no_answer(field: str) -> None:
    said = json.loads(wire.answer(KEY, NONCE, "203.0.113.10", 40112, 1764000000.5)) | {field: "\ud800"}
    assert isinstance(wire.parse_answer(json.dumps(said).encode(), KEY, NONCE), wire.BadAnswer)


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_a_line_never_grows_beyond_its_limit(parts: list[bytes]) -> None:
    buffer = wire.LineBuffer(64)
    for part in parts:
        line = buffer.feed(part)
        if line is not None or buffer.overflow:
            break
    else:
        assert b"\n" not in b"".join(parts)[:64]
        return
    assert line is None or (len(line) < 64 and b"\n" not in line)


def test_a_line_is_found_at_every_split() -> None:
    whole = wire.request(NONCE)
    for cut in range(len(whole)):
        buffer = wire.LineBuffer(wire.REQUEST_LIMIT)
        assert buffer.feed(whole[:cut]) is None
        assert buffer.feed(whole[cut:]) == whole.removesuffix(b"\r\n")


def test_a_key_that_is_too_short_is_refused() -> None:
    assert wire.parse_key(KEY + b"\n") == KEY
    with pytest.raises(ValueError, match="at least 16"):
        wire.parse_key(b"short\n")
