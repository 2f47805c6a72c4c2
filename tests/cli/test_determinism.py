"""Same file, same seed, another process, another hash seed: the same bytes, but for wall clocks.

Method: one small experiment with deployments, services, a deletion and a node failure is run by the
command line in processes with different PYTHONHASHSEED; every file of the run directories is
compared byte by byte, `manifest.json` after taking out its wall-clock section.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = """
apiVersion: sim/v1alpha1
kind: Experiment
metadata:
  name: twice
  question: Are all bytes the same in another process?
spec:
  cluster:
    controlPlane: {nodeCount: 3, etcd: {memberCount: 3}}
    nodes:
      pools:
        - {name: node, count: 6, cpuMillicores: 8000, memoryBytes: 32Gi}
  workload:
    - {op: createDeployments, count: 3, replicas: 8, service: true, namePrefix: web,
       pod: {cpuMillicores: 100, memoryBytes: 128Mi}}
    - {op: barrier, stage: ready}
    - {op: deletePods, labels: {}, limit: 5, graceSeconds: 1s}
    - {op: sleep, durationSeconds: 3s}
  run: {seed: 5, stop: settled, durationSeconds: 60s}
"""
WALL_CLOCK = "wall"


def run(folder: Path, hash_seed: str, *options: str) -> dict[str, bytes]:
    """Run the experiment in a process of its own; return every file it wrote, by relative name."""
    file = folder / "twice.yaml"
    file.write_text(EXPERIMENT, encoding="utf-8")
    out = folder / f"out-{hash_seed}"
    done = subprocess.run(
        [sys.executable, "-m", "sim", "run", str(file), "--out", str(out), "--progress", "none",
         *options],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "MPLBACKEND": "Agg",
             "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def without_wall_clock(files: dict[str, bytes]) -> dict[str, Any]:
    """Parse manifests and take their wall-clock section out."""
    found: dict[str, Any] = {}
    for name, content in files.items():
        found[name] = content
        if name.endswith("manifest.json"):
            manifest = json.loads(content)
            assert manifest.pop(WALL_CLOCK)
            found[name] = manifest
    return found


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return without_wall_clock(run(tmp_path_factory.mktemp("first"), "0"))


def test_another_process_and_hash_seed_write_the_same_bytes(
    first: dict[str, Any], tmp_path: Path
) -> None:
    second = without_wall_clock(run(tmp_path, "4242"))
    names = [name.rpartition("/")[2] for name in first]
    for needed in ("manifest.json", "resolved.yaml", "summary.json", "summary.csv", "series.csv",
                   "requests.csv", "pod_transitions.csv", "report.html"):  # fmt: skip
        assert needed in names
    assert any(name.endswith(".png") for name in names)
    assert first.keys() == second.keys()
    assert [name for name in first if first[name] != second[name]] == []


def test_another_seed_writes_other_bytes(first: dict[str, Any], tmp_path: Path) -> None:
    """The comparison above is not blind."""
    other = without_wall_clock(run(tmp_path, "1", "--seed", "6"))

    def requests(files: dict[str, Any]) -> bytes:
        (found,) = (content for name, content in files.items() if name.endswith("requests.csv"))
        assert isinstance(found, bytes)
        return found

    assert len(requests(first)) > 10_000
    assert requests(first) != requests(other)
