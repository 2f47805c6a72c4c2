"""Thresholds become a verdict: ok, crossed, or undecided when replications cannot tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from sim.base.exit_codes import ExitCode
from sim.metrics.derive import Derivation
from sim.metrics.thresholds import measure, parse_selector, parse_threshold
from sim.stats.intervals import t_interval

OK: Final = "ok"
CROSSED: Final = "crossed"
UNDECIDED: Final = "undecided"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One threshold of one run, or over all replications of a point."""

    metric: str
    """Metric with its label selector, as written."""
    expr: str
    value: float | None
    """Measured value, the mean over replications; None if nothing was observed."""
    unit: str
    verdict: str
    """ok, crossed or undecided."""
    ci_low: float | None = None
    ci_high: float | None = None
    n: int = 1
    """Replications behind the value."""

    @property
    def ok(self) -> bool:
        """Whether the threshold is known to hold."""
        return self.verdict == OK

    def as_json(self) -> dict[str, Any]:
        """Return the judgement as summary.json holds it."""
        return {**asdict(self), "ok": self.ok}


def judge_run(
    thresholds: Mapping[str, Sequence[str]], derivation: Derivation, duration_seconds: float
) -> list[Judgement]:
    """Judge the thresholds of one run. A threshold over nothing observed is undecided."""
    judgements = []
    for selector_text, conditions in thresholds.items():
        selector = parse_selector(selector_text)
        for text in conditions:
            condition = parse_threshold(text)
            value = measure(condition, selector, derivation, duration_seconds)
            if value is None:
                verdict = UNDECIDED
            else:
                verdict = OK if condition.holds(value) else CROSSED
            unit = selector.metric.unit if condition.aggregate != "count" else "observations"
            if condition.aggregate == "rate" and unit != "ratio":
                unit += "/s"
            judgements.append(Judgement(selector_text, text, value, unit, verdict))
    return judgements


def judge_replications(runs: Sequence[Sequence[Judgement]]) -> list[Judgement]:
    """Judge thresholds on the interval of their values over replications.

    ok if the whole 95 % interval of the mean holds, crossed if none of it does, else undecided.
    """
    combined = []
    for column in zip(*runs, strict=True):
        first = column[0]
        values = [item.value for item in column if item.value is not None]
        if len(values) < 2:
            combined.append(first if len(column) == 1 or not values else
                            next(item for item in column if item.value is not None))  # fmt: skip
            continue
        interval = t_interval(values)
        condition = parse_threshold(first.expr)
        inside = condition.comparison in {"==", "===", "!=", "!=="}
        ends = [condition.holds(interval.low), condition.holds(interval.high)]
        if inside:
            ends = [condition.holds(value) for value in values]
        verdict = OK if all(ends) else UNDECIDED if any(ends) else CROSSED
        if len(values) < len(column):
            verdict = UNDECIDED if verdict == OK else verdict
        combined.append(
            Judgement(first.metric, first.expr, interval.estimate, first.unit, verdict,
                      interval.low, interval.high, len(values))  # fmt: skip
        )
    return combined


def exit_code_of(judgements: Sequence[Judgement], *, strict: bool = False) -> ExitCode:
    """Return the exit code of a verdict; with ``strict`` undecided counts as crossed."""
    bad = {CROSSED, UNDECIDED} if strict else {CROSSED}
    if any(item.verdict in bad for item in judgements):
        return ExitCode.THRESHOLD_CROSSED
    return ExitCode.OK
