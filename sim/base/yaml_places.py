"""Where things stand in a YAML text: marks of values and keys, repeated keys, syntax errors.

Nothing here runs while a file is read without problems: places are found by reading the lines of
one document again, only when somebody asks for one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from yaml import YAMLError
from yaml._yaml import CParser
from yaml.error import MarkedYAMLError
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from yaml.reader import ReaderError

from sim.base.errors import Problem

_CONTROL: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_HINTS: Final = (
    ("mapping values are not allowed", "check the indentation; quote a text that contains ': '"),
    ("did not find expected <block end>", "a bracket, a quote or the indentation is off"),
    ("did not find expected key", "check the indentation of this line and the one before"),
    ("found character that cannot start any token", "indent with blanks; quote texts with @ % `"),
    ("found undefined tag handle", "quote a text that starts with an exclamation mark"),
)


class Mark(NamedTuple):
    """A place in a file, counted from one."""

    line: int
    column: int


@dataclass(slots=True)
class Place:
    """Where a value, its key, and everything inside it stand."""

    mark: Mark
    span: int = 1
    key_mark: Mark | None = None
    key_span: int = 1
    keyed: dict[str, Place] = field(default_factory=dict)
    """By key; of repeated keys the last, with what the others held."""
    first_marks: dict[str, Mark] = field(default_factory=dict)
    """Where repeated keys stood first."""
    listed: list[Place] = field(default_factory=list)


class Source:
    """One file's name and text; its lines are split when first asked for."""

    __slots__ = ("_lines", "path", "text")

    def __init__(self, path: str, text: str) -> None:
        self.path = path
        self.text = text
        self._lines: list[str] | None = None

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        if self._lines is None:
            self._lines = self.text.split("\n")
        return self._lines

    def line_text(self, line: int) -> str | None:
        """The text of line ``line`` (from one), or None beyond the end."""
        return self.lines[line - 1] if 0 < line <= len(self.lines) else None


def read_places(source: Source, start_line: int, end_line: int) -> tuple[Place, list[Problem]]:
    """The tree of places of one document, and a problem for every repeated key in it."""
    events = CParser("\n".join(source.lines[start_line:end_line]) + "\n")
    problems: list[Problem] = []
    root = Place(Mark(start_line + 1, 1))
    key: tuple[str, Mark, int] | None = None
    repeated: list[tuple[Place, Place]] = []
    stack: list[tuple[Place, bool, tuple[str, Mark, int] | None]] = [(root, False, None)]
    while True:
        event: Any = events.get_event()
        kind = event.__class__
        if event is None or kind is StreamEndEvent or kind is DocumentEndEvent:
            for last, before in repeated:
                last.keyed = {**before.keyed, **last.keyed}
            return (root.listed[0] if root.listed else root), problems
        if kind is MappingEndEvent or kind is SequenceEndEvent:
            _, _, key = stack.pop()
            continue
        if kind not in (ScalarEvent, AliasEvent, MappingStartEvent, SequenceStartEvent):
            continue
        mark, span = _mark_and_span(event, start_line)
        parent, in_map, _ = stack[-1]
        if in_map and key is None:
            if kind in (MappingStartEvent, SequenceStartEvent):
                stack.append((Place(mark), kind is MappingStartEvent, ("", mark, span)))
                continue
            name = event.value if kind is ScalarEvent else f"*{event.anchor}"
            if name in parent.keyed:
                problems.append(_repeated_key(source, name, parent, mark, span))
            key = (name, mark, span)
            continue
        place = Place(mark, span)
        if in_map and key is not None:
            name, place.key_mark, place.key_span = key
            if name in parent.keyed:
                repeated.append((place, parent.keyed[name]))
            parent.keyed[name] = place
            key = None
        else:
            parent.listed.append(place)
        if kind in (MappingStartEvent, SequenceStartEvent):
            stack.append((place, kind is MappingStartEvent, None))


def _mark_and_span(event: Any, start_line: int) -> tuple[Mark, int]:
    start, end = event.start_mark, event.end_mark
    span = end.column - start.column if end.line == start.line else 1
    return Mark(start.line + start_line + 1, start.column + 1), max(1, span)


def _repeated_key(source: Source, name: str, parent: Place, mark: Mark, span: int) -> Problem:
    before = parent.keyed[name].key_mark
    assert before is not None
    first = parent.first_marks.setdefault(name, before)
    return Problem(
        code="E004",
        message=f'the key "{name}" stands here again, first at '
        f"{source.path}:{first.line}:{first.column}",
        file=source.path,
        line=mark.line,
        column=mark.column,
        text=source.line_text(mark.line),
        span=span,
        hint="remove one of the two",
    )


def syntax_problem(source: Source, error: YAMLError, first_line: int) -> Problem:
    """The parser's complaint with our place; E003 when it only met the end of the text."""
    if isinstance(error, ReaderError):
        return _unprintable_problem(source, error)
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    message = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error)
    if mark is None:
        return Problem(code="E002", message=message, file=source.path)
    line = mark.line + first_line + 1
    rest = source.lines[line - 1 :]
    at_end = not "".join([rest[0][mark.column :], *rest[1:]]).strip() if rest else True
    context = error.context_mark if isinstance(error, MarkedYAMLError) else None
    begun = ""
    if context is not None and (at_end or context.line != mark.line):
        begun = f", begun in line {context.line + first_line + 1}"
    if at_end:
        last = len(source.lines) if source.lines[-1].strip() else len(source.lines) - 1
        return Problem(
            code="E003",
            message=f"the file ends in the middle of a value{begun}",
            file=source.path,
            line=last,
            column=len(source.lines[last - 1]) + 1,
            text=source.line_text(last),
        )
    hint = next((text for part, text in _HINTS if part in message), None)
    if rest[0][mark.column : mark.column + 1] == "\t":
        message, hint = "a tab cannot indent", "indent with blanks"
    return Problem(
        code="E002",
        message=message + begun,
        file=source.path,
        line=line,
        column=mark.column + 1,
        text=source.line_text(line),
        hint=hint,
    )


def _unprintable_problem(source: Source, error: ReaderError) -> Problem:
    found = _CONTROL.search(source.text)
    if found is None:
        return Problem(code="E002", message=str(error.reason), file=source.path)
    line = source.text.count("\n", 0, found.start()) + 1
    column = found.start() - (source.text.rfind("\n", 0, found.start()) + 1) + 1
    return Problem(
        code="E002",
        message=f"the character {found.group()!a} is not allowed in YAML",
        file=source.path,
        line=line,
        column=column,
    )


def next_document_line(source: Source, problem: Problem, first_line: int) -> int | None:
    """The line (from zero) of the next ``---`` at or after a problem, or None."""
    found = problem.line - 1 if problem.line is not None else len(source.lines)
    for number in range(max(found, first_line + 1), len(source.lines)):
        if source.lines[number].startswith("---"):
            return number
    return None
