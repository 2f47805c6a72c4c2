"""Plain values become checked dataclasses: names, units, paths, then types and bounds.

Names, units and paths are checked here, where every problem can be told with its nearest spelling;
types, bounds and choices are pydantic's business, imported when something is bound.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sim.base.duration import DurationError, parse_duration_seconds
from sim.base.quantity import QuantityError, cpu_millicores, memory_bytes
from sim.base.spelling import nearest
from sim.experiment.fields import (
    UNIT_BYTES,
    UNIT_SECONDS,
    FieldInfo,
    camel_case,
    field_infos,
    item_type,
    union_members,
    value_type,
)
from sim.experiment.origin import Origins, TreePath

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails


def bind(cls: type, data: Any, path: TreePath, origins: Origins) -> Any | None:
    """Return ``data`` as an instance of ``cls``, or None after adding problems to ``origins``.

    ``path`` is where the data stand in the merged tree.
    """
    before = len(origins.problems)
    named = _walk_dataclass(cls, data, path, origins)
    checked = _validate(cls, named, path, origins, len(origins.problems) > before)
    return checked if len(origins.problems) == before else None


# ------------------------------------------------------------------------- names, units and paths
def _walk_dataclass(cls: type, data: Any, path: TreePath, origins: Origins) -> Any:
    if not isinstance(data, dict):
        return data
    infos = field_infos(cls)
    named = {}
    for key, value in data.items():
        info = infos.get(key)
        if info is None:
            origins.add(
                "E010",
                f"unknown key {key!r}",
                (*path, key),
                at_key=True,
                allowed=tuple(infos),
                nearest=nearest(key, infos),
            )
            continue
        named[info.name] = _walk_field(info, value, (*path, key), origins)
    return named


def _walk_field(info: FieldInfo, value: Any, path: TreePath, origins: Origins) -> Any:
    if info.is_path and value:
        return _resolve_paths(value, path, origins)
    if info.unit:
        if isinstance(value, list):
            return [
                _with_unit(info, item, (*path, index), origins) for index, item in enumerate(value)
            ]
        return _with_unit(info, value, path, origins)
    return _walk(info.kind, value, path, origins)


def _walk(kind: Any, value: Any, path: TreePath, origins: Origins) -> Any:
    for member in union_members(kind):
        if isinstance(value, dict) and is_dataclass(member) and isinstance(member, type):
            return _walk_dataclass(member, value, path, origins)
        inner = item_type(member)
        if inner is not None and isinstance(value, list):
            return [
                _walk(inner, item, (*path, index), origins) for index, item in enumerate(value)
            ]
        values = value_type(member)
        if values is not None and isinstance(value, dict):
            return {
                key: _walk(values, item, (*path, key), origins) for key, item in value.items()
            }
        if member is int and isinstance(value, float) and value.is_integer():
            return int(value)  # 1e3 is a number of things as well
    return value


def _with_unit(info: FieldInfo, value: Any, path: TreePath, origins: Origins) -> Any:
    is_int = int in union_members(info.kind) and float not in union_members(info.kind)
    if isinstance(value, float) and is_int and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    try:
        float(value)
    except ValueError:
        pass
    else:
        origins.add(
            "E012", f"the text {value!r} has no unit: write a number ({info.unit}) or add a unit",
            path,
        )  # fmt: skip
        return None
    try:
        if info.unit == UNIT_SECONDS:
            return parse_duration_seconds(value)
        return memory_bytes(value) if info.unit == UNIT_BYTES else cpu_millicores(value)
    except DurationError as error:
        code = "E018" if _is_quantity(value) else "E016"
        hint = "a duration such as 250ms or 1m30s, or a number of seconds"
        origins.add(code, f"not a duration: {error}", path, hint=hint)
    except QuantityError as error:
        code = "E018" if _is_duration(value) else "E015"
        example = "512Mi" if info.unit == UNIT_BYTES else "500m"
        hint = f"a quantity such as {example}, or a number of {info.unit}"
        origins.add(code, f"not a quantity: {error}", path, hint=hint)
    return None


def _is_quantity(text: str) -> bool:
    try:
        memory_bytes(text)
    except QuantityError:
        return False
    return True


def _is_duration(text: str) -> bool:
    try:
        parse_duration_seconds(text)
    except DurationError:
        return False
    return True


def _resolve_paths(value: Any, path: TreePath, origins: Origins) -> Any:
    if isinstance(value, list):
        return [
            _resolve_paths(item, (*path, index), origins) for index, item in enumerate(value)
        ]
    if not isinstance(value, str):
        return value
    full = os.path.abspath(origins.find(path).folder / value)  # noqa: PTH100 - keeps links
    if not os.path.isfile(full):  # noqa: PTH113
        folder = os.path.dirname(full)  # noqa: PTH120
        there = sorted(os.listdir(folder)) if os.path.isdir(folder) else []  # noqa: PTH112, PTH208
        origins.add(
            "E001",
            f"no such file: {value}",
            path,
            nearest=nearest(os.path.basename(full), there),  # noqa: PTH119
            hint=f"looked for {full}",
        )
    return full


# ---------------------------------------------------------------------------- types and bounds
@cache
def adapter(cls: type) -> TypeAdapter[Any]:
    """Return the pydantic adapter of a settings dataclass."""
    from pydantic import TypeAdapter

    return TypeAdapter(cls)


def _validate(
    cls: type, named: Any, path: TreePath, origins: Origins, has_problems: bool
) -> Any | None:
    from pydantic import ValidationError

    try:
        # JSON rules are the strict ones we want: no text for numbers, lists for tuples.
        return adapter(cls).validate_json(json.dumps(named), strict=True)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            if has_problems and detail["input"] is None:
                continue  # told already: the walk puts None where a value was malformed
            _tell(detail, path, origins)
        return None


def _tell(detail: ErrorDetails, path: TreePath, origins: Origins) -> None:
    steps: list[str | int] = [
        camel_case(step) if isinstance(step, str) else step for step in detail["loc"]
    ]
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    steps = _existing(steps, kind)
    where = (*path, *steps)
    if kind == "missing":
        origins.add("E011", f"missing key {steps[-1]!r}", where)
    elif kind == "literal_error":
        allowed = _choices(str(context["expected"]))
        origins.add(
            "E014", f"unknown value {_shown(value)}", where, allowed=allowed,
            nearest=nearest(value, allowed) if isinstance(value, str) else None,
        )  # fmt: skip
    elif kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        origins.add("E013", f"{_shown(value)} is not {word} {context[name]}", where)
    elif kind in {"value_error", "assertion_error"}:
        message = detail["msg"].partition(", ")[2] or detail["msg"]
        origins.add("E013", message, where)
    else:
        wanted = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
        if kind in {"dataclass_type", "dataclass_exact_type", "dict_type"}:
            wanted = "mapping"
        elif kind in {"list_type", "tuple_type"}:
            wanted = "list"
        origins.add("E012", f"{_shown(value)} is not a valid {wanted}", where)


_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _existing(steps: Sequence[str | int], kind: str) -> list[str | int]:
    """Drop what pydantic adds to locations that is not part of a file (union members)."""
    known = {"int", "float", "str", "bool", "constrainedInt", "constrainedFloat", "nullable"}
    cleaned = [
        step for step in steps
        if not (isinstance(step, str) and (step in known or "[" in step or "(" in step))
    ]  # fmt: skip
    return cleaned if cleaned or kind != "missing" else list(steps)


def _choices(expected: str) -> tuple[str, ...]:
    parts = expected.replace(" or ", ", ").split(",")
    return tuple(part.strip().strip("'") or '""' for part in parts)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
