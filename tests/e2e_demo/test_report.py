"""The demo's last screen: every word of it is there on 80 columns, and every figure beside what it is counted over."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from e2e.demo import report, result, seeded
from e2e.demo.lanes import LanePod
from e2e.demo.measure import Quiet
from e2e.demo.result import Outcome
from e2e.load.ledger import latency
from tests.e2e_demo.test_result import ALLOWED, LANES, SHARED, message, outcome, phases, seen

NO_REQUESTS = replace(LANES, name="no-requests")
ZEROS, ONES = seeded.Counts(0, 0, 0), seeded.Counts(1, 1, 1)
PODS = [LanePod("bulk", "bulk-0-0", "lw-0a1b2c-worker2", "Guaranteed", "1500m", True, "10.0.0.1", 1)]
WEIGHTS = {"the whole cluster": "10240", "isps": "4096", "n1": "4096", "n2": "4096", "postfix-shared": "4096",
           "control": "2048", "each generator": "2048", "named": "2048", "unbound": "2048", "work": "8192"}  # fmt: skip


def control(after: float = 0.12) -> Outcome:
    _, flooded = phases(NO_REQUESTS)
    return result.judge(NO_REQUESTS, Quiet([], []), flooded, seen(NO_REQUESTS, after))


def ways() -> dict[str, Outcome]:
    shared = outcome(SHARED, 150.0, lose=5)
    return {"lanes": outcome(LANES, 0.22), "shared": shared, "no-requests": control()}


def shown(outcomes: dict[str, Outcome]) -> str:
    console = Console(file=io.StringIO(), width=report.WIDTH, record=True)
    report.show(console, outcomes, ZEROS, ONES)
    report.conditions(console, PODS, WEIGHTS, "a line of the run")
    return console.export_text()


def rendered(table: Table) -> str:
    console = Console(file=io.StringIO(), width=80, record=True)
    console.print(table)
    return console.export_text()


def whole(table: Table, text: str) -> None:
    lines = text.splitlines()
    for column in table.columns:
        cells = [str(column.header), *map(str, column.cells)]
        for words in (part for cell in cells for part in cell.split("\n")):
            assert any(words in line for line in lines), f"{words!r} is not whole in\n{text}"


@pytest.mark.parametrize("many", [1, 400_000])
def test_every_cell_is_whole_at_80_columns(many: int) -> None:
    large = {name: stretched(one, many) for name, one in ways().items()}

    tables = report.tables(large, seeded.Counts(*[many] * 3), seeded.Counts(*[many + 1] * 3))

    assert len(tables) == 3
    for table in tables:
        whole(table, rendered(table))
    whole(report.weights(WEIGHTS), rendered(report.weights(WEIGHTS)))


def stretched(one: Outcome, by: int) -> Outcome:
    """The same with figures as long as they get: waits of hours, hundred times a million messages."""
    found = replace(one.comparison, accepted=one.comparison.accepted * by)
    found.source_ips = {
        stream: type(seen)({ip: count * by for ip, count in seen.items()})
        for stream, seen in one.comparison.source_ips.items()
    }
    longer = min(by, 50)
    late = latency([longer * wait for wait in (one.at_least.p50, one.at_least.p99, one.at_least.most)])
    return replace(one, comparison=found, at_least=late)


def test_no_line_of_the_report_is_longer_than_the_screen_and_none_is_cut() -> None:
    text = shown(ways())

    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_quiet_and_flood_are_told_apart() -> None:
    heads = [one.head for one in report.phases(list(ways().values()))]

    assert heads == [
        "two lanes\nquiet", "two lanes\nflood", "shared\nPostfix\nquiet", "shared\nPostfix\nflood",
        "no CPU\nrequests\nflood",
    ]  # fmt: skip


def test_each_way_is_compared_with_its_own_quiet() -> None:
    lanes, flooded, *_, shared = report.phases([outcome(LANES, 0.22), outcome(SHARED, 100.0)])

    assert lanes.figures == ("0", "100", "100", "200 ms", "200 ms", "200 ms", "100 ms", "")
    assert flooded.figures == ("50", "100", "100", "220 ms", "220 ms", "220 ms", "120 ms", "1.10 x")
    assert shared.figures[-1] == "500 x"


def test_a_control_run_of_another_scale_is_compared_with_nothing_and_says_why() -> None:
    found = report.phases([outcome(LANES, 0.22), control()])

    assert found[-1].figures[-1] == ""
    text = " ".join(shown(ways()).split())
    assert "the same two lanes, whose pods ask for no CPU" in text
    assert "100 OTPs beside 50 newsletters" in text
    assert "not to be compared" in text


def test_a_p99_of_codes_that_wait_for_a_connection_says_so() -> None:
    quiet, flooded = phases(LANES)
    records = [message(one, "203.0.113.10", 0.31, opened=one.scheduled + 0.01) for one in quiet.otp[:3]]
    records += [message(one, "203.0.113.10", 0.11) for one in (*quiet.otp[3:], *flooded.otp)]

    one = result.judge(LANES, quiet, flooded, records, ALLOWED)

    assert report.opening_sentence(one) == (
        "The quiet p99 is that of the 3 of 100 codes that waited for a connection to open; of the others it is 110 ms, "
        "and 110 ms during the flood."
    )
    assert report.opening_sentence(outcome(LANES, 0.2)) == ""


def test_a_code_that_follows_another_into_an_opening_connection_has_waited_for_it_too() -> None:
    quiet, flooded = phases(LANES)
    opened = quiet.otp[1].scheduled - 0.2  # for the code before it; this one waits for the rest of that

    one = result.judge(LANES, quiet, flooded, [message(quiet.otp[1], "203.0.113.10", 0.21, opened=opened)])

    assert one.quiet_course.opening == 1


def test_every_zero_stands_beside_its_denominator() -> None:
    rows = report.count_rows(outcome(LANES, 0.2), ZEROS, ONES)

    assert rows[0] == ("from another lane's address", "0", "250 received", "1")
    assert rows[1] == ("lost", "0", "250 accepted", "1")


def test_source_addresses_are_listed_by_kind_of_mail() -> None:
    rows = report.source_rows([outcome(LANES, 0.2)])

    assert ("two lanes", "newsletters", "203.0.113.20", "50") in rows
    assert ("two lanes", "OTPs", "203.0.113.10", "200") in rows


def test_control_groups_of_one_weight_share_a_line() -> None:
    assert report.by_weight({"b": "4096", "a": "4096", "all": "10240"}) == [("10240", "all"), ("4096", "a, b")]


@pytest.mark.parametrize(
    ("value", "words"), [(0.1034, "103 ms"), (1.26, "1.3 s"), (117.339, "117 s"), (599.4, "599 s"), (1200.0, "20 min")]
)
def test_a_latency_takes_six_characters_at_most(value: float, words: str) -> None:
    assert report.seconds(value) == words


def test_the_file_has_what_the_screen_has(tmp_path: Path) -> None:
    console = report.screen()
    report.show(console, ways(), ZEROS, ONES)
    (tmp_path / "report.txt").write_text(console.export_text())

    assert console.width == report.WIDTH
    assert "shared" in (tmp_path / "report.txt").read_text()
