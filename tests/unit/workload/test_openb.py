"""The openb trace: columns become requests, labels and times; every bad row is told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from sim.base.errors import Problem, UserError
from sim.base.objects import Node, Pod
from sim.workload.object_reader import ObjectReader
from sim.workload.openb import GPU_COUNT, GPU_MILLI, Shape, load_nodes, load_pods, pod_manifest
from sim.workload.pod_templates import PodTemplates

NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = (
    "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
    "creation_time,deletion_time,scheduled_time\n"
)


def write(folder: Path, text: str) -> Path:
    path = folder / "t.csv"
    path.write_text(text)
    return path


def test_nodes(tmp_path: Path) -> None:
    path = write(tmp_path, NODES + "a,64000,262144,2,P100\nb,32000,1024,0,\n")
    first, second = ObjectReader(PodTemplates()).read(load_nodes(path))
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    assert first.cpu_allocatable_millicores == 64000
    assert first.memory_allocatable_bytes == 256 * 2**30
    assert first.labels["alibabacloud.com/gpu-card-model"] == "P100"
    assert (first.manifest or {})["status"]["allocatable"][GPU_MILLI] == "2000"
    assert GPU_MILLI not in (second.manifest or {})["status"]["allocatable"]
    assert load_nodes(path, "count")[0]["status"]["capacity"][GPU_COUNT] == "2"


def test_pods_in_order_of_arrival(tmp_path: Path) -> None:
    text = PODS + "late,1,1,0,0,,BE,Running,20,30,20\nsoon,2,2,1,460,,LS,Failed,10,,10\n"
    soon, late = load_pods(write(tmp_path, text))
    assert (soon.name, soon.creation_seconds, soon.deletion_seconds) == ("soon", 10.0, -1.0)
    assert (late.name, late.creation_seconds, late.deletion_seconds) == ("late", 20.0, 30.0)
    assert soon.shape == Shape(2, 2, 1, 460, "", "LS")


@pytest.mark.parametrize(
    ("gpu", "requests"), [("milli", {GPU_MILLI: 920}), ("count", {GPU_COUNT: 2}), ("none", {})]
)
def test_gpus_are_requested_as_asked(gpu: str, requests: dict[str, int]) -> None:
    shape = Shape(1000, 1024, 2, 460, "V100M16|V100M32", "LS")
    manifest = pod_manifest(shape, "default", gpu)  # type: ignore[arg-type]
    manifest["metadata"]["name"] = "p"
    (pod,) = ObjectReader(PodTemplates()).read([manifest])
    assert isinstance(pod, Pod)
    assert dict(pod.template.extended_requested) == requests
    assert pod.template.memory_requested_bytes == 2**30
    assert pod.labels["alibabacloud.com/qos"] == "LS"
    terms = manifest["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["V100M16", "V100M32"]


def problems(folder: Path, text: str, *, nodes: bool = False) -> tuple[Problem, ...]:
    with pytest.raises(UserError) as caught:
        (load_nodes if nodes else load_pods)(write(folder, text))
    return caught.value.problems


def test_all_bad_rows_at_once(tmp_path: Path) -> None:
    good = "a,1000,1024,0,0,,LS,Running,5,6,5\n"
    found = problems(
        tmp_path,
        PODS
        + good
        + good.replace("a,1000", "b,many")
        + good  # the same name again
        + good.replace("a,", "c,").replace(",5,6,", ",6,5,")
        + good.replace("a,", "d,").replace(",5,6,", ",nan,6,")
        + good.replace("a,", "e,").replace(",5,6,", ",,6,")
        + good.replace("a,1000", "f,-1")
        + "g,1000,1024\n"
        + good.replace("a,", ",", 1),
    )
    assert [item.line for item in found] == [3, 4, 5, 6, 7, 8, 9, 10]
    assert {item.code for item in found} == {"E035"}


def test_a_flood_of_bad_rows_is_cut(tmp_path: Path) -> None:
    text = PODS + "".join(f"p{index},x,1,0,0,,LS,Running,0,,0\n" for index in range(500))
    assert len(problems(tmp_path, text)) == 100


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (NODES, "no rows"),
        (NODES.replace("memory_mib", "memory"), "memory_mib"),
        (NODES + "a,0,1,0,\n", "no cpu or no memory"),
        (NODES + "a,1,1,0,\na,1,1,0,\n", "before"),
    ],
)
def test_bad_node_lists(tmp_path: Path, text: str, words: str) -> None:
    (problem,) = problems(tmp_path, text, nodes=True)
    assert problem.code == "E035"
    assert words in problem.message


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_pods(tmp_path / "absent.csv")
    assert [item.code for item in caught.value.problems] == ["E001"]


def test_the_real_trace(shared_dir: Path) -> None:
    folder = shared_dir / "data" / "openb"
    pods = load_pods(folder / "openb_pod_list_default.csv")
    with (folder / "openb_pod_list_default.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(pods) == len(rows) == 8152
    assert sum(pod.shape.cpu_millicores for pod in pods) == sum(
        int(row["cpu_milli"]) for row in rows
    )
    assert sum(pod.shape.gpu_count * pod.shape.gpu_milli for pod in pods) == sum(
        int(row["num_gpu"]) * int(row["gpu_milli"]) for row in rows
    )
    assert all(
        sooner.creation_seconds <= later.creation_seconds
        for sooner, later in zip(pods, pods[1:], strict=False)  # noqa: RUF007
    )
    nodes = load_nodes(folder / "openb_node_list_all_node.csv")
    assert len(ObjectReader(PodTemplates()).read(nodes)) == 1523
