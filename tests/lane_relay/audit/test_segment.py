"""What a head says of a segment is what its bytes are, however they are read."""

import hashlib

import pytest

from lane_relay.audit.segment import BLOCK_BYTES, Index, Summary, load_index, summarise


def _summary(content: bytes, first_seq: int = 1, piece: int = BLOCK_BYTES) -> Summary:
    return summarise(lambda at, most: content[at : at + min(most, piece)], first_seq)


def _line(seq: int, size: int = 20) -> bytes:
    return b'{"seq":%d,"id":"%024x","pad":"%b"}\n' % (seq, seq, b"x" * size)


@pytest.mark.parametrize("piece", [7, 100, 1000, BLOCK_BYTES])
def test_digest_size_and_numbers_are_those_of_the_bytes_whatever_is_read_at_once(piece: int) -> None:
    content = b"".join(map(_line, range(5, 60)))
    said = _summary(content, 5, piece)
    assert (said.sha256, said.size, said.last_seq, said.gaps) == (
        hashlib.sha256(content).hexdigest(),
        len(content),
        59,
        (),
    )
    assert all(said.index.may_hold(f"{seq:024x}") for seq in range(5, 60))


@pytest.mark.parametrize(
    ("numbers", "gaps"),
    [
        ([1, 2, 3], ()),
        ([2, 3], ((1, 1),)),
        ([1, 2, 6, 7, 9], ((3, 5), (8, 8))),
        ([], ()),
    ],
)
def test_numbers_that_are_missing_are_named(numbers: list[int], gaps: tuple[tuple[int, int], ...]) -> None:
    content = b"".join(map(_line, numbers))
    for piece in (10, 64, BLOCK_BYTES):
        assert _summary(content, piece=piece).gaps == gaps


def test_a_line_that_is_none_hides_no_other() -> None:
    said = _summary(_line(1) + b"\x00\xff\n" + _line(2) + _line(4) + b'{"seq":5,')
    assert said.last_seq == 5
    assert said.gaps == ((3, 3),)


@pytest.mark.parametrize(
    ("sound", "damaged"),
    [
        (b"id", b"\x00d"),
        (b'"id":"', b'"id":"\xff'),
        (b'"id":"', b'"id":"\xed\xa0\x80'),
        (b'"id":', b'"id":' + b"[" * 9999),
    ],
    ids=["name", "text", "half a character", "depth"],
)
def test_a_damaged_line_takes_no_other_out_of_the_index(sound: bytes, damaged: bytes) -> None:
    said = _summary(_line(1) + _line(2).replace(sound, damaged) + _line(3))
    assert [said.index.may_hold(f"{seq:024x}") for seq in (1, 3)] == [True, True]
    assert said.gaps == ()


@pytest.mark.parametrize("digits", [17, 19, 20, 5000])
def test_a_number_that_no_record_has_is_damage(digits: int) -> None:
    said = _summary(_line(1) + _line(2).replace(b":2,", b":" + b"9" * digits + b",") + _line(3))
    assert (said.last_seq, said.gaps) == (3, ((2, 2),))
    assert [said.index.may_hold(f"{seq:024x}") for seq in (1, 3)] == [True, True]


def test_an_index_is_read_back_only_as_it_was_made() -> None:
    index: Index = _summary(b"".join(_line(seq, 3000) for seq in range(1, 600))).index
    assert load_index(index.encode(), index.sha256) == index
    assert len(index.places) > 2
    assert load_index(index.encode()[:-1], index.sha256) is None
    assert load_index(Index(b"", index.places).encode(), index.sha256) is None
    assert load_index(index.encode(), "") is None


@pytest.mark.parametrize("content", [b"", b"\x80", Index(b"abc", ()).encode()])
def test_what_is_no_index_is_none_whatever_its_digest(content: bytes) -> None:
    assert load_index(content, hashlib.sha256(content).hexdigest()) is None
