"""What one release writes, the release before it reads, and the other way round: fields are only added at the end."""

from typing import Any

import msgspec
import pytest

from lane_relay.records import Envelope, Message
from lane_relay.spool.format import (
    DeferredIndex,
    FlagsIndex,
    Kind,
    MessageIndex,
    SettledIndex,
    accounting_records,
    decode_message,
    encode,
    encode_message_data,
    id_bytes,
    pack_index,
    parse_record,
    unpack_deferred,
    unpack_flags,
    unpack_message,
    unpack_settled,
)

ID = id_bytes(17)
FIRST_RELEASE: dict[str, tuple[Any, Any, list[Any], Any]] = {
    "message": (
        MessageIndex(ID, 9, (("a.test", (0, 1)),), "spring", "lane.example", 1.8e9),
        unpack_message,
        [ID, 9, [["a.test", [0, 1]]]],
        MessageIndex(ID, 9, (("a.test", (0, 1)),)),
    ),
    "settled": (
        SettledIndex(ID, 3, (0,), final=True),
        unpack_settled,
        [ID, 3, [0], True],
        SettledIndex(ID, 3, (0,), final=True),
    ),
    "deferred": (
        DeferredIndex(ID, 3, (0,), 1.8e9, 4, notified=True),
        unpack_deferred,
        [ID, 3, [0], 1.8e9, 4],
        DeferredIndex(ID, 3, (0,), 1.8e9, 4),
    ),
    "flags": (FlagsIndex({"intake": "Closed"}), unpack_flags, [{"intake": "Closed"}], FlagsIndex({"intake": "Closed"})),
}
"""What is written now, its reader, the fields of the first release, and what they mean now."""
FIRST_META = ["a@x.test", ["b@y.test"], True, False, "192.0.2.1", "app", "<1@x.test>", "order-1", "x.test"]


@pytest.mark.parametrize("what", FIRST_RELEASE)
def test_what_the_first_release_wrote_is_read(what: str) -> None:
    _, read, first, meant = FIRST_RELEASE[what]
    assert read(msgspec.msgpack.encode(first)) == meant


@pytest.mark.parametrize("what", FIRST_RELEASE)
def test_the_first_release_finds_its_own_fields_in_what_is_written_now(what: str) -> None:
    written, _, first, _ = FIRST_RELEASE[what]
    now: list[Any] = msgspec.msgpack.decode(pack_index(written))
    assert now[: len(first)] == first  # array_like readers take the fields they know and pass over the rest


@pytest.mark.parametrize("what", FIRST_RELEASE)
def test_fields_that_a_newer_release_adds_are_passed_over(what: str) -> None:
    written, read, _, _ = FIRST_RELEASE[what]
    newer = [*msgspec.msgpack.decode(pack_index(written)), "a field of tomorrow", [1, 2], None]
    assert read(msgspec.msgpack.encode(newer)) == written


def _read(meta: list[Any], index: bytes, body: bytes) -> Message | None:
    packed = msgspec.msgpack.encode(meta)
    data = (len(packed).to_bytes(4, "little") + packed, body)
    parts, length = encode(Kind.MESSAGE, index, b"", data, seq=1, count=0, at=0, commit_at=0, salt=5)
    record = parse_record(b"".join(parts), 0, 5)
    assert record is not None
    assert record.length == length
    assert list(accounting_records(record.accounting)) == []
    return decode_message(record)


@pytest.mark.parametrize("newer", [[], ["", 0.0, 0.0, "", "", [], "", 0.0, "a field of tomorrow", {"and": "another"}]])
def test_a_message_of_the_first_release_or_a_later_one_is_read(newer: list[Any]) -> None:
    index = msgspec.msgpack.encode([ID, 4, [["y.test", [0]]]])
    found = _read([*FIRST_META, *newer], index, b"body")
    assert found == Message(
        17,
        Envelope("a@x.test", ("b@y.test",), eight_bit=True),
        b"body",
        "192.0.2.1",
        "app",
        "<1@x.test>",
        "order-1",
        "x.test",
    )


def test_the_first_release_finds_its_own_fields_in_a_message_written_now() -> None:
    envelope = Envelope("a@x.test", ("b@y.test",), eight_bit=True, envid="Q", ret="FULL")
    now = Message(17, envelope, b"body", "192.0.2.1", "app", "<1@x.test>", "order-1", "x.test", "spring", 1.8e9)
    head, body = encode_message_data(now)
    meta: list[Any] = msgspec.msgpack.decode(head[4:])
    assert (meta[: len(FIRST_META)], body) == (FIRST_META, b"body")
