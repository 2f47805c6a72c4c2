"""Experiment files: imports, overrides, units, identity, and every kind of bad input at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sim.base.errors import Problem, UserError, render_problems
from sim.experiment.build import Loaded, load_experiment, resolved, scenario_digest
from sim.experiment.fields import camel_case, field_docs, field_infos, snake_case
from sim.experiment.load import parse_override
from sim.experiment.size import check_size
from sim.experiment.spec import RunSpec
from sim.experiment.yaml_text import yaml_text
from tests.support.fake_cluster import FakeParams, backend

HEAD = "apiVersion: sim/v1alpha1\nkind: Experiment\nmetadata: {name: t}\n"
WORKLOAD = "  workload: [{op: createPods, count: 5}]\n"


def write(folder: Path, text: str, name: str = "e.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, body: str, *overrides: str) -> Loaded:
    return load_experiment(write(folder, HEAD + body), backend(), overrides=overrides)


def problems(folder: Path, body: str, *overrides: str, head: str = HEAD) -> list[Problem]:
    with pytest.raises(UserError) as caught:
        load_experiment(write(folder, head + body), backend(), overrides=overrides)
    return list(caught.value.problems)


def cluster(loaded: Loaded) -> FakeParams:
    params = loaded.experiment.spec.cluster
    assert isinstance(params, FakeParams)
    return params


def test_units_of_fields(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "spec:\n  cluster: {etcd: {fsyncSeconds: 250ms, quotaBytes: 512Mi}, nodeCount: 1e2}\n"
        "  workload: [{op: createPods, count: 5, cpuMillicores: 1500m},"
        " {op: sleep, durationSeconds: 1m30s}]\n"
        "  run: {stop: duration, durationSeconds: 2h}\n",
    )
    params = cluster(loaded)
    assert params.etcd.fsync_seconds == 0.25
    assert params.etcd.quota_bytes == 512 * 2**20
    assert (params.node_count, type(params.node_count)) == (100, int)
    pods, sleep = loaded.experiment.spec.workload
    assert (pods.cpu_millicores, sleep.duration_seconds) == (1500, 90.0)
    assert loaded.experiment.spec.run.duration_seconds == 7200.0


def test_numbers_in_the_unit_are_accepted(tmp_path: Path) -> None:
    loaded = load(tmp_path, "spec:\n  cluster: {etcd: {fsyncSeconds: 1, quotaBytes: 77}}\n")
    assert (cluster(loaded).etcd.fsync_seconds, cluster(loaded).etcd.quota_bytes) == (1.0, 77)


def test_local_keys_win_over_imported_ones(tmp_path: Path) -> None:
    write(tmp_path, "nodeCount: 7\ntopology: external\netcd: {quotaBytes: 5, fsyncSeconds: 3ms}\n",
          "library/big.yaml")  # fmt: skip
    loaded = load(
        tmp_path,
        "spec:\n  cluster: {import: library/big.yaml, nodeCount: 9, etcd: {fsyncSeconds: 9ms}}\n",
    )
    params = cluster(loaded)
    assert (params.node_count, params.topology) == (9, "external")
    assert (params.etcd.fsync_seconds, params.etcd.quota_bytes) == (0.009, 5)
    assert [path.name for path in loaded.tree.files] == ["e.yaml", "big.yaml"]


def test_operations_are_imported_in_place(tmp_path: Path) -> None:
    write(tmp_path, "operations: [{op: sleep}, {op: createPods, count: 2}]\n", "w.yaml")
    loaded = load(
        tmp_path,
        "spec:\n  workload: [{op: createPods, count: 1}, {import: w.yaml}, {op: sleep}]\n",
    )
    assert [item.op for item in loaded.experiment.spec.workload] == [
        "createPods", "sleep", "createPods", "sleep",
    ]  # fmt: skip


def test_errors_in_imports_point_into_the_imported_file(tmp_path: Path) -> None:
    write(tmp_path, "nodeCount: 7\ntopologie: external\n", "library/big.yaml")
    write(tmp_path, "operations:\n  - {op: sleep}\n  - {op: slep}\n", "w.yaml")
    found = problems(
        tmp_path,
        "spec:\n  cluster: {import: library/big.yaml}\n"
        "  workload: [{op: sleep}, {import: w.yaml}, {op: sleeep}]\n",
    )
    places = {(Path(item.file or "").name, item.line, item.code) for item in found}
    assert places == {("big.yaml", 2, "E010"), ("w.yaml", 3, "E014"), ("e.yaml", 6, "E014")}
    assert all(item.nearest for item in found)


def test_cycles_are_told_as_a_chain(tmp_path: Path) -> None:
    write(tmp_path, "import: b.yaml\n", "a.yaml")
    write(tmp_path, "import: a.yaml\n", "b.yaml")
    (found,) = problems(tmp_path, "spec:\n  cluster: {import: a.yaml}\n")
    assert found.code == "E020"
    assert "e.yaml → a.yaml → b.yaml → a.yaml" in found.message


def test_missing_files_are_told_with_the_nearest_name(tmp_path: Path) -> None:
    write(tmp_path, "nodeCount: 1\n", "library/large.yaml")
    found = problems(
        tmp_path, "spec:\n  cluster: {import: library/larg.yaml, manifests: [nowhere.yaml]}\n"
    )
    assert [(item.code, item.line) for item in found] == [("E001", 5), ("E001", 5)]
    assert found[0].nearest == "large.yaml"


def test_paths_resolve_against_the_file_that_names_them(tmp_path: Path) -> None:
    write(tmp_path, "manifests: [nodes.yaml]\n", "library/big.yaml")
    write(tmp_path, "x", "library/nodes.yaml")
    loaded = load(tmp_path, "spec:\n  cluster: {import: library/big.yaml}\n")
    assert cluster(loaded).manifests == (str(tmp_path / "library" / "nodes.yaml"),)
    shown = resolved(loaded)["spec"]["cluster"]["manifests"]
    assert shown == ["library/nodes.yaml"]  # no machine path in what is written


def test_overrides_come_last(tmp_path: Path) -> None:
    loaded = load(
        tmp_path, "spec:\n  cluster: {nodeCount: 3}\n" + WORKLOAD,
        "cluster.nodeCount=4", "spec.workload.0.count=9", "cluster.etcd.fsyncSeconds=7ms",
        "spec.workload.1={op: sleep}", "metadata.name=other",
    )  # fmt: skip
    assert cluster(loaded).node_count == 4
    assert cluster(loaded).etcd.fsync_seconds == 0.007
    assert loaded.experiment.spec.workload[0].count == 9
    assert loaded.experiment.spec.workload[1].op == "sleep"
    assert loaded.experiment.metadata.name == "other"


def test_malformed_overrides(tmp_path: Path) -> None:
    for text in ("nothing", "=3", "a..b=1", "cluster.x={"):
        with pytest.raises(UserError, match="E021"):
            parse_override(text)
    found = problems(
        tmp_path, "spec:\n" + WORKLOAD, "workload.7.count=1", "cluster.nodeCout=1", "oops"
    )
    assert sorted(item.code for item in found) == ["E010", "E021", "E021"]
    assert [item.nearest for item in found if item.code == "E010"] == ["nodeCount"]


BAD = """apiVersion: sim/v1alpha2
kind: Experiment
metadata: {name: Tiny}
spec:
  cluster:
    nodeCont: 20
    topology: stackd
    podsPerSecond: 0
    etcd: {fsyncSeconds: 3Mi, quotaBytes: "1000"}
    manifests: [nodez.yaml]
  workload:
    - {op: createPod, count: 200}
    - {op: createPods, count: "7"}
    - {op: createPods}
    - 3
  run: {replications: 1.5, stop: duration}
  thresholds:
    apiserver_request_sli_duration_second: ["p(99) < 1s"]
    apiserver_request_sli_duration_seconds: ["p99 < 1s", "avg =< 2", "max < 3 parsecs"]
  profile: basline
  outputs: {scrapeIntervalSeconds: 10}
