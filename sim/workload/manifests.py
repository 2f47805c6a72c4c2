"""Manifest files → plain v1 objects, with the way back to file, line and column.

Several documents per file, ``List`` kinds taken apart, anchors and merge keys as kubectl reads
them. Places are looked up only when a problem has to be shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from sim.base.errors import Problem, UserError
from sim.base.yaml_strict import (
    NOT_A_MAPPING,
    Dialect,
    Document,
    ends_without_newline,
    read_documents,
)
from sim.workload.object_reader import ObjectReader, ReadReport, node_from_manifest

__all__ = ["Manifests", "ObjectReader", "ReadReport", "load_manifests", "node_from_manifest",
           "read_manifests"]  # fmt: skip


class Manifests(list[dict[str, Any]]):
    """A list of v1 objects that knows where each came from."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[tuple[Document, tuple[str | int, ...]]] = []
        """Document and path inside it of each object, in the same order."""
        self.warnings: list[Problem] = []
        self.problems: list[Problem] = []
        """Faults of the text; nobody may act on objects of a file that has any."""

    def problem(
        self, index: int, code: str, message: str, path: Iterable[str | int] = (), **details: Any
    ) -> Problem:
        """Return a problem that points into object ``index``; details as of `Document.problem`."""
        document, prefix = self.sources[index]
        return document.problem(code, message, (*prefix, *path), **details)


def load_manifests(*paths: str | Path) -> Manifests:
    """Read manifest files; a file that has not changed since is not read again.

    The objects are shared between callers: nobody may change them.

    Raises:
        UserError: a file cannot be read, is not YAML, is cut off or holds something else than
            objects; the problems of all files at once.
    """
    found = read_manifests(*paths)
    if found.problems:
        raise UserError(found.problems)
    return found


def read_manifests(*paths: str | Path) -> Manifests:
    """Read manifest files as `load_manifests` does, faulty ones too, to tell all faults at once."""
    found = Manifests()
    for path in paths:
        try:
            status = Path(path).stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            stamp = (0, 0, 0)  # reading it says why
        read = _read_file(str(path), stamp)
        found.extend(read)
        found.sources.extend(read.sources)
        found.warnings.extend(read.warnings)
        found.problems.extend(read.problems)
    return found


@lru_cache(maxsize=8)
def _read_file(path: str, stamp: tuple[int, int, int]) -> Manifests:  # noqa: ARG001 - cache key
    found = Manifests()
    try:
        documents, problems = read_documents(path, dialect=Dialect.KUBERNETES)
    except UserError as error:
        found.problems.extend(error.problems)
        return found
    for document in documents:
        if isinstance(document.data, dict):
            _take(document, document.data, (), found, problems)
        else:
            problems.append(document.problem("E005", NOT_A_MAPPING))
    if not documents and not problems:
        problems.append(Problem(code="E005", message="no object in it", file=path))
    elif documents and ends_without_newline(documents[-1]):
        found.warnings.append(
            Problem(code="W007", message="the file may be cut off", file=path)
        )
    found.problems = problems
    return found


def _take(
    document: Document,
    data: Any,
    path: tuple[str | int, ...],
    found: Manifests,
    problems: list[Problem],
) -> None:
    if data.__class__ is not dict:
        problems.append(document.problem("E033", "an object is a mapping", path))
        return
    kind = data.get("kind")
    if kind.__class__ is str and kind.endswith("List") and "items" in data:
        items = data["items"]
        if items is None:
            return
        if not isinstance(items, list):
            problems.append(document.problem("E033", "items is a list", (*path, "items")))
            return
        for index, item in enumerate(items):
            _take(document, item, (*path, "items", index), found, problems)
        return
    found.append(data)
    found.sources.append((document, path))
