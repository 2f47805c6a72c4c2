"""How fast manifests become objects: 1,213 nodes and 7,064 pods of the real trace."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sim.base.objects import Node, Pod
from sim.workload.manifests import ObjectReader, load_manifests
from sim.workload.pod_templates import PodTemplates

Pick = Callable[[Any, Any], Any]
TOTALS = {100: (100, 1067), 1200: (1213, 7064)}


@pytest.mark.benchmark(group="input")
def test_convert_manifests(benchmark: Any, bench_size: Pick, shared_dir: Path) -> None:
    """Checked, defaulted, interned; the files are parsed beforehand."""
    size = bench_size(100, 1200)
    folder = shared_dir / "data" / "k8s-sims"
    manifests = load_manifests(folder / f"nodes-{size}.yaml", folder / f"pods-{size}.yaml")

    def convert() -> tuple[int, int]:
        objects = ObjectReader(PodTemplates()).read(manifests)
        return (
            sum(isinstance(item, Node) for item in objects),
            sum(isinstance(item, Pod) for item in objects),
        )

    assert benchmark(convert) == TOTALS[size]
