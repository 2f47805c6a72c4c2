"""Running: stop conditions, bounds, interrupts, verdicts, sweeps, resume, and equal bytes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.base.exit_codes import ExitCode
from sim.experiment.aggregate import write_aggregates
from sim.experiment.build import Loaded, load_experiment
from sim.experiment.execute import execute, plan
from sim.experiment.expand import expand
from sim.experiment.judge import Judgement, exit_code_of, judge_replications
from sim.experiment.results import RunResult
from sim.experiment.run import Control, Status, run_replication
from tests.support.fake_cluster import backend

FILE = """apiVersion: sim/v1alpha1
kind: Experiment
metadata: {name: t, question: Why?}
spec:
  cluster: {nodeCount: 5}
  workload: [{op: createPods, count: 30}]
  outputs: {report: false, figures: false}
"""
WALL_KEYS = {"wall"}


def loaded(folder: Path, *overrides: str) -> Loaded:
    path = folder / "e.yaml"
    path.write_text(FILE, encoding="utf-8")
    return load_experiment(path, backend(), overrides=overrides)


def outcome(folder: Path, *overrides: str, control: Control | None = None):
    return run_replication(loaded(folder, *overrides).experiment, backend(), control=control)


def runs(folder: Path, *overrides: str, **options) -> list[RunResult]:
    points = expand(loaded(folder, *overrides), backend())
    tasks = plan(points, folder / "results", overrides, backend())
    return execute(tasks, backend(), **options)


def codes(problems: Sequence) -> list[str]:
    return [problem.code for problem in problems]


def test_settles(tmp_path: Path) -> None:
    found = outcome(tmp_path)
    assert (found.reason, found.complete, found.exit_code) == ("settled", True, ExitCode.OK)
    assert found.pods_running_count == found.pods_total_count == 30
    assert found.event_count > 30


@pytest.mark.parametrize(
    ("overrides", "reason", "code"),
    [
        (("run.stop=duration", "run.durationSeconds=2.5"), "duration", ExitCode.OK),
        (("run.durationSeconds=1.5",), "not settled", ExitCode.BUDGET_EXHAUSTED),
        (("run.eventsMax=10",), "events", ExitCode.BUDGET_EXHAUSTED),
        (("run.wallSecondsMax=0.000001",), "wall", ExitCode.BUDGET_EXHAUSTED),
        (("cluster.broken=true",), "settled", ExitCode.RUN_FAILED),
    ],
)
def test_ends(tmp_path: Path, overrides, reason: str, code: ExitCode) -> None:
    found = outcome(tmp_path, *overrides)
    assert (found.reason, found.exit_code) == (reason, code)
    if reason == "duration":
        assert found.simulated_seconds == 2.5


def test_a_run_that_has_nothing_left_but_is_not_done(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("tests.support.fake_cluster.FakeCluster.settled", lambda _: False)
    found = outcome(tmp_path, "run.stallSecondsMax=2m")
    assert (found.reason, found.exit_code) == ("stalled", ExitCode.RUN_FAILED)
    assert 120.0 <= found.simulated_seconds <= 130.0


def test_memory_bound(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sim.experiment.run._PROGRESS_WALL_SECONDS", 0.0)
    found = outcome(tmp_path, "run.memoryBytesMax=1Mi")
    assert (found.reason, found.exit_code) == ("memory", ExitCode.BUDGET_EXHAUSTED)


def test_a_request_to_stop_is_heard_and_marked(tmp_path: Path) -> None:
    control = Control()
    control.request_stop()
    found = outcome(tmp_path, "cluster.stuck=true", control=control)
    assert (found.reason, found.complete, found.exit_code) == (
        "interrupted", False, ExitCode.ABORTED,
    )  # fmt: skip


def test_the_observer_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("sim.experiment.run._PROGRESS_WALL_SECONDS", 0.0)
    seen: list[Status] = []
    run_replication(loaded(tmp_path).experiment, backend(), observer=seen.append)
    assert len(seen) > 3
    assert [item.time_seconds for item in seen] == sorted(item.time_seconds for item in seen)
    assert seen[-1].done_ratio == 1.0
    assert seen[-1].eta_seconds == pytest.approx(0.0)


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def without_wall(content: bytes) -> dict:
    return {key: value for key, value in json.loads(content).items() if key not in WALL_KEYS}


def test_equal_bytes_in_processes_of_different_hash_seeds(
    tmp_path: Path, repository_dir: Path
) -> None:
    """Everything but the wall-clock block of the manifest, report and figures included."""
    (tmp_path / "e.yaml").write_text(FILE, encoding="utf-8")
    folders = []
    for hash_seed in ("1", "2"):
        out = tmp_path / f"out-{hash_seed}"
        subprocess.run(
            [sys.executable, "-m", "tests.support.fake_cli", "run", str(tmp_path / "e.yaml"),
             "--out", str(out), "--set", "outputs.report=true", "--set", "outputs.figures=true",
             "-q"],
            cwd=repository_dir, check=True, env={"PYTHONHASHSEED": hash_seed, "PATH": ""},
        )  # fmt: skip
        folders.append(out)
    first, second = files_of(folders[0]), files_of(folders[1])
    assert list(first) == list(second)
    assert any(name.endswith("figures/api_latency.png") for name in first)
    for name, content in first.items():
        if name.endswith("manifest.json"):
            assert without_wall(content) == without_wall(second[name])
        else:
            assert content == second[name], name


def test_what_a_run_directory_holds(tmp_path: Path) -> None:
    (result,) = runs(tmp_path, "thresholds={sim_request_failed_ratio: rate < 1%}")
    folder = result.folder
    assert folder.relative_to(tmp_path).parts[:2] == ("results", "t")
    assert folder.parent.name.startswith("base-")
    assert folder.name == "seed-1"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "manifest.json", "experiment.yaml", "resolved.yaml", "summary.json", "summary.csv",
        "series.csv", "facts", "metrics.om.txt", "junit.xml",
    }  # fmt: skip
    assert (folder / "experiment.yaml").read_text() == FILE
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is True
    assert manifest["exit_code"] == 0
    assert manifest["digest"].startswith(folder.parent.name.removeprefix("base-"))
    assert {item["setting"] for item in manifest["settings_changed"]} == {"cluster.nodeCount"}
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["thresholds"][0]["ok"] is True
    assert str(tmp_path) not in "".join(
        path.read_text() for path in folder.rglob("*.json")
    )  # no machine path


def test_thresholds_decide_the_exit_code(tmp_path: Path) -> None:
    (good,) = runs(tmp_path, "thresholds={apiserver_request_total: count > 10}")
    (bad,) = runs(tmp_path, "thresholds={apiserver_request_total: count > 10000}")
    assert (good.exit_code, bad.exit_code) == (ExitCode.OK, ExitCode.THRESHOLD_CROSSED)
    assert bad.judgements[0].value == 91.0  # 3 requests per pod, and a LIST for the first


def judgement(value: float | None, expr: str = "avg < 10") -> Judgement:
    return Judgement("m", expr, value, "seconds", "ok")


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        ((9.0, 9.1, 9.05), "ok"), ((11.0, 11.1, 11.05), "crossed"),
        ((9.0, 11.0, 10.5), "undecided"), ((9.0, None, 9.05), "undecided"),
    ],
)  # fmt: skip
def test_three_valued_verdicts(values, verdict: str) -> None:
    (found,) = judge_replications([[judgement(value)] for value in values])
    assert found.verdict == verdict


def test_intervals_are_students(tmp_path: Path) -> None:
    (found,) = judge_replications([[judgement(value)] for value in (1.0, 2.0, 3.0)])
    # mean 2, s = 1, t(0.975, 2) = 4.3027
    assert found.value == pytest.approx(2.0)
    assert found.ci_low == pytest.approx(2.0 - 4.30265 / 3**0.5, abs=1e-4)
    assert found.n == 3


def test_undecided_is_only_fatal_when_strict() -> None:
    row = [Judgement("m", "avg < 1", None, "", "undecided")]
    assert exit_code_of(row) == ExitCode.OK
    assert exit_code_of(row, strict=True) == ExitCode.THRESHOLD_CROSSED


GRID = "sweep={axes: {cluster.nodeCount: [5, 6], cluster.etcd.fsyncSeconds: [1ms, 2ms]}}"


def test_grids_lists_and_ranges(tmp_path: Path) -> None:
    points = expand(loaded(tmp_path, GRID), backend())
    assert [tuple(point.values.values()) for point in points] == [
        (5, "1ms"), (5, "2ms"), (6, "1ms"), (6, "2ms"),
    ]  # fmt: skip
    assert points[3].loaded.experiment.spec.cluster.etcd.fsync_seconds == 0.002
    assert len({point.folder_name for point in points}) == 4
    listed = GRID.replace("{axes", "{method: list, axes")
    assert len(expand(loaded(tmp_path, listed), backend())) == 2
    hypercube = (
        "sweep={method: latin-hypercube, points: 5, axes: {cluster.nodeCount: {min: 10, max: 60,"
        " integer: true}, cluster.podsPerSecond: {min: 1, max: 100, scale: log}}}"
    )
    found = expand(loaded(tmp_path, hypercube), backend())
    counts = sorted(point.values["cluster.nodeCount"] for point in found)
    assert len(found) == 5
    strata = range(10, 60, 10)
    assert all(low <= count <= low + 11 for low, count in zip(strata, counts, strict=True))
    sobol = hypercube.replace("latin-hypercube", "sobol").replace("points: 5", "points: 4")
    assert len(expand(loaded(tmp_path, sobol), backend())) == 4


def test_editing_a_sweep_renumbers_nothing(tmp_path: Path) -> None:
    before = {tuple(p.values.values()): p.folder_name for p in
              expand(loaded(tmp_path, GRID), backend())}  # fmt: skip
    wider = GRID.replace("[5, 6]", "[4, 5, 6, 7]")
    after = {tuple(p.values.values()): p.folder_name for p in
             expand(loaded(tmp_path, wider), backend())}  # fmt: skip
    assert len(after) == 8
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    ("sweep", "code"),
    [
        ("sweep={axes: {}}", "E024"),
        ("sweep={axes: {cluster.nodeCount: 3}}", "E024"),
        ("sweep={axes: {cluster.nodeCount: []}}", "E024"),
        ("sweep={axes: {cluster.nodeCont: [1, 2]}}", "E010"),
        ("sweep={axes: {cluster.nodeCount: [1, many]}}", "E012"),
        ("sweep={axes: {workload.4.count: [1, 2]}}", "E024"),
        ("sweep={method: list, axes: {cluster.nodeCount: [1], profile: [a, b]}}", "E024"),
        ("sweep={method: sobol, points: 4, axes: {cluster.nodeCount: [1, 2]}}", "E024"),
        ("sweep={method: sobol, points: 3, axes: {cluster.nodeCount: {min: 1, max: 9}}}", "E024"),
        ("sweep={method: sobol, axes: {cluster.nodeCount: {min: 1, max: 9}}}", "E024"),
        ("sweep={method: sobol, points: 4, axes: {cluster.nodeCount: {min: 9, max: 1}}}", "E024"),
        (f"sweep={{axes: {{cluster.nodeCount: {list(range(120_000))}}}}}", "E024"),
    ],
    ids=lambda value: value[:60],
)
def test_malformed_sweeps(tmp_path: Path, sweep: str, code: str) -> None:
    with pytest.raises(UserError) as caught:
        expand(loaded(tmp_path, sweep), backend())
    assert code in codes(caught.value.problems)


def test_processes_give_the_same_bytes_as_one(tmp_path: Path) -> None:
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    for folder, options in ((alone, {}), (spread, {"job_count": 2})):
        folder.mkdir()
        results = runs(folder, GRID, "run.replications=2", **options)
        assert len(results) == 8
        write_aggregates(results)
    first, second = files_of(alone), files_of(spread)
    assert list(first) == list(second)
    for name, content in first.items():
        if name.endswith("manifest.json"):
            assert without_wall(content) == without_wall(second[name])
        else:
            assert content == second[name], name
    table = (alone / "results" / "t" / "points.csv").read_text().splitlines()
    assert len(table) == 5
    assert table[0].startswith("scenario,cluster.nodeCount,cluster.etcd.fsyncSeconds,replications")


def test_finished_points_are_skipped(tmp_path: Path, monkeypatch) -> None:
    first = runs(tmp_path, GRID)
    again = runs(tmp_path, GRID)
    assert not any(result.skipped for result in first)
    assert all(result.skipped for result in again)
    assert [result.rows for result in again] == [result.rows for result in first]
    more = runs(tmp_path, GRID.replace("[5, 6]", "[5, 6, 7]"))
    assert [result.skipped for result in more] == [True] * 4 + [False] * 2
    assert not any(result.skipped for result in runs(tmp_path, GRID, force=True))
    judged = runs(tmp_path, GRID, "thresholds={sim_request_failed_ratio: rate < 1%}")
    assert not any(result.skipped for result in judged)
    monkeypatch.setattr("sim.experiment.execute.code_digest", lambda: "another program")
    assert not any(result.skipped for result in runs(tmp_path, GRID))


def test_one_broken_point_does_not_cost_the_others(tmp_path: Path) -> None:
    axes = "sweep={axes: {cluster.crash: [false, true], cluster.nodeCount: [3, 4]}}"
    results = runs(tmp_path, axes)
    assert [bool(result.error) for result in results] == [False, False, True, True]
    assert "told to crash" in results[2].detail
    assert not results[2].folder.exists()
    reversed_axes = axes.replace("[false, true]", "[true, false]")
    assert len(runs(tmp_path, reversed_axes, fail_fast=True)) < 4


def test_a_single_run_raises(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="told to crash"):
        runs(tmp_path, "cluster.crash=true")
    assert not (tmp_path / "results").exists()


def test_a_page_that_cannot_be_drawn_leaves_nothing_behind(tmp_path: Path, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.report.render.render_run", fail)
    with pytest.raises(KeyboardInterrupt):
        runs(tmp_path, "outputs.report=true")
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []


def test_a_sweep_of_large_clusters_is_drawn_beside_published_latencies(tmp_path: Path) -> None:
    from sim.experiment.aggregate import write_aggregates

    more = ("workload.0.count=600", "outputs.facts=csv")
    for counts, drawn in (("10, 90", False), ("90, 4000", True)):
        grid = f"sweep={{axes: {{cluster.nodeCount: [{counts}]}}}}"
        table = write_aggregates(runs(tmp_path, grid, *more))
        assert bool(list(tmp_path.rglob("network_programming_published.png"))) == drawn
    assert table is not None
    picture = table.parent / "network_programming_published.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
