"""Strict YAML on libyaml's event stream: plain values, and places for error messages.

Marks are computed only when somebody asks: a `Document` remembers which lines it came from, and
the first request for a place reads those lines again. All problems of a file are collected, not
only the first: after a syntax error in a multi-document file, reading goes on at the next ``---``.

The values are dicts with string keys in file order, lists, strings, ints, floats, bools and None.
An alias gives the same object again: treat values as immutable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from yaml import YAMLError

from sim.base.errors import Problem, UserError
from sim.base.yaml_places import (
    Mark,
    Place,
    Source,
    next_document_line,
    read_places,
    syntax_problem,
)
from sim.base.yaml_reader import ValueReader
from sim.base.yaml_scalars import Dialect

__all__ = [
    "Dialect",
    "Document",
    "Mark",
    "ends_without_newline",
    "load_document",
    "load_documents",
    "read_document",
    "read_documents",
    "read_text",
]

PROBLEMS_MAX: Final = 100
"""A file with more problems than this is not read to its end."""

NOT_A_MAPPING: Final = "a document that is not a mapping"

KeyPath = Sequence[str | int]
"""Keys and list positions from the top of a document."""


@dataclass(slots=True, eq=False)
class Document:
    """One YAML document: plain values, and the way from a path back to the text."""

    data: Any
    source: Source
    start_line: int
    """First line of the document, from zero."""
    end_line: int
    """One past its last line."""
    dialect: Dialect
    _places: Place | None = None

    @property
    def file(self) -> str:
        """The file's name as it was given."""
        return self.source.path

    def mark(self, path: KeyPath = ()) -> Mark:
        """Line and column of the value at ``path``, or of its deepest existing ancestor."""
        return self._find(path)[0].mark

    def key_mark(self, path: KeyPath) -> Mark:
        """Line and column of the key that ends ``path``, or of the deepest existing ancestor."""
        place, exact = self._find(path)
        return place.key_mark if exact and place.key_mark is not None else place.mark

    def problem(
        self, code: str, message: str, path: KeyPath = (), *, at_key: bool = False, **details: Any
    ) -> Problem:
        """A `Problem` pointing at the value (or the key) at ``path``.

        ``details`` are further fields of `Problem`: allowed, nearest, hint. A path that does not
        exist points at the key of its deepest existing ancestor.
        """
        place, exact = self._find(path)
        mark, span = place.mark, place.span
        if (at_key or not exact) and place.key_mark is not None:
            mark, span = place.key_mark, place.key_span
        return Problem(
            code=code,
            message=message,
            file=self.file,
            line=mark.line,
            column=mark.column,
            text=self.source.line_text(mark.line),
            span=span,
            **details,
        )

    def _find(self, path: KeyPath) -> tuple[Place, bool]:
        if self._places is None:
            self._places, _ = read_places(self.source, self.start_line, self.end_line)
        place = self._places
        for step in path:
            inner: Place | None = None
            if isinstance(step, str):
                inner = place.keyed.get(step)
            elif 0 <= step < len(place.listed):
                inner = place.listed[step]
            if inner is None:
                return place, False
            place = inner
        return place, True


def load_document(
    path: str | Path, text: str | None = None, *, dialect: Dialect = Dialect.EXPERIMENT
) -> Document:
    """The only document of a file, a mapping. ``text`` replaces the file's content when given.

    Raises:
        UserError: the file cannot be read, is not YAML, repeats a key, holds no or several
            documents, or something else than a mapping; all problems at once.
    """
    document, problems = read_document(path, text, dialect=dialect)
    if problems:
        raise UserError(problems)
    return document


