"""kubectl's selectors, read from text: ``-l`` on labels and ``--field-selector`` on fields.

**Source:** Kubernetes v1.36 ``apimachinery/pkg/labels/selector.go`` (grammar and meaning of label
selectors: ``a=b``, ``a==b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a``, ``!a``, ``a>1``,
``a<1``, joined by commas, all of which must hold) and ``apimachinery/pkg/fields/selector.go``.
"""

from __future__ import annotations

import re
from typing import Final

from sim.scheduling.labels import Requirement, parse_int64

_TOKEN: Final = re.compile(r"\s*(?:(==|!=|[=!<>(),])|([^\s=!<>(),]+))")
_KEY: Final = re.compile(
    r"(?:[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_VALUE: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_COMPARISONS: Final = {
    "=": "In", "==": "In", "!=": "NotIn", "in": "In", "notin": "NotIn", ">": "Gt", "<": "Lt",
}  # fmt: skip


class SelectorError(ValueError):
    """A selector breaks the grammar; the message says where."""


def parse_label_selector(text: str) -> tuple[Requirement, ...]:
    """Return the requirements of a label selector; an empty text selects everything.

    Raises:
        SelectorError: the text is not a label selector.
    """
    tokens = _tokens(text)
    found: list[Requirement] = []
    position = 0
    while position < len(tokens):
        requirement, position = _requirement(tokens, position)
        found.append(requirement)
        if position < len(tokens):
            if tokens[position] != "," or position == len(tokens) - 1:
                raise SelectorError(f"found {tokens[position]!r}, expected ',' or the end")
            position += 1
    return tuple(found)


def parse_field_selector(text: str) -> tuple[tuple[str, bool, str], ...]:
    """Return (field, whether equal is wanted, value) of ``a=b,c!=d``.

    Raises:
        SelectorError: a part is neither an equality nor an inequality.
    """
    found = []
    for part in filter(None, text.split(",")):
        name, sign, value = part.partition("!=" if "!=" in part else "=")
        if not sign:
            raise SelectorError(f"{part!r} is neither field=value nor field!=value")
        found.append((name.strip(), sign == "=", value.removeprefix("=").strip()))
    return tuple(found)


def _tokens(text: str) -> list[str]:
    tokens = []
    position, end = 0, len(text.rstrip())
    while position < end:
        matched = _TOKEN.match(text, position)
        assert matched is not None, "every character is a sign or a word"
        tokens.append(matched[1] or matched[2])
        position = matched.end()
    return tokens


def _requirement(tokens: list[str], position: int) -> tuple[Requirement, int]:
    if tokens[position] == "!":
        return Requirement(_key(tokens, position + 1), "DoesNotExist"), position + 2
    key = _key(tokens, position)
    position += 1
    if position == len(tokens) or tokens[position] == ",":
        return Requirement(key, "Exists"), position
    sign = tokens[position]
    operator = _COMPARISONS.get(sign)
    if operator is None:
        raise SelectorError(f"found {sign!r}, expected one of {', '.join(_COMPARISONS)}")
    position += 1
    if sign in {"in", "notin"}:
        values, position = _set(tokens, position, sign)
        return Requirement(key, operator, values), position
    value = ""
    if position < len(tokens) and tokens[position] != ",":
        value = tokens[position]
        position += 1
    if operator in {"Gt", "Lt"} and parse_int64(value) is None:
        raise SelectorError(f"{sign!r} compares with an integer, not with {value!r}")
    return Requirement(key, operator, (_value(value),)), position


def _set(tokens: list[str], position: int, sign: str) -> tuple[tuple[str, ...], int]:
    if position == len(tokens) or tokens[position] != "(":
        raise SelectorError(f"{sign!r} wants its values in parentheses")
    values, last = [], "("
    for index in range(position + 1, len(tokens)):
        token = tokens[index]
        if token in {",", ")"} and last in {"(", ","}:
            values.append("")
        if token == ")":
            return tuple(sorted(set(values))), index + 1
        if token != ",":
            if last not in {"(", ","}:
                raise SelectorError(f"found {token!r}, expected ',' or ')'")
            values.append(_value(token))
        last = token
    raise SelectorError("a parenthesis is not closed")


def _key(tokens: list[str], position: int) -> str:
    word = tokens[position] if position < len(tokens) else ""
    if not _KEY.fullmatch(word):
        raise SelectorError(f"found {word!r}, expected a label's name" if word else
                            "a label's name is missing")  # fmt: skip
    return word


def _value(word: str) -> str:
    if not _VALUE.fullmatch(word):
        raise SelectorError(f"{word!r} is no label value")
    return word
