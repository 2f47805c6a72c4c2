"""The scheduling core: kube-scheduler's decisions over arrays; no clock, no randomness."""

from sim.scheduling.configuration import (
    ConfigurationError,
    SchedulerConfiguration,
    SchedulerProfile,
)
from sim.scheduling.core import Decision, SchedulingCore
from sim.scheduling.diagnosis import Diagnosis
from sim.scheduling.explain import Explanation
from sim.scheduling.preemption import Candidate, Preemption
from sim.scheduling.shape import PodShape
from sim.scheduling.state import ClusterState
from sim.scheduling.statuses import Status
from sim.scheduling.user_plugins import Candidates, FilterPlugin, ScorePlugin, UserPlugins

__all__ = [
    "SchedulerConfiguration",
    "SchedulerProfile",
    "ConfigurationError",
    "ClusterState",
    "PodShape",
    "SchedulingCore",
    "Decision",
    "Diagnosis",
    "Status",
    "Explanation",
    "Preemption",
    "Candidate",
    "UserPlugins",
    "FilterPlugin",
    "ScorePlugin",
    "Candidates",
]
