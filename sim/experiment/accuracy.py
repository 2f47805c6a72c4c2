"""Predicted against measured: runs the rows of a ground-truth folder and scores them.

`index.yaml` in the folder names each file's condition columns, scored columns and bars. For every
file there may be a predictor; what has none is listed as "not simulated" and fails. Predictors are
imported only when their file is there.

**Source** of bands, bars and of the rule for the spread of repetitions: `groundtruth/index.yaml`.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

from sim.base.errors import Problem, UserError
from sim.base.yaml_strict import load_document
from sim.costs.profile import PROFILES, Profile

Row = Mapping[str, str]
Values = Mapping[str, Any]
Predictor = Callable[[Sequence[Row], Profile, int], Sequence[Values]]
"""(rows, profile, seed) to one mapping column → number per row, in order; an entry ``error`` says
why a row cannot be simulated.

More mappings than rows are kinds that were predicted and not measured ("invented")."""

TYPICAL_SHARE_MIN = 0.80
TYPICAL_WIDE_SHARE_MIN = 0.95
TAIL_SHARE_MIN = 0.80
WIDE_BAND = (0.66, 1.50)
EXACT_COUNT_MIN = 20
"""Counts up to this only have to be there (seat counts have to be equal)."""

_ETCD = "sim.experiment.accuracy_etcd_files"
_NODE = "sim.experiment.accuracy_nodes"
_SERVER = "sim.experiment.accuracy_apiserver"
_RECIPE = "sim.experiment.accuracy_recipe"

REGISTRY: dict[str, str] = {
    "etcd_put_closed.csv": _ETCD,
    "etcd_put_open.csv": _ETCD,
    "etcd_txn_closed.csv": _ETCD,
    "etcd_range_closed.csv": _ETCD,
    "etcd_watch_fanout.csv": _ETCD,
    "etcd_kill_member.csv": _ETCD,
    "kube_proxy_sync.csv": _NODE,
    "kube_proxy_bounded_frequency.csv": _NODE,
    "overlay_pod_sandbox.csv": _NODE,
    "overlay_remote_node_entries.csv": _NODE,
    "scheduler_throughput.csv": "sim.experiment.accuracy_scheduler",
    "recipe_density_latency.csv": _RECIPE,
    "recipe_density_cpu.csv": _RECIPE,
    "recipe_density_requests.csv": _RECIPE,
    "recipe_request_counts.csv": _RECIPE,
}
"""File to the module whose ``PREDICTORS`` has it; every other file is looked for in the API
server's module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSpec:
    """What to simulate and score in one file."""

    name: str
    what: str = ""
    conditions: tuple[str, ...] = ()
    keep: str = ""
    typical: tuple[str, ...] = ()
    tail: tuple[str, ...] = ()
    exact: tuple[str, ...] = ()
    zero: tuple[str, ...] = ()
    spread: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    fit: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One predicted value beside its measured one."""

    file: str
    row_index: int
    conditions: str
    kind: str
    """typical, tail, exact or zero."""
    column: str
    measured: float
    predicted: float
    met: bool
    wide: bool
    """Inside the wide band (or met)."""

    @property
    def ratio(self) -> float:
        """Predicted over measured; 1 when both are zero."""
        if self.measured == 0.0:
            return 1.0 if self.predicted == 0.0 else math.inf
        return self.predicted / self.measured

    @property
    def distance(self) -> float:
        """How far off, as the absolute logarithm of the ratio."""
        ratio = self.ratio
        if math.isnan(ratio) or ratio <= 0.0 or math.isinf(ratio):
            return math.inf
        return abs(math.log(ratio))


@dataclass(slots=True, kw_only=True)
class FileResult:
    """The scores of one file."""

    spec: FileSpec
    row_count: int = 0
    scores: list[Score] = field(default_factory=list)
    simulated: bool = True
    note: str = ""

    def of_kind(self, kind: str) -> list[Score]:
        """Return the scores of one kind."""
        return [score for score in self.scores if score.kind == kind]

    @staticmethod
    def share(scores: Sequence[Score], *, wide: bool = False) -> float:
        """Return the share of scores that are met (or lie in the wide band); nan for none."""
        if not scores:
            return math.nan
        return sum(score.wide if wide else score.met for score in scores) / len(scores)

    @property
    def median_ratio(self) -> float:
        """Median of predicted over measured, over the finite ratios; nan for none."""
        ratios = [score.ratio for score in self.scores if math.isfinite(score.ratio)]
        return median(ratios) if ratios else math.nan

    @property
    def worst(self) -> Score | None:
        """The score that is farthest off."""
        return max(self.scores, key=lambda score: score.distance, default=None)

    @property
    def failures(self) -> list[str]:
        """The bars that do not hold, in words."""
        if not self.simulated:
            return [self.note or "not simulated"]
        bars = []
        typical, tail = self.of_kind("typical"), self.of_kind("tail")
        if typical and self.share(typical) < TYPICAL_SHARE_MIN:
            bars.append(f"typical {self.share(typical):.0%} < {TYPICAL_SHARE_MIN:.0%}")
        if typical and self.share(typical, wide=True) < TYPICAL_WIDE_SHARE_MIN:
            wide = self.share(typical, wide=True)
            bars.append(f"typical within {WIDE_BAND[0]:.2f}-{WIDE_BAND[1]:.2f} {wide:.0%}")
        if tail and self.share(tail) < TAIL_SHARE_MIN:
            bars.append(f"tail {self.share(tail):.0%} < {TAIL_SHARE_MIN:.0%}")
        for kind in ("exact", "zero"):
            scores = self.of_kind(kind)
            if scores and not all(score.met for score in scores):
                missed = sum(not score.met for score in scores)
                bars.append(f"{kind}: {missed} of {len(scores)} differ")
        return bars

    @property
    def passed(self) -> bool:
        """Whether every bar holds."""
        return not self.failures


@dataclass(slots=True, kw_only=True)
class Report:
    """Everything that one call scored."""

    files: list[FileResult]

    @property
    def passed(self) -> bool:
        """Whether every file with scored columns meets its bars."""
        return all(result.passed for result in self.files)

    def scores(self) -> list[Score]:
        """Return all scores, file by file."""
        return [score for result in self.files for score in result.scores]


def read_index(folder: Path) -> tuple[dict[str, tuple[float, float]], list[FileSpec]]:
    """Read `index.yaml`: the bands by kind, and the files in order.

    Raises:
        UserError: the file is absent or has another shape.
    """
    path = folder / "index.yaml"
    if not path.is_file():
        raise UserError(
            Problem(
                code="E001",
                message=f"no index.yaml in {folder}",
                file=str(path),
                hint="name a folder of the ground-truth format",
            )
        )
    data = load_document(path).data
    try:
        bands = {name: (float(low), float(high)) for name, (low, high) in data["bands"].items()}
        specs = [_file_spec(name, entry) for name, entry in data["files"].items()]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            Problem(code="E010", message=f"not an index of measurements: {error}", file=str(path))
        ) from None
    return bands, specs


def _file_spec(name: str, entry: Mapping[str, Any]) -> FileSpec:
    return FileSpec(
        name=name,
        what=str(entry.get("what", "")),
        conditions=tuple(entry.get("conditions", ())),
        keep=str(entry.get("keep", "")),
        typical=tuple(entry.get("typical", ())),
        tail=tuple(entry.get("tail", ())),
        exact=tuple(entry.get("exact", ())),
        zero=tuple(entry.get("zero", ())),
        spread={key: (low, high) for key, (low, high) in entry.get("spread", {}).items()},
        fit=bool(entry.get("fit", False)),
    )


_TERM = re.compile(r"^\s*(\w+)\s*(==|!=|<=|>=|<|>)\s*(\S+)\s*$")


def keeps(expression: str, row: Row) -> bool:
    """Return whether a row meets a ``keep`` expression (comparisons joined by "and").

    Raises:
        ValueError: the expression is not of that form, or names a column that is not there.
    """
    if not expression.strip():
        return True
    for term in expression.split(" and "):
        matched = _TERM.match(term)
        if matched is None or matched[1] not in row:
            raise ValueError(f"cannot read the condition {term!r}")
        left, right = row[matched[1]], matched[3]
        try:
            order = (float(left) > float(right)) - (float(left) < float(right))
        except ValueError:
            order = (left > right) - (left < right)
        if not _holds(order, matched[2]):
            return False
    return True


def _holds(order: int, sign: str) -> bool:
    if sign == "==":
        return order == 0
    if sign == "!=":
        return order != 0
    if sign == "<":
        return order < 0
    if sign == "<=":
        return order <= 0
    return order > 0 if sign == ">" else order >= 0


def number(text: str | None) -> float:
    """Return a cell as a number, nan for an empty or textual one."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        return math.nan