def read_document(
    path: str | Path, text: str | None = None, *, dialect: Dialect = Dialect.EXPERIMENT
) -> tuple[Document, list[Problem]]:
    """The only document of a file and the faults in it, so that its content can be checked too.

    A value that cannot be read is None; of repeated keys the last one counts, and mappings under
    them are joined. Nobody may act on a document with faults.

    Raises:
        UserError: there is no single mapping to speak of; all problems at once.
    """
    documents, problems = read_documents(path, text, dialect=dialect)
    file = str(path)
    if len(documents) == 1 and isinstance(documents[0].data, dict):
        return documents[0], problems
    if len(documents) > 1:
        problems.append(documents[1].problem("E005", "a second document: one is allowed here"))
    elif documents:
        kind = "list" if isinstance(documents[0].data, list) else "single value"
        problems.append(documents[0].problem("E005", f"a {kind} instead of a mapping"))
    elif not problems:
        problems.append(Problem(code="E005", message="the file is empty", file=file))
    raise UserError(problems)


def read_documents(
    path: str | Path, text: str | None = None, *, dialect: Dialect = Dialect.KUBERNETES
) -> tuple[list[Document], list[Problem]]:
    """All documents of a file that are not empty, faulty ones too, and all faults in them.

    Raises:
        UserError: the file cannot be read, or is not text.
    """
    source = Source(str(path), read_text(path) if text is None else text)
    problems: list[Problem] = []
    return list(_read(source, dialect, problems, keep_faulty=True)), problems


def load_documents(
    path: str | Path, text: str | None = None, *, dialect: Dialect = Dialect.KUBERNETES
) -> Iterator[Document]:
    """The documents of a file in order, empty ones left out.

    Problems do not stop the iteration: they are raised together at its end, so a caller must not
    act on documents before it has seen them all.

    Raises:
        UserError: as for `load_document`, but several documents are allowed.
    """
    source = Source(str(path), read_text(path) if text is None else text)
    problems: list[Problem] = []
    others: list[Problem] = []
    for document in _read(source, dialect, problems, keep_faulty=False):
        if isinstance(document.data, dict):
            yield document
        else:
            others.append(document.problem("E005", NOT_A_MAPPING))
    problems += others
    if problems:
        raise UserError(problems)


def read_text(path: str | Path) -> str:
    """A file as text. Raises UserError: unreadable (E001) or not UTF-8 (E002)."""
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            Problem(code="E001", message=f"cannot read the file: {reason}", file=str(path))
        ) from error
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace")
        raise UserError(
            Problem(
                code="E002",
                message="not UTF-8",
                file=str(path),
                line=before.count("\n") + 1,
                column=len(before) - (before.rfind("\n") + 1) + 1,
            )
        ) from error


def ends_without_newline(document: Document) -> bool:
    """Whether the document's last line is the file's last one and has no line end.

    Such a file may have been cut off (warning W007) although it can be read.
    """
    text = document.source.text
    return document.end_line >= text.count("\n") and not text.endswith("\n")


def _read(
    source: Source, dialect: Dialect, problems: list[Problem], *, keep_faulty: bool
) -> Iterator[Document]:
    """All documents that are not empty, with or without faulty ones; adds to ``problems``."""
    start_line = 0
    text = source.text
    while len(problems) < PROBLEMS_MAX:
        reader = ValueReader(source, text, start_line, dialect, problems)
        try:
            yield from _documents(source, reader, dialect, problems, keep_faulty)
            break
        except UserError:  # nested or aliased without bound: noted, and no use in going on
            break
        except YAMLError as error:
            problems.append(syntax_problem(source, error, start_line))
        resumed = next_document_line(source, problems[-1], start_line)
        if resumed is None:
            break
        start_line = resumed
        text = "\n".join(source.lines[start_line:])


def _documents(
    source: Source, reader: ValueReader, dialect: Dialect, problems: list[Problem],
    keep_faulty: bool,
) -> Iterator[Document]:  # fmt: skip
    before = len(problems)
    for read in reader.documents():
        if read.repeated:
            _, repeated = read_places(source, read.start_line, read.end_line)
            problems.extend(repeated)
        if read.data is not None and (keep_faulty or len(problems) == before):
            yield Document(read.data, source, read.start_line, read.end_line, dialect)
        before = len(problems)
        if before >= PROBLEMS_MAX:
            return
