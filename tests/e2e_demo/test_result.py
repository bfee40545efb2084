"""The demo's arithmetic: what it prints, records and refuses to call shown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from e2e.demo import chart, result
from e2e.demo.measure import Door, Flood, Sample, Way
from e2e.internet.records import Message
from e2e.load.ledger import Entry

DOOR = Door("198.19.0.9", 587, "demo@notify.example.com")
LANES = Way("lanes", DOOR, DOOR, frozenset({"203.0.113.10"}), frozenset({"203.0.113.20"}))
SHARED = Way("shared", DOOR, DOOR, frozenset({"198.51.100.50"}), frozenset({"198.51.100.50"}))


def entry(stream: str, number: int, scheduled: float, outcome: Any = "accepted") -> Entry:
    name = f"<{stream}.{number}@x>"
    return Entry(stream, name, name, "s@x", "r@y", "00", scheduled, scheduled, scheduled, outcome, 250, "ok", 1)


def message(one: Entry, ip: str, after: float) -> Message:
    at = one.scheduled + after
    return Message(
        "b", at, at, True, ip, 1, 0.0, "s@x", ("r@y",), one.message_id, one.correlation_id, True, True, 4096, "00"
    )


def outcome(way: Way, flood_s: float, *, lose: int = 0, backlog: int = 20_000) -> result.Outcome:
    otp_ip, bulk_ip = min(way.otp_ips), min(way.bulk_ips)
    calm = [entry(way.stream("otp-quiet"), n, float(n)) for n in range(100)]
    flooded = Flood(
        otp=[entry(way.stream("otp-flood"), n, 1000.0 + n) for n in range(100)],
        bulk=[entry(way.stream("bulk"), n, 990.0) for n in range(50)],
        samples=[Sample(1000.0 + n, backlog, 50) for n in range(100)],
        lifted_at=1200.0,
        drained=True,
    )
    records = [
        *(message(one, otp_ip, 0.2) for one in calm),
        *(message(one, otp_ip, flood_s) for one in flooded.otp[lose:]),
        *(message(one, bulk_ip, 60.0) for one in flooded.bulk),
    ]
    return result.judge(way, calm, flooded, records)


def test_a_run_in_which_lanes_keep_their_latency_has_no_shortcomings() -> None:
    one = outcome(LANES, 0.22)

    assert one.ratio == pytest.approx(1.1)
    assert result.shortcomings(one, 10_000) == []


def test_latency_that_grows_by_more_than_a_fifth_is_not_shown_as_kept() -> None:
    assert result.shortcomings(outcome(LANES, 0.25), 10_000) == ["OTP p99 grew to 1.25 x quiet, more than 1.2"]


def test_a_lost_otp_is_a_shortcoming_and_never_arrives() -> None:
    one = outcome(LANES, 0.2, lose=2)

    assert "2 of 250 accepted messages are lost" in result.shortcomings(one, 10_000)
    assert one.flood.p99 == math.inf
    assert one.ratio == math.inf


def test_a_flood_whose_backlog_was_small_proves_nothing() -> None:
    sentences = result.shortcomings(outcome(LANES, 0.2, backlog=9_000), 10_000)

    assert sentences == ["the backlog fell to 9000, below 10000, while OTPs were sent"]


def test_mail_from_the_other_lanes_address_is_a_shortcoming() -> None:
    crossed = Way("lanes", DOOR, DOOR, LANES.bulk_ips, LANES.otp_ips)
    one = outcome(LANES, 0.2)
    calm = [entry("lanes-otp-quiet", 0, 0.0)]
    swapped = result.judge(crossed, calm, one.flooded, [message(o, "203.0.113.10", 0.2) for o in one.flooded.otp])

    assert len(swapped.comparison.wrong_ip) == 100
    assert "100 messages came from another lane's address" in result.shortcomings(swapped, 10_000)


def test_figures_have_the_issues_names_and_no_infinity(tmp_path: Path) -> None:
    rows = result.figures(outcome(LANES, 0.22), outcome(SHARED, 300.0, lose=5), 41.0)

    assert [one.name for one in rows] == [
        "otp_p99_quiet_s", "otp_p99_flood_s", "otp_p99_ratio", "shared_otp_p99_s", "wrong_ip", "lost", "duplicated",
        "flood_messages", "first_mail_s",
    ]  # fmt: skip
    values = {one.name: one.value for one in rows}
    assert (values["otp_p99_ratio"], values["lost"], values["flood_messages"]) == (1.1, 0, 50)
    assert values["shared_otp_p99_s"] == result.NEVER_S
    assert "Infinity" not in json.dumps([one.value for one in rows])


def test_the_table_says_never_for_what_never_arrived_and_subtracts_the_script() -> None:
    rows = result.latency_rows([outcome(LANES, 0.22), outcome(SHARED, 300.0, lose=5)])

    assert rows[0] == ("lanes", "quiet", "100", "100", "200 ms", "200 ms", "200 ms", "100 ms")
    assert rows[3] == ("shared", "flood", "100", "95", "300.0 s", "never", "never", "never")


def test_source_addresses_are_listed_by_stream() -> None:
    assert ("lanes-bulk", "203.0.113.20", "50") in result.source_rows([outcome(LANES, 0.2)])


def test_the_chart_is_drawn_also_when_something_never_arrived(tmp_path: Path) -> None:
    outcomes = [outcome(LANES, 0.2), outcome(SHARED, 300.0, lose=5)]
    otps = [*outcomes[0].flooded.otp, *outcomes[1].flooded.otp[5:]]
    arrived = {one.message_id: message(one, "x", 0.2) for one in otps}

    chart.draw(tmp_path / "deep" / "otp.png", outcomes, arrived)

    assert (tmp_path / "deep" / "otp.png").read_bytes().startswith(b"\x89PNG")
