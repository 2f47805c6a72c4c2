"""Parameters of the kube-proxy fleet, by the names of the KubeProxyConfiguration."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt

_UPSTREAM = {"source": "upstream: kube-proxy configuration defaults"}


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeProxyFleetParams:
    """kube-proxy's configuration."""

    mode: Literal["iptables", "nftables", "ipvs"] = field(default="iptables", metadata=_UPSTREAM)
    iptables_backend: Literal["nf_tables", "legacy"] = field(
        default="nf_tables", metadata={"source": "iptables 1.8 of current distributions"}
    )
    min_sync_period_seconds: Annotated[float, Ge(0)] = field(default=1.0, metadata=_UPSTREAM)
    """From the completion of a sync to the start of the next. IPVS: always 0."""
    sync_period_seconds: Annotated[float, Gt(0)] = field(default=30.0, metadata=_UPSTREAM)
    """Retry after a failed sync; clean-up in large clusters; IPVS: timer between syncs."""
    full_sync_period_seconds: Annotated[float, Gt(0)] = field(
        default=3600.0, metadata={"source": "upstream: FullSyncPeriod"}
    )
    """Timer between syncs without changes, and age at which a sync is a full one."""
    jitter: bool = True
    """Whether sync times scatter as measured, and the timers of nodes that run already are out of
    step (off for exact comparisons)."""
