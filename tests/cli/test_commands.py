"""The command line: exit codes, what goes to which stream, help, messages, signals."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from sim.base.error_codes import CODES
from sim.base.exit_codes import MEANINGS, ExitCode
from sim.cli.main import COMMANDS, run_command
from tests.support.fake_cluster import backend

FILE = """apiVersion: sim/v1alpha1
kind: Experiment
metadata: {name: t}
spec:
  cluster: {nodeCount: 5}
  workload: [{op: createPods, count: 30}]
  outputs: {report: false, figures: false}
"""


@dataclass
class Result:
    code: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sim.cli.options.backend", backend)
    monkeypatch.chdir(tmp_path)
    Path("e.yaml").write_text(FILE, encoding="utf-8")


def kubesim(*arguments: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = run_command(arguments)
    return Result(int(code), out.getvalue(), err.getvalue())


def run_once(*arguments: str) -> Path:
    result = kubesim("run", "e.yaml", "-q", *arguments)
    assert result.code == 0, result.err
    return next(Path("results").glob("t/*/seed-*"))


def test_help_of_everything() -> None:
    text = kubesim("--help").out
    for name, (_, line) in COMMANDS.items():
        assert f"  {name}" in text
        assert line in " ".join(text.split())
    for name in COMMANDS:
        result = kubesim(name, "--help")
        assert result.code == 0, name
        assert "Usage: kubesim" in result.out


def test_usage_errors() -> None:
    assert kubesim("rnu").code == ExitCode.USAGE
    assert "Did you mean 'run'" in kubesim("rnu").err
    assert kubesim("run").code == ExitCode.USAGE
    assert kubesim("run", "e.yaml", "--sed", "3").code == ExitCode.USAGE
    assert kubesim("report").code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("overrides", "code"),
    [
        ((), ExitCode.OK),
        (("thresholds={apiserver_request_total: count > 10}",), ExitCode.OK),
        (("thresholds={apiserver_request_total: count > 10000}",), ExitCode.THRESHOLD_CROSSED),
        (("cluster.nodeCnt=3",), ExitCode.INVALID_INPUT),
        (("cluster.nodeCount=0",), ExitCode.INVALID_INPUT),
        (("cluster.broken=true",), ExitCode.RUN_FAILED),
        (("cluster.stuck=true", "run.stallSecondsMax=60"), ExitCode.RUN_FAILED),
        (("run.durationSeconds=1",), ExitCode.BUDGET_EXHAUSTED),
        (("cluster.crash=true",), ExitCode.INTERNAL_ERROR),
        (("sweep={axes: {cluster.crash: [true, false]}}",), ExitCode.SWEEP_INCOMPLETE),
    ],
    ids=str,
)
def test_exit_codes(overrides: tuple[str, ...], code: ExitCode) -> None:
    arguments = [part for item in overrides for part in ("--set", item)]
    assert kubesim("run", "e.yaml", *arguments).code == code


def test_undecided_thresholds_are_a_warning_unless_strict() -> None:
    override = 'thresholds={"apiserver_request_total{verb=\\"GET\\"}": rate < 1}'
    result = kubesim("run", "e.yaml", "--set", override)
    assert (result.code, "nothing observed  undecided" in result.out) == (0, True)
    strict = kubesim("run", "e.yaml", "--strict", "--set", override)
    assert strict.code == ExitCode.THRESHOLD_CROSSED


def test_the_summary_has_k6_s_order() -> None:
    result = kubesim("run", "e.yaml", "--set", "thresholds={apiserver_request_total: count > 1}")
    heads = re.findall(r"^  ([A-Z]+)$", result.out, re.MULTILINE)
    assert heads == ["THRESHOLDS", "TOTALS", "BOTTLENECK", "RESULTS"]
    assert "✓ apiserver_request_total  count > 1  91 observations" in result.out
    assert "30 of 30 running" in result.out
    assert re.search(r"events +\d+.*per request", result.out)


def test_data_goes_to_stdout_and_the_rest_to_stderr() -> None:
    result = kubesim("run", "e.yaml", "-o", "json", "--replications", "2")
    found = json.loads(result.out)
    assert [item["replication"] for item in found] == [0, 1]
    assert "1/2" in result.err
    quiet = kubesim("run", "e.yaml", "-q")
    assert (quiet.out, quiet.err) == ("", "")
    bad = kubesim("run", "e.yaml", "--set", "cluster.x=1")
    assert bad.out == ""
    assert "E010" in bad.err


def test_seed_replications_and_folders() -> None:
    kubesim("run", "e.yaml", "-q", "--seed", "7", "--replications", "2", "--out", "elsewhere")
    names = sorted(path.name for path in Path("elsewhere/t").glob("*/seed-*"))
    assert names == ["seed-7", "seed-7.1"]
    assert not Path("results").exists()


def test_several_files_report_all_their_problems() -> None:
    Path("a.yaml").write_text(FILE.replace("nodeCount", "nodeCont"))
    Path("b.yaml").write_text(FILE.replace("createPods", "createPod"))
    result = kubesim("run", "a.yaml", "b.yaml", "e.yaml")
    assert result.code == ExitCode.INVALID_INPUT
    assert "a.yaml:5:" in result.err
    assert "b.yaml:6:" in result.err
    assert not Path("results").exists()  # nothing half-done


def test_dry_run_runs_nothing() -> None:
    result = kubesim("run", "e.yaml", "--dry-run", "--set",
                     "sweep={axes: {cluster.nodeCount: [3, 4]}}")  # fmt: skip
    lines = result.out.splitlines()
    assert len(lines) == 3
    assert lines[1].startswith("nodeCount-3-")
    assert not Path("results").exists()


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(FILE))
    assert kubesim("run", "-", "-q").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(FILE.replace("spec", "spc")))
    assert "<stdin>:4:1" in kubesim("validate", "-").err


def test_validate() -> None:
    good = kubesim("validate", "e.yaml")
    assert (good.code, good.out) == (0, "e.yaml: valid (5 nodes, 30 pods, 1 point, 1 run)\n")
    bad = kubesim("validate", "e.yaml", "nowhere.yaml")
    assert bad.code == ExitCode.INVALID_INPUT
    assert "nowhere.yaml" in bad.err


def test_show() -> None:
    assert "fsyncSeconds: 0.002" in kubesim("show", "e.yaml").out
    assert json.loads(kubesim("show", "e.yaml", "-o", "json").out)["kind"] == "Experiment"
    changed = kubesim("show", "e.yaml", "--changed", "--set", "cluster.etcd.quotaBytes=1Gi").out
    assert changed == "cluster.nodeCount: 5\ncluster.etcd.quotaBytes: 1073741824\n"
    assert re.fullmatch(r"[0-9a-f]{64}\n", kubesim("show", "e.yaml", "-o", "digest").out)


def test_explain_knows_every_code_and_every_exit_code() -> None:
    for code, info in CODES.items():
        assert info.title in kubesim("explain", code).out
    text = kubesim("explain", "exit-codes").out
    for number, meaning in MEANINGS.items():
        assert f"{int(number):>3}  {meaning}" in text
    for subject, words in (
        ("cluster.etcd.fsyncSeconds", "Mean duration of an fsync."),
        ("createPods", "Pods to create."),
        ("scheduler_pending_pods", "Pods in each queue"),
        ("apiserver_request_sli_duration_seconds", "Buckets: 0.05"),
        ("run", "replications"),
    ):
        assert words in kubesim("explain", subject).out
    unknown = kubesim("explain", "createPod")
    assert (unknown.code, "did you mean createPods" in unknown.err) == (104, True)


def test_lists() -> None:
    folder = run_once()
    assert "apiserver_request_total" in kubesim("list", "metrics").out
    assert "E010" in kubesim("list", "codes").out
    assert "createPods" in kubesim("list", "operations").out
    assert "pod_transitions" in kubesim("list", "tables").out
    assert "measured-2-core" in kubesim("list", "profiles").out
    assert str(folder) in kubesim("list", "runs").out
    assert "e.yaml" in kubesim("list", "experiments", ".").out
    assert kubesim("list", "tables", "--markdown").code == ExitCode.USAGE


def test_version_and_schema() -> None:
    assert "numpy" in json.loads(kubesim("version", "-o", "json").out)
    assert json.loads(kubesim("schema").out)["title"] == "kubesim experiment"


def test_exports() -> None:
    folder = str(run_once())
    text = kubesim("export", "openmetrics", folder, "--interval", "1")
    assert text.out.endswith("# EOF\n")
    assert "promtool tsdb create-blocks-from openmetrics" in text.err
    early = kubesim("export", "openmetrics", folder, "--epoch", "2020-01-01T00:00:00Z").out
    assert " 15778368" in early
    assert kubesim("export", "openmetrics", folder, "--epoch", "soon").code == ExitCode.USAGE
    assert "APIResponsivenessPrometheus" in json.loads(kubesim("export", "perf-dash", folder).out)
    assert json.loads(kubesim("export", "kube-burner", folder).out)[0]["P50"] > 0
    paths = kubesim("export", "csv", folder, "--out", "csv").out.split()
    assert "csv/requests.csv" in paths
    assert kubesim("export", "csv", "nowhere").code == ExitCode.INVALID_INPUT


def test_report_and_compare() -> None:
    first = run_once()
    assert not (first / "report.html").exists()
    result = kubesim("report", str(first))
    assert (result.code, result.out.strip()) == (0, str(first / "report.html"))
    assert (first / "figures" / "etcd_commit.png").is_file()
    kubesim("run", "e.yaml", "-q", "--set", "cluster.etcd.fsyncSeconds=20ms", "--out", "other")
    second = next(Path("other").glob("t/*/seed-*"))
    table = kubesim("compare", str(first), str(second))
    assert "cluster.etcd.fsyncSeconds: 0.002 → 0.02" in table.out
    assert re.search(r"etcd_disk_wal_fsync_duration_seconds.*\+900\.0 %.*single", table.out)
    assert "use --replications" in table.err
    found = json.loads(kubesim("compare", str(first), str(second), "-o", "json", "--all").out)
    assert len(found) > 100
    assert kubesim("compare", str(first), str(second), "-o", "csv").out.startswith("metric,labels")
    lines = kubesim("compare", str(first), str(second), "-o", "benchstat").out
    assert "ns/op" in lines
    kubesim("compare", str(first), str(second), "--page", "c.html")
    assert "<table>" in Path("c.html").read_text()
    assert kubesim("compare", str(first), "nowhere").code == ExitCode.INVALID_INPUT


def test_runs_without_facts_say_so() -> None:
    folder = str(run_once("--set", "outputs.facts=none"))
    result = kubesim("get", "pods", folder)
    assert (result.code, "wrote no fact tables" in result.err) == (104, True)


def start(folder: Path, repository_dir: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.fake_cli", "run", str(folder / "e.yaml"), "--out",
         str(folder / "results"), "--set", "cluster.stuck=true", "--set",
         "run.stallSecondsMax=1e12", "--set", "cluster.podsPerSecond=2", "-v"],
        cwd=repository_dir, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("point"):
            break
    time.sleep(1.0)  # the run itself starts right after it has said so
    return process


def test_ctrl_c_keeps_what_exists_and_marks_it(tmp_path: Path, repository_dir: Path) -> None:
    process = start(tmp_path, repository_dir)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.ABORTED
    assert "stopping at the next safe point" in err
    assert "INCOMPLETE" in out
    (folder,) = (tmp_path / "results").glob("t/*/seed-1")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["complete"], manifest["exit_code"]) == (False, 105)
    assert (folder / "summary.csv").is_file()
    assert [path.name for path in folder.parent.iterdir()] == ["seed-1"]


def test_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    from sim.cli.progress import describe, make_progress
    from sim.experiment.run import Status

    status = Status(90.0, 200, 50, 1000, 50_000, 10.0, None)
    assert describe(status) == (
        "t=1m30s  pods 50/200 running  100 requests/s  5,000 events/s  ETA 30s"
    )
    for mode in ("auto", "plain", "none"):
        with make_progress(mode, "x", 1) as shown:
            shown.status(status)
    assert capsys.readouterr().out == ""


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live display: a pseudo-terminal's stderr says it is one."""
    from sim.cli.progress import make_progress
    from sim.experiment.run import Status

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    with make_progress("auto", "density", 1) as shown:
        shown.status(Status(90.0, 200, 50, 1000, 50_000, 10.0, None))
        time.sleep(0.15)  # one refresh of the display
    assert "50/200" in terminal.getvalue()
