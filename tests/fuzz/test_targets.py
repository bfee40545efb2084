"""The short form of the campaign: every target from its seeds and from bytes near them, without coverage guidance."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.sessions import SmuggledError, judge_content
from tests.fuzz.seven_bit_mail import check_seven_bit, composed
from tests.fuzz.targets import SEEDS, TARGETS

_WORDS = (
    b"\r\n",
    b"\n",
    b"\r",
    b".",
    b"\r\n.\r\n",
    b"MAIL FROM:<a@x.example>",
    b"250 ",
    b"{{",
    b"}}",
    b"\xff",
    b"\0",
    b": ",
)


def near(seed: bytes, chance: random.Random) -> bytes:
    """The seed with some of it changed, cut out, doubled or put elsewhere."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randint(0, len(data)), chance.randint(0, 12)
        match chance.randint(0, 3):
            case 0:
                data[at:at] = chance.choice(_WORDS)
            case 1:
                del data[at : at + length]
            case 2:
                data[at:at] = data[at : at + length]
            case _ if at < len(data):
                data[at] = chance.randint(0, 255)
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_near_a_seed_raises_declared_errors_alone(name: str) -> None:
    chance = random.Random(name)
    for seed in SEEDS[name]:
        TARGETS[name](seed)
        for _ in range(150):
            TARGETS[name](near(seed, chance))


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_raise_declared_errors_alone(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_a_server_that_took_a_bare_line_end_would_be_found_out() -> None:
    """The seeded fault: what smuggling needs is no content that the target lets pass."""
    with pytest.raises(SmuggledError):
        judge_content(b"Subject: x\r\n\r\nhello\n.\r\nMAIL FROM:<evil@x.example>\r\n")


def test_a_7_bit_form_that_is_another_mail_would_be_found_out() -> None:
    content = b"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xc3\xa9\r\n--b--\r\n"
    assert check_seven_bit(content)
    with pytest.raises(AssertionError):
        check_seven_bit(content, lambda data, _pause: data.replace(b"\xc3\xa9", b"=C3=A9"))

    def endless(_data: bytes, pause: Callable[[], None]) -> None:
        for _ in range(1000):
            pause()

    with pytest.raises(AssertionError):
        check_seven_bit(content, endless)


def test_what_is_composed_is_changed_often_enough_to_tell() -> None:
    chance = random.Random(1)
    assert sum(check_seven_bit(composed(chance.randbytes(80))) for _ in range(500)) > 20
