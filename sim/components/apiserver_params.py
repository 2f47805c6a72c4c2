"""Flags of kube-apiserver."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from sim.components.priority_and_fairness_config import FlowSchema, PriorityLevel


@dataclass(frozen=True, slots=True, kw_only=True)
class APIServerParams:
    """Flags of kube-apiserver by their own names, and where it stands."""

    max_requests_inflight: Annotated[int, Ge(0)] = field(
        default=400, metadata={"source": "defaults.csv: max-requests-inflight"}
    )
    max_mutating_requests_inflight: Annotated[int, Ge(0)] = field(
        default=200, metadata={"source": "defaults.csv: max-mutating-requests-inflight"}
    )
    request_timeout_seconds: Annotated[float, Gt(0)] = field(
        default=60.0, metadata={"source": "defaults.csv: request-timeout"}
    )
    etcd_compaction_interval_seconds: Annotated[float, Ge(0)] = field(
        default=300.0, metadata={"source": "defaults.csv: etcd-compaction-interval"}
    )
    consistency_check_period_seconds: Annotated[float, Ge(0)] = field(
        default=300.0, metadata={"source": "defaults.csv: cache consistency checker period"}
    )
    network_seconds: Annotated[float, Ge(0)] = field(
        default=0.0001, metadata={"source": "assumed: one way within a data centre"}
    )
    """One way between any client and the replica."""
    light_admission: bool = field(
        default=True, metadata={"source": "simulation: counts seats while a level is half empty"}
    )
    """False keeps the exact queues, and the hops between goroutines, at any load."""
    flow_schemas: tuple[FlowSchema, ...] = ()
    """The user's own, besides the built-in ones."""
    priority_levels: tuple[PriorityLevel, ...] = ()
    """The user's own; one that has the name of a built-in one replaces it."""
    api_response_compression: bool = field(
        default=True, metadata={"source": "defaults.csv: feature gate APIResponseCompression"}
    )
    startup_seconds: Annotated[float, Ge(0)] = field(
        default=5.6,
        metadata={"source": "measured: apiserver_restart.csv, killed until ready, 500 nodes"},
    )
    """From exec to serving, before the caches are filled."""
    startup_cpu_seconds: Annotated[float, Ge(0)] = field(
        default=5.3, metadata={"source": "measured: apiserver_restart.csv, CPU until ready"}
    )
