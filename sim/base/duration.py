"""Go durations (``1m30s``) read and printed, and kubectl's ages (``5m12s``, ``3d``, ``2y45d``).

**Source:** Go's time.ParseDuration and Duration.String (1.24); k8s.io/apimachinery
pkg/util/duration, v1.36.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from sim.base.units import (
    NANOSECONDS_PER_SECOND,
    SECONDS_PER_DAY,
    SECONDS_PER_HOUR,
    SECONDS_PER_MINUTE,
)

MAX_NANOSECONDS: Final = (1 << 63) - 1

_UNIT_NANOSECONDS: Final = MappingProxyType({
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,  # U+00B5, micro sign
    "μs": 1_000,  # U+03BC, Greek mu
    "ms": 1_000_000,
    "s": NANOSECONDS_PER_SECOND,
    "m": SECONDS_PER_MINUTE * NANOSECONDS_PER_SECOND,
    "h": SECONDS_PER_HOUR * NANOSECONDS_PER_SECOND,
})
_PART: Final = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]*)")
_UNITS_SHOWN: Final = "ns, us, ms, s, m, h"
_YEAR_HOURS: Final = 24 * 365


class DurationError(ValueError):
    """A text that is not a duration; the message says why."""


def parse_duration_nanoseconds(text: str) -> int:
    """A duration in whole nanoseconds, as Go reads it.

    A sign, then one or more decimal numbers each with a unit; ``0`` alone needs none. Parts finer
    than a nanosecond are cut off.

    Raises:
        DurationError: malformed, without unit, unknown unit, or beyond 2⁶³-1 ns.
    """
    rest = text[1:] if text[:1] in ("+", "-") else text
    negative = text[:1] == "-"
    if rest == "0":
        return 0
    if not rest:
        raise DurationError(f"{text!r} is not a duration: write a number and a unit, like 1m30s")
    total = 0
    position = 0
    while position < len(rest):
        match = _PART.match(rest, position)
        assert match is not None
        total += _part_nanoseconds(text, *match.groups())
        if total > MAX_NANOSECONDS + negative:
            raise DurationError(f"{text!r} is longer than 292 years")
        position = match.end()
    return -total if negative else total


def parse_duration_seconds(value: str | int | float) -> float:
    """A duration in seconds: a Go duration, or a plain number of seconds.

    Raises:
        DurationError: malformed (a quoted number without unit too), or not finite.
    """
    if isinstance(value, str):
        return parse_duration_nanoseconds(value) / NANOSECONDS_PER_SECOND
    if isinstance(value, bool) or not math.isfinite(value):
        raise DurationError(f"{value!r} is not a duration")
    return float(value)


def format_duration(seconds: float) -> str:
    """Seconds as Go prints a duration: 90 → ``1m30s``, 0.25 → ``250ms``; nearest nanosecond.

    The shortest decimal that means ``seconds`` is printed, not the noise behind its last digit.
    """
    nanos = round(Decimal(repr(float(seconds))) * NANOSECONDS_PER_SECOND)
    sign, nanos = ("-", -nanos) if nanos < 0 else ("", nanos)
    if nanos == 0:
        return "0s"
    if nanos < NANOSECONDS_PER_SECOND:
        for unit, size in (("ms", 1_000_000), ("µs", 1_000), ("ns", 1)):
            if nanos >= size:
                return f"{sign}{_fraction(nanos, size)}{unit}"
    whole_minutes, within = divmod(nanos, SECONDS_PER_MINUTE * NANOSECONDS_PER_SECOND)
    hours, minutes = divmod(whole_minutes, 60)
    text = f"{_fraction(within, NANOSECONDS_PER_SECOND)}s"
    if hours:
        return f"{sign}{hours}h{minutes}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else f"{sign}{text}"


def human_duration(seconds: float) -> str:
    """An age as kubectl's tables show it: two units at most, fewer the longer it is.

    ``<invalid>`` for two seconds or more in the future.
    """
    whole = _truncate(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * SECONDS_PER_MINUTE:
        return f"{max(whole, 0)}s"
    minutes = whole // SECONDS_PER_MINUTE
    if minutes < 10:
        return _two(minutes, "m", whole % SECONDS_PER_MINUTE, "s")
    if minutes < 3 * 60:
        return f"{minutes}m"
    hours = whole // SECONDS_PER_HOUR
    days, years = hours // 24, hours // _YEAR_HOURS
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if years < 2:
        return f"{days}d"
    if years < 8:
        return _two(years, "y", days % 365, "d")
    return f"{years}y"


def short_human_duration(seconds: float) -> str:
    """An age in its largest unit alone: ``59s``, ``1m``, ``23h``, ``364d``, ``2y``."""
    whole = _truncate(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < SECONDS_PER_MINUTE:
        return f"{max(whole, 0)}s"
    if whole < SECONDS_PER_HOUR:
        return f"{whole // SECONDS_PER_MINUTE}m"
    if whole < SECONDS_PER_DAY:
        return f"{whole // SECONDS_PER_HOUR}h"
    days = whole // SECONDS_PER_DAY
    return f"{days}d" if days < 365 else f"{days // 365}y"


def _part_nanoseconds(text: str, whole: str, fraction: str | None, unit: str) -> int:
    if not whole and not fraction:
        raise DurationError(f"{text!r} is not a duration: a number is missing")
    if not unit:
        raise DurationError(f"{text!r} has no unit; write one of {_UNITS_SHOWN}")
    size = _UNIT_NANOSECONDS.get(unit)
    if size is None:
        raise DurationError(f"{text!r}: unknown unit {unit!r}; known are {_UNITS_SHOWN}")
    nanos = int(whole or "0") * size
    if fraction:
        nanos += _fraction_nanoseconds(fraction, size)
    return nanos


def _fraction_nanoseconds(digits: str, size: int) -> int:
    """Go's road: as many digits as fit 63 bits, then one float product, cut off."""
    value, scale = 0, 1.0
    for digit in digits:
        longer = value * 10 + int(digit)
        if value > MAX_NANOSECONDS // 10 or longer > MAX_NANOSECONDS + 1:
            break
        value = longer
        scale *= 10
    return int(float(value) * (float(size) / scale))


def _fraction(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    if rest == 0:
        return str(whole)
    places = len(str(size)) - 1
    return f"{whole}.{rest:0{places}d}".rstrip("0")


def _truncate(seconds: float) -> int:
    """Whole seconds towards zero, of the nearest nanosecond."""
    nanos = round(seconds * NANOSECONDS_PER_SECOND)
    return nanos // NANOSECONDS_PER_SECOND if nanos >= 0 else -(-nanos // NANOSECONDS_PER_SECOND)


def _two(major: int, major_unit: str, minor: int, minor_unit: str) -> str:
    return f"{major}{major_unit}{minor}{minor_unit}" if minor else f"{major}{major_unit}"
