"""The arithmetic of lost, duplicated, wrong address and latency; each zero has a fault that makes it non-zero."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from e2e.internet.records import Connection, Message
from e2e.load.ledger import Entry, Kill, compare, latency, percentile

OTP_IP, BULK_IP = "203.0.113.10", "203.0.113.20"
OWN = {"otp": frozenset({OTP_IP}), "bulk": frozenset({BULK_IP})}


def entry(number: int, stream: str = "otp", **more: Any) -> Entry:
    values: dict[str, Any] = {
        "stream": stream, "message_id": f"<{stream}{number}>", "correlation_id": f"{stream}{number}",
        "sender": "s@a.test", "recipient": "r@b.test", "body_sha256": "00", "scheduled": float(number),
        "sent": float(number), "replied": number + 0.01, "outcome": "accepted", "code": 250, "text": "ok", "tries": 1,
    }  # fmt: skip
    return Entry(**(values | more))


def message(number: int, stream: str = "otp", **more: Any) -> Message:
    values: dict[str, Any] = {
        "isp": "b", "at": number + 0.5, "received": number + 0.45, "answered": True,
        "source_ip": OTP_IP if stream == "otp" else BULK_IP, "connection": 1, "connection_opened": 0.0,
        "sender": "s@a.test", "recipients": ("r@b.test",), "message_id": f"<{stream}{number}>",
        "correlation_id": f"{stream}{number}", "dkim_signed": True, "tls": True, "size": 4096, "body_sha256": "00",
    }  # fmt: skip
    return Message(**(values | more))


def connection(opened: float, closed: float | None, ip: str = OTP_IP) -> Connection:
    return Connection("b", 1, ip, 4000, "198.51.100.10", opened, closed, "out10", "TLSv1.3", "x")


def test_a_run_in_which_everything_arrived_once_is_clean() -> None:
    found = compare(
        [*map(entry, range(100)), *(entry(n, "bulk") for n in range(10))],
        [*map(message, range(100)), *(message(n, "bulk") for n in range(10))],
        OWN,
    )

    assert found.accepted == 110
    assert (found.lost, found.duplicated, found.wrong_ip, found.altered, found.misdirected, found.unknown) == (
        [], {}, [], [], [], [],
    )  # fmt: skip
    assert found.source_ips == {"otp": {OTP_IP: 100}, "bulk": {BULK_IP: 10}}


def test_a_lost_message_is_found() -> None:
    found = compare(map(entry, range(3)), [message(0), message(2)], OWN)

    assert found.lost == ["<otp1>"]
    assert found.latency["otp"].most == math.inf
    assert found.latency["otp"].delivered == 2


def test_a_duplicated_message_is_found_and_unexplained_without_a_kill() -> None:
    found = compare(map(entry, range(3)), [*map(message, range(3)), message(1, at=9.0)], OWN)

    assert found.duplicated == {"<otp1>": 1}
    assert found.unexplained == ["<otp1>"]


def test_a_message_from_the_other_lanes_address_is_found() -> None:
    found = compare(map(entry, range(2)), [message(0), message(1, source_ip=BULK_IP)], OWN)

    assert found.wrong_ip == ["<otp1>"]
    assert found.source_ips["otp"] == {OTP_IP: 1, BULK_IP: 1}


def test_an_altered_a_misdirected_and_an_unknown_message_are_found() -> None:
    found = compare(
        map(entry, range(2)),
        [message(0, body_sha256="11"), message(1, recipients=("x@b.test",)), message(7)],
        OWN,
    )

    assert (found.altered, found.misdirected, found.unknown) == (["<otp0>"], ["<otp1>"], ["<otp7>"])


def test_a_message_that_never_got_250_cannot_be_lost_but_has_infinite_latency() -> None:
    found = compare(
        [entry(0), entry(1, outcome="refused", code=452), entry(2, outcome="in-doubt", code=0)], [message(0)], OWN
    )

    assert (found.lost, found.refused, found.in_doubt) == ([], 1, 1)
    assert found.latency["otp"].p99 == math.inf


def test_latency_runs_from_the_scheduled_time_to_the_first_copy() -> None:
    found = compare([entry(0, sent=5.0)], [message(0, at=9.0), message(0, at=6.0)], OWN)

    assert found.latency["otp"].p50 == 6.0


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1.0), (0.5, 50.0), (0.99, 99.0), (0.991, 100.0), (1.0, 100.0), (0.29, 29.0)]
)
def test_percentiles_are_exact(share: float, expected: float) -> None:
    assert percentile([float(n) for n in range(100, 0, -1)], share) == expected


@given(st.lists(st.integers(-50, 50), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_least_value_that_enough_values_do_not_exceed(values: list[int], hundredths: int) -> None:
    found = percentile([float(value) for value in values], hundredths / 100)

    def share_up_to(limit: float) -> int:
        return 100 * sum(1 for value in values if value <= limit)

    assert share_up_to(found) >= hundredths * len(values)
    assert all(share_up_to(value) < hundredths * len(values) for value in values if value < found)


def test_one_in_a_hundred_undelivered_shows_in_the_maximum_and_two_in_the_p99() -> None:
    assert latency([*[1.0] * 99, math.inf]).p99 == 1.0
    assert latency([*[1.0] * 99, math.inf]).most == math.inf
    assert latency([*[1.0] * 98, math.inf, math.inf]).p99 == math.inf


def test_no_values_have_no_finite_percentile() -> None:
    assert percentile([], 0.5) == math.inf


KILL = Kill(at=100.0, source_ip=OTP_IP)


def copies(number: int = 1, first_at: float = 99.5, **second: Any) -> list[Message]:
    again = {"at": 105.0, "connection_opened": 104.0} | second
    return [message(number, at=first_at, connection_opened=50.0), message(number, **again)]


def unexplained(*messages: Message, kills: tuple[Kill, ...] = (KILL,), open_connections: int = 1) -> list[str]:
    numbers = sorted({int(one.message_id[4:-1]) for one in messages})
    spans = [connection(50.0, 100.0) for _ in range(open_connections)]
    return compare(map(entry, numbers), [*messages, *spans], OWN, kills).unexplained


def test_a_copy_cut_off_by_a_kill_is_explained() -> None:
    assert unexplained(*copies()) == []


def test_a_copy_accepted_more_than_a_second_before_the_kill_is_not_explained() -> None:
    assert unexplained(*copies(first_at=98.9)) == ["<otp1>"]


def test_a_copy_taken_just_after_the_kill_over_an_older_connection_is_explained() -> None:
    assert unexplained(*copies(first_at=100.05)) == []


def test_a_second_copy_over_a_connection_from_before_the_kill_is_not_explained() -> None:
    assert unexplained(*copies(connection_opened=60.0)) == ["<otp1>"]


def test_a_kill_of_another_slot_explains_nothing() -> None:
    assert unexplained(*copies(), kills=(Kill(100.0, BULK_IP),)) == ["<otp1>"]


def test_a_second_copy_from_another_slot_is_never_explained() -> None:
    assert unexplained(*copies(source_ip=BULK_IP)) == ["<otp1>"]


def test_a_kill_explains_no_more_copies_than_it_had_connections() -> None:
    both = [*copies(1), *copies(2)]

    assert unexplained(*both, open_connections=2) == []
    assert unexplained(*both, open_connections=1) == ["<otp2>"]
    assert unexplained(*both, open_connections=0) == ["<otp1>", "<otp2>"]


def test_connections_that_ended_before_the_kill_do_not_count() -> None:
    spans = [connection(50.0, 99.0), connection(101.0, None), connection(50.0, 100.0, ip=BULK_IP)]

    assert compare([entry(1)], [*copies(), *spans], OWN, (KILL,)).unexplained == ["<otp1>"]
