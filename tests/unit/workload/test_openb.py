"""The openb trace, against the published manifests of the same trace."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from sim.base.errors import UserError
from sim.base.quantity import cpu_millicores, memory_bytes
from sim.workload.manifests import load_manifests
from sim.workload.object_reader import ObjectReader
from sim.workload.openb import load_nodes, load_pods, pod_manifest
from sim.workload.pod_templates import PodTemplates


def test_nodes_equal_the_published_manifests(shared_dir: Path) -> None:
    ours = {
        item["metadata"]["name"]: item
        for item in load_nodes(shared_dir / "data/openb/openb_node_list_gpu_node.csv")
    }
    published = load_manifests(shared_dir / "data/k8s-sims/nodes-100.yaml")
    assert len(published) == 100
    for item in published:
        mine = ours[item["metadata"]["name"]]
        theirs, allocatable = item["status"]["allocatable"], mine["status"]["allocatable"]
        assert cpu_millicores(allocatable["cpu"]) == cpu_millicores(theirs["cpu"])
        assert memory_bytes(allocatable["memory"]) == memory_bytes(theirs["memory"])
        for key in ("pods", "alibabacloud.com/gpu-milli"):
            assert allocatable.get(key) == theirs.get(key)
        label = "alibabacloud.com/gpu-card-model"
        assert mine["metadata"]["labels"].get(label) == item["metadata"]["labels"].get(label)


def test_gpu_pods_equal_the_published_manifests(shared_dir: Path) -> None:
    """The published manifests are the trace's 7,064 pods with GPUs under new names."""
    pods = load_pods(shared_dir / "data/openb/openb_pod_list_default.csv")
    assert len(pods) == 8152
    ours = Counter(pod.shape[:4] for pod in pods if pod.shape[2])
    theirs: Counter[tuple[int, int, int, int]] = Counter()
    for item in load_manifests(shared_dir / "data/k8s-sims/pods-1200.yaml"):
        requests = item["spec"]["containers"][0]["resources"]["requests"]
        annotations = item["metadata"]["annotations"]
        theirs[
            cpu_millicores(requests["cpu"]),
            memory_bytes(requests["memory"]) >> 20,
            int(annotations["alibabacloud.com/gpu-count"]),
            int(annotations["alibabacloud.com/gpu-milli"]),
        ] += 1
    assert theirs.total() == 7064
    assert ours == theirs


def test_objects_pass_the_reader_and_templates_are_shared(shared_dir: Path) -> None:
    reader = ObjectReader(PodTemplates())
    reader.read(load_nodes(shared_dir / "data/openb/openb_node_list_all_node.csv"))
    pods = load_pods(shared_dir / "data/openb/openb_pod_list_default.csv")
    shapes = {pod.shape for pod in pods}
    assert len(shapes) < len(pods) / 4
    for index, shape in enumerate(sorted(shapes)):
        manifest = pod_manifest(shape, "default", "count")
        manifest["metadata"]["name"] = f"p-{index}"
        reader.read([manifest])
    assert [pod.creation_seconds for pod in pods] == sorted(pod.creation_seconds for pod in pods)


def test_gpus_are_requested_as_asked() -> None:
    def requests(gpu: str) -> dict[str, str]:
        spec = pod_manifest((1000, 512, 2, 500, "T4|P100"), "a", gpu)["spec"]  # type: ignore[arg-type]
        return spec["containers"][0]["resources"]["requests"]

    plain = {"cpu": "1000m", "memory": "512Mi"}
    assert requests("none") == plain
    assert requests("count") == {**plain, "nvidia.com/gpu": "2"}
    assert requests("milli") == {**plain, "alibabacloud.com/gpu-milli": "1000"}


def test_all_bad_rows_are_told_at_once(tmp_path: Path) -> None:
    header = ("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,"
              "creation_time,deletion_time,scheduled_time")  # fmt: skip
    rows = ["a,1,1,0,0,,LS,Running,0,,0", "b,x,1,0,0,,LS,Running,0,,0",
            "c,1,1,0,0,,LS,Running,9,3,0", "d,-1,1,0,0,,LS,Running,9,,0"]  # fmt: skip
    path = tmp_path / "pods.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(UserError) as caught:
        load_pods(path)
    assert [(item.code, item.line) for item in caught.value.problems] == [
        ("E035", 3), ("E035", 4), ("E035", 5),
    ]  # fmt: skip
    path.write_text("name,cpu\na,1\n")
    with pytest.raises(UserError, match="missing columns: cpu_milli"):
        load_pods(path)
    path.write_text(header + "\n")
    with pytest.raises(UserError, match="no rows"):
        load_pods(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_pods(tmp_path / "absent.csv")
