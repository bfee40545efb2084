"""Returned mail of the real world, whole and broken: each shape beside what a reader should make of it.

A shape is a file: what is expected, in YAML, with where the form comes from; a line of `=====`; the mail as it came.
"""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lane_relay.mail.reports.read import read_report
from lane_relay.mail.reports.reading import Kind

SHAPES = Path(__file__).parent / "shapes"
NAMES = sorted(path.stem for path in SHAPES.glob("*.shape"))


def shape(name: str) -> tuple[dict[str, Any], bytes]:
    """What is expected, and the mail."""
    expected, _, mail = (SHAPES / f"{name}.shape").read_bytes().partition(b"=====\n")
    return yaml.safe_load(expected), mail


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_a_shape_reads_as_it_should(name: str, end: bytes) -> None:
    expected, mail = shape(name)
    reading = read_report(mail.replace(b"\n", end))
    assert reading.kind.value == expected["kind"], reading
    if "dialect" in expected:
        assert reading.dialect == expected["dialect"]
    named = {failure.recipient.lower() for failure in reading.failures} - {""}
    originals = {failure.original.lower() for failure in reading.failures} - {""}
    assert named | originals >= set(expected["recipients"]) | set(expected.get("originals", ()))
    if expected["kind"] not in ("bounce", "delay", "success"):
        assert named == set()
    for failure in reading.failures[:1]:
        for field in ("status", "code", "remote"):
            if field in expected:
                assert getattr(failure, field) == expected[field]
        assert expected.get("text", "") in failure.text
        assert failure.text.isprintable()
    for field in ("feedback_type", "message_id"):
        if field in expected:
            assert getattr(reading, field) == expected[field]
    if "tokens" in expected:
        assert list(reading.tokens) == expected["tokens"]


@pytest.mark.parametrize("name", NAMES)
def test_a_shape_cut_anywhere_has_a_reading(name: str) -> None:
    _, mail = shape(name)
    step = max(1, len(mail) // 12)
    for end in range(0, min(len(mail), 20_000), step):
        assert read_report(mail[:end]).kind in Kind


def test_there_are_shapes_enough_and_each_has_a_source() -> None:
    expected = [shape(name)[0] for name in NAMES]
    assert len(NAMES) >= 90
    assert all(one["source"] for one in expected)
    broken = [one for one in expected if "broken" in one["source"] or "hostile" in one["source"]]
    assert len(broken) >= 15
