"""Quantities by their value, as `resource.Quantity` of Kubernetes parses and rounds them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lane_operator.quantities import as_asked, quantity

DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = {unit: 2 ** (10 * power) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)}


@given(nanos=st.integers(0, 10**27), unit=st.sampled_from(sorted(DECIMAL)), sign=st.sampled_from(["", "+", "-"]))
@example(nanos=333_300_000, unit="m", sign="")
def test_each_decimal_spelling_of_a_number_is_that_number(nanos: int, unit: str, sign: str) -> None:
    digits = format(Decimal(nanos).scaleb(-9 - DECIMAL[unit]), "f")
    exponent = format(Decimal(nanos).scaleb(-9 - DECIMAL[unit]), "f") + f"e{DECIMAL[unit]}"
    number = Fraction(nanos, 10**9) * (-1 if sign == "-" else 1)

    for spelling in (f"{sign}{digits}{unit}", f"{sign}{exponent}", f"{sign}{exponent.upper()}"):
        assert quantity(spelling) == number, spelling


@given(count=st.integers(0, 2**20), unit=st.sampled_from(sorted(BINARY)))
def test_each_binary_spelling_is_its_number_up_to_the_largest(count: int, unit: str) -> None:
    assert quantity(f"{count}{unit}") == min(count * BINARY[unit], 2**63 - 1)


@given(number=st.fractions(0, 10**6), places=st.integers(0, 18))
def test_what_is_finer_than_a_billionth_is_rounded_up(number: Fraction, places: int) -> None:
    scaled = number.numerator * 10**places // number.denominator
    exact = Fraction(scaled, 10**places)
    found = quantity(format(Decimal(scaled).scaleb(-places), "f"))

    assert found is not None
    assert 0 <= found - exact < Fraction(1, 10**9)
    assert (found * 10**9).denominator == 1


@pytest.mark.parametrize(
    ("spelling", "number"),
    [
        ("1E", 10**18),
        ("1E3", 1000),
        ("1Ei", 2**60),
        ("1e-3", Fraction(1, 1000)),
        ("5.", 5),
        (".5", Fraction(1, 2)),
        ("0.5Gi", 2**29),
        ("0.1n", Fraction(1, 10**9)),
        ("-0.1n", -Fraction(1, 10**9)),
        (2, 2),
        (0.5, Fraction(1, 2)),
    ],
)
def test_what_users_write(spelling: object, number: Fraction) -> None:
    assert quantity(spelling) == number


@pytest.mark.parametrize(
    "spelling", ["", ".", "1e", "1 k", "k", "1ki", "1.2.3", "--1", "1Kii", "²", "0x1", None, "9" * 5000, "1e99999"]
)
def test_what_is_no_quantity_is_none(spelling: object) -> None:
    assert quantity(spelling) is None


@pytest.mark.parametrize(
    ("asked", "stored"), [("333.3m", "334m"), ("100u", "1m"), ("1500m", "1.5"), ("-0.0001", "-1m"), ("0", "0")]
)
def test_what_a_pod_asks_for_is_stored_in_whole_thousandths(asked: str, stored: str) -> None:
    assert as_asked(asked) == quantity(stored)
