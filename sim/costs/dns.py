"""Laws of CoreDNS: CPU per query, latency below and at saturation, memory, query amplification."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
Real: TypeAlias = float | FloatArray


def _sourced(default: float, source: str) -> Any:
    return field(default=default, metadata={"source": source})


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreDnsParams:
    """One CoreDNS instance with the kubernetes plugin."""

    query_cpu_seconds: float = _sourced(
        2.0 / 33669.0, "published: dns-int (33,669 q/s on 2 vCPU, CPU bound)"
    )
    autopath_query_cpu_seconds: float = _sourced(
        2.0 / 31428.0, "published: dns-auto (31,428 external q/s on 2 vCPU)"
    )
    network_round_trip_seconds: float = _sourced(
        0.0002, "assumed: pod to pod round trip and conntrack within one cluster"
    )
    forward_seconds: float = _sourced(
        0.005, "assumed: answer of the upstream resolver for a name it has cached"
    )
    memory_base_bytes: float = _sourced(49.1e6, "published: dns-mem")
    memory_per_object_bytes: float = _sourced(858.0, "published: dns-mem (0.000858 MB)")
    external_cache_seconds: float = _sourced(
        30.0, "upstream kubeadm Corefile (cache 30, cluster zone excluded)"
    )
    service_ttl_seconds: float = _sourced(30.0, "upstream kubeadm Corefile (kubernetes ttl 30)")

    def saturation_queries_per_second(self, cores_count: Real) -> Real:
        """Highest query rate of one instance on ``cores_count`` cores; same shape."""
        return cores_count / self.query_cpu_seconds

    def closed_loop_seconds(self, clients_count: Real, cores_count: Real) -> Real:
        """Mean latency when ``clients_count`` clients always have one query open; broadcasts.

        Asymptotic bound of a closed system: the larger of the free latency and
        clients / saturation rate.

        **Source:** operational law R >= max(R0, N / X_max).
        """
        free = self.query_cpu_seconds + self.network_round_trip_seconds
        return np.maximum(free, clients_count / self.saturation_queries_per_second(cores_count))

    def open_loop_seconds(self, queries_per_second: float, cores_count: int) -> float:
        """Mean latency of Poisson queries, seconds; infinite at or above saturation.

        **Source:** M/M/c queue (Erlang C) with the CPU per query as service time.

        Raises:
            ValueError: for a negative rate or less than one core.
        """
        if queries_per_second < 0.0 or cores_count < 1:
            raise ValueError(f"rate {queries_per_second}, cores {cores_count}")
        load = queries_per_second * self.query_cpu_seconds
        if load >= cores_count:
            return math.inf
        term, total = 1.0, 1.0
        for servers in range(1, cores_count):
            term *= load / servers
            total += term
        last = term * load / cores_count * cores_count / (cores_count - load)
        wait_probability = last / (total + last)
        wait = wait_probability * self.query_cpu_seconds / (cores_count - load)
        return self.network_round_trip_seconds + self.query_cpu_seconds + wait

    def memory_bytes(self, pods_count: Real, services_count: Real) -> Real:
        """Resident memory of one instance; broadcasts its arguments.

        **Source:** published dns-mem.
        """
        objects = pods_count + services_count
        return self.memory_base_bytes + self.memory_per_object_bytes * objects


def lookups_count(
    name: str,
    *,
    search_domains: tuple[str, ...],
    answering_domain: str | None,
    ndots: int = 5,
    record_types_count: int = 2,
) -> int:
    """Queries that a resolver sends for one name, by the search list rules.

    With fewer dots than ``ndots`` the search domains are tried first, in order, until one
    answers; then the name as it is. Otherwise the name is tried first.

    Args:
        name: as the program asks for it; a trailing dot switches the search list off.
        search_domains: the pod's search list.
        answering_domain: the search domain under which the name exists; None when only the name
            as it is exists.
        ndots: resolver option; kubelet writes 5.
        record_types_count: 2 when A and AAAA are asked for together.

    Raises:
        ValueError: when the answering domain is not in the search list.

    **Source:** resolver(5); facts of section i (4 to 5 names for an external one).
    """
    if answering_domain is not None and answering_domain not in search_domains:
        raise ValueError(f"{answering_domain!r} is not in the search list {search_domains}")
    if name.endswith("."):
        return record_types_count
    absolute_first = name.count(".") >= ndots
    if answering_domain is None:
        tried = 1 if absolute_first else len(search_domains) + 1
    else:
        tried = search_domains.index(answering_domain) + 1 + (1 if absolute_first else 0)
    return tried * record_types_count
