"""What an experiment is: the dataclasses behind ``kind: Experiment``; no behaviour.

Keys of the file are the camelCase of the field names. ``cluster`` and the workload's operations are
dataclasses of the backend, see `backend`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from annotated_types import Ge, Gt, Le

API_VERSION: Final = "sim/v1alpha1"
KIND: Final = "Experiment"
NAME_PATTERN: Final = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
"""RFC 1123, as Kubernetes names are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """Names of the experiment; they have no influence on its results."""

    name: str
    """Lower-case letters, digits, dots and dashes; names the folder of the results."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Free words to select experiments by."""
    question: str = ""
    """The question the experiment answers, shown at the top of its page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """How often and how long to run, and what no run may exceed."""

    seed: Annotated[int, Ge(0)] = 1
    """Root of all random streams."""
    replications: Annotated[int, Ge(1), Le(10_000)] = 1
    """Runs per point, each with streams of its own."""
    stop: Literal["settled", "duration"] = "settled"
    """settled: when the workload is done and nothing is under way. duration: at durationSeconds."""
    duration_seconds: Annotated[float, Gt(0)] | None = None
    """Simulated time at which to stop; with stop: settled the latest time to settle by."""
    stall_seconds_max: Annotated[float, Gt(0)] = 7_200.0
    """Simulated time without any change of the number of pods, wanted or running, after which a run
    that has not settled is given up. Longer pauses in the workload need more."""
    events_max: Annotated[int, Gt(0)] = 2_000_000_000
    """Simulated events that no run may exceed."""
    wall_seconds_max: Annotated[float, Gt(0)] = 14_400.0
    """Wall-clock time that no run may exceed."""
    memory_bytes_max: Annotated[int, Gt(0)] | None = None
    """Memory that a run may use; by default nine tenths of the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSpec:
    """Several points from one file: values for settings, named by dotted path."""

    method: Literal["grid", "list", "latin-hypercube", "sobol"] = "grid"
    """grid: every combination. list: the n-th values together. The others fill ranges evenly."""
    axes: Mapping[str, Any] = field(default_factory=dict)
    """Dotted path → list of values, or {min, max, scale: linear | log, integer} for ranges."""
    points: Annotated[int, Ge(1), Le(100_000)] | None = None
    """Number of points of latin-hypercube and sobol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputsSpec:
    """What a run writes; none of it changes the results."""

    facts: Literal["auto", "csv", "parquet", "none"] = "auto"
    """Fact tables: auto writes small ones as CSV and large ones as Parquet."""
    report: bool = True
    """Write report.html."""
    figures: bool = True
    """Write figures/*.png."""
    openmetrics: bool = True
    """Write metrics.om.txt, the metrics at the end of the run."""
    junit: bool = True
    """Write junit.xml."""
    series: bool = True
    """Write series.csv."""
    scrape_interval_seconds: Annotated[float, Gt(0)] = 5.0
    """Spacing of series; doubled until a run has at most 720 samples."""
    tables_off: tuple[str, ...] = ()
    """Fact tables not to record at all (very long runs)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The experiment without its names."""

    cluster: Any
    """Settings of the cluster."""
    workload: tuple[Any, ...]
    """Operations, in order."""
    run: RunSpec = RunSpec()
    sweep: SweepSpec | None = None
    thresholds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Metric, optionally with {label="value"} → conditions such as p(99) < 1s."""
    outputs: OutputsSpec = OutputsSpec()
    profile: str = ""
    """Cost profile: a name, or the path of a profile file; empty for the default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A checked experiment."""

    metadata: Metadata
    spec: Spec
