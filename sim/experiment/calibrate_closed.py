"""Fits that need no simulation: kube-proxy, overlay, the scheduling cycle.

The laws are functions of the conditions of a row, so that least squares on them is enough. Those of
kube-proxy and overlay are fitted by `sim.costs.fitting_proxy` and `fitting_overlay`, the scheduling
cycle here.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from sim.costs.fitting_overlay import fit_pod_network, fit_remote_nodes
from sim.costs.fitting_proxy import fit_kube_proxy, least_squares
from sim.costs.profile import Profile, parameters
from sim.costs.scheduler import CycleShape, SchedulerLaw
from sim.experiment.calibrate_fit import FloatArray, standard_errors, two_errors
from sim.experiment.calibrate_profile import with_parameters
from sim.experiment.calibrate_types import Fitted

Row = Mapping[str, str]

DIGITS_TOLERANCE_RATIO: Final = 0.002
"""Four digits: what parameters are written with."""


def read(path: Path) -> list[dict[str, str]]:
    """Return the undisturbed rows of a CSV."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [row for row in csv.DictReader(stream) if row.get("disturbed", "0") == "0"]


# ---------------------------------------------------------------------------------------- nodes
_NODE_FITS: Final[
    Mapping[str, tuple[tuple[str, str, Callable[[list[dict[str, str]]], Any]], ...]]
] = {
    "kube-proxy": (("kube_proxy", "kube_proxy_sync.csv", fit_kube_proxy),),
    "overlay": (
        ("pod_network", "overlay_pod_sandbox.csv", fit_pod_network),
        ("remote_node", "overlay_remote_node_entries.csv", fit_remote_nodes),
    ),
}


def fit_nodes(folder: Path, profile: Profile, which: str) -> list[Fitted]:
    """Fit the laws of ``kube-proxy`` or of the ``overlay``, as far as their files are there.

    Only what a file says something about is returned: a parameter whose source is that file.
    """
    found: list[Fitted] = []
    for part, name, fit in _NODE_FITS[which]:
        path = folder / name
        if not path.is_file():
            continue
        rows = read(path)
        fitted = fit(rows)
        assert is_dataclass(fitted), part
        for key, value, source in parameters(fitted, f"{part}."):
            if name not in source or not isinstance(value, float) or key.endswith("jitter_log_sd"):
                continue
            if value == 0.0:  # a term that this step does not have
                continue
            if "stand-in" in source or source.startswith("assumed"):
                continue
            found.append(Fitted(
                name=key, value=value, source=name,
                quality=f"{len(rows)} rows, least squares of logarithms, no simulation",
                tolerance_ratio=DIGITS_TOLERANCE_RATIO,
            ))  # fmt: skip
    known = {key for key, _, _ in parameters(profile)}
    return [item for item in found if item.name in known]


# ------------------------------------------------------------------------------------ scheduler
CYCLE_GROUPS: Final = (
    ("scheduler.cycle_base_seconds",),
    ("scheduler.node_examined_seconds",),
    ("scheduler.affinity_examined_seconds",),
    ("scheduler.spread_node_seconds", "scheduler.spread_pod_seconds"),
    ("scheduler.spread_feasible_seconds",),
    ("scheduler.preferred_node_seconds", "scheduler.preferred_pod_seconds"),
    ("scheduler.preferred_feasible_seconds",),
    ("scheduler.required_node_seconds", "scheduler.required_pod_seconds"),
    ("scheduler.required_examined_seconds",),
    ("scheduler.cache_penalty_ratio",),
    ("scheduler.cache_half_nodes",),
)
"""Parameters of the cycle; walks over nodes and their pods cannot be told apart with two pods on
every node, so that they are scaled together."""
_SHAPES: Final = {
    "basic": CycleShape(),
    "taints_nodeaffinity": CycleShape(node_affinity=True),
    "spread": CycleShape(spread=True),
    "preferred_antiaffinity": CycleShape(preferred_affinity=True),
    "required_antiaffinity": CycleShape(required_affinity=True),
}
_WANTED: Final = {100: 100, 1000: 420, 5000: 500, 15_000: 750}
"""Feasible nodes that adaptive sampling looks for. **Source:** scheduler_core_speed.md."""
_FEASIBLE_RATIO: Final = {"taints_nodeaffinity": 0.6}
"""**Source:** scheduler_core_speed.md: three of five nodes or so are feasible."""
_MICROSECONDS: Final = 1e6


