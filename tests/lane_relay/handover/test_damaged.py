"""What a disk or a sibling damaged is told as such: no octet of it breaks who reads it."""

from pathlib import Path

import pytest

from lane_relay.handover.book import Book
from lane_relay.handover.carriage import NotNowError
from lane_relay.handover.carrier import _answer
from lane_relay.handover.consignment import decode

DAMAGED = [b"{", b'{"reason":"\xff","to":"\xff"}', b'{"x":' + b"[" * 99_999]


@pytest.mark.parametrize("content", DAMAGED, ids=["form", "text", "depth"])
def test_a_transfer_that_cannot_be_read_says_where_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"given-{1:032x}.json").write_bytes(content)
    with pytest.raises(OSError, match=f"given-{1:032x}.json is damaged"):
        Book(tmp_path)


@pytest.mark.parametrize("content", DAMAGED, ids=["form", "text", "depth"])
def test_an_answer_that_cannot_be_read_is_none(content: bytes) -> None:
    with pytest.raises(NotNowError, match="the answer is none"):
        _answer(200, content, refusal_is_final=True)


@pytest.mark.parametrize("content", [b"\x82", b"\x81\xa5giver\xa1\xff", b"\x81\xa1x" + b"\x91" * 99_999])
def test_what_is_no_consignment_is_said_to_be_none(content: bytes) -> None:
    assert str(decode(content)).startswith("not a consignment")
