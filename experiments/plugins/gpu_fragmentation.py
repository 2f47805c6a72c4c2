# ruff: noqa: INP001
"""A user's score plugin: placements that leave the most of the free GPUs usable.

For each candidate node the plugin asks how much of its free GPU capacity a typical pod could not
use, before and after the placement, and prefers nodes where that grows the least.

**Source:** Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with
Fragmentation Gradient Descent", USENIX ATC 2023; here on the GPUs of a node together, not card by
card.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import Candidates, PodShape
from sim.scheduling.user_plugins import requested_by

MIB = 2**20
TYPICAL_PODS = (
    (3152, 5600 * MIB, 810, 1047),
    (11300, 49152 * MIB, 1000, 857),
    (11400, 48128 * MIB, 1000, 534),
    (3152, 5600 * MIB, 1000, 470),
    (11908, 47104 * MIB, 470, 388),
    (8000, 30517 * MIB, 470, 360),
    (18708, 64512 * MIB, 1000, 255),
    (11908, 47104 * MIB, 650, 237),
)
"""Millicores, bytes, thousandths of a GPU, frequency: the commonest shapes of the openb trace."""


class GpuFragmentation:
    """Scores 50 where a placement leaves fragmentation as it is, more where it lessens it."""

    name = "GpuFragmentation"

    def __init__(self, resource: str = "alibabacloud.com/gpu-milli", scale: float = 1000.0) -> None:
        self.resource = resource
        self.scale = scale

    def score(self, pod: PodShape, nodes: Candidates) -> NDArray[np.int64]:
        """Integer scores 0..100 for every candidate node."""
        names = ("cpu", "memory", self.resource)
        free = [nodes.allocatable(name) - nodes.requested(name) for name in names]
        left = [have - requested_by(pod, name) for have, name in zip(free, names, strict=True)]
        growth = self._lost(*left) - self._lost(*free)
        return np.rint(100.0 / (1.0 + np.exp(growth / self.scale))).astype(np.int64)

    def _lost(
        self, cpu: NDArray[np.int64], memory: NDArray[np.int64], gpu: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Free GPU capacity that a typical pod cannot use, per node, averaged over the mix."""
        lost = np.zeros(len(gpu))
        for cpu_wanted, memory_wanted, gpu_wanted, frequency in TYPICAL_PODS:
            fits = (cpu >= cpu_wanted) & (memory >= memory_wanted) & (gpu >= gpu_wanted)
            usable = np.where(fits, gpu // gpu_wanted * gpu_wanted, 0)
            lost += frequency * (np.maximum(gpu, 0) - usable)
        return lost / sum(row[-1] for row in TYPICAL_PODS)
