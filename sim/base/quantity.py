"""Kubernetes quantities: ``500m``, ``1.5``, ``512Mi``, ``12e6``; parsed and printed as upstream.

A quantity is an exact multiple of 10⁻⁹: finer amounts are rounded away from zero when read ("if
you want some resources, you should get some"). It remembers which of the three notations it was
written in and prints in that notation, in canonical form: no fraction, the largest suffix that
loses nothing. Binary notation falls back to decimal for amounts that are not whole or are smaller
than 1024, and is capped at 2⁶³-1.

`cpu_millicores` and `memory_bytes` are the two doors for manifests: they remember what they have
seen, so that seven thousand pods with a few hundred distinct amounts cost next to nothing.

**Source:** k8s.io/apimachinery pkg/api/resource (quantity.go, suffix.go, amount.go), v1.36.
"""

from __future__ import annotations

import math
import re
from enum import Enum
from functools import lru_cache
from types import MappingProxyType
from typing import Final

NANOS_PER_UNIT: Final = 1_000_000_000
NANOS_PER_MILLI: Final = 1_000_000
MAX_INT64: Final = (1 << 63) - 1

EXPONENT_MAX: Final = 1_000
"""Larger decimal exponents are refused: upstream would build a number of that many digits."""

FAST_DIGITS_MAX: Final = 18
"""Digits upstream handles in 64 bits; only such texts are kept as they were written."""


class QuantityError(ValueError):
    """A text that is not a quantity; the message says why."""


class Format(Enum):
    """The three notations."""

    DECIMAL_EXPONENT = "DecimalExponent"
    BINARY_SI = "BinarySI"
    DECIMAL_SI = "DecimalSI"