def read_rows(path: Path, keep: str = "") -> list[dict[str, str]]:
    """Read the rows of a CSV that a ``keep`` expression admits."""
    with path.open(newline="", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if keeps(keep, row)]


def predictor_for(name: str) -> Predictor | None:
    """Return the predictor of a file, None if there is none."""
    try:
        module = import_module(REGISTRY.get(name, _SERVER))
    except ModuleNotFoundError as error:
        if error.name == REGISTRY.get(name, _SERVER):
            return None
        raise
    predictors: Mapping[str, Predictor] = module.PREDICTORS
    return predictors.get(name) or predictors.get(name.removesuffix(".csv"))


def score_value(
    kind: str,
    column: str,
    measured: float,
    predicted: float,
    bands: Mapping[str, tuple[float, float]],
    spread: tuple[float, float] | None = None,
) -> tuple[bool, bool]:
    """Return (met, inside the wide band) of one value by the rules of `index.yaml`."""
    if math.isnan(predicted):
        return False, False
    if kind == "zero":
        return predicted == 0.0, predicted == 0.0
    if kind == "exact":
        if column.endswith("_seats"):
            met = round(predicted) == round(measured)
        elif measured > EXACT_COUNT_MIN:
            low, high = bands["exact"]
            met = low * measured <= predicted <= high * measured
        else:
            met = (predicted > 0.0) == (measured > 0.0)
        return met, met
    if measured == 0.0:
        return predicted == 0.0, predicted == 0.0
    low, high = bands[kind]
    ratio = predicted / measured
    met = low <= ratio <= high
    if not met and spread is not None:
        met = spread[0] <= predicted <= spread[1]
    return met, met or WIDE_BAND[0] <= ratio <= WIDE_BAND[1]