def cycle_wall_seconds(law: SchedulerLaw, row: Row) -> float:
    """Return the duration of one cycle of a row of scheduler_core_speed.csv."""
    nodes, share = int(row["nodes"]), _FEASIBLE_RATIO.get(row["family"], 1.0)
    adaptive = _WANTED.get(nodes, nodes)
    wanted = nodes if row["percentage"] == "100" else min(nodes, adaptive)
    examined = min(nodes, round(wanted / share))
    feasible = min(wanted, round(nodes * share))
    cycle = law.cycle_seconds(_SHAPES[row["family"]], nodes, examined, feasible)
    return law.split(cycle, int(row["gomaxprocs"]))[0]


def fit_cycle(folder: Path, profile: Profile) -> list[Fitted]:
    """Fit the scheduling cycle to scheduler_core_speed.csv: one core first, then what two gain."""
    name = "scheduler_core_speed.csv"
    rows = [row for row in read(folder / name) if row["family"] in _SHAPES]
    one = [row for row in rows if row["gomaxprocs"] == "1"]
    two = [row for row in rows if row["gomaxprocs"] == "2"]
    found = []
    if len(one) > len(CYCLE_GROUPS):
        found = _fit_rows(profile, CYCLE_GROUPS, one, f"{name}, one core")
        profile = with_parameters(profile, {item.name: item.value for item in found})
    if two:
        found += _fit_rows(profile, (("scheduler.serial_ratio",),), two, f"{name}, two cores")
    return found


def _fit_rows(
    profile: Profile, groups: Sequence[Sequence[str]], rows: Sequence[Row], source: str
) -> list[Fitted]:
    start = {name: float(value) for name, value, _ in parameters(profile) if _is_in(name, groups)}

    def values_at(point: FloatArray) -> dict[str, float]:
        factors = np.exp(point).tolist()
        return {
            name: start[name] * factor
            for group, factor in zip(groups, factors, strict=True) for name in group
        }  # fmt: skip

    def residuals(point: FloatArray) -> FloatArray:
        law = SchedulerLaw(with_parameters(profile, values_at(point)).scheduler)
        return np.array([
            math.log(cycle_wall_seconds(law, row) * _MICROSECONDS / float(row["us_per_pod_median"]))
            for row in rows
        ])  # fmt: skip

    at = least_squares(residuals, np.zeros(len(groups)))
    final = residuals(at)
    errors = standard_errors(_jacobian(residuals, at, final), final)
    good = float(np.mean(np.abs(final) < math.log(1.25)))
    values = values_at(at)
    return [
        Fitted(
            name=name, value=values[name], source=source,
            quality=f"{len(rows)} rows, {good:.0%} within 0.80-1.25, no simulation",
            tolerance_ratio=two_errors(float(error)),
        )
        for group, error in zip(groups, errors, strict=True) for name in group
    ]  # fmt: skip


def _is_in(name: str, groups: Sequence[Sequence[str]]) -> bool:
    return any(name in group for group in groups)


def _jacobian(
    residuals: Callable[[FloatArray], FloatArray], at: FloatArray, value: FloatArray
) -> FloatArray:
    step = 1e-5
    columns = [(residuals(at + step * unit) - value) / step for unit in np.eye(at.size)]
    return np.array(columns).T


def fit_user_plugin(folder: Path) -> list[Fitted]:
    """Fit one user plugin's cost per node: a Score of NodeResourcesFit, at 100 nodes.

    Above 100 nodes few calls were sampled.
    """
    name = "scheduler_plugins.csv"
    values = [
        float(row["mean_ms"]) * 1e-3 for row in read(folder / name)
        if row["plugin"] == "NodeResourcesFit" and row["extension_point"] == "Score"
        and row["nodes"] == "100"
    ]  # fmt: skip
    if not values:
        return []
    middle = float(np.median(values))
    spread = max(max(values) / middle, middle / min(values)) - 1.0
    return [Fitted(
        name="scheduler.user_plugin_node_seconds", value=middle,
        source=f"{name}, Score of NodeResourcesFit at 100 nodes",
        quality=f"{len(values)} rows, {min(values) * 1e6:.2f}-{max(values) * 1e6:.2f} us",
        tolerance_ratio=spread,
    )]  # fmt: skip
