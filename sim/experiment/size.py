"""Whether a run fits the machine: told before anything is built, with numbers."""

from __future__ import annotations

from sim.base.errors import UserError
from sim.experiment.backend import Backend, Demand
from sim.experiment.build import Loaded
from sim.experiment.machine import memory_bytes, memory_limit_bytes


def check_size(loaded: Loaded, backend: Backend, *, thorough: bool = False) -> Demand:
    """Estimate what a run takes and refuse what cannot work; warnings go to ``loaded``.

    ``thorough`` also reads every object that the experiment names (a run does that itself).

    Raises:
        UserError: no nodes, impossible objects, or more memory or events than there may be.
    """
    spec = loaded.experiment.spec
    demand = backend.demand(spec.cluster, spec.workload)
    origins = loaded.tree.origins
    told = list(demand.problems)
    if thorough and backend.check is not None:
        told += backend.check(spec.cluster, spec.workload)
        # The closer look also knows the place: it replaces what the estimate said.
        placed = {problem.code for problem in told if problem.file}
        told = [problem for problem in told if problem.file or problem.code not in placed]
        told = list(dict.fromkeys(told))
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
        raise UserError(problems)
    loaded.demand = demand
    return demand


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.3g} GiB"