def row_by_row(predict: Callable[[Row, Profile, int], Values]) -> Predictor:
    """Return the predictor that simulates every row by itself.

    A condition that nobody can simulate (an unknown name, pods that fit nowhere, a law of
    conservation that does not hold) costs its own row, not the file: the row says why and is
    missed.
    """

    def predict_all(rows: Sequence[Row], profile: Profile, seed: int) -> list[Values]:
        return [_or_error(predict, row, profile, seed) for row in rows]

    return predict_all


def _or_error(
    predict: Callable[[Row, Profile, int], Values], row: Row, profile: Profile, seed: int
) -> Values:
    try:
        return predict(row, profile, seed)
    except (AssertionError, KeyError, ValueError) as error:
        return {"error": f"{type(error).__name__}: {error}"}


def describe(spec: FileSpec, row: Row) -> str:
    """Return a row's conditions as ``name=value`` words."""
    return " ".join(f"{name}={row.get(name, '')}" for name in spec.conditions)


def score_rows(
    spec: FileSpec,
    rows: Sequence[Row],
    predictions: Sequence[Values],
    bands: Mapping[str, tuple[float, float]],
) -> FileResult:
    """Compare predictions with the rows they belong to."""
    result = FileResult(spec=spec, row_count=len(rows))
    kinds = [
        (kind, column)
        for kind in ("typical", "tail", "exact", "zero")
        for column in getattr(spec, kind)
    ]
    for index, (row, values) in enumerate(zip(rows, predictions, strict=False)):
        conditions = describe(spec, row)
        if "error" in values:  # why the row cannot be simulated
            conditions = f"{conditions}: {values['error']}"
        for kind, column in kinds:
            measured = number(row.get(column))
            if math.isnan(measured):
                continue
            predicted = float(values.get(column, math.nan))
            spread = None
            if column in spec.spread:
                low, high = (number(row.get(name)) for name in spec.spread[column])
                spread = (low, high)
            met, wide = score_value(kind, column, measured, predicted, bands, spread)
            result.scores.append(
                Score(
                    file=spec.name,
                    row_index=index,
                    conditions=conditions,
                    kind=kind,
                    column=column,
                    measured=measured,
                    predicted=predicted,
                    met=met,
                    wide=wide,
                )
            )
    for values in predictions[len(rows) :]:
        for column in spec.exact:
            result.scores.append(
                Score(
                    file=spec.name,
                    row_index=-1,
                    conditions=str(values.get("conditions", "not measured")),
                    kind="exact",
                    column=column,
                    measured=0.0,
                    predicted=float(values.get(column, math.nan)),
                    met=False,
                    wide=False,
                )
            )
    return result


def run_accuracy(
    folder: Path,
    *,
    profile: Profile | None = None,
    seed: int = 1,
    names: Iterable[str] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Simulate and score every scored file of a folder.

    Args:
        folder: CSVs and `index.yaml` in the ground-truth format.
        profile: costs; the measured machine's when None.
        seed: of all simulations.
        names: only files whose name contains one of these words; all when empty.
        progress: told the name of each file before it is simulated.

    Raises:
        UserError: the folder has no usable index.
    """
    chosen = profile if profile is not None else next(iter(PROFILES.values()))
    bands, specs = read_index(folder)
    words = tuple(names)
    results = []
    for spec in specs:
        path = folder / spec.name
        if spec.fit or not path.is_file():
            continue
        if words and not any(word in spec.name for word in words):
            continue
        rows = read_rows(path, spec.keep)
        predictor = predictor_for(spec.name)
        if predictor is None:
            results.append(FileResult(spec=spec, row_count=len(rows), simulated=False))
            continue
        progress(spec.name)
        results.append(score_rows(spec, rows, predictor(rows, chosen, seed), bands))
    return Report(files=results)
