"""Cost profiles as files: what differs from a built-in profile, each value with its source.

A file names the profile it is based on and, by dotted name, the parameters that differ::

    name: rack-7
    based_on: measured-2-core
    description: etcd on NVMe
    parameters:
      etcd.receive_seconds: {value: 1.9e-05, source: "measured: our own dump of 2026-11"}

A source begins with what the value rests on: measured, published, upstream or assumed. Published
ones name rows that ``rows`` quotes: metric, value, unit, conditions and source of each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from sim.base.errors import Problem, UserError
from sim.base.spelling import nearest
from sim.base.yaml_strict import Document, read_document
from sim.costs.profile import PROFILE_FOLDER, PROFILES, Profile, parameters, profile_names

_KEYS = ("name", "based_on", "description", "rows", "parameters")
_ENTRY_KEYS = ("value", "source", "because")
_BASES_MAX = 10


def load_profile(name: str) -> Profile:
    """Return a built-in profile, or the profile that a file describes.

    Raises:
        UserError: neither is there, or the file is wrong: all its problems at once.
    """
    return _load(name, ())


def profile_path(name: str) -> Path | None:
    """Return the file behind a profile's name or path, None if it is made of defaults.

    Raises:
        UserError: there is no such profile.
    """
    if name in PROFILES:
        return None
    if name in profile_names():
        return PROFILE_FOLDER / f"{name}.yaml"
    path = Path(name)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    raise UserError(Problem(
        code="E025", message=f"no profile of the name {name!r}", allowed=profile_names(),
        nearest=nearest(name, profile_names()),
        hint="a name from the list, or the path of a profile file",
    ))  # fmt: skip


def _load(name: str, above: tuple[str, ...]) -> Profile:
    path = profile_path(name)
    if path is None:
        return PROFILES[name]
    document, problems = read_document(path)
    data = document.data
    problems += [
        document.problem(
            "E010", f"unknown key {key!r}", (key,), at_key=True, allowed=_KEYS,
            nearest=nearest(key, _KEYS),
        )
        for key in data if key not in _KEYS
    ]  # fmt: skip
    base = _base(document, (*above, str(path)), problems)
    values, sources = _entries(document, problems)
    known = {item: value for item, value, _ in parameters(base)}
    for key, value in values.items():
        problems += _misfit(document, key, value, known)
    if problems:
        raise UserError(problems)
    return replace(
        _with_values(base, values),
        name=str(data.get("name", path.stem)),
        description=str(data.get("description", base.description)),
        sources={**base.sources, **sources},
    )


def _base(document: Document, above: tuple[str, ...], problems: list[Problem]) -> Profile:
    default = next(iter(PROFILES.values()))
    name = document.data.get("based_on", default.name)
    if name not in profile_names():
        problems.append(document.problem(
            "E025", f"no profile of the name {name!r} to be based on", ("based_on",),
            allowed=profile_names(), nearest=nearest(str(name), profile_names()),
        ))  # fmt: skip
        return default
    if len(above) > _BASES_MAX or str(PROFILE_FOLDER / f"{name}.yaml") in above:
        problems.append(document.problem("E020", f"{name} is based on itself", ("based_on",)))
        return default
    try:
        return _load(name, above)
    except UserError as error:
        problems += error.problems
        return default


def _entries(
    document: Document, problems: list[Problem]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return values and sources by dotted name."""
    values, sources = {}, {}
    given = document.data.get("parameters") or {}
    if not isinstance(given, dict):
        problems.append(document.problem("E012", "parameters are a mapping", ("parameters",)))
        return {}, {}
    for key, entry in given.items():
        source = "assumed: the profile does not say where it comes from"
        if isinstance(entry, dict):
            problems += [
                document.problem(
                    "E010", f"unknown key {word!r}", ("parameters", key, word), at_key=True,
                    allowed=_ENTRY_KEYS, nearest=nearest(word, _ENTRY_KEYS),
                )
                for word in entry if word not in _ENTRY_KEYS
            ]  # fmt: skip
            if "value" not in entry:
                where = ("parameters", key)
                problems.append(document.problem("E011", "missing key 'value'", where))
                continue
            source = str(entry.get("source", source))
            if entry.get("because"):
                source += f" ({entry['because']})"
            entry = entry["value"]
        values[key], sources[key] = entry, source
    return values, sources


def _misfit(
    document: Document, name: str, value: Any, known: Mapping[str, Any]
) -> list[Problem]:
    where = ("parameters", name)
    if name not in known:
        return [document.problem(
            "E010", f"no parameter of the name {name!r}", where, at_key=True,
            nearest=nearest(name, tuple(known)),
        )]  # fmt: skip
    if not _fits(known[name], value, name):
        kind = type(known[name]).__name__
        return [document.problem("E012", f"{name}: {value!r} is not a {kind}", where)]
    if isinstance(known[name], float) and value < 0.0:
        return [document.problem("E013", f"{name}: {value!r} is negative", where)]
    return []


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
        elif not _fits(known[name], value, name):
            problems.append(
                Problem(
                    code="E012",
                    message=f"{name}: {value!r} is not a {type(known[name]).__name__}",
                    file=file or None,
                )
            )
    if problems:
        raise UserError(problems)
    return _with_values(profile, values)


def _with_values(profile: Profile, values: Mapping[str, Any]) -> Profile:
    changed: Any = profile
    for name, value in values.items():
        changed = _set(changed, name.split("."), value)
    result: Profile = changed
    return result


def _fits(current: Any, value: Any, name: str) -> bool:
    if isinstance(current, bool) or isinstance(value, bool):
        return isinstance(current, bool) and isinstance(value, bool)
    is_whole = isinstance(current, int) and name.endswith("_count")
    if isinstance(current, float | int) and not is_whole:
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
