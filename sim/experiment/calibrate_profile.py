"""Cost profiles as files: what differs from a built-in profile, each value with its source.

A file names the profile it is based on and, by dotted name, the parameters that differ::

    name: rack-7
    based_on: measured-2-core
    description: etcd on NVMe
    parameters:
      etcd.receive_seconds: {value: 1.9e-05, source: "measured: our own dump of 2026-11"}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sim.base.errors import Problem, UserError
from sim.base.spelling import nearest
from sim.base.yaml_strict import load_document
from sim.costs.profile import PROFILES, Profile, parameters

_KEYS = ("name", "based_on", "description", "parameters")


def load_profile(name: str) -> Profile:
    """Return a built-in profile, or the profile that a file describes.

    Raises:
        UserError: neither is there, or the file names something that no profile has.
    """
    if name in PROFILES:
        return PROFILES[name]
    path = Path(name)
    if path.suffix not in {".yaml", ".yml"} or not path.is_file():
        raise UserError(
            Problem(
                code="E025",
                message=f"no profile of the name {name!r}",
                allowed=tuple(PROFILES),
                nearest=nearest(name, tuple(PROFILES)),
                hint="a name from the list, or the path of a profile file",
            )
        )
    document = load_document(path)
    data = document.data
    if not isinstance(data, dict):
        raise UserError(Problem(code="E012", message="a profile is a mapping", file=str(path)))
    problems = [
        Problem(
            code="E010",
            message=f"unknown key {key!r}",
            file=str(path),
            allowed=_KEYS,
            nearest=nearest(key, _KEYS),
        )
        for key in data
        if key not in _KEYS
    ]
    base_name = data.get("based_on", next(iter(PROFILES)))
    if base_name not in PROFILES:
        problems.append(
            Problem(
                code="E025",
                message=f"no profile of the name {base_name!r} to be based on",
                file=str(path),
                allowed=tuple(PROFILES),
            )
        )
    if problems:
        raise UserError(problems)
    profile = PROFILES[base_name]
    values = {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for key, entry in (data.get("parameters") or {}).items()
    }
    profile = with_parameters(profile, values, str(path))
    return replace(
        profile,
        name=str(data.get("name", path.stem)),
        description=str(data.get("description", profile.description)),
    )


def with_parameters(profile: Profile, values: Mapping[str, Any], file: str = "") -> Profile:
    """Return a profile in which the parameters of these dotted names have other values.

    Raises:
        UserError: a name that no profile has, or a value of another type.
    """
    known = {name: value for name, value, _ in parameters(profile)}
    problems = []
    for name, value in values.items():
        if name not in known:
            problems.append(
                Problem(
                    code="E010",
                    message=f"no parameter of the name {name!r}",
                    file=file or None,
                    nearest=nearest(name, tuple(known)),
                )
            )
        elif not _fits(known[name], value):
            problems.append(
                Problem(
                    code="E012",
                    message=f"{name}: {value!r} is not a {type(known[name]).__name__}",
                    file=file or None,
                )
            )
    if problems:
        raise UserError(problems)
    changed: Any = profile
    for name, value in values.items():
        changed = _set(changed, name.split("."), value)
    result: Profile = changed
    return result


def _fits(current: Any, value: Any) -> bool:
    if isinstance(current, bool) or isinstance(value, bool):
        return isinstance(current, bool) and isinstance(value, bool)
    if isinstance(current, float):
        return isinstance(value, (int, float))
    if isinstance(current, tuple):
        return isinstance(value, (list, tuple))
    return isinstance(value, type(current))


def _set(part: Any, path: Sequence[str], value: Any) -> Any:
    head = path[0]
    current = getattr(part, head)
    if len(path) > 1:
        return replace(part, **{head: _set(current, path[1:], value)})
    if isinstance(current, float):
        value = float(value)
    elif isinstance(current, tuple):
        value = tuple(tuple(item) if isinstance(item, list) else item for item in value)
    return replace(part, **{head: value})


def sources(part: Any, prefix: str = "") -> dict[str, str]:
    """Return the source of every parameter by dotted name."""
    found: dict[str, str] = {}
    for item in fields(part):
        value = getattr(part, item.name)
        if is_dataclass(value):
            found.update(sources(value, f"{prefix}{item.name}."))
        else:
            found[f"{prefix}{item.name}"] = item.metadata.get("source", "")
    return found


def profile_text(
    name: str, based_on: str, description: str, values: Mapping[str, tuple[Any, str]]
) -> str:
    """Return the text of a profile file; ``values`` maps a dotted name to (value, source)."""
    data = {
        "name": name,
        "based_on": based_on,
        "description": description,
        "parameters": {
            key: {"value": _plain(value), "source": source}
            for key, (value, source) in values.items()
        },
    }
    text: str = yaml.safe_dump(data, sort_keys=False, width=100, allow_unicode=True)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value
