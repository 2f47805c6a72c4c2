"""From libyaml's event stream to plain values, in one pass with a stack of our own.

No node graph and no recursion: libyaml's composer overflows the C stack on deeply nested text.
Everything rare (tags, anchors, complaints) is kept out of the loop in `ValueReader.build`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from yaml._yaml import CParser
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from sim.base.errors import Problem, UserError
from sim.base.yaml_places import Source
from sim.base.yaml_scalars import Dialect, Fault, resolve_plain

DEPTH_MAX: Final = 200
"""Deepest nesting of mappings and sequences; real files stay below twenty."""

ALIASED_VALUES_MAX: Final = 1_000_000
"""Values a document may have when every alias is counted with all it repeats."""

_NO_KEY: Final = object()
_MERGE: Final = "<<"
_MISSING: Final = object()
_TAG_PREFIX: Final = "tag:yaml.org,2002:"


class _ContainerKey(str):
    """Stands for a mapping or list used as a key, while that is being read."""

    __slots__ = ()


class ReadDocument(NamedTuple):
    """One document's value, its lines (from zero, end excluded), whether a key was repeated."""

    data: Any
    start_line: int
    end_line: int
    repeated: bool
    """Whether a key was repeated; the last value counts, mappings are joined."""


class ValueReader:
    """Builds plain values from one libyaml event stream."""

    def __init__(
        self,
        source: Source,
        text: str,
        first_line: int,
        dialect: Dialect,
        problems: list[Problem],
    ) -> None:
        self._source = source
        self._events = CParser(text)
        self._first_line = first_line
        self._dialect = dialect
        self._problems = problems
        self._plain: dict[str, Any] = {}
        self._keys: dict[str, str] = {}
        self._merging = False

    def documents(self) -> Iterator[ReadDocument]:
        """Every document of the stream. Raises YAMLError at the first syntax error."""
        next_event = self._events.get_event
        while True:
            event: Any = next_event()
            if event is None or event.__class__ is StreamEndEvent:
                return
            if event.__class__ is not DocumentStartEvent:
                continue
            start: Any = event.start_mark
            start_line = start.line + self._first_line
            data, repeated = self.build()
            ending: Any = next_event()
            assert ending.__class__ is DocumentEndEvent
            end: Any = ending.end_mark
            end_line = end.line + self._first_line + (end.column > 0)
            yield ReadDocument(data, start_line, end_line, repeated)

    def build(self) -> tuple[Any, bool]:
        """The next document's value, and whether a key was repeated in it."""
        next_event = self._events.get_event
        plain, keys = self._plain, self._keys
        anchors = _Anchors()
        repeated: list[tuple[Any, str, Any]] = []
        root: list[Any] = []
        container: Any = root
        is_map = False
        key: Any = _NO_KEY
        stack: list[tuple[Any, bool, Any]] = []
        while True:
            event: Any = next_event()
            kind = event.__class__
            anchors.count += 1
            if kind is ScalarEvent:
                text = event.value
                if is_map and key is _NO_KEY:
                    key = keys.get(text) if event.implicit[0] else text
                    if key is None or event.tag is not None or event.anchor is not None:
                        key = self._key(event, anchors)
                    if key in container:
                        repeated.append((container, key, container[key]))
                    continue
                value = plain.get(text, _MISSING) if event.implicit[0] else text
                if value is _MISSING or event.tag is not None or event.anchor is not None:
                    value = self._scalar(event, anchors)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                if is_map and key is _NO_KEY:
                    key = self._container_as_key(event)
                stack.append((container, is_map, key))
                is_map = kind is MappingStartEvent
                container = {} if is_map else []
                key = _NO_KEY
                if event.tag is not None or event.anchor is not None or len(stack) > DEPTH_MAX:
                    self._open(event, anchors, len(stack), "map" if is_map else "seq")
                continue
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                value = container
                if self._merging and is_map and _MERGE in value:
                    self._merge(value, event)
                if anchors.is_open:
                    anchors.close(len(stack), value)
                container, is_map, key = stack.pop()
                if key.__class__ is _ContainerKey:
                    key = str(key)
                    continue
            else:
                assert kind is AliasEvent
                value = self._alias(event, anchors)
                if is_map and key is _NO_KEY:
                    key = value if isinstance(value, str) else str(self._container_as_key(event))
                    if key in container:
                        repeated.append((container, key, container[key]))
                    continue
            if is_map:
                container[key] = value
                key = _NO_KEY
            else:
                container.append(value)
                if not stack:
                    _join_repeated(repeated)
                    return root[0], bool(repeated)

    # ------------------------------------------------------------------------------------- scalars
    def _scalar(self, event: Any, anchors: _Anchors) -> Any:
        text = event.value
        if event.tag is not None:
            value = self._tagged(event)
        elif event.implicit[0]:
            value = resolve_plain(text, self._dialect)
        else:
            value = text
        if isinstance(value, Fault):
            self._add(event, value.code, value.message, value.hint)
            value = None
        elif event.tag is None and event.implicit[0]:
            self._plain[text] = value
        if event.anchor is not None:
            anchors.define(event.anchor, value, 1)
        return value

    def _tagged(self, event: Any) -> Any:
        name = event.tag.removeprefix(_TAG_PREFIX)
        if name == "str" or event.tag == "!":
            return event.value
        wanted = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
        if name not in wanted or not event.tag.startswith(_TAG_PREFIX):
            return Fault("E009", f"tag {event.tag} is not allowed here")
        value = resolve_plain(event.value, self._dialect)
        if isinstance(value, Fault):
            return value
        if type(value) not in wanted[name]:
            return Fault("E009", f"{event.value!r} is not of the type its tag !!{name} says")
        return float(value) if name == "float" else value

    def _key(self, event: Any, anchors: _Anchors) -> str:
        """The key as a string; Kubernetes turns numbers and booleans into their JSON text."""
        text: str = event.value
        plain = event.tag is None and event.implicit[0]
        if event.tag is not None:
            value = self._tagged(event)
        else:
            value = resolve_plain(text, self._dialect) if plain else text
        if isinstance(value, Fault):
            self._add(event, value.code, value.message, value.hint)
            value = text
        elif isinstance(value, str):
            if plain and value == _MERGE:
                return self._merge_key(event)
        elif self._dialect is Dialect.EXPERIMENT or value is None:
            self._add(event, "E007", f"the key {text or 'null'} is not a string", "quote it")
            value = text
        elif isinstance(value, bool):
            value = "true" if value else "false"
        else:
            value = str(value)
        if plain:
            self._keys[text] = value
        if event.anchor is not None:
            anchors.define(event.anchor, value, 1)
        return str(value)

    def _merge_key(self, event: Any) -> str:
        if self._dialect is Dialect.EXPERIMENT:
            self._add(event, "E009", "merge keys are not allowed here", "use `import`")
        self._merging = True
        return _MERGE

    def _container_as_key(self, event: Any) -> str:
        self._add(event, "E007", "a key that is not a string")
        return _ContainerKey(f"<key at line {event.start_mark.line + self._first_line + 1}>")

    # ------------------------------------------------------------------ aliases, merges, complaints
    def _alias(self, event: Any, anchors: _Anchors) -> Any:
        name = event.anchor
        if name in anchors.unfinished:
            self._add(event, "E006", f"alias *{name} refers to the value it stands in")
            return None
        if name not in anchors.values:
            self._add(event, "E002", f"alias *{name} has no anchor")
            return None
        anchors.count += anchors.sizes[name]
        if anchors.count > ALIASED_VALUES_MAX:
            self._add(event, "E006", f"aliases make more than {ALIASED_VALUES_MAX} values")
            raise UserError(self._problems)
        return anchors.values[name]

    def _merge(self, target: dict[str, Any], event: Any) -> None:
        given = target.pop(_MERGE)
        for other in given if isinstance(given, list) else [given]:
            if not isinstance(other, dict):
                self._add(event, "E009", "a merge key's value is a mapping or a list of mappings")
                return
            for key, value in other.items():
                target.setdefault(key, value)

    def _open(self, event: Any, anchors: _Anchors, depth: int, kind: str) -> None:
        if event.tag not in (None, _TAG_PREFIX + kind, "!"):
            self._add(event, "E009", f"tag {event.tag} is not allowed here")
        if event.anchor is not None:
            anchors.open(event.anchor, depth)
        if depth > DEPTH_MAX:
            self._add(event, "E006", f"nested deeper than {DEPTH_MAX} levels")
            raise UserError(self._problems)

    def _add(self, event: Any, code: str, message: str, hint: str | None = None) -> None:
        mark = event.start_mark
        line = mark.line + self._first_line + 1
        end = event.end_mark
        self._problems.append(
            Problem(
                code=code,
                message=message,
                file=self._source.path,
                line=line,
                column=mark.column + 1,
                text=self._source.line_text(line),
                span=end.column - mark.column if end.line == mark.line else 1,
                hint=hint,
            )
        )


