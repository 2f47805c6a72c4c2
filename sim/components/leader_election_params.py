"""Parameters of leader election, by the names of the flags ``--leader-elect-…``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Gt


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderElectionParams:
    """Flags ``--leader-elect-…``."""

    leader_elect_lease_duration_seconds: Annotated[float, Gt(0)] = 15.0
    """Time after which a candidate takes over an unchanged lease."""
    leader_elect_renew_deadline_seconds: Annotated[float, Gt(0)] = 10.0
    """Time without renewal after which a leader gives up."""
    leader_elect_retry_period_seconds: Annotated[float, Gt(0)] = 2.0
    """Pause between tries."""
