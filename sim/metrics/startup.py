"""Pod start-up, step by step: from the pod_transitions table to one row of times per pod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.metrics.facts_view import Facts, FloatArray, IntArray

MILESTONES: Final = (
    "created", "scheduled", "observed", "volumes_mounted", "sandbox_created", "network_ready",
    "images_pulled", "containers_started", "running", "ready", "in_endpoint_slice",
    "programmed_50", "programmed_99", "programmed_100",
)  # fmt: skip
"""Steps of a pod's start-up in their usual order."""

PHASES: Final = (
    "scheduled", "observed", "volumes", "sandbox", "network", "images", "containers", "running",
    "ready", "in slice", "programmed 50 %", "programmed 99 %", "programmed 100 %",
)  # fmt: skip
"""Name of the phase that ends with each milestone after the first."""

PHASE_MEANINGS: Final = (
    "created → bound in etcd", "bound → seen by its kubelet", "→ volumes mounted",
    "→ sandbox created", "→ network of the sandbox ready", "→ images on the node",
    "→ containers started", "→ status Running committed", "→ status Ready committed",
    "→ in its EndpointSlice", "→ routed by half of the nodes", "→ by 99 % of the nodes",
    "→ by every node",
)  # fmt: skip

_RUNNING: Final = MILESTONES.index("running")
_READY: Final = MILESTONES.index("ready")
_OBSERVED: Final = MILESTONES.index("observed")
_PULLED: Final = MILESTONES.index("images_pulled")
_SCHEDULED: Final = MILESTONES.index("scheduled")


@dataclass(frozen=True, slots=True)
class Startup:
    """Times of every pod's first passage through each milestone.

    ``times`` : (n_pods, n_milestones) float64 seconds, NaN where the pod never got there.
    ``phases`` : (n_pods, n_milestones - 1) float64 seconds, the time each milestone came after
    all milestones before it; 0 for one reached early, NaN for one never reached.
    """

    uids: IntArray
    times: FloatArray
    phases: FloatArray

    def __len__(self) -> int:
        return len(self.uids)

    def _since(self, end: int, start: int = 0) -> FloatArray:
        difference: FloatArray = self.times[:, end] - self.times[:, start]
        return difference

    @property
    def pull_seconds(self) -> FloatArray:
        """Time spent on images, 0 where none was pulled: (n_pods,)."""
        return np.nan_to_num(self.phases[:, _PULLED - 1])

    def durations(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return (value, time of observation) of one start-up duration, for pods that have it.

        ``sli_seconds`` creation to running without image pulls, ``total_seconds`` with them,
        ``kubelet_seconds`` observed to running, ``ready_seconds`` creation to ready.
        **Source:** kubernetes/pkg/kubelet/metrics, definitions of the pod start durations.
        """
        if name == "sli_seconds":
            values, at = self._since(_RUNNING) - self.pull_seconds, self.times[:, _RUNNING]
        elif name == "total_seconds":
            values, at = self._since(_RUNNING), self.times[:, _RUNNING]
        elif name == "kubelet_seconds":
            values, at = self._since(_RUNNING, _OBSERVED), self.times[:, _RUNNING]
        else:
            assert name == "ready_seconds", name
            values, at = self._since(_READY), self.times[:, _READY]
        valid = ~np.isnan(values)
        return values[valid], at[valid]

    def active_window(self) -> tuple[float, float]:
        """Return the span from the first creation to the last pod's running (or ready)."""
        reached = self.times[:, [0, _SCHEDULED, _RUNNING, _READY]]
        if not len(self.uids) or np.all(np.isnan(reached)):
            return 0.0, 0.0
        return float(np.nanmin(reached[:, 0])), float(np.nanmax(reached))


def pod_startup(facts: Facts) -> Startup:
    """Return the first time of every milestone per pod, in order of uid."""
    table = facts["pod_transitions"]
    uid_column: IntArray = table.column("pod_uid")
    codes = table.column("transition")
    times: FloatArray = table.column("time_seconds")
    position = {name: index for index, name in enumerate(MILESTONES)}
    lookup = np.array(
        [position.get(name, -1) for name in table.categories("transition")] or [-1], dtype=np.int64
    )
    milestone = lookup[codes] if len(codes) else np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(milestone >= 0)[::-1]  # reversed: the first of several wins below
    uids, pod_index = np.unique(uid_column[rows], return_inverse=True)
    matrix = np.full((len(uids), len(MILESTONES)), np.nan)
    matrix[pod_index, milestone[rows]] = times[rows]
    # Pods that run at the instant of their creation existed before the run: they did not start.
    started = ~np.isnan(matrix[:, 0]) & ~(matrix[:, _RUNNING] <= matrix[:, 0])
    matrix, uids = matrix[started], uids[started]
    return Startup(uids, matrix, _phases(matrix))


def _phases(times: FloatArray) -> FloatArray:
    latest = np.maximum.accumulate(np.where(np.isnan(times), -np.inf, times), axis=1)
    phases: FloatArray = np.maximum(times[:, 1:] - latest[:, :-1], 0.0)
    return phases


def phase_rows(startup: Startup) -> tuple[npt.NDArray[np.int64], FloatArray, FloatArray]:
    """Return (phase index, seconds, time of observation) of all phases that took place."""
    valid = ~np.isnan(startup.phases)
    pod_index, phase = np.nonzero(valid)
    return (
        phase.astype(np.int64),
        startup.phases[pod_index, phase],
        startup.times[pod_index, phase + 1],
    )
