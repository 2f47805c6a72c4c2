"""Quantities: round trips and order, against exact decimal arithmetic."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from sim.base.quantity import (
    MAX_INT64,
    NANOS_PER_UNIT,
    Format,
    Quantity,
    cpu_millicores,
    memory_bytes,
    parse_quantity,
)

getcontext().prec = 80

FACTORS = {
    "": Fraction(1), "n": Fraction(1, 10**9), "u": Fraction(1, 10**6), "m": Fraction(1, 1000),
    "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9), "T": Fraction(10**12),
    "P": Fraction(10**15), "E": Fraction(10**18), "Ki": Fraction(2**10), "Mi": Fraction(2**20),
    "Gi": Fraction(2**30), "Ti": Fraction(2**40), "Pi": Fraction(2**50), "Ei": Fraction(2**60),
    "e3": Fraction(10**3), "E-4": Fraction(1, 10**4), "e+2": Fraction(100),
}  # fmt: skip
NUMBERS = st.decimals(min_value=0, max_value=10**12, allow_nan=False, places=6)


def exact(number: Decimal, suffix: str) -> Fraction:
    return Fraction(number) * FACTORS[suffix]


@given(number=NUMBERS, suffix=st.sampled_from(sorted(FACTORS)))
def test_reads_the_number_rounded_up_to_nanos(number: Decimal, suffix: str) -> None:
    wanted = exact(number, suffix)
    if suffix.endswith("i"):
        wanted = min(wanted, Fraction(MAX_INT64))
    text = f"{number:f}{suffix}"
    assert parse_quantity(text).nanos == math.ceil(wanted * NANOS_PER_UNIT)
    assert parse_quantity("-" + text).nanos == -math.ceil(wanted * NANOS_PER_UNIT)
    nanos = Fraction(math.ceil(wanted * NANOS_PER_UNIT), NANOS_PER_UNIT)
    assert cpu_millicores(text) == math.ceil(nanos * 1000)
    assert memory_bytes(text) == math.ceil(nanos)


@given(
    nanos=st.integers(-(10**30), 10**30) | st.integers(0, 10**9).map(lambda n: n * 10**15),
    notation=st.sampled_from(Format),
)
def test_printing_loses_nothing(nanos: int, notation: Format) -> None:
    text = str(Quantity(nanos, notation))
    assume(abs(nanos) <= MAX_INT64 * NANOS_PER_UNIT)
    again = parse_quantity(text)
    assert again.nanos == nanos
    if notation is not Format.BINARY_SI:  # 125000 in binary notation is read as decimal: 125k
        assert str(again) == text


@given(nanos=st.integers(1, 10**28), notation=st.sampled_from(Format))
def test_canonical_form_has_no_fraction_and_the_largest_suffix(
    nanos: int, notation: Format
) -> None:
    text = str(Quantity(nanos, notation))
    assert "." not in text
    digits = text.rstrip("numkMGTPEKi") if "e" not in text else text.partition("e")[0]
    assert digits.isdigit()
    if notation is Format.DECIMAL_EXPONENT:
        assert not digits.endswith("000")
