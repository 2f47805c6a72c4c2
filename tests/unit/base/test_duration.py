"""Durations against the cases of Go's time package and of apimachinery's duration package."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.base.duration import (
    DurationError,
    format_duration,
    human_duration,
    parse_duration_nanoseconds,
    parse_duration_seconds,
    short_human_duration,
)

NS, US, MS, S = 1, 1_000, 1_000_000, 1_000_000_000
M, H = 60 * S, 3600 * S
MINUTE, HOUR, DAY, YEAR = 60.0, 3600.0, 86400.0, 365 * 86400.0
MILLI = 0.001

# time_test.go, parseDurationTests.
PARSED = [
    ("0", 0), ("5s", 5 * S), ("30s", 30 * S), ("1478s", 1478 * S),
    ("-5s", -5 * S), ("+5s", 5 * S), ("-0", 0), ("+0", 0),
    ("5.0s", 5 * S), ("5.6s", 5 * S + 600 * MS), ("5.s", 5 * S), (".5s", 500 * MS),
    ("1.0s", S), ("1.00s", S), ("1.004s", S + 4 * MS), ("1.0040s", S + 4 * MS),
    ("100.00100s", 100 * S + MS),
    ("10ns", 10), ("11us", 11 * US), ("12µs", 12 * US), ("12μs", 12 * US), ("13ms", 13 * MS),
    ("14s", 14 * S), ("15m", 15 * M), ("16h", 16 * H),
    ("3h30m", 3 * H + 30 * M), ("10.5s4m", 4 * M + 10 * S + 500 * MS),
    ("-2m3.4s", -(2 * M + 3 * S + 400 * MS)),
    ("1h2m3s4ms5us6ns", H + 2 * M + 3 * S + 4 * MS + 5 * US + 6),
    ("39h9m14.425s", 39 * H + 9 * M + 14 * S + 425 * MS),
    ("52763797000ns", 52763797000), ("0.3333333333333333333h", 20 * M),
    ("9007199254740993ns", (1 << 53) + 1),
    ("9223372036854775807ns", (1 << 63) - 1), ("9223372036854775.807us", (1 << 63) - 1),
    ("9223372036s854ms775us807ns", (1 << 63) - 1),
    ("-9223372036854775808ns", -(1 << 63)), ("-9223372036854775807ns", -(1 << 63) + 1),
    ("0.100000000000000000000h", 6 * M),
    ("0.830103483285477580700h", 49 * M + 48 * S + 372539827),
]  # fmt: skip
REFUSED = [
    "", "3", "-", "s", ".", "-.", ".s", "+.s", "3000000h", "9223372036854775808ns",
    "9223372036854775.808us", "9223372036854ms775us808ns", "1d", "1 s", "5m 3s", "1.2.3s", "1e3s",
    "1M",
]  # fmt: skip


@pytest.mark.parametrize(("text", "nanoseconds"), PARSED)
def test_parse(text: str, nanoseconds: int) -> None:
    assert parse_duration_nanoseconds(text) == nanoseconds


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(DurationError):
        parse_duration_nanoseconds(text)


# time_test.go, durationTests (those that seconds in float64 can say).
@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (1, "1ns"), (1100, "1.1µs"), (2_200_000, "2.2ms"), (3_300_000_000, "3.3s"),
     (4 * M + 5 * S, "4m5s"), (4 * M + 5_001_000_000, "4m5.001s"),
     (5 * H + 6 * M + 7_001_000_000, "5h6m7.001s"), (8 * M + 1, "8m0.000000001s"),
     (H, "1h0m0s"), (90 * S, "1m30s"), (250 * MS, "250ms"), (-1500 * MS, "-1.5s")],
)  # fmt: skip
def test_format(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds / S) == text


@given(milliseconds=st.integers(-(10**12), 10**12))
def test_format_and_parse_round_trip(milliseconds: int) -> None:
    assert parse_duration_nanoseconds(format_duration(milliseconds / 1000)) == milliseconds * MS


def test_seconds_door() -> None:
    assert parse_duration_seconds("1m30s") == 90.0
    assert parse_duration_seconds("250ms") == 0.25
    assert parse_duration_seconds(5) == 5.0
    for bad in ("5", True, float("nan"), float("inf")):
        with pytest.raises(DurationError):
            parse_duration_seconds(bad)


# duration_test.go: TestHumanDuration and TestHumanDurationBoundaries.
HUMAN = [
    (1, "1s"), (70, "70s"), (190, "3m10s"), (70 * MINUTE, "70m"), (47 * HOUR, "47h"),
    (49 * HOUR, "2d1h"), (8 * DAY + 2 * HOUR, "8d"), (367 * DAY, "367d"),
    (2 * YEAR + 25 * HOUR, "2y1d"), (8 * YEAR + 2 * HOUR, "8y"),
    (-2, "<invalid>"), (-2 + 1e-9, "0s"), (0, "0s"), (1 - MILLI, "0s"),
    (2 * MINUTE - MILLI, "119s"), (2 * MINUTE, "2m"), (2 * MINUTE + 1, "2m1s"),
    (10 * MINUTE - MILLI, "9m59s"), (10 * MINUTE, "10m"), (10 * MINUTE + 1, "10m"),
    (3 * HOUR - MILLI, "179m"), (3 * HOUR, "3h"), (3 * HOUR + MINUTE, "3h1m"),
    (8 * HOUR - MILLI, "7h59m"), (8 * HOUR, "8h"), (8 * HOUR + 59 * MINUTE, "8h"),
    (2 * DAY - MILLI, "47h"), (2 * DAY, "2d"), (2 * DAY + HOUR, "2d1h"),
    (8 * DAY - MILLI, "7d23h"), (8 * DAY, "8d"), (8 * DAY + 23 * HOUR, "8d"),
    (2 * YEAR - MILLI, "729d"), (2 * YEAR, "2y"), (2 * YEAR + 23 * HOUR, "2y"),
    (2 * YEAR + 23 * HOUR + 59 * MINUTE, "2y"), (2 * YEAR + DAY - MILLI, "2y"),
    (2 * YEAR + DAY, "2y1d"), (3 * YEAR, "3y"), (7 * YEAR, "7y"), (8 * YEAR - MILLI, "7y364d"),
    (8 * YEAR, "8y"), (8 * YEAR + 364 * DAY, "8y"), (9 * YEAR, "9y"),
]  # fmt: skip
# duration_test.go: TestShortHumanDurationBoundaries.
SHORT = [
    (-2, "<invalid>"), (-2 + 1e-9, "0s"), (0, "0s"), (1 - MILLI, "0s"), (1, "1s"),
    (2 - MILLI, "1s"), (MINUTE - MILLI, "59s"), (MINUTE, "1m"), (2 * MINUTE - MILLI, "1m"),
    (HOUR - MILLI, "59m"), (HOUR, "1h"), (2 * HOUR - MILLI, "1h"), (DAY - MILLI, "23h"),
    (DAY, "1d"), (2 * DAY - MILLI, "1d"), (YEAR - MILLI, "364d"), (YEAR, "1y"),
    (2 * YEAR - MILLI, "1y"), (2 * YEAR, "2y"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "text"), HUMAN)
def test_human(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), SHORT)
def test_short_human(seconds: float, text: str) -> None:
    assert short_human_duration(seconds) == text
