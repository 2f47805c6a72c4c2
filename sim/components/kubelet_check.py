"""What a kubelet fleet shows to checkers and people: a snapshot and its invariants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.components.kubelet_client import FleetClient
from sim.components.kubelet_containers import ContainerRuns
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_nodes import NodeLoops
from sim.components.kubelet_pods import PodWorkers
from sim.components.kubelet_record import GONE, STOPPED
from sim.components.kubelet_stop import PodTerminators


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletSnapshot:
    """Counters and arrays for checkers and people; arrays have shape (n_nodes,)."""

    node_names: tuple[str, ...]
    up: npt.NDArray[np.bool_]
    pods: npt.NDArray[np.int64]
    """Pods that are not stopped."""
    addresses: npt.NDArray[np.int64]
    """Pod addresses in use."""
    status_queue: npt.NDArray[np.int64]
    """Pods waiting in the status manager."""
    cpu_seconds: npt.NDArray[np.float64]
    """CPU of kubelet and runtime for pods and entries so far, idle share excluded."""
    running_count: int
    started_count: int
    stopped_count: int
    restart_count: int
    lease_count: int
    limiter_wait_seconds: float
    limiter_waited_count: int
    events_written_count: int
    events_filtered_count: int
    statuses_coalesced_count: int


def take_snapshot(
    context: KubeletContext,
    workers: PodWorkers,
    terminators: PodTerminators,
    runs: ContainerRuns,
    loops: NodeLoops,
    clients: tuple[FleetClient, ...],
) -> KubeletSnapshot:
    """Counters and per-node arrays of the present moment."""
    nodes = range(len(context.names))
    pools = context.overlay.pools
    addresses = [pools[node][0].taken_count if pools[node] else 0 for node in nodes]
    waiting = [context.status.depth_count(node) for node in nodes]
    cpu_seconds = np.array(context.cpu_seconds) + np.array(context.runtime.cpu_seconds)
    cpu_seconds += context.overlay.cpu_seconds[: len(nodes)]
    cpu_seconds += np.array(context.images.unpack_cpu_seconds)
    return KubeletSnapshot(
        node_names=tuple(context.names),
        up=np.array(context.up, dtype=np.bool_),
        pods=np.array(context.active_counts, dtype=np.int64),
        addresses=np.array(addresses, dtype=np.int64),
        status_queue=np.array(waiting, dtype=np.int64),
        cpu_seconds=cpu_seconds,
        running_count=context.running_count,
        started_count=workers.started_count,
        stopped_count=terminators.stopped_count,
        restart_count=runs.restart_count,
        lease_count=loops.lease_count,
        limiter_wait_seconds=sum(client.wait_sum_seconds for client in clients),
        limiter_waited_count=sum(client.waited_count for client in clients),
        events_written_count=context.events.written_count,
        events_filtered_count=context.events.filtered_count,
        statuses_coalesced_count=context.status.coalesced_count,
    )


def check_kubelets(context: KubeletContext) -> list[str]:
    """Return what is broken: addresses shared, nodes overfull, counters that disagree."""
    problems: list[str] = []
    owners: dict[str, str] = {}
    for node, records in enumerate(context.by_node):
        name = context.names[node]
        placed_count = 0
        sandbox_count = 0
        address_count = 0
        for record in records.values():
            pod_name = "/".join(record.key)
            if record.stage == GONE:
                problems.append(f"kubelet {name}: forgotten pod {pod_name} is still listed")
            if record.stage == STOPPED and record.has_sandbox:
                problems.append(f"kubelet {name}: stopped pod {pod_name} has a sandbox")
            sandbox_count += record.has_sandbox
            if not record.placed:
                continue
            placed_count += 1
            if not record.ip or record.plan.template.host_network:
                continue
            address_count += 1
            for address in (record.ip, record.ip6):
                other = owners.setdefault(address, pod_name) if address else pod_name
                if other != pod_name:
                    problems.append(f"address {address} belongs to {other} and {pod_name}")
        if placed_count != context.active_counts[node]:
            problems.append(
                f"kubelet {name}: {context.active_counts[node]} pods are counted,"
                f" {placed_count} are there"
            )
        if sandbox_count != context.pleg.pod_counts[node]:
            problems.append(
                f"kubelet {name}: {context.pleg.pod_counts[node]} sandboxes are counted,"
                f" {sandbox_count} are there"
            )
        problems.extend(_check_limits(context, node, address_count))
    return problems


def _check_limits(context: KubeletContext, node: int, address_count: int) -> list[str]:
    name = context.names[node]
    problems = []
    limit = context.nodes[node].pods_allocatable_count
    running_count = context.pleg.pod_counts[node]
    if running_count > limit:
        problems.append(f"kubelet {name}: {running_count} sandboxes, {limit} pods are allowed")
    pools = context.overlay.pools[node]
    taken_count = pools[0].taken_count if pools else 0
    if taken_count != address_count:
        problems.append(
            f"kubelet {name}: {taken_count} addresses are taken, its pods have {address_count}"
        )
    return problems
