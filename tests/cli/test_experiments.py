"""Every file in experiments/ runs, scaled down to seconds, and the run is valid.

What reads the measured data beside the checkout is skipped, loudly, where that is absent.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
NEEDS_MEASURED_DATA = "needs: measured-data"

_POOL = "cluster.nodes.pools.0.count"
SMALLER: dict[str, tuple[str, ...]] = {
    "quickstart": (f"{_POOL}=10", "workload.0.count=2", "workload.0.replicas=10"),
    "openb": ("cluster.nodes.openbCsv={nodes_csv}", "workload.0.limit=60"),
    "k8s-sims": (
        "cluster.nodes.manifests=[{nodes_yaml}]",
        "workload.0.manifests=[{pods_yaml}]",
    ),
    "density-5000": (f"{_POOL}=20", "workload.0.count=60"),
    "idle-5000": (f"{_POOL}=20", "run.durationSeconds=30"),
    "etcd-disk": (
        f"{_POOL}=3", "workload.0.durationSeconds=2",
        "sweep.axes={cluster.controlPlane.etcdDisk: [nvme, hdd]}",
    ),
    "client-qps": (
        f"{_POOL}=5", "workload.0.replicas=40",
        "sweep.axes={cluster.controlPlane.controllerManager.kubeApiQps: [20, 100]}",
    ),
    "kube-proxy-fanout": (
        "workload.0.count=1", "workload.0.replicas=5", "workload.3.durationSeconds=2",
        f"sweep.axes={{{_POOL}: [3, 6]}}",
    ),
    "node-failure": (
        f"{_POOL}=9", "workload.0.replicas=5", "workload.0.count=2", "workload.3.durationSeconds=5",
        "run.durationSeconds=60",
    ),
    "leader-loss": (f"{_POOL}=3", "workload.0.rate.perSecond=50"),
    "list-storm": (f"{_POOL}=5", "workload.0.replicas=10", "workload.2.durationSeconds=2"),
    "zone-drain": (f"{_POOL}=14", "workload.0.replicas=10", "workload.3.durationSeconds=2"),
    "kubelet-restart": (f"{_POOL}=20", "workload.0.replicas=3", "workload.3.durationSeconds=5"),
    "registry-pull": (
        f"{_POOL}=5", "workload.0.replicas=5",
        "sweep.axes={cluster.images.registryBandwidthBytesPerSecond: [125000000, 1250000000]}",
    ),
    "cidr-exhaustion": ("workload.1.durationSeconds=5", "workload.2.replicas=10"),
    "node-join-5000": (f"{_POOL}=20", "workload.0.count=2", "workload.1.durationSeconds=15"),
    "service-churn": (
        f"{_POOL}=10", "workload.0.count=4", "workload.0.replicas=3", "workload.3.limit=5",
        "workload.4.limit=3", "workload.5.durationSeconds=2",
    ),
    "scheduling-policies": (
        "cluster.nodes.openbCsv={gpu_nodes_csv}", "workload.0.limit=60",
        "sweep.axes={cluster.controlPlane.schedulerConfigurationFile: [{least}, {fragmentation}]}",
    ),
    "scheduling-plugin": (
        f"{_POOL}=4", "cluster.nodes.pools.1.count=2", "workload.0.count=56", "workload.2.count=16",
    ),
    "scheduling-15000": (
        f"{_POOL}=30", "cluster.nodes.pools.1.count=6", "workload.0.count=40",
        "workload.1.count=20", "workload.2.count=20", "workload.3.count=20",
    ),
}  # fmt: skip


def beginnings(data: Path, folder: Path) -> dict[str, Path]:
    """Write the first nodes and pods of the measured files; return what each {place} stands for."""
    parts = {
        "{nodes_csv}": (data / "openb" / "openb_node_list_all_node.csv", "\n", 41),
        "{gpu_nodes_csv}": (data / "openb" / "openb_node_list_gpu_node.csv", "\n", 41),
        "{nodes_yaml}": (data / "k8s-sims" / "nodes-100.yaml", "\n---\n", 20),
        "{pods_yaml}": (data / "k8s-sims" / "pods-100.yaml", "\n---\n", 40),
    }
    library = EXPERIMENTS / "library" / "scheduler"
    written = {
        "{least}": library / "least-allocated.yaml",
        "{fragmentation}": library / "gpu-fragmentation.yaml",
    }
    for place, (source, separator, count) in parts.items():
        written[place] = folder / f"{place.strip('{}')}{source.suffix}"
        written[place].write_text(separator.join(source.read_text().split(separator)[:count]))
    return written


def test_every_experiment_is_listed_here_and_begins_with_its_question() -> None:
    files = sorted(EXPERIMENTS.glob("*.yaml"))
    assert {file.stem for file in files} == set(SMALLER)
    for file in files:
        assert "# Question:" in file.read_text().split("apiVersion:")[0], file.name


@pytest.mark.parametrize("name", sorted(SMALLER))
def test_an_experiment_runs(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    file = EXPERIMENTS / f"{name}.yaml"
    smaller = SMALLER[name]
    if NEEDS_MEASURED_DATA in file.read_text():
        data = beginnings(request.getfixturevalue("shared_dir") / "data", tmp_path)
        for place, path in data.items():
            smaller = tuple(text.replace(place, str(path)) for text in smaller)
    options = [item for text in smaller for item in ("--set", text)]
    command = [
        sys.executable, "-m", "sim", "run", str(file), *options, "-q",
        "--set", "outputs.figures=false", "--set", "outputs.report=false",
        "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    manifests = sorted((tmp_path / "run").rglob("manifest.json"))
    assert manifests
    for path in manifests:
        manifest = json.loads(path.read_text())
        assert manifest["complete"], path
        assert manifest["exit_code"] == 0, path
