"""Decisions equal the real kube-scheduler's, for the array core and for its readable twin."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from sim.cli.conformance import command
from sim.experiment.conformance import VectorFileError, replay, summary
from sim.scheduling import SchedulerConfiguration
from sim.scheduling.reference import ReferenceScheduler
from sim.scheduling.reference_objects import ReferenceCluster, ReferenceNode

OWN = Path(__file__).parent / "own_vectors"
SINGLE = (
    "images",
    "mixed",
    "nodeaffinity",
    "podaffinity",
    "ports",
    "resources",
    "spread",
    "taints",
)
SEQUENCES = ("adaptive", "affinity", "basic", "fill", "heterogeneous", "spread")
KINDS = {
    "services": "Service",
    "replicasets": "ReplicaSet",
    "statefulsets": "StatefulSet",
    "replicationcontrollers": "ReplicationController",
}


@pytest.fixture(scope="module")
def vectors_dir(shared_dir: Path) -> Path:
    return shared_dir / "conformance"


@pytest.mark.parametrize("family", SINGLE)
def test_every_single_decision_agrees(vectors_dir: Path, family: str) -> None:
    (result,) = replay([vectors_dir / "single" / f"{family}.jsonl.gz"])
    assert [d.text() for d in result.differences] == []
    assert result.total_count == 80


@pytest.mark.parametrize("family", SEQUENCES)
def test_every_step_of_every_sequence_agrees(vectors_dir: Path, family: str) -> None:
    files = sorted((vectors_dir / "sequences").glob(f"{family}-*.jsonl.gz"))
    (result,) = replay(files)
    assert [d.text() for d in result.differences] == []
    assert result.total_count >= 800


def test_every_preemption_agrees(vectors_dir: Path) -> None:
    (result,) = replay([vectors_dir / "preemption"])
    assert [d.text() for d in result.differences] == []
    assert result.total_count == 60


def _records(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def _twin(record: dict[str, Any]) -> ReferenceScheduler:
    cluster = record["cluster"]
    nodes = {n["metadata"]["name"]: ReferenceNode(n) for n in cluster["nodes"] or ()}
    for pod in cluster.get("pods") or ():
        nodes[pod["spec"]["nodeName"]].pods.append(pod)
    return ReferenceScheduler(
        ReferenceCluster(
            list(nodes.values()),
            {n["metadata"]["name"]: n["metadata"].get("labels") or {}
             for n in cluster.get("namespaces") or ()},
            [{"kind": kind, **d} for key, kind in KINDS.items() for d in cluster.get(key) or ()],
        ),
        SchedulerConfiguration.from_dict(record["config"]).profiles[0],
    )  # fmt: skip


@pytest.mark.parametrize("family", SINGLE)
def test_the_readable_twin_agrees_too(vectors_dir: Path, family: str) -> None:
    records = _records(vectors_dir / "single" / f"{family}.jsonl.gz")
    for record in records:
        expect = record["expect"]
        decision = _twin(record).schedule(record["pod"])
        assert decision.node_name == expect.get("selected_parallelism1"), record["id"]
        assert decision.feasible == expect["feasible"], record["id"]
        assert decision.total == expect.get("total", []), record["id"]
        assert decision.fit_error == expect.get("fit_error", decision.fit_error), record["id"]
        for plugin, score in (expect.get("scores") or {}).items():
            if plugin != "DynamicResources":
                assert decision.raw[plugin] == score["raw"], (record["id"], plugin)
                assert decision.normalized[plugin] == score["normalized"], (record["id"], plugin)
        for node, (plugin, code, reasons) in decision.rejections.items():
            wanted = expect["filter"][node]
            got = (plugin, code, sorted(reasons))
            assert got == (wanted["plugin"], wanted["code"], sorted(wanted["reasons"]))


def test_own_sample_agrees() -> None:
    results = replay([OWN])
    assert [d.text() for r in results for d in r.differences] == []
    assert summary(results) == {"passed": 64, "total": 64}


# ---------------------------------------------------------------------------------- the command
def _altered(tmp_path: Path, change: Any) -> Path:
    records = _records(OWN / "single.jsonl.gz")
    scored = next(r for r in records if len(r["expect"]["feasible"]) > 1)
    change(scored["expect"])
    path = tmp_path / "altered.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    return path


def test_command_prints_one_line_per_family_and_succeeds() -> None:
    result = CliRunner().invoke(command, [str(OWN)])
    assert result.exit_code == 0
    assert result.output.split("\n")[:3] == [
        "ok   sequence/own                 40/40",
        "ok   single/own                   24/24",
        "ok   total                        64/64",
    ]


def test_command_shows_node_plugin_expected_and_got(tmp_path: Path) -> None:
    def lower_a_score(expect: dict[str, Any]) -> None:
        expect["scores"]["NodeResourcesFit"]["raw"][1] -= 1

    path = _altered(tmp_path, lower_a_score)
    result = CliRunner().invoke(command, ["-v", str(path)])
    assert result.exit_code == 99
    assert "FAIL single/own                   23/24" in result.output
    line = next(text for text in result.output.split("\n") if "raw score" in text)
    assert "plugin NodeResourcesFit" in line
    assert " node n" in line
    assert "expected" in line
    assert "got" in line


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e.update(selected_parallelism1="elsewhere"),
        lambda e: e.update(evaluated_nodes=e["evaluated_nodes"] + 1),
        lambda e: e["node_order"].reverse(),
        lambda e: e["feasible"].pop(),
        lambda e: e.update(max_total=e["max_total"] + 1),
        lambda e: e["scores"].pop("ImageLocality", None) or e["scores"].pop("NodeResourcesFit"),
        lambda e: e.update(filter={e["feasible"][0]: {"plugin": "NodePorts", "code": "x"}}),
    ],
)  # fmt: skip
def test_any_altered_field_is_noticed(tmp_path: Path, change: Any) -> None:
    (result,) = replay([_altered(tmp_path, change)])
    assert (result.passed_count, result.total_count) == (23, 24)


def test_a_missing_path_is_a_usage_error() -> None:
    assert CliRunner().invoke(command, ["no/such/path"]).exit_code == 2


@pytest.mark.parametrize("content", ["", "not json\n", "[1]\n", '{"id": "x"}\n'])
def test_a_file_without_vectors_is_invalid_input(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content, encoding="utf-8")
    result = CliRunner().invoke(command, [str(path)])
    assert result.exit_code == 104
    assert "error:" in result.output


def test_a_directory_without_vectors_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VectorFileError, match=r"no \.jsonl"):
        replay([tmp_path])
