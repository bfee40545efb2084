"""`docs/records.md` names every type and every field of the record, and none that there is not."""

import re
from pathlib import Path

from lane_relay.account.records import SCHEMA, LogRecord, RecordType
from lane_relay.audit.head import HeadKind, Reason
from lane_relay.audit.verify import Kind

PAGE = (Path(__file__).parents[3] / "docs" / "records.md").read_text(encoding="utf-8")


def _first_cells(header: str) -> list[str]:
    """The first column of the table with this header."""
    rows = PAGE.split(header, 1)[1].splitlines()[2:]
    table = rows[: next(at for at, row in enumerate(rows) if not row.startswith("|"))]
    return [row.split("|")[1].strip() for row in table]


def test_the_page_has_every_field_in_the_order_of_the_record() -> None:
    assert _first_cells("| field | whose | meaning |") == ["seq", *LogRecord.__struct_fields__]


def test_the_page_has_every_type() -> None:
    assert set(_first_cells("| type | when |")) == {kind.value for kind in RecordType}


def test_the_page_names_every_kind_of_head_and_every_reason() -> None:
    for name in (*HeadKind, *Reason):
        assert re.search(rf"`{name.value}`", PAGE), name
    assert f"`schema` is {SCHEMA}" in PAGE


def test_the_page_says_what_verify_finds() -> None:
    said = " ".join(PAGE.split("proves it, or says what is wrong", 1)[1].split("Exit status", 1)[0].split())
    words = {
        Kind.ALTERED: "altered byte",
        Kind.LINE_REMOVED: "line removed",
        Kind.LINE_ADDED: "added",
        Kind.REORDERED: "out of order",
        Kind.TRUNCATED: "segment cut",
        Kind.SEGMENT_REMOVED: "removed or exchanged",
        Kind.SEGMENTS_SWAPPED: "exchanged",
        Kind.HEAD_REMOVED: "head altered, removed",
        Kind.UNSIGNED: "unsigned",
        Kind.FOREIGN_KEY: "another key",
        Kind.SEQUENCE_GAP: "gap in the numbers",
    }
    assert [kind for kind, text in words.items() if text not in said] == []
