"""The backend that experiments run on: the assembled cluster, its settings and its workload.

What only a run needs is imported when it runs, so that checking a file stays quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sim.base.errors import Problem
from sim.cluster.params import ClusterParams
from sim.components.facts import ALL
from sim.costs.profile import profile_names
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.experiment.backend import REAL, Backend, Cluster, Demand
from sim.workload.operations import OPERATION_TYPES


def demand(params: Any, operations: Sequence[Any]) -> Demand:
    """Return what a run will ask of the machine. Raises UserError for files that are wrong."""
    from sim.cluster.demand import demand as cluster_demand

    found = cluster_demand(params, operations)
    return Demand(
        node_count=found.node_count,
        pod_count=found.pod_count,
        memory_bytes=found.memory_bytes,
        event_count=found.event_count,
        problems=found.problems,
    )


def _build(
    params: Any, operations: Sequence[Any], engine: Engine, recorder: Recorder, profile: Any
) -> Cluster:
    from sim.cluster.assemble import build

    return build(params, operations, engine, recorder, profile)


def _check(params: Any, operations: Sequence[Any]) -> list[Problem]:
    from sim.experiment.objects_check import check_objects

    return check_objects(params, operations)


def _load_profile(name: str) -> Any:
    from sim.experiment.calibrate_profile import load_profile

    return load_profile(name)


def validity(name: str) -> list[str]:
    """Return sentences on which parameters of a profile are measured and which assumed."""
    from sim.costs.profile import parameters

    profile = _load_profile(name)
    rows = list(parameters(profile))
    assumed = [key for key, _, source in rows if "assumed" in str(source).lower()]
    counts = (
        f"{len(rows)} parameters, {len(assumed)} of them assumed; the others are measured,"
        " published or upstream constants."
    )
    lines = [f"{profile.name}: {profile.description.rstrip('.')}.", counts]
    if assumed:
        lines.append("Assumed: " + ", ".join(assumed) + ".")
    return lines


def backend() -> Backend:
    """Return the real backend."""
    return Backend(
        params_type=ClusterParams,
        operation_types=OPERATION_TYPES,
        build=_build,
        tables=ALL,
        profiles=profile_names(),
        demand=demand,
        reference=REAL,
        load_profile=_load_profile,
        check=_check,
        validity=validity,
    )
