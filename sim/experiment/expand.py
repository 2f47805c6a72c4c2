"""One experiment becomes points (sweep), points become runs (replications)."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sim.base.errors import Problem, UserError
from sim.base.ids import SHORT_DIGEST_LENGTH
from sim.base.spelling import nearest
from sim.experiment.backend import Backend
from sim.experiment.build import Loaded, build_experiment, scenario_digest
from sim.experiment.load import ROOT_KEYS, Tree, set_path
from sim.experiment.origin import Origin, Origins, TreePath
from sim.experiment.spec import SweepSpec
from sim.stats.design import AxisRange, grid, latin_hypercube, sobol

POINTS_MAX: Final = 100_000
_SLUG_LENGTH_MAX: Final = 60
_RANGE_KEYS: Final = ("min", "max", "scale", "integer")


@dataclass(slots=True)
class Point:
    """One scenario: a checked experiment without a sweep."""

    loaded: Loaded
    digest: str
    slug: str
    values: dict[str, Any]
    """Dotted path → value on each axis; empty without a sweep."""

    @property
    def folder_name(self) -> str:
        """``<slug>-<digest8>``, the folder of the scenario's runs."""
        return f"{self.slug}-{self.digest[:SHORT_DIGEST_LENGTH]}"


def expand(loaded: Loaded, backend: Backend) -> list[Point]:
    """Return the points of an experiment, one without a sweep.

    Points that turn out to be the same scenario are kept once.

    Raises:
        UserError: the sweep is malformed, or a point is not a valid experiment.
    """
    sweep = loaded.experiment.spec.sweep
    if sweep is None:
        return [Point(loaded, scenario_digest(loaded), "base", {})]
    origins = loaded.tree.origins
    assignments = _assignments(sweep, loaded.experiment.spec.run.seed, origins)
    if origins.problems:
        raise UserError(origins.problems)
    points: dict[str, Point] = {}
    problems: list[Problem] = []
    for values in assignments:
        try:
            point = _point(loaded, backend, values)
        except UserError as error:
            problems += [problem for problem in error.problems if problem not in problems]
            continue
        points.setdefault(point.digest, point)
    if problems:
        raise UserError(problems)
    return list(points.values())


def axis_path(text: str) -> TreePath:
    """Return the path of an axis from the top of the file."""
    steps = text.split(".")
    if steps[0] not in ROOT_KEYS:
        steps = ["spec", *steps]
    return tuple(int(step) if step.isdecimal() else step for step in steps)


def _assignments(sweep: SweepSpec, seed: int, origins: Origins) -> list[dict[str, Any]]:
    where: TreePath = ("spec", "sweep")
    if not sweep.axes:
        origins.add("E024", "a sweep without axes", where)
        return []
    try:
        if sweep.method in {"grid", "list"}:
            return _listed(sweep, origins)
        ranges = {
            name: _range(name, axis, origins) for name, axis in sweep.axes.items()
        }
        if sweep.points is None:
            origins.add("E024", f"method {sweep.method} needs the number of points", where)
        known = {name: axis for name, axis in ranges.items() if axis is not None}
        if origins.problems or sweep.points is None:
            return []
        rng = np.random.Generator(np.random.PCG64DXSM(seed))
        design = latin_hypercube if sweep.method == "latin-hypercube" else sobol
        return design(known, sweep.points, rng)
    except ValueError as error:
        origins.add("E024", str(error), where)
        return []


def _listed(sweep: SweepSpec, origins: Origins) -> list[dict[str, Any]]:
    lengths = {}
    for name, values in sweep.axes.items():
        path = ("spec", "sweep", "axes", name)
        if not isinstance(values, list) or not values:
            origins.add("E024", f"the axis {name!r} is not a list of values", path)
        else:
            lengths[name] = len(values)
    if len(lengths) < len(sweep.axes):
        return []
    total = int(np.prod([float(length) for length in lengths.values()]))
    if sweep.method == "grid" and total > POINTS_MAX:
        origins.add("E024", f"{total:,} points, at most {POINTS_MAX:,}", ("spec", "sweep", "axes"))
        return []
    if sweep.method == "grid":
        return grid(sweep.axes)
    if len(set(lengths.values())) > 1:
        shown = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        origins.add("E024", f"the lists differ in length ({shown})", ("spec", "sweep", "axes"))
        return []
    rows = zip(*sweep.axes.values(), strict=True)
    return [dict(zip(sweep.axes, row, strict=True)) for row in rows]


def _range(name: str, axis: Any, origins: Origins) -> AxisRange | None:
    path = ("spec", "sweep", "axes", name)
    if not isinstance(axis, dict):
        origins.add("E024", f"the axis {name!r} is not a range: {{min: …, max: …}}", path)
        return None
    for key in axis:
        if key not in _RANGE_KEYS:
            origins.add(
                "E010", f"unknown key {key!r}", (*path, key), at_key=True, allowed=_RANGE_KEYS,
                nearest=nearest(key, _RANGE_KEYS),
            )  # fmt: skip
    low, high = axis.get("min"), axis.get("max")
    numbers = all(
        isinstance(item, int | float) and not isinstance(item, bool) for item in (low, high)
    )
    if not numbers:
        origins.add("E024", f"the axis {name!r} needs numbers min and max", path)
        return None
    if axis.get("scale", "linear") not in {"linear", "log"}:
        origins.add(
            "E014", f"unknown scale {axis['scale']!r}", (*path, "scale"), allowed=("linear", "log")
        )
        return None
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return AxisRange(
        float(low), float(high), axis.get("scale") == "log", axis.get("integer") is True
    )


def _point(loaded: Loaded, backend: Backend, values: dict[str, Any]) -> Point:
    tree = loaded.tree
    data = copy.deepcopy(tree.data)
    data["spec"].pop("sweep", None)
    origins = Origins(dict(tree.origins.by_path))
    for name, value in values.items():
        path = axis_path(name)
        axis = ("spec", "sweep", "axes", name)
        message = set_path(data, path, value)
        if message:
            origins.problems.append(
                tree.origins.problem("E024", f"no such setting: {message}", axis, at_key=True)
            )
            continue
        place = tree.origins.find(axis)
        origins.forget(path)
        origins.by_path[path] = Origin(place.document, place.path, place.override, place.folder)
    point_tree = Tree(data, origins, tree.folder, tree.text, tree.files, [])
    inner = build_experiment(point_tree, backend)
    return Point(inner, scenario_digest(inner), _slug(values), values)


def _slug(values: dict[str, Any]) -> str:
    parts = []
    for name, value in values.items():
        last = name.rpartition(".")[2]
        shown = f"{value:.6g}" if isinstance(value, float) else str(value)
        if isinstance(value, dict | list):
            shown = "x"
        parts.append(f"{last}-{shown}")
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", "_".join(parts)).strip("-")
    return slug[:_SLUG_LENGTH_MAX].strip("-.") or "base"


