"""What an unquoted YAML scalar means, in the two dialects that are read.

*Experiment files* follow YAML 1.2's core schema, made stricter where people are bitten: ``1e3`` is
a number; ``yes no on off`` and ``12:30:00`` are strings; a number with a leading zero or one that
is not finite is refused.

*Kubernetes manifests* are read as kubectl reads them: sigs.k8s.io/yaml decodes with the YAML 1.1
words (``y yes on n no off`` are booleans), drops ``_`` inside numbers, reads Go's integer prefixes
(``0x``, ``0o``, ``0b``, a leading zero is octal), and hands the value on as JSON, where an integral
float has become an integer and a number that is not finite is an error.

**Source:** YAML 1.2.2, section 10.3; sigs.k8s.io/yaml goyaml.v2 resolve.go and yaml.go.
"""

from __future__ import annotations

import re
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NamedTuple

INTEGRAL_FLOAT_MAX: Final = 1e21
"""From here on Go's JSON writes a float with an exponent, so that it stays one."""

INTEGER_DIGITS_MAX: Final = 400
"""A longer number is refused before Python spends quadratic time on it."""


class Dialect(Enum):
    """Which meaning unquoted scalars have."""

    EXPERIMENT = "experiment"
    KUBERNETES = "kubernetes"


class Fault(NamedTuple):
    """Why a scalar is refused."""

    code: str
    message: str
    hint: str | None = None


_CORE_WORDS: Final = MappingProxyType({
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
})  # fmt: skip
_KUBERNETES_WORDS: Final = MappingProxyType({
    **_CORE_WORDS,
    "y": True, "Y": True, "yes": True, "Yes": True, "YES": True,
    "on": True, "On": True, "ON": True,
    "n": False, "N": False, "no": False, "No": False, "NO": False,
    "off": False, "Off": False, "OFF": False,
})  # fmt: skip

_NOT_FINITE: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_CORE_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_CORE_PREFIXED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_GO_INTEGER: Final = re.compile(
    r"[-+]?(?:0[xX][0-9a-fA-F]+|0[oO][0-7]+|0[bB][01]+|0[0-7]*|[1-9][0-9]*)"
)
_FIRST_CHARACTERS: Final = frozenset("+-.0123456789")


def resolve_plain(text: str, dialect: Dialect) -> Any:
    """The value of the unquoted scalar ``text``: None, bool, int, float, str, or a `Fault`."""
    if dialect is Dialect.KUBERNETES:
        return _resolve_kubernetes(text)
    return _resolve_core(text)


def _resolve_core(text: str) -> Any:
    if text in _CORE_WORDS:
        return _CORE_WORDS[text]
    if text[0] not in _FIRST_CHARACTERS:
        return text
    if len(text) > INTEGER_DIGITS_MAX:
        return _too_long(text) if _FLOAT.fullmatch(text) else text
    if _CORE_INTEGER.fullmatch(text):
        digits = text.lstrip("+-")
        if len(digits) > 1 and digits[0] == "0":
            return Fault(
                "E008",
                f"number with a leading zero: {text}",
                f"write {int(text)} for the decimal number, or quote it for a string",
            )
        return int(text)
    if _FLOAT.fullmatch(text):
        return _finite(text)
    if _CORE_PREFIXED.fullmatch(text):
        return int(text, 0)
    if _NOT_FINITE.fullmatch(text):
        return Fault("E008", f"not a finite number: {text}")
    return text


def _resolve_kubernetes(text: str) -> Any:
    if text in _KUBERNETES_WORDS:
        return _KUBERNETES_WORDS[text]
    first = text[0]
    if first not in _FIRST_CHARACTERS:
        return text
    if _NOT_FINITE.fullmatch(text):
        return Fault("E008", f"JSON has no word for {text}", "quote it if a string is meant")
    if first == ".":
        return _as_json(text) if _FLOAT.fullmatch(text) else text
    plain = text.replace("_", "")
    if len(plain) > INTEGER_DIGITS_MAX:
        return _too_long(text) if _FLOAT.fullmatch(plain) else text
    if _GO_INTEGER.fullmatch(plain):
        return _go_integer(plain)
    if _FLOAT.fullmatch(plain):
        return _as_json(plain)
    return text


def _go_integer(plain: str) -> int:
    digits = plain.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        value = int(digits, 8)
    else:
        value = int(digits, 0)
    return -value if plain[0] == "-" else value


def _finite(text: str) -> Any:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        return Fault("E008", f"number too large: {text}")
    return value


def _as_json(text: str) -> Any:
    value = _finite(text)
    if isinstance(value, float) and value.is_integer() and abs(value) < INTEGRAL_FLOAT_MAX:
        return int(value)
    return value


def _too_long(text: str) -> Fault:
    return Fault("E008", f"number of {len(text)} digits")
