"""Quantities against the cases of upstream's own test tables (apimachinery pkg/api/resource)."""

from __future__ import annotations

import pytest

from sim.base.quantity import (
    MAX_INT64,
    NANOS_PER_UNIT,
    Format,
    Quantity,
    QuantityError,
    cpu_millicores,
    format_cpu,
    format_memory,
    memory_bytes,
    parse_quantity,
    whole_count,
)

SI, BIN, EXP = Format.DECIMAL_SI, Format.BINARY_SI, Format.DECIMAL_EXPONENT
KI, MI, GI, TI, PI, EI = (1 << shift for shift in (10, 20, 30, 40, 50, 60))


def ten(mantissa: int, exponent: int) -> int:
    """``mantissa``·10**``exponent`` in nanos."""
    assert exponent >= -9
    return mantissa * 10 ** (exponent + 9)


# Text, amount in nanos, notation: the table of TestQuantityParse.
PARSED = [
    *[(f"0{s}", 0, SI) for s in ("", "n", "u", "m", "k", "M", "G", "T")],
    *[(f"0{s}", 0, BIN) for s in ("Ki", "Mi", "Gi", "Ti")],
    ("1", ten(1, 0), SI),
    ("1Ki", ten(KI, 0), BIN),
    ("8Ki", ten(8 * KI, 0), BIN),
    ("7Mi", ten(7 * MI, 0), BIN),
    ("6Gi", ten(6 * GI, 0), BIN),
    ("5Ti", ten(5 * TI, 0), BIN),
    ("4Pi", ten(4 * PI, 0), BIN),
    ("3Ei", ten(3 * EI, 0), BIN),
    ("10Ti", ten(10 * TI, 0), BIN),
    ("100Ti", ten(100 * TI, 0), BIN),
    ("5n", 5, SI),
    ("4u", ten(4, -6), SI),
    ("3m", ten(3, -3), SI),
    ("9", ten(9, 0), SI),
    ("8k", ten(8, 3), SI),
    ("50k", ten(5, 4), SI),
    ("7M", ten(7, 6), SI),
    ("6G", ten(6, 9), SI),
    ("5T", ten(5, 12), SI),
    ("40T", ten(4, 13), SI),
    ("300T", ten(3, 14), SI),
    ("2P", ten(2, 15), SI),
    ("1E", ten(1, 18), SI),
    ("1E-3", ten(1, -3), EXP),
    ("1e3", ten(1, 3), EXP),
    ("1E6", ten(1, 6), EXP),
    ("1e9", ten(1, 9), EXP),
    ("1E12", ten(1, 12), EXP),
    ("1e13", ten(1, 13), EXP),
    ("1e14", ten(1, 14), EXP),
    ("1e15", ten(1, 15), EXP),
    ("1E18", ten(1, 18), EXP),
    ("100.035k", ten(100035, 0), SI),
    ("0.001", ten(1, -3), SI),
    ("0.0005k", ten(5, -1), SI),
    ("0.005", ten(5, -3), SI),
    ("0.05", ten(5, -2), SI),
    ("0.5", ten(5, -1), SI),
    ("0.00050k", ten(5, -1), SI),
    ("0.00500", ten(5, -3), SI),
    ("0.05000", ten(5, -2), SI),
    ("0.50000", ten(5, -1), SI),
    ("0.5e0", ten(5, -1), EXP),
    ("0.5e-1", ten(5, -2), EXP),
    ("0.5e-2", ten(5, -3), EXP),
    ("10.035M", ten(10035, 3), SI),
    ("1.2e3", ten(12, 2), EXP),
    ("1.3E+6", ten(13, 5), EXP),
    ("1.40e9", ten(14, 8), EXP),
    ("1.53E12", ten(153, 10), EXP),
    ("1.6e15", ten(16, 14), EXP),
    ("1.7E18", ten(17, 17), EXP),
    ("9.01", ten(901, -2), SI),
    ("8.1k", ten(81, 2), SI),
    ("7.123456M", ten(7123456, 0), SI),
    ("6.987654321G", ten(6987654321, 0), SI),
    ("5.444T", ten(5444, 9), SI),
    ("40.1T", ten(401, 11), SI),
    ("300.2T", ten(3002, 11), SI),
    ("2.5P", ten(25, 14), SI),
    ("1.01E", ten(101, 16), SI),
    # Too fine: rounded away from zero. Too large in binary: capped; in decimal: kept.
    ("3.001n", 4, SI),
    ("1.1E-9", 2, EXP),
    ("0.0000000001", 1, SI),
    ("0.0000000005", 1, SI),
    ("0.00000000050", 1, SI),
    ("0.5e-9", 1, EXP),
    ("0.9n", 1, SI),
    ("0.00000012345", 124, SI),
    ("0.00000012354", 124, SI),
    ("9Ei", MAX_INT64 * NANOS_PER_UNIT, BIN),
    ("9223372036854775807Ki", MAX_INT64 * NANOS_PER_UNIT, BIN),
    ("12E", ten(12, 18), SI),
    # Fractions with binary suffixes.
    ("100.035Ki", ten(10243584, -2), BIN),
    ("0.5Mi", ten(MI // 2, 0), BIN),
    ("0.05Gi", ten(536870912, -1), BIN),
    ("0.025Ti", ten(274877906944, -1), BIN),
    # Oddities that upstream accepts on purpose.
    ("0.000000000001Ki", 2, SI),
    (".001", ten(1, -3), SI),
    (".0001k", ten(100, -3), SI),
    ("1.", ten(1, 0), SI),
    ("1.G", ten(1, 9), SI),
]


@pytest.mark.parametrize(("text", "nanos", "notation"), PARSED)
def test_parse(text: str, nanos: int, notation: Format) -> None:
    for sign, factor in (("", 1), ("+", 1), ("-", -1)):
        got = parse_quantity(sign + text)
        assert got.nanos == factor * nanos
        assert got.format is notation


@pytest.mark.parametrize(
    "text",
    ["", "1.1.M", "1+1.0M", "0.1mi", "0.1am", "aoeu", ".5i", "1i", "-3.01i", "-3.01e-", " 1", "1 ",
     "1e", "1E+", "1e1001", "--1", "1KiKi", "1,5", "0x10", "١"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(QuantityError):
        parse_quantity(text)


# Amount, notation, canonical text, another text that prints as it: TestQuantityString.
PRINTED = [
    (ten(GI, 0), BIN, "1Gi", "1024Mi"),
    (ten(300 * MI, 0), BIN, "300Mi", "307200Ki"),
    (ten(6 * KI, 0), BIN, "6Ki", ""),
    (ten(1001 * GI, 0), BIN, "1001Gi", "1025024Mi"),
    (ten(TI, 0), BIN, "1Ti", "1024Gi"),
    (ten(5, 0), BIN, "5", "5000m"),
    (ten(500, -3), BIN, "500m", "0.5"),
    (ten(1, 9), SI, "1G", "1000M"),
    (ten(1, 9), SI, "1G", "0.001T"),
    (ten(1, -3), SI, "1m", "1000u"),
    (ten(80, -3), SI, "80m", ""),
    (ten(1080, -3), SI, "1080m", "1.08"),
    (ten(1080, -3), SI, "1080m", "1080000000n"),
    (ten(300, 6), SI, "300M", ""),
    (ten(1, 12), SI, "1T", ""),
    (ten(1234567, 6), SI, "1234567M", ""),
    (ten(1234567, -3), BIN, "1234567m", ""),
    (ten(3, 3), SI, "3k", ""),
    (ten(1025, 0), BIN, "1025", ""),
    (0, SI, "0", ""),
    (0, BIN, "0", ""),
    (0, EXP, "0", "00"),
    (ten(1, 9), EXP, "1e9", ".001e12"),
    (ten(1, -3), EXP, "1e-3", "0.001e0"),
    (1, EXP, "1e-9", "1000e-12"),
    (ten(80, -3), EXP, "80e-3", ""),
    (ten(300, 6), EXP, "300e6", ""),
    (ten(1, 12), EXP, "1e12", ""),
    (ten(3, 3), EXP, "3e3", ""),
    (1, SI, "1n", ""),
    (80, SI, "80n", ""),
    (1080, SI, "1080n", ""),
    (ten(1, -6), SI, "1u", ""),
    (ten(80, -6), SI, "80u", ""),
    (ten(1080, -6), SI, "1080u", ""),
]


@pytest.mark.parametrize(("nanos", "notation", "text", "alternate"), PRINTED)
def test_print(nanos: int, notation: Format, text: str, alternate: str) -> None:
    assert str(Quantity(nanos, notation)) == text
    assert str(parse_quantity(text)) == text
    if alternate:
        assert str(parse_quantity(alternate)) == text
    if nanos:
        assert str(Quantity(-nanos, notation)) == "-" + text


# Read and printed again: TestQuantityParseEmit, TestParseQuantity, and texts kept as written.
REPRINTED = [
    ("1Ki", "1Ki"),
    ("1Mi", "1Mi"),
    ("1Gi", "1Gi"),
    ("1024Mi", "1Gi"),
    ("1000M", "1G"),
    (".001Ki", "1024m"),
    (".000001Ki", "1024u"),
    (".000000001Ki", "1024n"),
    (".000000000001Ki", "2n"),
    ("1.5", "1500m"),
    ("1.5Gi", "1536Mi"),
    ("999999999999999999", "999999999999999999"),
    ("999999999999999999.0", "999999999999999999"),
    ("999999999999999999.1", "999999999999999999100m"),
    ("9999999999999999999", "9999999999999999999"),
    ("1E", "1E"),
    ("1000000000000000000", "1E"),
    ("1.0E", "1E"),
    ("9999999999999999999000m", "9999999999999999999"),
    ("1.0000000000000000001E", "1000000000000000000100m"),
    ("1.000000000000000001E", "1000000000000000001"),
    ("10E", "10E"),
    ("10000000000000000000", "10E"),
    ("10.0E", "10E"),
    ("10000000000000000000000m", "10E"),
    ("10.000000000000000001E", "10000000000000000001"),
    ("9223372036854775806.1", "9223372036854775806100m"),
    ("9223372036854775808", "9223372036854775808"),
    ("9223372036854775808000m", "9223372036854775808"),
    # The 64-bit road keeps what already looks canonical, even where it is not.
    ("1.500", "1.500"),
    ("100.035k", "100.035k"),
    ("1E6", "1E6"),
    ("7M", "7M"),
]


@pytest.mark.parametrize(("text", "printed"), REPRINTED)
def test_parse_then_print(text: str, printed: str) -> None:
    assert str(parse_quantity(text)) == printed
    assert str(parse_quantity("-" + text)) == "-" + printed


# TestQuantityRoundUp: text, scale, expected nanos.
@pytest.mark.parametrize(
    ("text", "scale", "nanos"),
    [
        ("9.01", -3, ten(901, -2)),
        ("9.01", -2, ten(901, -2)),
        ("9.01", -1, ten(91, -1)),
        ("9.01", 0, ten(10, 0)),
        ("9.01", 1, ten(10, 0)),
        ("9.01", 2, ten(100, 0)),
        ("-9.01", -1, -ten(91, -1)),
        ("-9.01", 0, -ten(10, 0)),
        ("-9.01", 2, -ten(100, 0)),
    ],
)
def test_round_up(text: str, scale: int, nanos: int) -> None:
    assert parse_quantity(text).round_up(scale).nanos == nanos


def test_arithmetic_keeps_the_notation_of_the_first_that_is_not_zero() -> None:
    zero = parse_quantity("0")
    for text in ("100m", "1Gi"):
        assert str(parse_quantity(text) + zero) == text
        assert str(zero + parse_quantity(text)) == text
        assert str(zero - parse_quantity(text)) == "-" + text
    assert str(parse_quantity("1000m") - parse_quantity("1")) == "0"
    assert parse_quantity("10000T") > parse_quantity("100Gi")
    assert parse_quantity("50m") <= parse_quantity("0.05")
    assert parse_quantity("1000m") == Quantity.of_units(1) == Quantity.of_millis(1000)
    assert hash(parse_quantity("1000m")) == hash(parse_quantity("1"))
    assert repr(-parse_quantity("1Ki")) == "Quantity('-1Ki', BinarySI)"


@pytest.mark.parametrize(
    ("value", "millicores"),
    [("500m", 500), ("2", 2000), (2, 2000), (0.5, 500), ("0.1m", 1), ("1.0005", 1001), ("1u", 1),
     ("100m", 100), ("1e1", 10_000), ("-1500u", -2), (1e-7, 1), ("64000m", 64_000), (1.0, 1000)],
)  # fmt: skip
def test_cpu_millicores(value: str | int | float, millicores: int) -> None:
    assert cpu_millicores(value) == millicores


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [("16384Mi", 16384 * MI), ("1Gi", GI), ("1.5Gi", 1536 * MI), ("128974848", 128974848),
     ("129e6", 129_000_000), ("129M", 129_000_000), ("128974848000m", 128974848),
     ("123Mi", 123 * MI), ("100m", 1), (1073741824, GI), (1e9, 10**9), ("0", 0)],
)  # fmt: skip
def test_memory_bytes(value: str | int | float, size_bytes: int) -> None:
    assert memory_bytes(value) == size_bytes


@pytest.mark.parametrize("value", [True, None, [], float("inf"), float("nan"), "", "12 Gi"])
def test_doors_refuse(value: object) -> None:
    for door in (cpu_millicores, memory_bytes, whole_count):
        with pytest.raises(QuantityError):
            door(value)  # type: ignore[arg-type]


def test_printing_doors() -> None:
    assert [format_cpu(m) for m in (0, 1, 500, 1000, 1500, 64000)] == [
        "0", "1m", "500m", "1", "1500m", "64"
    ]  # fmt: skip
    assert [format_memory(b) for b in (0, 1, 1023, 1024, 1025, 300 * MI, GI, 16384 * MI)] == [
        "0", "1", "1023", "1Ki", "1025", "300Mi", "1Gi", "16Gi"
    ]  # fmt: skip
