"""Rows of proxy_syncs: one per kind of sync in a group of syncs that were decided together."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from sim.components.proxy_state import ProxyState
from sim.costs.kube_proxy_payload import SyncLoad
from sim.engine.tables import Table

FloatArray = npt.NDArray[np.float64]


def write_rows(
    table: Table, state: ProxyState, load: SyncLoad, start: FloatArray, seconds: FloatArray
) -> None:
    """Write down a group of syncs; ``start``, ``seconds`` : (n_syncs,) float64."""
    if not table.enabled:
        return
    full = np.broadcast_to(np.asarray(load.full), start.shape)
    if not full.any():
        _row(table, state, "partial", load, start, seconds, slice(None))
        return
    initial = np.broadcast_to(np.asarray(load.initial), start.shape) > 0.0
    for kind, which in (
        ("initial_full", initial),
        ("full", (full > 0.0) & ~initial),
        ("partial", full == 0.0),
    ):
        if which.any():
            part = np.flatnonzero(which)
            _row(table, state, kind, load, start[part], seconds[part], part)


def _row(
    table: Table, state: ProxyState, kind: str, load: SyncLoad, start: FloatArray,
    seconds: FloatArray, part: npt.NDArray[np.int64] | slice,
) -> None:  # fmt: skip
    changed: Any = load.changed_services_count
    count = len(start)
    middle = (count - 1) // 2
    table.append(
        (
            float(start.min()),
            count,
            kind,
            round(float(changed[part].mean())),
            float(np.partition(seconds, middle)[middle]),
            float(seconds.max()),
            state.service_ports_count,
            state.endpoints_count,
        )
    )
