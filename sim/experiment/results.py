"""A run that has ended becomes a run directory: derived once, written once, published at once."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

import sim
from sim.base.exit_codes import ExitCode
from sim.experiment.backend import Backend
from sim.experiment.build import Loaded, resolved
from sim.experiment.expand import Point
from sim.experiment.fields import default_of, field_infos, plain
from sim.experiment.judge import CROSSED, UNDECIDED, Judgement, exit_code_of, judge_run
from sim.experiment.machine import (
    code_commit,
    code_digest,
    cpu_seconds,
    peak_memory_bytes,
    platform_name,
    versions,
)
from sim.experiment.run import Outcome
from sim.experiment.yaml_text import yaml_text
from sim.export.files import json_text, publish_folder, staging_folder, write_text
from sim.export.junit import Case, junit_xml
from sim.export.openmetrics import exposition
from sim.export.reader import RESULTS_SCHEMA
from sim.export.run_directory import (
    fact_digest,
    series_csv,
    summary_csv,
    summary_tree,
    write_facts,
)
from sim.metrics.bottleneck import Bottleneck, find_bottleneck
from sim.metrics.derive import Derivation
from sim.metrics.series import all_series, scrape_times
from sim.metrics.summary import SummaryRow, summary

DEFAULT_FOLDER: Final = Path("results")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run to do: a point, a replication and where its directory goes."""

    point: Point
    replication_index: int
    out: Path
    """Folder of all results."""
    overrides: tuple[str, ...] = ()
    backend_reference: str = ""

    @property
    def folder(self) -> Path:
        """The run directory."""
        experiment = self.point.loaded.experiment
        seed = f"seed-{experiment.spec.run.seed}"
        if self.replication_index:
            seed += f".{self.replication_index}"
        return self.out / experiment.metadata.name / self.point.folder_name / seed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What remains of a run in memory when its directory is written."""

    folder: Path
    values: dict[str, Any]
    """Point of the sweep."""
    replication_index: int
    digest: str
    reason: str
    detail: str
    complete: bool
    exit_code: ExitCode
    judgements: tuple[Judgement, ...]
    rows: tuple[SummaryRow, ...]
    bottleneck: str
    invariants_broken: tuple[str, ...]
    simulated_seconds: float
    event_count: int
    request_count: int
    pods_total_count: int
    pods_running_count: int
    wall_seconds: float
    cpu_seconds: float
    error: str = ""
    skipped: bool = False


def write_run(task: Task, outcome: Outcome, backend: Backend) -> RunResult:
    """Derive, judge and write everything of one run. Raises UserError if it cannot be written."""
    spec = task.point.loaded.experiment.spec
    started, cpu_started = time.perf_counter(), cpu_seconds()
    derivation = Derivation(outcome.recorder)
    rows = summary(derivation)
    judgements = judge_run(spec.thresholds, derivation, outcome.simulated_seconds)
    bottleneck = find_bottleneck(derivation)
    code = outcome.exit_code or exit_code_of(judgements)
    manifest = _manifest(task, outcome, backend, judgements, bottleneck, code)
    final = task.folder
    staging = staging_folder(final)
    try:
        _write_machine_files(staging, task, outcome, derivation, rows, judgements, manifest)
        if spec.outputs.report or spec.outputs.figures:
            _write_report(staging, task, manifest, derivation, rows, bottleneck)
        manifest["wall"] = {
            "run_seconds": round(outcome.wall_seconds, 6),
            "results_seconds": round(time.perf_counter() - started, 6),
            "cpu_seconds": round(outcome.cpu_seconds + cpu_seconds() - cpu_started, 6),
            "peak_memory_bytes": peak_memory_bytes(),
            "finished_unix_seconds": round(time.time(), 3),
        }
        write_text(staging / "manifest.json", json_text(manifest))
        publish_folder(staging, final)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)  # nothing half-written, whatever happened
        raise
    return RunResult(
        folder=final,
        values=task.point.values,
        replication_index=task.replication_index,
        digest=task.point.digest,
        reason=outcome.reason,
        detail=outcome.detail,
        complete=outcome.complete,
        exit_code=ExitCode(code),
        judgements=tuple(judgements),
        rows=tuple(rows),
        bottleneck=bottleneck.sentence,
        invariants_broken=tuple(outcome.invariants_broken),
        simulated_seconds=outcome.simulated_seconds,
        event_count=outcome.event_count,
        request_count=outcome.request_count,
        pods_total_count=outcome.pods_total_count,
        pods_running_count=outcome.pods_running_count,
        wall_seconds=outcome.wall_seconds + time.perf_counter() - started,
        cpu_seconds=outcome.cpu_seconds + cpu_seconds() - cpu_started,
    )


def _write_machine_files(
    staging: Path,
    task: Task,
    outcome: Outcome,
    derivation: Derivation,
    rows: Sequence[SummaryRow],
    judgements: Sequence[Judgement],
    manifest: dict[str, Any],
) -> None:
    loaded = task.point.loaded
    outputs = loaded.experiment.spec.outputs
    end = outcome.simulated_seconds
    write_text(staging / "experiment.yaml", loaded.tree.text)
    write_text(staging / "resolved.yaml", yaml_text(resolved(loaded)))
    write_text(staging / "summary.json", json_text(_summary_json(manifest, rows, judgements)))
    write_text(staging / "summary.csv", summary_csv(rows))
    # Compressing facts needs no interpreter: it goes on beside the rest.
    with ThreadPoolExecutor(max_workers=1) as beside:
        facts = beside.submit(
            write_facts, staging / "facts", outcome.recorder.tables, outputs.facts
        )
        if outputs.series:
            series = all_series(derivation, scrape_times(end, outputs.scrape_interval_seconds))
            write_text(staging / "series.csv", series_csv(series))
        if outputs.openmetrics:
            labels = _common_labels(manifest)
            scrapes = np.array([max(end, 1e-3)])
            write_text(staging / "metrics.om.txt", exposition(derivation, scrapes, labels))
    manifest["fact_files"] = facts.result()
    if outputs.junit:
        cases = _junit_cases(outcome, judgements)
        write_text(staging / "junit.xml", junit_xml(manifest["experiment"], end, cases))


def _common_labels(manifest: dict[str, Any]) -> dict[str, str]:
    return {
        "cluster": "kubesim",
        "experiment": manifest["experiment"],
        "scenario": manifest["scenario"],
        "seed": str(manifest["seed"]),
    }


def _summary_json(
    manifest: dict[str, Any], rows: Sequence[SummaryRow], judgements: Sequence[Judgement]
) -> dict[str, Any]:
    return {
        "experiment": manifest["experiment"],
        "scenario": manifest["scenario"],
        "seed": manifest["seed"],
        "replication": manifest["replication"],
        "complete": manifest["complete"],
        "valid": manifest["valid"],
        "bottleneck": manifest["bottleneck"],
        "totals": manifest["totals"],
        "thresholds": [item.as_json() for item in judgements],
        "metrics": summary_tree(rows),
    }


def _junit_cases(outcome: Outcome, judgements: Sequence[Judgement]) -> list[Case]:
    cases = [
        Case("run", "reaches its stop condition", "" if outcome.complete else outcome.detail),
        Case("run", "keeps its invariants", "\n".join(outcome.invariants_broken)),
    ]
    for item in judgements:
        name = f"{item.metric}: {item.expr}"
        measured = "nothing observed" if item.value is None else f"measured {item.value:.6g}"
        cases.append(Case(
            "thresholds", name,
            failure=measured if item.verdict == CROSSED else "",
            skipped=measured if item.verdict == UNDECIDED else "",
        ))  # fmt: skip
    return cases


def judged_digest(task: Task) -> str:
    """Return the identity of what is judged and written; with another one a run is repeated."""
    from sim.base.ids import digest

    spec = task.point.loaded.experiment.spec
    return digest({"thresholds": plain(spec.thresholds), "outputs": plain(spec.outputs)})


def _manifest(
    task: Task,
    outcome: Outcome,
    backend: Backend,
    judgements: Sequence[Judgement],
    bottleneck: Bottleneck,
    code: int,
) -> dict[str, Any]:
    loaded = task.point.loaded
    experiment = loaded.experiment
    return {
        "results_schema": RESULTS_SCHEMA,
        "experiment": experiment.metadata.name,
        "question": experiment.metadata.question,
        "labels": dict(experiment.metadata.labels),
        "scenario": task.point.folder_name,
        "digest": task.point.digest,
        "judged_digest": judged_digest(task),
        "code_digest": code_digest(),
        "point": task.point.values,
        "seed": experiment.spec.run.seed,
        "replication": task.replication_index,
        "profile": experiment.spec.profile,
        "overrides": list(task.overrides),
        "file": loaded.tree.files[0].name,
        "tool_version": sim.__version__,
        **{f"code_{key}": value for key, value in code_commit().items()},
        "versions": versions(),
        "platform": platform_name(),
        "complete": outcome.complete,
        "reason": outcome.reason,
        "detail": outcome.detail if outcome.reason not in {"wall", "memory"} else outcome.reason,
        "valid": not outcome.invariants_broken,
        "invariants_broken": outcome.invariants_broken,
        "exit_code": int(code),
        "thresholds": [item.as_json() for item in judgements],
        "bottleneck": bottleneck.sentence,
        "totals": {
            "simulated_seconds": outcome.simulated_seconds,
            "event_count": outcome.event_count,
            "request_count": outcome.request_count,
            "events_per_request_ratio": outcome.event_count / max(1, outcome.request_count),
            "pods_total_count": outcome.pods_total_count,
            "pods_running_count": outcome.pods_running_count,
        },
        "settings_changed": differences(loaded, backend),
        "workload": _without_defaults(loaded),
        "warnings": [str(item) for item in loaded.warnings],
        "validity": list(backend.validity(experiment.spec.profile)) if backend.validity else [],
        "scrape_interval_seconds": experiment.spec.outputs.scrape_interval_seconds,
        "fact_digest": fact_digest(outcome.recorder.tables),
    }


def _without_defaults(loaded: Loaded) -> list[dict[str, Any]]:
    """Return the operations with only what differs from their defaults."""
    shown = []
    for item, full in zip(
        loaded.experiment.spec.workload, resolved(loaded)["spec"]["workload"], strict=True
    ):
        defaults = {
            info.key: plain(value)
            for info in field_infos(type(item)).values()
            if info.name != "op" and (value := default_of(type(item), info.name)) is not None
        }
        shown.append(_pruned(full, defaults))
    return shown


def _pruned(full: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for key in sorted(full, key=lambda name: name != "op"):
        value, default = full[key], defaults.get(key)
        if isinstance(value, dict) and isinstance(default, dict):
            value = _pruned(value, default)
            if value:
                kept[key] = value
        elif key not in defaults or value != default:
            kept[key] = value
    return kept


def differences(loaded: Loaded, backend: Backend) -> list[dict[str, Any]]:
    """Return the settings of the cluster that differ from their defaults, by dotted path."""
    found: list[dict[str, Any]] = []

    def visit(path: str, value: Any, default: Any) -> None:
        if isinstance(value, dict) and isinstance(default, dict):
            for key, inner in value.items():
                visit(f"{path}.{key}" if path else key, inner, default.get(key))
        elif value != default:
            found.append({"setting": path, "default": default, "value": value})

    visit("cluster", resolved(loaded)["spec"]["cluster"], plain(backend.params_type()))
    return found


def _write_report(
    staging: Path,
    task: Task,
    manifest: dict[str, Any],
    derivation: Derivation,
    rows: Sequence[SummaryRow],
    bottleneck: Bottleneck,
) -> None:
    from sim.report.render import render_run

    outputs = task.point.loaded.experiment.spec.outputs
    render_run(
        staging, manifest, derivation, rows, bottleneck,
        figures=outputs.figures, page=outputs.report,
    )  # fmt: skip
