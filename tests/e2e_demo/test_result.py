"""The demo's arithmetic: what it prints, records and refuses to call shown."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from e2e.demo import chart, report, result, seeded
from e2e.demo.measure import Door, Flood, Quiet, Sample, Scale, Way
from e2e.internet.records import Connection, Message, Record
from e2e.load.ledger import Entry

DOOR = Door("198.19.0.9", 587, "demo@notify.example.com")
LANES = Way("lanes", DOOR, DOOR, frozenset({"203.0.113.10"}), frozenset({"203.0.113.20"}))
SHARED = Way("shared", DOOR, DOOR, frozenset({"198.51.100.50"}), frozenset({"198.51.100.50"}))
ALLOWED = {"b": 4}
LIFTED = 1200.0


def entry(stream: str, number: int, scheduled: float, outcome: Any = "accepted") -> Entry:
    name = f"<{stream}.{number}@x>"
    return Entry(stream, name, name, "s@x", "r@y", "00", scheduled, scheduled, scheduled, outcome, 250, "ok", 1)


def message(one: Entry, ip: str, after: float, opened: float = 0.0) -> Message:
    at = one.scheduled + after
    return Message(
        "b", at, at, True, ip, 1, opened, "s@x", ("r@y",), one.message_id, one.correlation_id, True, True, 4096, "00"
    )


def connection(number: int, ip: str, opened: float, closed: float | None, isp: str = "b") -> Connection:
    return Connection(isp, number, ip, 1, "198.51.100.10", opened, closed, "h", "", "")


def phases(way: Way, backlog: int = 20_000) -> tuple[Quiet, Flood]:
    quiet = Quiet([], [entry(way.stream("otp-quiet"), n, float(n)) for n in range(100)])
    flooded = Flood(
        otp=[entry(way.stream("otp-flood"), n, 1000.0 + n) for n in range(100)],
        bulk=[entry(way.stream("bulk"), n, 990.0) for n in range(50)],
        samples=[Sample(1000.0 + n, backlog, 50) for n in range(100)],
        lifted_at=LIFTED,
        drained=True,
    )
    return quiet, flooded


def seen(way: Way, flood_s: float, lose: int = 0) -> list[Record]:
    otp_ip, bulk_ip = min(way.otp_ips), min(way.bulk_ips)
    quiet, flooded = phases(way)
    return [
        *(message(one, otp_ip, 0.2) for one in quiet.otp),
        *(message(one, otp_ip, flood_s) for one in flooded.otp[lose:]),
        *(message(one, bulk_ip, 60.0) for one in flooded.bulk),
        *(connection(number, bulk_ip, 900.0, None) for number in range(4)),
    ]


def outcome(way: Way, flood_s: float, *, lose: int = 0, backlog: int = 20_000) -> result.Outcome:
    return result.judge(way, *phases(way, backlog), seen(way, flood_s, lose), ALLOWED)


def test_a_run_in_which_lanes_keep_their_latency_has_no_shortcomings() -> None:
    one = outcome(LANES, 0.22)

    assert one.ratio == pytest.approx(1.1)
    assert result.shortcomings(one, 10_000) == []


def test_latency_that_grows_by_more_than_a_fifth_is_not_shown_as_kept() -> None:
    assert result.shortcomings(outcome(LANES, 0.25), 10_000) == ["OTP p99 grew to 1.25 x quiet, more than 1.2"]


def test_a_quiet_otp_that_came_after_the_phase_was_over_is_a_shortcoming() -> None:
    quiet, flooded = phases(LANES)
    cut = replace(quiet, until=50.0)
    one = result.judge(LANES, cut, flooded, seen(LANES, 0.2), ALLOWED)

    assert "50 OTPs of the quiet phase did not arrive" in result.shortcomings(one, 10_000)


def test_a_quiet_phase_on_a_busy_machine_proves_nothing() -> None:
    quiet, flooded = phases(LANES)
    slow = [message(one, "203.0.113.10", 0.5) for one in quiet.otp]
    rest = [one for one in seen(LANES, 0.5) if not (isinstance(one, Message) and "otp-quiet" in one.message_id)]
    one = result.judge(LANES, quiet, flooded, [*slow, *rest], ALLOWED)

    (sentence,) = result.shortcomings(one, 10_000)
    assert "too busy to measure on" in sentence


def test_a_shared_server_that_keeps_up_is_no_comparison() -> None:
    assert result.no_contrast(outcome(SHARED, 300.0), Scale()) == []
    assert result.no_contrast(outcome(SHARED, 5.0, backlog=9_000), Scale()) == [
        "OTP p99 behind the shared Postfix was 5.0 s, less than 60",
        "the shared Postfix had 9000 waiting, not over 10000, while OTPs were sent",
    ]


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
    _, flooded = phases(LANES)
    calm = Quiet([], [entry("lanes-otp-quiet", 0, 0.0)])
    swapped = result.judge(crossed, calm, flooded, [message(o, "203.0.113.10", 0.2) for o in flooded.otp])

    assert len(swapped.comparison.wrong_ip) == 100
    assert "100 messages came from another lane's address" in result.shortcomings(swapped, 10_000)


def test_connections_count_as_used_from_syn_to_fin_and_only_bulks_own() -> None:
    span, ips = (100.0, 110.0), LANES.bulk_ips
    records = [
        connection(1, "203.0.113.20", 90.0, None),  # the whole span
        connection(2, "203.0.113.20", 105.0, 200.0),  # half of it
        connection(3, "203.0.113.20", 90.0, 100.0),  # over before it
        connection(4, "203.0.113.10", 90.0, None),  # the other lane's
        connection(5, "203.0.113.20", 90.0, None, isp="another"),
    ]

    assert result.connections_in_use(records, ips, {"b": 2}, span) == pytest.approx(0.75)
    assert result.connections_in_use(records, ips, {}, span) == 0.0


def test_a_flood_below_its_limit_proves_nothing() -> None:
    idle = [one for one in seen(LANES, 0.2) if not (isinstance(one, Connection) and one.id == 0)]
    one = result.judge(LANES, *phases(LANES), idle, ALLOWED)

    assert result.shortcomings(one, 10_000) == [
        "Bulk used 75.0% of its 4 connections, less than 95%: no flood at its limit"
    ]


def test_an_otp_that_comes_after_the_delay_was_lifted_was_not_delivered_in_time() -> None:
    late = outcome(LANES, 250.0)

    assert late.flood.delivered == 0
    assert late.ratio == math.inf


def test_of_what_never_came_it_is_said_how_long_it_had_waited() -> None:
    shared = outcome(SHARED, 150.0, lose=5)

    assert shared.flood.p99 == math.inf
    assert shared.at_least.p99 == 199.0  # the second of five that were still waiting after 200 s
    assert [one.figures[3:6] for one in report.phases([shared])][1] == ("> 150 s", "> 199 s", "> 200 s")


def test_an_otp_that_had_a_connection_opened_for_it_is_forgiven_the_isps_delays_of_opening() -> None:
    quiet, flooded = phases(LANES)
    records = [message(one, "203.0.113.10", 0.35, opened=one.scheduled + 0.01) for one in quiet.otp]
    records += [message(one, "203.0.113.10", 0.35) for one in flooded.otp]
    one = result.judge(LANES, quiet, flooded, records)

    assert one.quiet_course.own_p99 == pytest.approx(0.05)
    assert one.flood_course.own_p99 == pytest.approx(0.25)


def test_figures_have_the_issues_names_and_no_infinity() -> None:
    rows = result.figures(outcome(LANES, 0.22), outcome(SHARED, 300.0, lose=5), 41.0)

    assert [one.name for one in rows] == [
        "otp_p99_quiet_s", "otp_p99_flood_s", "otp_p50_quiet_s", "otp_p50_flood_s", "otp_p99_ratio", "shared_otp_p99_s",
        "shared_otp_p50_s", "shared_otps", "shared_otps_in_time", "accepted", "received", "otps_quiet", "otps_flood",
        "otps_quiet_in_time", "otps_flood_in_time", "bulk_connections_used", "wrong_ip", "lost", "duplicated",
        "flood_messages", "first_mail_s",
    ]  # fmt: skip
    values = {one.name: one.value for one in rows}
    assert (values["otp_p99_ratio"], values["lost"], values["flood_messages"]) == (1.1, 0, 50)
    assert values["shared_otp_p99_s"] == 199.0
    assert (values["otp_p50_quiet_s"], values["otp_p50_flood_s"], values["otps_flood_in_time"]) == (0.2, 0.22, 100)
    assert (values["shared_otps_in_time"], values["shared_otps"]) == (0, 100)
    assert "Infinity" not in json.dumps([one.value for one in rows])


def test_each_seeded_fault_raises_its_own_count_by_one() -> None:
    quiet, flooded = phases(LANES)
    records = seen(LANES, 0.2)
    before, after = seeded.seeded_counts(result.offered(quiet, flooded), records, LANES)

    assert before == seeded.Counts(0, 0, 0)
    assert after == seeded.Counts(1, 1, 1)
    assert seeded.found_all(before, after)
    assert len(records) == len(seen(LANES, 0.2))


def test_a_counting_that_misses_a_seeded_fault_is_noticed() -> None:
    assert not seeded.found_all(seeded.Counts(0, 0, 0), seeded.Counts(1, 0, 1))


def test_the_chart_is_drawn_also_when_something_never_arrived(tmp_path: Path) -> None:
    chart.draw(tmp_path / "deep" / "otp.png", outcome(LANES, 0.2), outcome(SHARED, 150.0, lose=5))

    assert (tmp_path / "deep" / "otp.png").read_bytes().startswith(b"\x89PNG")


def test_words_are_put_where_nothing_is_drawn() -> None:
    assert chart.clear_above(1.0, [0.5, 1.0, 3.0], 0.5) == 1.0  # room right above the line
    assert chart.clear_above(1.0, [1.0, 1.2, 1.6, 1.9, 3.0], 0.5) == 1.9
    assert chart.clear_above(1.0, [1.4, 1.2], 0.5) == 1.4
