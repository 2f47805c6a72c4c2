"""Where every value of a merged experiment came from, so that errors point into the right file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.base.errors import Problem
from sim.base.yaml_strict import Document

TreePath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Origin:
    """A place in a document, or an override on the command line."""

    document: Document | None
    path: TreePath
    override: str = ""
    folder: Path = Path()
    """Relative paths written here are resolved against this folder."""


@dataclass(slots=True)
class Origins:
    """Origins by path in the merged tree; a path without one inherits from its ancestors."""

    by_path: dict[TreePath, Origin] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unreadable: set[Problem] = field(default_factory=set)
    """Those among the problems that reading the text found: what else is said of the same place
    only follows from them."""

    def find(self, path: Sequence[str | int]) -> Origin:
        """Return the origin of a path of the merged tree."""
        wanted = tuple(path)
        for length in range(len(wanted), -1, -1):
            found = self.by_path.get(wanted[:length])
            if found is not None:
                rest = wanted[length:]
                return Origin(found.document, found.path + rest, found.override, found.folder)
        return Origin(None, wanted)

    def move(self, old: TreePath, new: TreePath) -> None:
        """Re-root the origins below ``old`` at ``new``."""
        moved = {
            new + path[len(old) :]: origin
            for path, origin in self.by_path.items()
            if path[: len(old)] == old
        }
        self.forget(old)
        self.by_path.update(moved)

    def forget(self, path: TreePath) -> None:
        """Drop the origins at and below a path (its value has been replaced)."""
        for known in [item for item in self.by_path if item[: len(path)] == path]:
            del self.by_path[known]

    def problem(
        self, code: str, message: str, path: Sequence[str | int], *, at_key: bool = False,
        **details: Any,
    ) -> Problem:  # fmt: skip
        """Return a problem at a path of the merged tree."""
        origin = self.find(path)
        if origin.document is not None:
            return origin.document.problem(code, message, origin.path, at_key=at_key, **details)
        place = f"--set {origin.override}" if origin.override else None
        return Problem(code=code, message=message, file=place, **details)

    def add(
        self, code: str, message: str, path: Sequence[str | int], *, at_key: bool = False,
        **details: Any,
    ) -> None:  # fmt: skip
        """Collect a problem at a path of the merged tree."""
        self.problems.append(self.problem(code, message, path, at_key=at_key, **details))

    def placed(self, problem: Problem) -> Problem:
        """Return a problem whose ``file`` is a path of the tree (``spec.…``) with its place."""
        name = problem.file or ""
        if problem.line is not None or not name.startswith("spec."):
            return problem
        path = [int(step) if step.isdecimal() else step for step in name.split(".")]
        return self.problem(
            problem.code, problem.message, path, allowed=problem.allowed,
            nearest=problem.nearest, hint=problem.hint,
        )  # fmt: skip
