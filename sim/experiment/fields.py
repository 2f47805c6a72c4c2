"""Dataclasses as the border sees them: camelCase keys, units in names, paths, docstrings."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, Final, Union, get_args, get_origin, get_type_hints

PATH_FIELDS: Final = frozenset(
    {"manifest", "manifests", "file", "files", "path", "paths", "trace", "profile_file"}
)
_PATH_ENDINGS: Final = ("_csv", "_file", "_files", "_path", "_paths", "_manifest", "_manifests")

UNIT_SECONDS: Final = "seconds"
UNIT_BYTES: Final = "bytes"
UNIT_MILLICORES: Final = "millicores"
_UNITS: Final = (UNIT_SECONDS, UNIT_BYTES, UNIT_MILLICORES)


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One field of a settings dataclass."""

    name: str
    key: str
    """Its key in files."""
    kind: Any
    """Its type, without `Annotated`."""
    annotation: Any
    required: bool
    unit: str
    """seconds, bytes or millicores if a text with a unit is accepted, else empty."""
    is_path: bool


def camel_case(name: str) -> str:
    """Return the key of a field: ``fsync_seconds`` → ``fsyncSeconds``."""
    head, *tail = name.split("_")
    return head + "".join(part[:1].upper() + part[1:] for part in tail)


def snake_case(key: str) -> str:
    """Return the field of a key: ``fsyncSeconds`` → ``fsync_seconds``."""
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1].lower()}", key)


def without_annotation(kind: Any) -> Any:
    """Return a type without its `Annotated` shell."""
    while get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    return kind


def union_members(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union without None; a single type is its own only member."""
    kind = without_annotation(kind)
    if get_origin(kind) in {Union, types.UnionType}:
        return tuple(
            without_annotation(item) for item in get_args(kind) if item is not type(None)
        )
    return (kind,)


def item_type(kind: Any) -> Any | None:
    """Return the type of the items of ``tuple[X, ...]`` and lists, None for anything else."""
    origin = get_origin(kind)
    if origin in {tuple, list} or (isinstance(origin, type) and issubclass(origin, tuple | list)):
        arguments = get_args(kind)
        return arguments[0] if arguments else Any
    return None


def value_type(kind: Any) -> Any | None:
    """Return the type of the values of a mapping, None for anything else."""
    origin = get_origin(kind)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return get_args(kind)[1]
    return None


def _unit_of(name: str, kind: Any) -> str:
    members = union_members(kind)
    inner = item_type(members[0])
    if inner is not None:
        members = union_members(inner)
    if not set(members) & {int, float}:
        return ""
    for unit in _UNITS:
        if name == unit or name.endswith(f"_{unit}") or f"_{unit}_" in f"_{name}_":
            return "" if "_per_" in f"_{name}_" else unit
    return ""


_infos: dict[type, Mapping[str, FieldInfo]] = {}


def field_infos(cls: type) -> Mapping[str, FieldInfo]:
    """Return the fields of a dataclass by their key, in order."""
    known = _infos.get(cls)
    if known is not None:
        return known
    hints = get_type_hints(cls, include_extras=True)
    infos = {}
    for item in fields(cls):
        if not item.init:
            continue
        annotation = hints[item.name]
        kind = without_annotation(annotation)
        members = union_members(kind)
        texts = members[0] is str or item_type(members[0]) is str
        info = FieldInfo(
            name=item.name,
            key=camel_case(item.name),
            kind=kind,
            annotation=annotation,
            required=item.default is MISSING and item.default_factory is MISSING,
            unit=_unit_of(item.name, kind),
            is_path=texts and (item.name in PATH_FIELDS or item.name.endswith(_PATH_ENDINGS)),
        )
        infos[info.key] = info
    _infos[cls] = types.MappingProxyType(infos)
    return _infos[cls]


def default_of(cls: Any, name: str) -> Any | None:
    """Return the default of a field, None if it has none."""
    field = cls.__dataclass_fields__[name]
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else None


def plain(value: Any) -> Any:
    """Return a settings tree as JSON values with file keys; every default is written out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            key: plain(getattr(value, info.name)) for key, info in field_infos(type(value)).items()
        }
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [plain(inner) for inner in value]
    return value


@cache
def field_docs(cls: Any) -> Mapping[str, str]:
    """Return the docstrings under the fields of a dataclass, by field name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    docs: dict[str, str] = {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    for statement, following in pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
            and isinstance(following.value.value, str)
        ):
            docs[statement.target.id] = " ".join(following.value.value.split())
    return docs