"""


def test_all_problems_are_told_at_once(tmp_path: Path, repository_dir: Path, monkeypatch) -> None:
    """The whole text is kept in tests/golden; look at a difference before accepting it."""
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(BAD, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_experiment("bad.yaml", backend())
    text = render_problems(caught.value.problems) + "\n"
    text = text.replace(str(tmp_path), "FOLDER")
    golden = repository_dir / "tests" / "golden" / "bad_experiment.txt"
    assert text == golden.read_text(encoding="utf-8")


def test_faults_of_the_text_are_told_together_with_all_others(tmp_path: Path) -> None:
    """Repeated keys and unreadable numbers hide neither each other nor what is wrong besides."""
    (tmp_path / "part.yaml").write_text("podsPerSecond: 1\npodsPerSecond: 2\nbroke: 1\n")
    (tmp_path / "e.yaml").write_text(
        "apiVersion: sim/v1alpha1\nkind: Experiment\nmetadata: {name: e}\nspec:\n"
        "  cluster: {import: part.yaml, nodeCount: 3, nodeCount: 010}\n"
        "  workload:\n    - {op: createPods, count: 5, cout: 5}\n"
        "  run: {seed: -1}\n  run: {sed: 2, durationSeconds: 3Mi}\n"
    )
    with pytest.raises(UserError) as caught:
        load_experiment(tmp_path / "e.yaml", backend(), overrides=["run.replications=x"])
    found = {(Path(item.file or "").name, item.line, item.code) for item in caught.value.problems}
    assert found == {
        ("e.yaml", 5, "E004"), ("e.yaml", 5, "E008"), ("e.yaml", 7, "E010"), ("e.yaml", 8, "E013"),
        ("e.yaml", 9, "E004"), ("e.yaml", 9, "E010"), ("e.yaml", 9, "E018"),
        ("part.yaml", 2, "E004"), ("part.yaml", 3, "E010"),
        ("--set run.replications=x", None, "E012"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("spec: {cluster: {nodeCount: yes}}\n", "E012"),
        ("spec: {cluster: {nodeCount: 1.5}}\n", "E012"),
        ("spec: {cluster: {nodeCount: -1}}\n", "E013"),
        ("spec: {cluster: {nodeCount: 99999999}}\n", "E013"),
        ("spec: {cluster: {etcd: {fsyncSeconds: 5 parsecs}}}\n", "E016"),
        ("spec: {cluster: {etcd: {quotaBytes: 5 elephants}}}\n", "E015"),
        ("spec: {cluster: {etcd: {quotaBytes: 5m30s}}}\n", "E018"),
        ("spec: {cluster: {etcd: 3}}\n", "E012"),
        ("spec: {cluster: {manifests: nodes}}\n", "E001"),
        ("spec: {cluster: [1]}\n", "E012"),
        ("spec: {workload: {op: sleep}}\n", "E012"),
        ("spec: {workload: [{count: 3}]}\n", "E011"),
        ("spec: {run: {stop: duration}}\n", "E011"),
        ("spec: {run: {seed: -1}}\n", "E013"),
        ("spec: {thresholds: [1]}\n", "E012"),
        ("spec: {thresholds: {sim_request_failed_ratio: [3]}}\n", "E012"),
        ("spec: {profile: {a: b}}\n", "E012"),
        ("spec: {profile: mine.yaml}\n", "E001"),
        ("spec: {outputs: {facts: xlsx}}\n", "E014"),
        ("spec: {sweep: {axis: {}}}\n", "E010"),
        ("spec: 3\n", "E012"),
        ("spc: {}\n", "E010"),
        ("spec: {cluster: {nodeCount: 1, nodeCount: 2}}\n", "E004"),
        ("spec: {cluster: {nodeCount: 1}\n", "E003"),
        ("spec:\n\tcluster: {}\n", "E002"),
    ],
)
def test_bad_input(tmp_path: Path, body: str, code: str) -> None:
    found = problems(tmp_path, body)
    assert code in [item.code for item in found]
    assert all(item.file and item.line for item in found)


def test_heads(tmp_path: Path) -> None:
    codes = [item.code for item in problems(tmp_path, "spec: {}\n", head="kind: Experimnt\n")]
    assert codes.count("E011") == 2
    assert "E017" in codes
    with pytest.raises(UserError, match="E001"):
        load_experiment(tmp_path / "nowhere.yaml", backend())


def test_resolved_reads_back_as_the_same_experiment(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "spec:\n  cluster: {nodeCount: 3}\n" + WORKLOAD
        + "  thresholds: {sim_request_failed_ratio: rate < 1%}\n",
    )
    text = yaml_text(resolved(loaded))
    again = load_experiment(write(tmp_path, text, "resolved.yaml"), backend())
    assert again.experiment == loaded.experiment
    assert resolved(again) == resolved(loaded)
    assert yaml.safe_load(text)["spec"]["run"]["replications"] == 1


def test_identity_is_what_decides_the_results(tmp_path: Path) -> None:
    write(tmp_path, "x", "nodes.yaml")
    base = "spec:\n  cluster: {nodeCount: 3, manifests: [nodes.yaml]}\n" + WORKLOAD
    first = scenario_digest(load(tmp_path, base))
    same = (
        "run.seed=9", "run.replications=4", "run.eventsMax=7", "metadata.name=other",
        "outputs.report=false", "thresholds={sim_request_failed_ratio: rate < 1%}",
        "cluster.topology=stacked",
    )  # fmt: skip
    for override in same:
        assert scenario_digest(load(tmp_path, base, override)) == first, override
    for override in ("cluster.nodeCount=4", "workload.0.count=6", "profile=small",
                     "run.durationSeconds=5"):  # fmt: skip
        assert scenario_digest(load(tmp_path, base, override)) != first, override
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, "x", "nodes.yaml")
    assert scenario_digest(load(elsewhere, base)) == first  # content counts, not the place
    write(elsewhere, "y", "nodes.yaml")
    assert scenario_digest(load(elsewhere, base)) != first


def test_size_is_refused_with_numbers(tmp_path: Path) -> None:
    loaded = load(tmp_path, "spec:\n  cluster: {nodeCount: 1000000}\n" + WORKLOAD,
                  "run.memoryBytesMax=1Gi")  # fmt: skip
    with pytest.raises(UserError) as caught:
        check_size(loaded, backend())
    (found,) = caught.value.problems
    assert found.code == "E032"
    assert "1,000,000 nodes and 5 pods need about 18.7 GiB; the limit here is 1 GiB" in (
        found.message
    )
    assert (found.line, found.hint is not None) == (5, True)


def test_no_nodes_and_too_many_events(tmp_path: Path) -> None:
    loaded = load(tmp_path, "spec:\n  cluster: {nodeCount: 0}\n" + WORKLOAD, "run.eventsMax=10")
    with pytest.raises(UserError) as caught:
        check_size(loaded, backend())
    assert [item.code for item in caught.value.problems] == ["E031", "E032"]


def test_names_of_fields() -> None:
    for field in ("fsync_seconds", "name", "wall_seconds_max", "points"):
        assert snake_case(camel_case(field)) == field
    infos = field_infos(RunSpec)
    assert infos["memoryBytesMax"].unit == "bytes"
    assert infos["wallSecondsMax"].unit == "seconds"
    assert infos["eventsMax"].unit == ""
    docs = field_docs(RunSpec)
    assert set(docs) == {info.name for info in infos.values()}
