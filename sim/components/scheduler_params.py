"""Settings of kube-scheduler: its flags, and what a KubeSchedulerConfiguration overrides."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from annotated_types import Ge, Gt

from sim.base.duration import DurationError, parse_duration_seconds
from sim.components.leader_election_params import LeaderElectionParams
from sim.components.scheduling_queue_params import SchedulingQueueParams
from sim.scheduling import ConfigurationError, SchedulerConfiguration


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerParams:
    """kube-scheduler's own settings, beside the KubeSchedulerConfiguration file."""

    kube_api_qps: Annotated[float, Gt(0)] = field(
        default=50.0, metadata={"source": "upstream: ClientConnection"}
    )
    """Token refill of the main client, and of the events' client."""
    kube_api_burst: Annotated[int, Gt(0)] = field(
        default=100, metadata={"source": "upstream: ClientConnection"}
    )
    """Token bucket size of either client."""
    leader_elect: bool = True
    """Whether a replica must hold the lease before it schedules."""
    leader_election: LeaderElectionParams = LeaderElectionParams()
    """Lease handling."""
    queue: SchedulingQueueParams = SchedulingQueueParams()
    """Back-off and sweeps."""
    restart_seconds: Annotated[float, Ge(0)] = field(
        default=1.0, metadata={"source": "assumed: kubelet's first restart of a static pod"}
    )
    """Time until a process that lost its lease (and therefore exits) is back."""


_LEADER_ELECTION = {
    "leaseDuration": "leader_elect_lease_duration_seconds",
    "renewDeadline": "leader_elect_renew_deadline_seconds",
    "retryPeriod": "leader_elect_retry_period_seconds",
}


def with_configuration(
    params: SchedulerParams, configuration: SchedulerConfiguration
) -> SchedulerParams:
    """Return the settings with what a KubeSchedulerConfiguration says put over them.

    Raises:
        ConfigurationError: a value of clientConnection or leaderElection cannot be read.
    """
    problems: list[tuple[str, str]] = []
    changes: dict[str, Any] = {}
    connection = configuration.client_connection
    for key, name in (("qps", "kube_api_qps"), ("burst", "kube_api_burst")):
        value = connection.get(key)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            problems.append((f"clientConnection.{key}", f"must be a number > 0, not {value!r}"))
        else:
            changes[name] = int(value) if key == "burst" else float(value)
    election = configuration.leader_election
    if isinstance(election.get("leaderElect"), bool):
        changes["leader_elect"] = election["leaderElect"]
    times: dict[str, Any] = {}
    for key, name in _LEADER_ELECTION.items():
        if election.get(key) is None:
            continue
        try:
            times[name] = parse_duration_seconds(str(election[key]))
        except DurationError as error:
            problems.append((f"leaderElection.{key}", str(error)))
    if problems:
        raise ConfigurationError(problems)
    if times:
        changes["leader_election"] = replace(params.leader_election, **times)
    usual = SchedulingQueueParams()
    backoff = {
        name: getattr(configuration, name)
        for name in ("pod_initial_backoff_seconds", "pod_max_backoff_seconds")
        if getattr(configuration, name) != getattr(usual, name)
    }
    if backoff:
        changes["queue"] = replace(params.queue, **backoff)
    return replace(params, **changes)
