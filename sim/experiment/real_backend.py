"""The backend that experiments run on: the assembled cluster, its settings and its workload."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.cluster import demand as cluster_demand
from sim.cluster.assemble import build
from sim.cluster.params import ClusterParams
from sim.components.facts import ALL
from sim.costs.profile import PROFILES
from sim.experiment.backend import REAL, Backend, Demand
from sim.experiment.calibrate_profile import load_profile
from sim.workload.operations import OPERATION_TYPES


def demand(params: ClusterParams, operations: Sequence[Any]) -> Demand:
    """Return what a run will ask of the machine. Raises UserError for files that are wrong."""
    found = cluster_demand.demand(params, operations)
    return Demand(
        node_count=found.node_count,
        pod_count=found.pod_count,
        memory_bytes=found.memory_bytes,
        event_count=found.event_count,
        problems=found.problems,
    )


def backend() -> Backend:
    """Return the real backend."""
    return Backend(
        params_type=ClusterParams,
        operation_types=OPERATION_TYPES,
        build=build,
        tables=ALL,
        profiles=tuple(PROFILES),
        demand=demand,
        reference=REAL,
        load_profile=load_profile,
    )
