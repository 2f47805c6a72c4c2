"""Network programming latency over all changes and all nodes, as upstream's metric counts it.

Upstream observes one latency per change and node; the facts hold, per change, when half, 99 % and
all of the nodes had acted. Between these a change's nodes are taken to be spread evenly, from the
commit of the slice on.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from sim.metrics.facts_view import Facts, FloatArray

_SHARES: Final = (0.0, 0.5, 0.99, 1.0)
_POINTS_PER_CHANGE: Final = 40


def measured_window(facts: Facts) -> tuple[float, float]:
    """Return (start, end) of the measured part of the workload, (0, infinity) without one."""
    table = facts["faults"]
    kinds, start, end = table.categories("what"), 0.0, np.inf
    rows = zip(table.column("what").tolist(), table.column("time_seconds").tolist(), strict=True)
    for what, time in rows:
        if kinds[what] == "measurement starts":
            start, end = time, np.inf
        elif kinds[what] == "measurement ends":
            end = time
    return start, end


def pooled_latencies(facts: Facts) -> FloatArray:
    """Return latencies over changes and nodes, ascending: (n_changes × 40,) seconds.

    Only changes triggered in the measured part of the workload count, if it has one.
    """
    table = facts["network_programming"]
    start, end = measured_window(facts)
    times = table.column("time_seconds")
    chosen = (times >= start) & (times < end)
    quantiles = np.stack([
        table.column(name)[chosen]
        for name in ("committed_seconds", "programmed_seconds_p50", "programmed_seconds_p99",
                     "programmed_seconds_max")
    ])  # fmt: skip
    shares = (np.arange(_POINTS_PER_CHANGE) + 0.5) / _POINTS_PER_CHANGE
    upper = np.searchsorted(_SHARES, shares, side="right")
    known = np.array(_SHARES)
    weight = (shares - known[upper - 1]) / (known[upper] - known[upper - 1])
    low, high = quantiles[upper - 1], quantiles[upper]
    values: FloatArray = np.sort((low + (high - low) * weight[:, None]).ravel())
    return values


def node_count(facts: Facts) -> int:
    """Return the most nodes that a change had to reach."""
    counts = facts["network_programming"].column("node_count")
    return int(counts.max()) if len(counts) else 0
