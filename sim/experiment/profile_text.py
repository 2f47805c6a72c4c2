"""Cost profiles for people: every constant that differs, what it rests on, and quoted sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sim.base.yaml_strict import read_document
from sim.costs.profile import MARKS, PROFILES, mark_of, parameters
from sim.experiment.calibrate_profile import load_profile, profile_path

Row = Mapping[str, str]


def quoted_rows(name: str) -> dict[str, Row]:
    """Return the published rows that a profile and those it is based on quote, by their id.

    Raises:
        UserError: there is no such profile.
    """
    path = profile_path(name)
    if path is None:
        return {}
    data = read_document(path)[0].data
    own: dict[str, Row] = data.get("rows") or {}
    words = set(" ".join(load_profile(name).sources.values()).replace(",", " ").split())
    base = quoted_rows(str(data.get("based_on", next(iter(PROFILES)))))
    return {**{key: row for key, row in base.items() if key in words}, **own}


def changed_constants(name: str) -> list[tuple[str, Any, Any, str]]:
    """Return (parameter, default, value, source) of what a profile changes, itself or by its base.

    Raises:
        UserError: there is no such profile, or its file is wrong.
    """
    profile = load_profile(name)
    defaults = {key: value for key, value, _ in parameters(next(iter(PROFILES.values())))}
    return [
        (key, defaults[key], value, source)
        for key, value, source in parameters(profile) if key in profile.sources
    ]  # fmt: skip


def profile_explained(name: str) -> str:
    """Return a profile as text: description, marks, changed constants, quoted rows."""
    profile = load_profile(name)
    marks = [mark_of(source) for _, _, source in parameters(profile)]
    counts = ", ".join(f"{marks.count(mark)} {mark}" for mark in MARKS)
    lines = [f"{profile.name}: {' '.join(profile.description.split())}", "", f"Constants: {counts}"]
    changed = changed_constants(name)
    if changed:
        lines += ["", f"Differs from {next(iter(PROFILES))}:"]
    for key, before, value, source in changed:
        lines.append(f"  {key:<32} {shown(before)} -> {shown(value)}  {source}")
    rows = quoted_rows(name)
    if rows:
        lines += ["", "Published rows:"]
    lines += [f"  {key}: {quotation(row)}" for key, row in rows.items()]
    return "\n".join(lines)


def quotation(row: Row) -> str:
    """Return a quoted row in one sentence."""
    conditions = f", {row['conditions']}" if row["conditions"] else ""
    return (
        f"{row['system']}, {row['metric']}: {row['value']} {row['unit']} ({row['statistic']}"
        f"{conditions}; {row['year']}, {row['source']})"
    )


def shown(value: Any) -> str:
    """Return a constant in short."""
    if isinstance(value, tuple):
        return f"{len(value)} points"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_INTRODUCTION = (
    "Made by `kubesim list profiles --markdown`; a test compares. Each constant of a built-in"
    " profile that differs from the measured machine's, with what it rests on; published figures"
    " are quoted below it. How to use and write profiles: [profiles.md](profiles.md)."
)


def constants_markdown(names: Iterable[str]) -> str:
    """Return ``docs/profile-constants.md``."""
    lines = ["# Constants of the built-in profiles", "", _INTRODUCTION]
    for name in names:
        description = " ".join(load_profile(name).description.split())
        lines += ["", f"## {name}", "", f"{description}."]
        changed = changed_constants(name)
        if changed:
            lines += ["", "| constant | measured machine | here | mark | source |",
                      "|---|---|---|---|---|"]  # fmt: skip
        for key, before, value, source in changed:
            mark, _, rest = source.partition(": ")
            lines.append(f"| `{key}` | {shown(before)} | {shown(value)} | {mark} | {rest} |")
        rows = quoted_rows(name)
        if rows:
            lines += ["", *(f"- `{key}`: {quotation(row)}" for key, row in rows.items())]
    return "\n".join(lines) + "\n"
