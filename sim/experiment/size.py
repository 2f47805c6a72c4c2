"""Whether a run fits the machine: told before anything is built, with numbers."""

from __future__ import annotations

from typing import Final

from sim.base.errors import Problem, UserError
from sim.experiment.backend import Backend, Demand
from sim.experiment.build import Loaded, in_order
from sim.experiment.machine import memory_bytes, memory_limit_bytes

_ESTIMABLE: Final = frozenset({"E019", "E034", "E036"})
"""Errors about names and addresses: the size can be told besides."""


def check_size(loaded: Loaded, backend: Backend, *, thorough: bool = False) -> Demand:
    """Estimate what a run takes and refuse what cannot work; warnings go to ``loaded``.

    ``thorough`` also reads every object that the experiment names (a run does that itself).

    Raises:
        UserError: no nodes, impossible objects, or more memory or events than there may be.
    """
    spec = loaded.experiment.spec
    origins = loaded.tree.origins
    seen: list[Problem] = []
    if thorough and backend.check is not None:
        seen = [origins.placed(item) for item in backend.check(spec.cluster, spec.workload)]
    errors = [problem for problem in seen if not problem.is_warning]
    if any(problem.code not in _ESTIMABLE for problem in errors):
        raise UserError(in_order(errors))  # the estimate reads the same objects
    demand = backend.demand(spec.cluster, spec.workload)
    # The closer look also knows the place: it replaces what the estimate says.
    codes = {problem.code for problem in errors}
    estimated = [origins.placed(item) for item in demand.problems if item.code not in codes]
    told = list(dict.fromkeys([*estimated, *seen]))
    problems = [problem for problem in told if not problem.is_warning]
    loaded.warnings += [problem for problem in told if problem.is_warning]
    cluster = ("spec", "cluster")
    if demand.node_count == 0 and not problems:
        problems.append(origins.problem("E031", "the cluster has no nodes", cluster))
    limit = memory_limit_bytes(spec.run.memory_bytes_max)
    if demand.memory_bytes > limit:
        problems.append(origins.problem(
            "E032",
            f"{demand.node_count:,} nodes and {demand.pod_count:,} pods need about"
            f" {_gib(demand.memory_bytes)}; the limit here is {_gib(limit)} of"
            f" {_gib(memory_bytes())}",
            cluster, hint="fewer nodes or pods, a larger machine, or run.memoryBytesMax",
        ))  # fmt: skip
    if demand.event_count > spec.run.events_max:
        problems.append(origins.problem(
            "E032",
            f"{demand.node_count:,} nodes and {demand.pod_count:,} pods need about"
            f" {demand.event_count:,} events; run.eventsMax is {spec.run.events_max:,}",
            cluster, hint="raise run.eventsMax, or make the experiment smaller",
        ))  # fmt: skip
    if problems:
        raise UserError(in_order(problems))
    loaded.demand = demand
    return demand


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB"
