"""Settings of the scheduling queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingQueueParams:
    """Back-off and sweep times of the scheduling queue."""

    pod_initial_backoff_seconds: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"source": "upstream: podInitialBackoffSeconds"}
    )
    pod_max_backoff_seconds: Annotated[float, Gt(0)] = field(
        default=10.0, metadata={"source": "upstream: podMaxBackoffSeconds"}
    )
    unschedulable_max_seconds: Annotated[float, Gt(0)] = field(
        default=300.0, metadata={"source": "upstream: DefaultPodMaxInUnschedulablePodsDuration"}
    )
    unschedulable_flush_seconds: Annotated[float, Gt(0)] = field(
        default=30.0, metadata={"source": "upstream: flushUnschedulablePodsLeftover"}
    )
    backoff_window_seconds: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"source": "upstream: backoffQOrderingWindowDuration"}
    )
    pop_from_backoff: bool = field(
        default=True, metadata={"source": "upstream: SchedulerPopFromBackoffQ (beta, on)"}
    )
