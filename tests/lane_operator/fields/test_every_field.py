"""Each field of SendingLane, IPPool and ISPPolicy does something, and it is said where.

A new field fails here until it has its row: a value, and the child, or the relay's setting, in which it is found; or
why no child differs, and the test that shows what it does instead.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.lane_operator.fields.elsewhere import ELSEWHERE
from tests.lane_operator.fields.lane_rows import LANE
from tests.lane_operator.fields.places import AS_GIVEN, MODELS, Found, at, children, leaves, specs_of, with_value
from tests.lane_operator.fields.pool_rows import POLICY, POOL

ROOT = Path(__file__).parents[3]
FOUND = {
    leaf: row if isinstance(row, tuple) else (row,) for table in (LANE, POOL, POLICY) for leaf, row in table.items()
}
FIELDS = {leaf for name, model in MODELS.items() for leaf in leaves(model, name)}


def rows() -> list[Any]:
    return [
        pytest.param(leaf, row, id=leaf if number == 0 else f"{leaf}-{number}")
        for leaf, found in FOUND.items()
        for number, row in enumerate(found)
    ]


def test_every_field_stands_in_one_of_the_tables_and_nothing_else_does() -> None:
    assert FIELDS - FOUND.keys() - ELSEWHERE.keys() == set(), "say where it is found, or why nowhere"
    assert (FOUND.keys() | ELSEWHERE.keys()) - FIELDS == set(), "no such field any more"
    assert FOUND.keys() & ELSEWHERE.keys() == set()


@pytest.mark.parametrize(("leaf", "row"), rows())
def test_a_field_is_found_where_its_row_says(leaf: str, row: Found) -> None:
    specs = specs_of(row)
    before = at(row.at, children(specs, row.claims))
    after = at(row.at, children(with_value(specs, leaf, row.value), row.claims))

    assert after != before, "the field changes nothing there"
    wanted = row.value if row.shown is AS_GIVEN else row.shown
    if row.within:
        assert wanted in after
        assert wanted not in (before or "")
    else:
        assert after == wanted


@pytest.mark.parametrize("leaf", ELSEWHERE)
def test_a_field_that_is_argued_changes_no_child_and_a_test_shows_what_it_does(leaf: str) -> None:
    row = ELSEWHERE[leaf]
    specs = specs_of(Found(row.value, "", lane=row.lane, pool=row.pool, policy=row.policy))
    changed = with_value(specs, leaf, row.value)
    kind = leaf.partition(".")[0]

    assert MODELS[kind].model_validate(changed[kind]) != MODELS[kind].model_validate(specs[kind])
    assert children(changed) == children(specs), "it has a place among the rows that are found"
    file, _, test = row.shown_by.partition("::")
    text = (ROOT / file).read_text()
    assert f"def {test}(" in text or f'("{test}"' in text or f'"{test}",' in text, "no such test any more"
    assert leaf.rpartition(".")[2] in text, "the test's file does not name the field"
