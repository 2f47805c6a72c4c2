"""Collects what is wrong with a configuration document, instead of stopping at the first."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any


class Problems:
    """Problems found so far, as ``(dotted path, message)`` in ``found``."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str]] = []

    def add(self, path: str, message: str) -> None:
        """Record one problem."""
        self.found.append((path, message))

    def unknown(self, path: str, what: str, name: object, known: Iterable[str]) -> None:
        """Record an unknown name, with the known ones and the nearest spelling."""
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        self.add(path, f"unknown {what} {name!r}{hint} Known: {', '.join(names) or 'none'}")

    def names(self, path: str, mapping: object, known: Iterable[str]) -> None:
        """Record every key of a mapping that is not a known one."""
        if not isinstance(mapping, Mapping):
            self.add(path, f"must be a mapping, not {type(mapping).__name__}")
            return
        allowed = tuple(known)
        for key in mapping:
            if key not in allowed:
                self.unknown(f"{path}.{key}" if path else str(key), "field", key, allowed)

    def integer(
        self,
        key: str,
        mapping: Mapping[str, Any],
        default: int,
        low: int,
        high: int,
        *,
        prefix: str = "",
    ) -> int:
        """An integer field within ``[low, high]``; the default when absent or wrong."""
        value = mapping.get(key)
        if value is None:
            return default
        path = f"{prefix}.{key}" if prefix else key
        if isinstance(value, bool) or not isinstance(value, int):
            self.add(path, f"must be an integer, not {value!r}")
            return default
        if not low <= value <= high:
            self.add(path, f"is {value}, not in valid range [{low}, {high}]")
            return default
        return value

    def number(self, key: str, mapping: Mapping[str, Any], default: float, low: float) -> float:
        """A number of at least ``low``; the default when absent or wrong."""
        value = mapping.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or value < low:
            self.add(key, f"must be a number of at least {low}, not {value!r}")
            return default
        return float(value)
