"""What accounting records come to: who came in, who went, and what can be said without all of them."""

from lane_relay.account.balance import balance_of
from lane_relay.spool.base import Balance


def _line(seq: int, kind: str, message: str = "m", recipient: str = '"a@one.example"') -> bytes:
    return b'{"seq":%d,"type":"%b","id":"%b","recipient":%b}' % (
        seq,
        kind.encode(),
        message.encode(),
        recipient.encode(),
    )


RECORDS = [
    _line(1, "Reception", "m1", '["a@one.example","b@one.example","c@one.example"]'),
    _line(2, "Reception", "m2"),
    _line(3, "Delivery", "m1"),
    _line(4, "TransientFailure", "m1"),
    b'{"seq":5,"type":"AdminAction","meta":{"action":"hold"}}',
    _line(6, "AdminAction", "m2"),
    b'{"seq":7,"type":"Rejection","recipient":["x@one.example","y@one.example"]}',
    _line(8, "OOB", "m1"),
    _line(9, "Bounce", "m1"),
]


def test_a_recipient_comes_with_a_reception_and_goes_with_one_final_record() -> None:
    assert balance_of(RECORDS, 0) == Balance(1, whole=True)
    for kind in ("Delivery", "Bounce", "Expiration", "Suppression", "HandOver", "AdminAction"):
        assert balance_of([*RECORDS, _line(10, kind, "m1")], 0) == Balance(0, whole=True)


def test_a_record_with_a_damaged_text_is_missing_and_ends_nothing() -> None:
    damaged = _line(10, "Delivery", "m1").replace(b"a@one", b"\xff@one")
    assert balance_of([*RECORDS, damaged], 0) == balance_of([*RECORDS, b"no record"], 0)
    assert not balance_of([*RECORDS, damaged], 0).whole


def test_only_records_after_the_number_count_also_those_of_messages_that_came_before() -> None:
    assert balance_of(RECORDS, 2) == Balance(-3, whole=True)
    assert balance_of(RECORDS, 9) == Balance(0, whole=True)


def test_without_all_records_only_messages_count_whose_reception_is_there() -> None:
    assert balance_of(RECORDS[1:], 0) == Balance(0, whole=False)
    assert balance_of([RECORDS[0], RECORDS[2]], 0) == Balance(2, whole=False)


def test_a_line_that_is_no_record_is_passed_over_and_missed() -> None:
    assert balance_of([RECORDS[0], b"\0\0\0", RECORDS[1]], 0) == Balance(4, whole=False)