_DECIMAL_SUFFIXES: Final = MappingProxyType(
    {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
)
_BINARY_SUFFIXES: Final = MappingProxyType(
    {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
)
_DECIMAL_BY_EXPONENT: Final = MappingProxyType({v: k for k, v in _DECIMAL_SUFFIXES.items()})
_BINARY_BY_TIMES: Final = MappingProxyType(
    {0: "", **{v // 10: k for k, v in _BINARY_SUFFIXES.items()}}
)
_QUANTITY: Final = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_ALL_SUFFIXES: Final = "n u m k M G T P E Ki Mi Gi Ti Pi Ei"


class Quantity:
    """An exact amount in 10⁻⁹ units, and the notation it prints in. Immutable.

    Two quantities are equal when their amounts are, whatever their notation.
    """

    __slots__ = ("_text", "format", "nanos")

    def __init__(
        self, nanos: int, notation: Format = Format.DECIMAL_SI, text: str | None = None
    ) -> None:
        self.nanos = nanos
        self.format = notation
        self._text = text

    @classmethod
    def of_units(cls, value: int, notation: Format = Format.DECIMAL_SI) -> Quantity:
        """A whole number of units."""
        return cls(value * NANOS_PER_UNIT, notation)

    @classmethod
    def of_millis(cls, value: int, notation: Format = Format.DECIMAL_SI) -> Quantity:
        """A whole number of thousandths."""
        return cls(value * NANOS_PER_MILLI, notation)

    @property
    def value(self) -> int:
        """Whole units, rounded away from zero."""
        return _divide_away(self.nanos, NANOS_PER_UNIT)

    @property
    def milli_value(self) -> int:
        """Whole thousandths, rounded away from zero."""
        return _divide_away(self.nanos, NANOS_PER_MILLI)

    def round_up(self, scale: int) -> Quantity:
        """Rounded away from zero to a multiple of 10**``scale``; scale is -9 or more."""
        unit = 10 ** (scale + 9)
        return Quantity(_divide_away(self.nanos, unit) * unit, self.format)

    def __add__(self, other: Quantity) -> Quantity:
        notation = other.format if self.nanos == 0 else self.format
        return Quantity(self.nanos + other.nanos, notation)

    def __sub__(self, other: Quantity) -> Quantity:
        notation = other.format if self.nanos == 0 else self.format
        return Quantity(self.nanos - other.nanos, notation)

    def __neg__(self) -> Quantity:
        return Quantity(-self.nanos, self.format)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nanos == other.nanos

    def __lt__(self, other: Quantity) -> bool:
        return self.nanos < other.nanos

    def __le__(self, other: Quantity) -> bool:
        return self.nanos <= other.nanos

    def __hash__(self) -> int:
        return hash(self.nanos)

    def __str__(self) -> str:
        if self._text is None:
            self._text = _canonical(self.nanos, self.format)
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r}, {self.format.value})"


def parse_quantity(value: str | int | float) -> Quantity:
    """Read a quantity; numbers are read as the JSON text Go would write for them.

    Raises:
        QuantityError: the text is not a quantity.
    """
    text = value if value.__class__ is str else _number_text(value)
    assert isinstance(text, str)
    if text == "":
        raise QuantityError("an empty text is not a quantity")
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise QuantityError(_why_not(text))
    sign, whole, fraction, suffix = match.groups()
    fraction = fraction or ""
    base, exponent, notation = _interpret_suffix(text, suffix)
    scale = -len(fraction) + (exponent if base == 10 else 0)
    mantissa = int((whole + fraction) or "0") << (exponent if base == 2 else 0)
    if scale >= -9:
        nanos = mantissa * 10 ** (scale + 9)
    else:
        nanos = _divide_away(mantissa, 10 ** (-9 - scale))
    if base == 2:
        nanos = min(nanos, MAX_INT64 * NANOS_PER_UNIT)
        if 0 < nanos < NANOS_PER_UNIT:
            notation = Format.DECIMAL_SI
    kept = text if _keeps_text(whole, fraction, exponent, notation) else None
    return Quantity(-nanos if sign == "-" else nanos, notation, kept)


def cpu_millicores(value: str | int | float) -> int:
    """CPU in whole millicores, rounded up: ``500m`` → 500, ``2`` → 2000, ``0.1m`` → 1.

    Raises:
        QuantityError: not a quantity.
    """
    return _millis_of(value if value.__class__ is str else _number_text(value))


def memory_bytes(value: str | int | float) -> int:
    """Memory or storage in whole bytes, rounded up: ``1Ki`` → 1024, ``100m`` → 1.

    Raises:
        QuantityError: not a quantity.
    """
    return _units_of(value if value.__class__ is str else _number_text(value))


whole_count = memory_bytes
"""Countable resources (``pods``, devices): whole units, rounded up."""


def format_cpu(millicores: int) -> str:
    """Millicores as the API server prints them: 1500 → ``1500m``, 2000 → ``2``."""
    return _canonical(millicores * NANOS_PER_MILLI, Format.DECIMAL_SI)


def format_memory(size_bytes: int) -> str:
    """Bytes with the largest exact binary suffix: 1073741824 → ``1Gi``, 1025 → ``1025``."""
    return _canonical(size_bytes * NANOS_PER_UNIT, Format.BINARY_SI)


# ----------------------------------------------------------------------------------------- reading
@lru_cache(maxsize=1 << 16)
def _millis_of(text: str) -> int:
    return parse_quantity(text).milli_value


@lru_cache(maxsize=1 << 16)
def _units_of(text: str) -> int:
    return parse_quantity(text).value


def _divide_away(value: int, divisor: int) -> int:
    return -(-value // divisor) if value >= 0 else value // divisor


def _interpret_suffix(text: str, suffix: str) -> tuple[int, int, Format]:
    exponent = _DECIMAL_SUFFIXES.get(suffix)
    if exponent is not None:
        return 10, exponent, Format.DECIMAL_SI
    exponent = _BINARY_SUFFIXES.get(suffix)
    if exponent is not None:
        return 2, exponent, Format.BINARY_SI
    if suffix[0] in "eE":
        digits = suffix[1:]
        if digits.lstrip("+-").isdigit() and len(digits) - len(digits.lstrip("+-")) <= 1:
            exponent = int(digits)
            if abs(exponent) > EXPONENT_MAX:
                raise QuantityError(f"{text!r}: the exponent is beyond ±{EXPONENT_MAX}")
            return 10, exponent, Format.DECIMAL_EXPONENT
    raise QuantityError(f"{text!r}: unknown suffix {suffix!r}; known are {_ALL_SUFFIXES}")


def _keeps_text(whole: str, fraction: str, exponent: int, notation: Format) -> bool:
    """Whether upstream prints the text as it was written.

    It does when it took its 64-bit road and finds the text canonical at a glance: a multiple of
    three places, no three zeros at the end, no zero at the start. So ``1.500`` stays ``1.500``.
    """
    digits = (whole or "0") + fraction
    if notation is Format.BINARY_SI:
        room = 15 - len(whole or "0") - math.floor(exponent * 3 / 10) - 1
        return not fraction and room >= 0 and int(digits) & 7 != 0
    scale = exponent - len(fraction)
    return (
        len(digits) <= FAST_DIGITS_MAX
        and scale >= -9
        and scale % 3 == 0
        and not digits.endswith("000")
        and digits[0] != "0"
    )


def _number_text(value: str | int | float) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise QuantityError(f"{value!r} is not a quantity; write a number, or a text like 500m")
    if isinstance(value, int):
        return str(value)
    if not math.isfinite(value):
        raise QuantityError(f"{value!r} is not a finite number")
    if value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return repr(value)


def _why_not(text: str) -> str:
    if text != text.strip():
        return f"{text!r} has blanks around the number"
    return (
        f"{text!r} is not a quantity: a decimal number with an optional suffix ({_ALL_SUFFIXES}) "
        "or decimal exponent"
    )


# ---------------------------------------------------------------------------------------- printing
def _canonical(nanos: int, notation: Format) -> str:
    if nanos == 0:
        return "0"
    if notation is Format.BINARY_SI and abs(nanos) >= 1024 * NANOS_PER_UNIT:
        units, rest = divmod(nanos, NANOS_PER_UNIT)
        if rest == 0:
            return _binary(units)
    return _decimal(nanos, exponent_notation=notation is Format.DECIMAL_EXPONENT)


def _binary(units: int) -> str:
    times = 0
    while units % 1024 == 0 and times < len(_BINARY_BY_TIMES) - 1:
        units //= 1024
        times += 1
    return f"{units}{_BINARY_BY_TIMES[times]}"


def _decimal(nanos: int, *, exponent_notation: bool) -> str:
    exponent = -9
    while nanos % 1000 == 0 and (exponent_notation or exponent < 18):
        nanos //= 1000
        exponent += 3
    if not exponent_notation:
        return f"{nanos}{_DECIMAL_BY_EXPONENT[exponent]}"
    return f"{nanos}e{exponent}" if exponent else str(nanos)
