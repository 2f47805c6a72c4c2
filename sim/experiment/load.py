"""From files and ``--set`` to one merged tree of plain values, with the origin of every value.

``import: path`` may stand in any mapping: the imported file is one mapping, its keys are used where
the importing mapping has none, and mappings that both have are merged by the same rule. A list
item that consists of nothing but an import is replaced by the imported file's ``operations``.
Paths resolve against the file that names them. Imports may import; a cycle is an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sim.base.errors import Problem, UserError
from sim.base.spelling import nearest
from sim.base.yaml_strict import Document, ends_without_newline, load_document, read_document
from sim.experiment.origin import Origin, Origins, TreePath

IMPORT: Final = "import"
OPERATIONS: Final = "operations"
ROOT_KEYS: Final = ("apiVersion", "kind", "metadata", "spec")


@dataclass(slots=True)
class Tree:
    """A merged experiment file: plain values, origins, and what was read on the way."""

    data: dict[str, Any]
    origins: Origins
    folder: Path
    """The folder of the experiment file."""
    text: str
    """The experiment file as given."""
    files: list[Path]
    """Every file read, the experiment first."""
    warnings: list[Problem]


def load_tree(
    path: str | Path, *, text: str | None = None, overrides: Sequence[str] = ()
) -> Tree:
    """Read an experiment file, its imports, and the overrides, in this order of precedence.

    Args:
        path: the file; with ``text`` only a name for messages.
        text: content to use instead of the file's.
        overrides: ``path=value`` texts, applied last.

    Repeated keys, unreadable values, and problems of imports and overrides are left in ``origins``
    so that the check goes on.

    Raises:
        UserError: the experiment file itself is missing or not YAML.
    """
    document, problems = read_document(path, text)
    file = Path(path)
    folder = file.parent if text is None else Path()
    origins = Origins(problems=problems, unreadable=set(problems))
    tree = Tree(document.data, origins, folder, document.source.text, [file], [])
    merger = _Merger(origins, tree.files)
    merged = merger.resolve(document.data, (), document, (), folder, (file.resolve(),))
    tree.data = merged
    if text is None and ends_without_newline(document):
        tree.warnings.append(
            Problem(code="W007", message="the last line has no line end", file=str(path))
        )
    for override in overrides:
        apply_override(tree.data, origins, override)
    return tree


class _Merger:
    """Resolves imports while it copies the values and notes where they came from."""

    def __init__(self, origins: Origins, files: list[Path]) -> None:
        self.origins = origins
        self.files = files

    def resolve(
        self,
        value: Any,
        path: TreePath,
        document: Document,
        place: TreePath,
        folder: Path,
        chain: tuple[Path, ...],
    ) -> Any:
        """Return ``value`` with its imports merged in; ``path`` is its place in the result."""
        self.origins.by_path[path] = Origin(document, place, folder=folder)
        if isinstance(value, list):
            return self._resolve_list(value, path, document, place, folder, chain)
        if not isinstance(value, dict):
            return value
        merged: dict[str, Any] = {}
        if isinstance(value.get(IMPORT), str):
            imported = self._read(value[IMPORT], document, (*place, IMPORT), folder, chain)
            if imported is not None:
                source, file = imported
                merged = self.resolve(
                    source.data, path, source, (), file.parent, (*chain, file.resolve())
                )
        for key, inner in value.items():
            if key == IMPORT and isinstance(inner, str):
                continue
            self._merge_key(merged, key, inner, path, document, place, folder, chain)
        if not isinstance(value.get(IMPORT), str):
            self.origins.by_path[path] = Origin(document, place, folder=folder)
        return merged

    def _merge_key(
        self,
        merged: dict[str, Any],
        key: str,
        inner: Any,
        path: TreePath,
        document: Document,
        place: TreePath,
        folder: Path,
        chain: tuple[Path, ...],
    ) -> None:
        below = (*path, key)
        base = merged.get(key)
        if isinstance(base, dict) and isinstance(inner, dict) and IMPORT not in inner:
            for inner_key, innermost in inner.items():
                self._merge_key(
                    base, inner_key, innermost, below, document, (*place, key), folder, chain
                )
            return
        self.origins.forget(below)
        merged[key] = self.resolve(inner, below, document, (*place, key), folder, chain)

    def _resolve_list(
        self,
        items: list[Any],
        path: TreePath,
        document: Document,
        place: TreePath,
        folder: Path,
        chain: tuple[Path, ...],
    ) -> list[Any]:
        result: list[Any] = []
        for index, item in enumerate(items):
            where = (*place, index)
            if isinstance(item, dict) and list(item) == [IMPORT] and isinstance(item[IMPORT], str):
                result.extend(
                    self._import_items(
                        item[IMPORT], (*path, len(result)), document, where, folder, chain
                    )
                )
            else:
                at = (*path, len(result))
                result.append(self.resolve(item, at, document, where, folder, chain))
        return result

    def _import_items(
        self,
        name: str,
        at: TreePath,
        document: Document,
        where: TreePath,
        folder: Path,
        chain: tuple[Path, ...],
    ) -> list[Any]:
        imported = self._read(name, document, (*where, IMPORT), folder, chain)
        if imported is None:
            return []
        source, file = imported
        items = source.data.get(OPERATIONS)
        if not isinstance(items, list):
            self.origins.problems.append(
                source.problem("E011", f"missing key {OPERATIONS!r}: a list of operations")
            )
            return []
        first = int(at[-1])
        inner_chain = (*chain, file.resolve())
        resolved = self._resolve_list(
            items, at[:-1], source, (OPERATIONS,), file.parent, inner_chain
        )
        for index in range(len(resolved) - 1, -1, -1):  # the list above started to count at zero
            self.origins.move((*at[:-1], index), (*at[:-1], first + index))
        return resolved

    def _read(
        self,
        name: str,
        document: Document,
        where: TreePath,
        folder: Path,
        chain: tuple[Path, ...],
    ) -> tuple[Document, Path] | None:
        file = folder / name
        if file.resolve() in chain:
            steps = " → ".join(item.name for item in (*chain, file))
            self.origins.problems.append(
                document.problem("E020", f"imports form a cycle: {steps}", where)
            )
            return None
        if not file.is_file():
            there = sorted(item.name for item in file.parent.iterdir()) if (
                file.parent.is_dir()
            ) else []  # fmt: skip
            self.origins.problems.append(
                document.problem(
                    "E001",
                    f"no such file: {name}",
                    where,
                    nearest=nearest(file.name, there),
                    hint=f"paths resolve against the folder of {document.file}",
                )
            )
            return None
        try:
            imported, problems = read_document(file)
        except UserError as error:
            self.origins.problems.extend(error.problems)
            return None
        self.origins.problems.extend(problems)
        self.origins.unreadable.update(problems)
        self.files.append(file)
        return imported, file


# -------------------------------------------------------------------------------------- overrides
def parse_override(text: str) -> tuple[TreePath, Any]:
    """Return (path from the top, value) of ``a.b.0.c=value``; ``spec.`` may be left out.

    Raises:
        UserError: no equals sign, an empty path, or a value that is not YAML.
    """
    name, equals, value_text = text.partition("=")
    steps = [step.strip() for step in name.split(".")]
    if not equals or not all(steps):
        raise UserError(Problem(code="E021", message="not path=value", file=f"--set {text}"))
    if steps[0] not in ROOT_KEYS:
        steps = ["spec", *steps]
    try:
        value = load_document("--set", f"value: {value_text}\n").data["value"]
    except UserError as error:
        raise UserError(
            Problem(
                code="E021",
                message=f"the value is not YAML: {error.problems[0].message}",
                file=f"--set {text}",
            )
        ) from error
    return tuple(int(step) if step.isdecimal() else step for step in steps), value


def apply_override(data: dict[str, Any], origins: Origins, text: str) -> None:
    """Apply one ``--set``; problems are added to ``origins``."""
    try:
        path, value = parse_override(text)
    except UserError as error:
        origins.problems.extend(error.problems)
        return
    message = set_path(data, path, value)
    if message:
        origins.problems.append(Problem(code="E021", message=message, file=f"--set {text}"))
        return
    origins.forget(path)
    origins.by_path[path] = Origin(None, (), override=text, folder=Path())


def set_path(data: Any, path: TreePath, value: Any) -> str:
    """Put a value at a path of the tree in place; return what is wrong with the path, or ''.

    Missing mappings on the way are made; lists may be extended by one.
    """
    current: Any = data
    for position, step in enumerate(path):
        last = position == len(path) - 1
        shown = ".".join(str(item) for item in path[:position]) or "the top"
        if isinstance(current, list):
            if not isinstance(step, int) or step > len(current):
                return f"{shown} is a list of {len(current)}: {step!r} is no position in it"
            if step == len(current):
                current.append({})
            if last:
                current[step] = value
            current = current[step]
        elif isinstance(current, dict):
            key = str(step)
            if last:
                current[key] = value
            else:
                if current.get(key) is None:
                    current[key] = {}
                current = current[key]
        else:
            return f"{shown} is neither a mapping nor a list"
    return ""


def get_path(data: Any, path: TreePath) -> Any:
    """Return the value at a path of a tree, None where there is none."""
    for step in path:
        if isinstance(data, Mapping):
            data = data.get(str(step))
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            return None
    return data
