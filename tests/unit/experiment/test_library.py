"""Settings to import: each file of experiments/library/clusters is a valid part of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.experiment.backend import load_backend
from sim.experiment.build import load_experiment

ROOT = Path(__file__).resolve().parents[3]
CLUSTERS = sorted((ROOT / "experiments" / "library" / "clusters").glob("*.yaml"))
TEXT = """apiVersion: sim/v1alpha1
kind: Experiment
metadata: {{name: t}}
spec:
  cluster: {{import: {path}, nodes: {{pools: [{{name: node, count: 4}}]}}}}
  workload: [{{op: createPods, count: 3}}]
  profile: {profile}
"""
PROFILES = {
    "eks-provisioned-xl": "managed-eks", "gce-5000": "control-plane-64-core",
    "gke-large": "managed-gke",
}  # fmt: skip


def test_every_cluster_has_its_profile() -> None:
    assert {path.stem for path in CLUSTERS} == set(PROFILES)
    for path in CLUSTERS:
        assert f"profile: {PROFILES[path.stem]}" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("path", CLUSTERS, ids=lambda path: path.stem)
def test_clusters_can_be_imported(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "e.yaml"
    file.write_text(TEXT.format(path=path, profile=PROFILES[path.stem]), encoding="utf-8")
    loaded = load_experiment(file, load_backend())
    assert loaded.experiment.spec.cluster.control_plane.host.core_count >= 16
    assert loaded.experiment.spec.cluster.nodes.pools[0].count == 4
