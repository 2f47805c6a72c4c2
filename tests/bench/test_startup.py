"""How long commands take to begin, and what is imported for them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXPERIMENT = """apiVersion: sim/v1alpha1
kind: Experiment
metadata: {name: t}
spec:
  workload: [{op: createPods, count: 30}]
"""
HELP_SECONDS_MAX = 0.3
VALIDATE_SECONDS_MAX = 0.6
SLOW_MACHINE_FACTOR = 3.0
"""Budgets are for an idle machine; a shared one may be slower, an import too many is more."""


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True
    )
    return done.stdout


def modules(code: str) -> set[str]:
    text = run("-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))")
    return set(json.loads(text.splitlines()[-1]))


def test_help_imports_next_to_nothing() -> None:
    loaded = modules("from sim.cli.main import run_command; run_command(['--help'])")
    heavy = {"numpy", "yaml", "pydantic", "rich", "simpy", "pandas", "scipy", "matplotlib"}
    assert not heavy & loaded


def test_validate_and_run_leave_heavy_libraries_alone(tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    loaded = modules(
        f"from sim.cli.main import run_command; run_command(['validate', {str(path)!r}])"
    )
    assert not {"pandas", "scipy.stats", "matplotlib", "jinja2", "rich", "pyarrow"} & loaded
    loaded = modules("import sim.experiment.results, sim.experiment.run, sim.experiment.execute")
    assert not {"pandas", "scipy.stats", "matplotlib", "jinja2", "rich", "pyarrow"} & loaded


@pytest.mark.benchmark(group="startup")
def test_help(benchmark) -> None:
    text = benchmark.pedantic(run, args=("-m", "sim", "--help"), rounds=5, warmup_rounds=1)
    assert "Commands:" in text
    if benchmark.enabled:
        assert benchmark.stats.stats.min < HELP_SECONDS_MAX * SLOW_MACHINE_FACTOR


@pytest.mark.benchmark(group="startup")
def test_validate(benchmark, tmp_path: Path) -> None:
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    arguments = ("-m", "sim", "validate", str(path))
    text = benchmark.pedantic(run, args=arguments, rounds=5, warmup_rounds=1)
    assert "valid (" in text
    if benchmark.enabled:
        assert benchmark.stats.stats.min < VALIDATE_SECONDS_MAX * SLOW_MACHINE_FACTOR
