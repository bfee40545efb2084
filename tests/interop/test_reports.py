"""The short form of `make interop`: parsers that are Python libraries."""

from pathlib import Path

import pytest

from tests.interop import reports

pytestmark = pytest.mark.timeout(300)


def test_reports_are_read_as_they_were_meant_and_falsified_ones_are_not(tmp_path: Path) -> None:
    contents = reports.reports(tmp_path)
    wrong, pairs = reports.disagreements(contents, reports.LIBRARIES, tmp_path)
    assert wrong == []
    assert pairs == 18
    assert len(reports.disagreements(reports.falsified(contents), reports.LIBRARIES, tmp_path)[0]) == pairs
