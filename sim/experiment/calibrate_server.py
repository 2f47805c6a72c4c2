"""Fits the API server's, the watches' and the scheduler's laws by simulating the measured rows.

Which parameter is fitted to which file is not repeated here: it is what the parameter's own source
says ("fitted: apiserver_list.csv, …": the first file named). A new parameter of a law is therefore
calibrated as soon as it says where it comes from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from sim.base.errors import UserError
from sim.costs.profile import Profile, mark_of, parameters
from sim.experiment.accuracy import number, predictor_for, read_index, read_rows
from sim.experiment.calibrate_fit import FloatArray, fit_logarithms, values_in
from sim.experiment.calibrate_profile import with_parameters
from sim.experiment.calibrate_types import Fitted

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One fit: of what, to which columns of which files.

    Its parameters are those whose source names one of the files first.
    """

    title: str
    component: str
    parts: tuple[str, ...]
    """Parts of a profile that they are looked for in."""
    columns: Mapping[str, Mapping[str, float]]
    """File to its columns, each with a weight."""
    together: tuple[tuple[str, ...], ...] = ()
    """Parameters that the data can only tell together."""


_SERVER: Final = ("apiserver", "watch")
_CPU: Final = 1.0
_LATENCY: Final = 0.7
_TAIL: Final = 0.35

STAGES: Final = (
    Stage(
        title="etcd's watches", component="etcd", parts=("etcd",),
        columns={"etcd_watch_fanout.csv": {
            "etcd_cpu_us_per_event": _CPU, "p50_ms": _LATENCY, "put_p50_ms": _LATENCY,
        }},
    ),
    Stage(
        title="API server, requests", component="apiserver", parts=_SERVER,
        columns={
            "apiserver_verbs_closed.csv": {
                "throughput_per_s": _CPU, "apiserver_cpu_ms_per_req": _CPU, "p50_ms": _LATENCY,
                "p99_ms": _TAIL,
            },
            "apiserver_verbs_open.csv": {"p50_ms": _LATENCY, "apiserver_cores": _CPU},
        },
    ),
    Stage(
        title="API server, lists", component="apiserver", parts=_SERVER,
        columns={"apiserver_list.csv": {
            "lists_per_s": _CPU, "apiserver_cpu_ms_per_list": _CPU, "p50_ms": _LATENCY,
            "p99_ms": _TAIL,
        }},
    ),
    Stage(
        title="watches", component="apiserver", parts=_SERVER,
        columns={"apiserver_watch_fanout.csv": {
            "apiserver_cpu_us_per_delivery": _CPU, "p50_ms": _LATENCY, "p99_ms": _TAIL,
        }},
    ),
    Stage(
        title="priority and fairness", component="apiserver", parts=_SERVER,
        columns={"apiserver_apf.csv": {"ok_per_s": _CPU, "p50_ms": _LATENCY}},
    ),
    Stage(
        title="priority and fairness, as the server sees it", component="apiserver", parts=_SERVER,
        columns={"apiserver_apf_server_metrics.csv": {
            "queue_wait_mean_ms": _TAIL, "exec_mean_ms": _TAIL,
        }},
    ),
    Stage(
        title="nodes at rest", component="apiserver", parts=_SERVER,
        columns={"idle_heartbeats.csv": {"apiserver_cores": _CPU}},
    ),
    Stage(
        title="scheduler, around the cycle", component="scheduler",
        parts=("scheduler",),
        columns={"scheduler_throughput.csv": {
            "scheduler_cpu_ms_per_pod": _CPU, "pods_per_s": _CPU, "algorithm_mean_ms": _LATENCY,
        }},
        together=((
            "scheduler.bind_request_seconds", "scheduler.event_request_seconds",
            "scheduler.watch_event_seconds",
        ),),
    ),
)  # fmt: skip
"""In the order in which they are fitted; each starts from what those before it found."""


def stage_groups(stage: Stage, profile: Profile) -> list[tuple[str, ...]]:
    """Return the parameters of a stage: positive numbers whose source names one of its files."""
    names = []
    for name, value, source in parameters(profile):
        part = name.partition(".")[0]
        if part not in stage.parts or mark_of(source) != "measured":
            continue
        if _first_file(source) in stage.columns and _is_positive(value):
            names.append(name)
    known = set(names)
    groups = [
        kept for group in stage.together
        if (kept := tuple(name for name in group if name in known))
    ]  # fmt: skip
    taken = {name for group in groups for name in group}
    return [*groups, *((name,) for name in names if name not in taken)]


def _first_file(source: str) -> str:
    words = source.replace(",", " ").replace(";", " ").split()
    return next((word for word in words if word.endswith(".csv")), "")


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0.0


def fit_stages(
    folder: Path,
    profile: Profile,
    *,
    seed: int,
    iteration_count: int,
    stages: Sequence[Stage] = STAGES,
    row_step: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Fitted]:
    """Fit every stage that has a file in the folder; of its rows every ``row_step``-th."""
    found: list[Fitted] = []
    for stage in stages:
        rows = {name: some[::row_step] for name, some in _rows(folder, stage).items()}
        groups = stage_groups(stage, profile)
        if not rows or not groups:
            continue
        names = [name for group in groups for name in group]
        count = sum(len(some) for some in rows.values())
        progress(f"{stage.title}: {len(groups)} parameters to {count} rows")
        solution = fit_logarithms(
            groups,
            values_in(profile, names),
            _residuals(stage, rows, profile, seed),
            iteration_count=iteration_count,
            progress=progress,
        )
        profile = with_parameters(profile, solution.values)
        found += solution.fitted(names, ", ".join(rows), f"{count} rows simulated")
    return found


def _rows(folder: Path, stage: Stage) -> dict[str, list[dict[str, str]]]:
    """Return the rows of the stage's files that the folder's index keeps, all without an index."""
    try:
        keep = {spec.name: spec.keep for spec in read_index(folder)[1]}
    except UserError:
        keep = {}
    return {
        name: read_rows(folder / name, keep.get(name, ""))
        for name in stage.columns if (folder / name).is_file()
    }  # fmt: skip


def _residuals(
    stage: Stage, rows: Mapping[str, Sequence[Row]], profile: Profile, seed: int
) -> Callable[[Mapping[str, float]], FloatArray]:
    def residuals(values: Mapping[str, float]) -> FloatArray:
        chosen = with_parameters(profile, values)
        found = []
        for name, measured in rows.items():
            predict = predictor_for(name)
            assert predict is not None, f"nothing simulates {name}"
            for row, predicted in zip(measured, predict(measured, chosen, seed), strict=False):
                found += _errors(row, predicted, stage.columns[name])
        return np.asarray(found)

    return residuals


def _errors(
    row: Row, predicted: Mapping[str, float], columns: Mapping[str, float]
) -> list[float]:
    """Return one weighted logarithm per measured column; a value that is missing counts as e³."""
    found = []
    for column, weight in columns.items():
        real = number(row.get(column))
        if math.isnan(real) or real <= 0.0:
            continue
        value = predicted.get(column, math.nan)
        if column == "apiserver_cores" and column not in predicted:
            value = 1e-3 * predicted["apiserver_cpu_ms_per_req"] * predicted["throughput_per_s"]
        error = math.log(value / real) if value > 0.0 else 3.0
        found.append(weight * max(-3.0, min(3.0, error)))
    return found
