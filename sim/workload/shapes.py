"""Checks of plain JSON against the structures of `kinds`: every fault, with its path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, NamedTuple

from sim.base.quantity import QuantityError, parse_quantity
from sim.base.spelling import nearest
from sim.workload.kinds import CHOICES, STRUCTURES

Path = tuple[str | int, ...]


class Fault(NamedTuple):
    """One thing wrong at one place of an object."""

    code: str
    message: str
    path: Path
    at_key: bool = False
    allowed: tuple[str, ...] = ()
    nearest: str | None = None


class Findings:
    """What checks of one object found."""

    __slots__ = ("faults", "unmodelled")

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.unmodelled: list[Path] = []
        """Fields that matter in Kubernetes but have no effect in the model, and unknown ones."""

    def add(self, code: str, message: str, path: Path) -> None:
        """Note a fault at a value."""
        self.faults.append(Fault(code, message, path))


Check = Callable[[Any, Path, Findings], None]

_PORT_MAX: Final = 65_535

_KIND_WORDS: Final = {dict: "mapping", list: "list", str: "text", bool: "true or false",
                      int: "number", float: "number"}  # fmt: skip


def _is(value: Any) -> str:
    return _KIND_WORDS.get(type(value), "null")


def _plain(wanted: str, kinds: tuple[type, ...], value: Any, path: Path, found: Findings) -> None:
    if type(value) not in kinds:
        found.add("E012", f"a {wanted} is expected, not a {_is(value)}", path)


def _text(value: Any, path: Path, found: Findings) -> None:
    if value.__class__ is not str:
        hint = "; quote it" if isinstance(value, bool | int | float) else ""
        found.add("E012", f"a text is expected, not a {_is(value)}{hint}", path)


def _bool(value: Any, path: Path, found: Findings) -> None:
    _plain("true or false", (bool,), value, path, found)


def _int(value: Any, path: Path, found: Findings) -> None:
    _plain("whole number", (int,), value, path, found)


def _count(value: Any, path: Path, found: Findings) -> None:
    if value.__class__ is not int:
        found.add("E012", f"a whole number is expected, not a {_is(value)}", path)
    elif value < 0:
        found.add("E013", f"{value} is negative", path)


def _port(value: Any, path: Path, found: Findings) -> None:
    if value.__class__ is not int:
        found.add("E012", f"a port number is expected, not a {_is(value)}", path)
    elif not 0 < value <= _PORT_MAX:
        found.add("E013", f"{value} is not a port: 1 to {_PORT_MAX}", path)


def _int_or_text(value: Any, path: Path, found: Findings) -> None:
    _plain("number or text", (int, str), value, path, found)


def _object(value: Any, path: Path, found: Findings) -> None:
    _plain("mapping", (dict,), value, path, found)


def _quantity(value: Any, path: Path, found: Findings) -> None:
    try:
        amount = parse_quantity(value)
    except QuantityError as error:
        found.add("E015", str(error), path)
        return
    if amount.nanos < 0:
        found.add("E013", f"{value} is negative", path)


def _mapping_of(check: Check) -> Check:
    def run(value: Any, path: Path, found: Findings) -> None:
        if value.__class__ is not dict:
            _object(value, path, found)
            return
        for key, inner in value.items():
            check(inner, (*path, key), found)

    return run


_GOOD_QUANTITIES: set[str] = set()
"""Texts that have passed the check: amounts repeat."""
_GOOD_QUANTITIES_MAX: Final = 1 << 16


def _quantities(value: Any, path: Path, found: Findings) -> None:
    if value.__class__ is not dict:
        _object(value, path, found)
        return
    for key, inner in value.items():
        if inner in _GOOD_QUANTITIES if inner.__class__ is str else inner is None:
            continue
        before = len(found.faults)
        _quantity(inner, (*path, key), found)
        if (
            len(found.faults) == before
            and inner.__class__ is str
            and len(_GOOD_QUANTITIES) < _GOOD_QUANTITIES_MAX
        ):
            _GOOD_QUANTITIES.add(inner)


_SIMPLE: Final[Mapping[str, Check]] = {
    "text": _text,
    "bool": _bool,
    "int": _int,
    "count": _count,
    "port": _port,
    "quantity": _quantity,
    "intOrText": _int_or_text,
    "object": _object,
    "labels": _mapping_of(_text),
    "quantities": _quantities,
}


@cache
def checker(shape: str) -> Check:
    """Return the check of a shape as written in `kinds` (without ``~`` and ``!``)."""
    if shape in _SIMPLE:
        return _SIMPLE[shape]
    if shape.startswith("["):
        return _list_of(checker(shape[1:-1]))
    return _structure(shape)


def _list_of(check: Check) -> Check:
    def run(value: Any, path: Path, found: Findings) -> None:
        if value.__class__ is not list:
            found.add("E012", f"a list is expected, not a {_is(value)}", path)
            return
        for index, item in enumerate(value):
            check(item, (*path, index), found)

    return run


def _structure(name: str) -> Check:
    shapes = STRUCTURES[name]
    checks = {key: checker(shape.strip("~!")) for key, shape in shapes.items()}
    required = [key for key, shape in shapes.items() if shape.endswith("!")]
    outside = {key for key, shape in shapes.items() if shape.startswith("~")}
    choices = {field: allowed for (owner, field), allowed in CHOICES.items() if owner == name}
    whole = "metadata" in shapes
    known = tuple(shapes)

    def unknown(key: str, path: Path, found: Findings) -> None:
        if whole and key in {"apiVersion", "kind"}:
            return
        likely = nearest(key, known)
        if likely is None:
            found.unmodelled.append((*path, key))
        else:
            found.faults.append(
                Fault("E010", f"unknown field {key!r}", (*path, key), True, known, likely)
            )

    def run(value: Any, path: Path, found: Findings) -> None:
        if value.__class__ is not dict:
            found.add("E012", f"a mapping is expected, not a {_is(value)}", path)
            return
        for key, inner in value.items():
            check = checks.get(key)
            if check is None:
                unknown(key, path, found)
                continue
            if inner is None:
                continue
            check(inner, (*path, key), found)
            if key in outside:
                found.unmodelled.append((*path, key))
            if key in choices and inner.__class__ is str and inner not in choices[key]:
                allowed = choices[key]
                found.faults.append(
                    Fault(
                        "E014", f"unknown value {inner!r}", (*path, key), False,
                        tuple(item for item in allowed if item), nearest(inner, allowed),
                    )
                )  # fmt: skip
        for key in required:
            if value.get(key) is None:
                found.add("E011", f"missing field {key!r}", (*path, key))

    return run
