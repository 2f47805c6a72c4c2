"""Hygiene of the source tree: sizes, docstrings, banned calls, unit suffixes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
WALL_CLOCK_FLOORS = {"experiment", "cli"}

SOURCES = sorted(ROOT.glob("sim/**/*.py"))
TESTS = sorted(ROOT.glob("tests/**/*.py"))

# Module → what to use instead; imports of these are also held by import-linter, which does not
# see imports under TYPE_CHECKING or inside strings.
BANNED_MODULES = {
    "random": "a named stream of the engine",
    "time": "the engine's clock",
    "datetime": "seconds of simulated time",
    "uuid": "a counter or a digest",
    "secrets": "a named stream of the engine",
}
ALLOWED_NUMPY_RANDOM = {"Generator", "SeedSequence", "PCG64DXSM", "BitGenerator"}
BANNED_SIMPY = {"Store", "FilterStore", "PriorityStore", "Resource", "PriorityResource",
                "PreemptiveResource", "Container"}  # fmt: skip

UNIT_SUFFIX = re.compile(
    r"(^|_)(seconds|bytes|millicores|cores|count|ratio|per_second|index|revision|seats|pods|nodes|"
    r"max|min|qps|burst|syncs|inflight|size|workers|replicas|exponent|shape|attempts|"
    r"percent|probability|bits|services|endpoints|seconds_per_[a-z_]+|bytes_per_[a-z_]+|"
    r"[a-z]+_per_[a-z]+|log_sd|mask_size_ipv[46]|version|priority|weight|code|port|uid|dots|"
    r"ndots|factor|generation|parallelism|level|threshold|retries|limit|depth|seed|score|slots)"
    r"(_p[0-9]+|_mean|_max|_min|_total)?$"
)
# A position, a name or a pure number for which upstream has no unit either.
UNITLESS_COLUMNS = {"member", "replica", "controller", "node", "term", "leader", "mode", "value"}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


COMPILING = {"native.py", "native_build.py"}
"""How the program is compiled and found: beside the floors, about this machine."""


def floor_of(path: Path) -> str:
    return path.relative_to(ROOT / "sim").parts[0]


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def test_there_is_something_to_check() -> None:
    assert len(SOURCES) > 20
    assert len(TESTS) > 5


def test_functions_are_short() -> None:
    long = [
        f"{name(path)}:{found.lineno} {found.name}: {length} lines"
        for path in [*SOURCES, *TESTS]
        for found in functions(path)
        if (length := (found.end_lineno or found.lineno) - found.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert not long


def test_files_are_short() -> None:
    long = [
        f"{name(path)}: {length} lines"
        for path in [*SOURCES, *TESTS]
        if (length := path.read_text(encoding="utf-8").count("\n")) > FILE_LINES_MAX
    ]
    assert not long


def test_every_module_says_what_it_is() -> None:
    silent = [
        name(path)
        for path in [*SOURCES, *TESTS]
        if tree(path).body and not ast.get_docstring(tree(path))
    ]
    assert not silent


def test_no_grab_bag_modules() -> None:
    assert not [name(path) for path in SOURCES if path.stem in {"utils", "util", "helpers", "misc"}]


def test_nothing_is_left_unfinished() -> None:
    # Letters in brackets, so that this line does not hold what it forbids.
    marks = re.compile(r"\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b|NotImplemented[E]rror")
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in [*SOURCES, *TESTS]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if marks.search(line)
    ]
    assert not found


def banned_uses(path: Path) -> Iterator[str]:
    has_wall_clock = floor_of(path) in WALL_CLOCK_FLOORS | COMPILING
    for node in ast.walk(tree(path)):
        place = f"{name(path)}:{getattr(node, 'lineno', 0)}"
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
            if node.module == "simpy":
                yield from (
                    f"{place}: simpy.{alias.name}: use the engine's queues"
                    for alias in node.names
                    if alias.name in BANNED_SIMPY
                )
        for module in modules:
            if module in BANNED_MODULES and not has_wall_clock:
                yield f"{place}: import {module}: use {BANNED_MODULES[module]}"
        if isinstance(node, ast.Attribute):
            full = dotted(node)
            random_name = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", full)
            if random_name and random_name[1] not in ALLOWED_NUMPY_RANDOM:
                yield f"{place}: {full}: use a named stream of the engine"
            if full.startswith("simpy.") and node.attr in BANNED_SIMPY:
                yield f"{place}: {full}: use the engine's queues"
            if full in {"os.environ", "os.getenv"} and not has_wall_clock:
                yield f"{place}: {full}: the experiment file is complete"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "hash" and not inside_dunder_hash(path, node):
                yield f"{place}: hash(): differs between processes; use sim.base.ids.digest"
            if node.func.id == "print" and floor_of(path) not in {"cli", *COMPILING}:
                yield f"{place}: print(): return the text"


def inside_dunder_hash(path: Path, node: ast.Call) -> bool:
    return any(
        found.name == "__hash__" and found.lineno <= node.lineno <= (found.end_lineno or 0)
        for found in functions(path)
    )


def test_banned_calls() -> None:
    assert not [use for path in SOURCES for use in banned_uses(path)]


@pytest.mark.parametrize(
    "text",
    ["import random", "from time import perf_counter", "import numpy as np\nnp.random.rand()",
     "import simpy\nsimpy.Store(e)", "from simpy import Resource", "x = hash('a')", "print(1)",
     "import os\nos.environ['A']"],
)  # fmt: skip
def test_the_ban_list_bites(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = ROOT / "sim" / "costs" / "imagined.py"
    monkeypatch.setitem(globals(), "tree", lambda _: ast.parse(text))
    assert len(list(banned_uses(path))) == 1


def test_numeric_parameters_end_in_a_unit() -> None:
    """A number without unit in its name is read wrongly by somebody one day."""
    unnamed = [
        f"{name(path)}: {owner.name}.{field.target.id}"
        for path in SOURCES
        for owner in ast.walk(tree(path))
        if isinstance(owner, ast.ClassDef) and owner.name.endswith("Params")
        for field in owner.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and re.fullmatch(r"(int|float)( \| None)?|Annotated\[(int|float)\b.*",
                         ast.unparse(field.annotation))
        and not UNIT_SUFFIX.search(field.target.id)
    ]  # fmt: skip
    assert not unnamed


def test_numeric_fact_columns_end_in_a_unit() -> None:
    from sim.components import facts
    from sim.engine.tables import TableSpec

    tables = [value for value in vars(facts).values() if isinstance(value, TableSpec)]
    assert tables
    unnamed = [
        f"{table.name}.{column.name}"
        for table in tables
        for column in table.columns
        if column.dtype not in {"text", "bool"}
        and column.name not in UNITLESS_COLUMNS
        and not UNIT_SUFFIX.search(column.name)
    ]
    assert not unnamed
