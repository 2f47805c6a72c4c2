# ruff: noqa: INP001
"""A user's score plugin: keep GPUs usable.

A GPU is stranded when its node has too little cpu left to feed it. The plugin prefers nodes where
placing the pod strands the fewest, and keeps pods without GPUs off nodes that have free ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.scheduling import Candidates, PodShape
from sim.scheduling.user_plugins import requested_by

GPU = "nvidia.com/gpu"
CPU_PER_GPU_MILLICORES = 4000
"""What one GPU needs beside it; assumed."""


class GpuStranding:
    """Scores 100 where no GPU is stranded, less for every one that would be."""

    name = "GpuStranding"

    def score(self, pod: PodShape, nodes: Candidates) -> NDArray[np.int64]:
        """Integer scores 0..100 for every candidate node."""
        gpus_free = nodes.allocatable(GPU) - nodes.requested(GPU) - requested_by(pod, GPU)
        cpu_free = nodes.allocatable("cpu") - nodes.requested("cpu") - requested_by(pod, "cpu")
        usable = np.minimum(gpus_free, np.maximum(cpu_free, 0) // CPU_PER_GPU_MILLICORES)
        stranded = np.maximum(gpus_free, 0) - np.maximum(usable, 0)
        if requested_by(pod, GPU) == 0:
            stranded = stranded + (gpus_free > 0)
        return np.maximum(100 - 10 * stranded, 0)