def _join_repeated(repeated: list[tuple[Any, str, Any]]) -> None:
    """Put what the first of two equal keys held beside what the last holds, to check both."""
    for container, key, before in reversed(repeated):
        last = container[key]
        if isinstance(before, dict) and isinstance(last, dict) and before is not last:
            for inner, value in before.items():
                last.setdefault(inner, value)


class _Anchors:
    """Anchored values of one document, with their size in values when fully written out."""

    __slots__ = ("_open", "count", "is_open", "sizes", "unfinished", "values")

    def __init__(self) -> None:
        self.count = 0
        self.values: dict[str, Any] = {}
        self.sizes: dict[str, int] = {}
        self.unfinished: set[str] = set()
        self.is_open = False
        self._open: list[tuple[int, str, int]] = []

    def define(self, name: str, value: Any, size: int) -> None:
        self.values[name] = value
        self.sizes[name] = size

    def open(self, name: str, depth: int) -> None:
        self._open.append((depth, name, self.count))
        self.unfinished.add(name)
        self.is_open = True

    def close(self, depth: int, value: Any) -> None:
        if self._open[-1][0] == depth:
            _, name, count = self._open.pop()
            self.unfinished.discard(name)
            self.define(name, value, self.count - count + 1)
            self.is_open = bool(self._open)
