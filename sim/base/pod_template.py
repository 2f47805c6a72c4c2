"""The immutable part of a pod: containers, probes, requests, shared by all pods of one shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.base.api_object import NEVER


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSpec:
    """A readiness, liveness or startup probe."""

    initial_delay_seconds: float = 0.0
    period_seconds: float = 10.0
    timeout_seconds: float = 1.0
    success_threshold_count: int = 1
    failure_threshold_count: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What the kubelet and the runtime need to know of a container."""

    name: str
    image: str = ""
    image_pull_policy: str = "IfNotPresent"
    is_init: bool = False
    is_sidecar: bool = False
    """An init container with restartPolicy Always."""
    run_seconds: float = NEVER
    """How long the process runs before it exits by itself; NEVER means it keeps running."""
    readiness_probe: ProbeSpec | None = None
    liveness_probe: ProbeSpec | None = None
    startup_probe: ProbeSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PodTemplate:
    """The immutable part that all pods of one shape share.

    ``manifest`` is the v1 Pod as plain JSON (metadata.labels and spec, defaulted as the apiserver
    would); the scheduling core compiles it once per distinct template object.
    """

    manifest: Mapping[str, Any]
    namespace: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    containers: tuple[ContainerSpec, ...] = ()
    """Init containers and sidecars first, in order, then the others."""
    cpu_requested_millicores: int = 0
    """Effective request of the pod as the scheduler counts it (init, sidecars, overhead)."""
    memory_requested_bytes: int = 0
    extended_requested: Mapping[str, int] = field(default_factory=dict)
    priority: int = 0
    priority_class_name: str = ""
    scheduler_name: str = "default-scheduler"
    restart_policy: str = "Always"
    host_network: bool = False
    node_name: str = ""
    """Set for static pods and pods bound by their author."""
    termination_grace_period_seconds: float = 30.0
    stop_seconds: float = 0.0
    """How long the containers take to exit after SIGTERM (cut off by the grace period)."""
    service_account_token: bool = True
    """Whether a projected token volume is mounted (the default)."""
    config_map_names: tuple[str, ...] = ()
    secret_names: tuple[str, ...] = ()
    volume_count: int = 1
    tolerations: tuple[Mapping[str, Any], ...] = ()
    size_bytes: int = 3100
    digest: str = ""
    """Identity of the content: equal templates have equal digests."""

    @property
    def has_probe(self) -> bool:
        """Whether any container has a readiness probe."""
        return any(item.readiness_probe is not None for item in self.containers)
