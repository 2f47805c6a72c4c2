"""Parameters of the node lifecycle controller, by the names of its flags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLifecycleParams:
    """Flags of the controller. **Source:** `facts/defaults.csv`."""

    node_monitor_period_seconds: Annotated[float, Gt(0)] = 5.0
    """Pause between monitoring passes."""
    node_monitor_grace_period_seconds: Annotated[float, Gt(0)] = 50.0
    """Silence after which a node is unknown."""
    node_startup_grace_period_seconds: Annotated[float, Gt(0)] = 60.0
    """Silence allowed to a node that has never reported."""
    node_eviction_rate_per_second: Annotated[float, Ge(0)] = 0.1
    """Nodes tainted NoExecute per second in a healthy zone."""
    secondary_node_eviction_rate_per_second: Annotated[float, Ge(0)] = 0.01
    """The same in a zone that is partially disrupted (0 in small zones)."""
    large_cluster_size_threshold_nodes: Annotated[int, Ge(0)] = 50
    """Zones up to this size count as small."""
    unhealthy_zone_threshold_ratio: Annotated[float, Gt(0)] = 0.55
    """Share of not ready nodes from which a zone is partially disrupted."""
