"""Settings of etcd."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt, Le


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdParams:
    """Settings of etcd, by their flags' meaning."""

    member_count: Annotated[int, Ge(1), Le(9)] = 1
    heartbeat_interval_seconds: Annotated[float, Gt(0)] = field(
        default=0.1, metadata={"source": "upstream: --heartbeat-interval 100 ms"}
    )
    election_timeout_seconds: Annotated[float, Gt(0)] = field(
        default=1.0, metadata={"source": "upstream: --election-timeout 1000 ms"}
    )
    backend_batch_interval_seconds: Annotated[float, Gt(0)] = field(
        default=0.1, metadata={"source": "facts/model.md d.1"}
    )
    backend_batch_limit_count: Annotated[int, Ge(1)] = field(
        default=10_000, metadata={"source": "facts/model.md d.1"}
    )
    quota_backend_bytes: Annotated[int, Gt(0)] = field(
        default=2 * 1024**3, metadata={"source": "facts/model.md d.6: 2 GiB"}
    )
    apply_gap_count_max: Annotated[int, Ge(1)] = field(
        default=5_000, metadata={"source": "facts/model.md d.1 step 1"}
    )
    receiver_count_max: Annotated[int, Ge(0)] = field(
        default=0,
        metadata={
            "source": "measured: etcd_range_closed.csv, amortisation at 8 clients; 0 means"
            " one connection reader at work per two cores of the host"
        },
    )
    receive_chunk_count_max: Annotated[int, Ge(1)] = field(
        default=16,
        metadata={"source": "measured: etcd_put_closed.csv, amortisation at 256 clients"},
    )

    @property
    def request_timeout_seconds(self) -> float:
        """Server's own timeout of a proposal. **Source:** groundtruth/README.md, kill_member."""
        return 5.0 + 2.0 * self.election_timeout_seconds
