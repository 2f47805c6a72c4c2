"""The documented example plugin does what its page says."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

from sim.scheduling import ClusterState, SchedulerConfiguration, SchedulingCore, UserPlugins


def load(repository_dir: Path) -> Any:
    path = repository_dir / "experiments" / "plugins" / "gpu_stranding.py"
    spec = importlib.util.spec_from_file_location("gpu_stranding", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.GpuStranding()


def node(name: str, cpu: str, gpus: str) -> dict[str, Any]:
    allocatable = {"cpu": cpu, "memory": "64Gi", "pods": "110", "nvidia.com/gpu": gpus}
    return {"metadata": {"name": name}, "status": {"allocatable": allocatable}}


def pod(cpu: str, gpus: str | None = None) -> dict[str, Any]:
    requests = {"cpu": cpu} if gpus is None else {"cpu": cpu, "nvidia.com/gpu": gpus}
    spec = {"containers": [{"name": "c", "resources": {"requests": requests}}]}
    return {"metadata": {"name": "p"}, "spec": spec}


def test_example_keeps_gpus_usable(repository_dir: Path) -> None:
    plugins = UserPlugins([load(repository_dir)])
    score = {"disabled": [{"name": "*"}], "enabled": [{"name": "GpuStranding", "weight": 1}]}
    document = {"profiles": [{"plugins": {"score": score}}]}
    profile = SchedulerConfiguration.from_dict(
        document, user_plugins=plugins.extension_points()
    ).profiles[0]
    state = ClusterState()
    for name, cpu, gpus in (("tight", "9", "2"), ("roomy", "32", "4"), ("plain", "8", "0")):
        state.add_node(node(name, cpu, gpus))
    core = SchedulingCore(state, profile, user_plugins=plugins)
    # 8 cpu and no GPU: on tight it would strand 2 GPUs (and one more for having free ones), on
    # roomy none of 4, on plain there is nothing to strand.
    explained = core.explain(state.pod_shape(pod("8")))
    scores = dict(zip(explained.feasible, explained.total, strict=True))
    assert scores == {"tight": 70, "roomy": 90, "plain": 100}
    assert core.schedule(state.pod_shape(pod("8"))).node_name == "plain"
    # One GPU with 6 cpu: tight is left with 3 cpu for its second GPU.
    explained = core.explain(state.pod_shape(pod("6", "1")))
    assert dict(zip(explained.feasible, explained.total, strict=True)) == {
        "tight": 90,
        "roomy": 100,
    }


def test_the_page_shows_the_file(repository_dir: Path) -> None:
    page = (repository_dir / "docs" / "scheduler-plugins.md").read_text(encoding="utf-8")
    source = (repository_dir / "experiments" / "plugins" / "gpu_stranding.py").read_text("utf-8")
    body = re.search(r"def score\(self, pod, nodes\):\n(.*?)```", page, re.DOTALL)
    assert body is not None
    assert body.group(1).rstrip() in source
