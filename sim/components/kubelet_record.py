"""What a kubelet knows of one pod: its worker's state, the status to report, and its plan."""

from __future__ import annotations

from typing import Final

from sim.base.api_object import NEVER, APIObject, Key
from sim.base.objects import Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components.ports import Request
from sim.engine.engine import Call

OBSERVED: Final = 0
"""Seen on the watch; the worker has not run yet or is waiting to retry."""
VOLUMES: Final = 1
"""Waiting for volumes."""
SANDBOX: Final = 2
"""The runtime is creating the sandbox."""
NETWORK: Final = 3
"""CNI ADD is running."""
STARTING: Final = 4
"""Containers are being pulled, created and started."""
RUNNING: Final = 5
"""All containers have been started."""
STOPPING: Final = 6
"""Being killed."""
STOPPED: Final = 7
"""Containers and sandbox are gone."""
GONE: Final = 8
"""Forgotten; late callbacks do nothing."""


class PodStatus:
    """One version of status as the kubelet reports it; never changed once published."""

    __slots__ = (
        "finished_seconds", "host_ip", "phase", "pod_ip", "ready", "ready_container_count",
        "ready_seconds", "reason", "restart_count", "sandbox_ready", "start_seconds", "uid",
    )  # fmt: skip

    def __init__(self, record: PodRecord, host_ip: str) -> None:
        self.uid = record.uid
        self.phase = record.phase
        self.reason = record.reason
        self.ready = record.ready
        self.sandbox_ready = record.sandbox_ready
        self.pod_ip = record.ip
        self.host_ip = host_ip
        self.start_seconds = record.start_seconds
        self.ready_seconds = record.ready_seconds
        self.finished_seconds = record.finished_seconds
        self.ready_container_count = record.ready_container_count
        self.restart_count = record.restart_count

    def same(self, pod: Pod) -> bool:
        """Whether the stored pod says this already (then the kubelet sends no PATCH)."""
        return (
            pod.phase == self.phase
            and pod.ready == self.ready
            and pod.sandbox_ready == self.sandbox_ready
            and pod.pod_ip == self.pod_ip
            and pod.reason == self.reason
            and pod.ready_container_count == self.ready_container_count
            and pod.restart_count == self.restart_count
            and pod.start_seconds == self.start_seconds
        )

    def apply(self, current: APIObject) -> APIObject | None:
        """Body of the PATCH of pods/status; refused if the pod is another one by now."""
        if current.uid != self.uid:
            return None
        new = current.clone()
        assert isinstance(new, Pod)
        new.phase = self.phase
        new.reason = self.reason
        new.ready = self.ready
        new.sandbox_ready = self.sandbox_ready
        new.pod_ip = self.pod_ip
        new.host_ip = self.host_ip
        new.start_seconds = self.start_seconds
        new.ready_seconds = self.ready_seconds
        new.finished_seconds = self.finished_seconds
        new.ready_container_count = self.ready_container_count
        new.restart_count = self.restart_count
        return new


class PodPlan:
    """What the kubelet does for every pod of one template: computed once, shared."""

    __slots__ = (
        "containers", "first_main_index", "followed", "main_count", "mount_count", "network_agent",
        "serving_count",         "template",
    )  # fmt: skip

    def __init__(self, template: PodTemplate) -> None:
        self.template = template
        containers = template.containers or (ContainerSpec(name="container"),)
        first = [item for item in containers if item.is_init or item.is_sidecar]
        main = [item for item in containers if not (item.is_init or item.is_sidecar)]
        self.containers: tuple[ContainerSpec, ...] = (*first, *main)
        self.first_main_index = len(first)
        self.main_count = len(main)
        self.serving_count = len(main) + sum(item.is_sidecar for item in first)
        """Containers that count for readiness: the main ones and the sidecars."""
        self.followed = any(
            item.readiness_probe or item.startup_probe or item.run_seconds >= 0.0
            for item in containers
            if not item.is_init
        )
        """Whether single containers end or are probed."""
        self.network_agent = False
        """Whether these pods are the overlay's agents; set by the fleet."""
        self.mount_count = max(template.volume_count, int(template.service_account_token))


class PodRecord:
    """One live pod on one node."""

    __slots__ = (
        "call", "container_index", "counted", "deletable", "deleted", "event_counts",
        "finished_seconds", "has_sandbox", "image_backoff_seconds", "ip", "ip6", "key", "node",
        "operating", "phase", "placed", "plan", "pod", "queued", "ready", "ready_container_count",
        "ready_seconds", "reason", "removing", "request", "restart_count", "runs",
        "sandbox_ready", "sent", "spam_seconds", "spam_tokens", "stage", "start_seconds",
        "started_count", "status", "step_seconds", "uid", "volumes_mounted",
    )  # fmt: skip

    def __init__(self, pod: Pod, node: int, plan: PodPlan) -> None:
        self.pod = pod
        """Newest object seen on the watch."""
        self.uid = pod.uid
        self.key: Key = pod.key
        self.node = node
        self.plan = plan
        self.stage = OBSERVED
        self.call: Call | None = None
        """The worker's pending step."""
        self.request: Request | None = None
        """The token request that the volumes wait for."""
        self.step_seconds = 0.0
        """When the current step began."""
        self.has_sandbox = False
        self.placed = True
        """Whether it counts against the node's pods and holds its addresses."""
        self.counted = False
        """Whether it counts as running: all its containers have been started."""
        self.operating = False
        """Whether the pod counts as an operation in progress for the runtime."""
        self.volumes_mounted = False
        self.ip = ""
        self.ip6 = ""
        self.container_index = 0
        """Next container to start."""
        self.started_count = 0
        """Containers that run (init containers excluded once they have exited)."""
        self.runs: list[ContainerRun] | None = None
        """State of single containers, kept only for pods whose containers end or are probed."""
        self.phase = pod.phase
        self.reason = pod.reason
        self.ready = False
        self.sandbox_ready = False
        self.start_seconds = NEVER
        self.ready_seconds = NEVER
        self.finished_seconds = NEVER
        self.ready_container_count = 0
        self.restart_count = 0
        self.status: PodStatus | None = None
        """Newest version."""
        self.sent: PodStatus | None = None
        """Version the apiserver has acknowledged."""
        self.queued = False
        """Waiting in the status manager."""
        self.removing = False
        """A deletion was asked for."""
        self.deletable = False
        """Everything is gone; the status manager may send the final DELETE."""
        self.deleted = False
        """The apiserver no longer has the pod."""
        self.image_backoff_seconds = 0.0
        self.event_counts: dict[tuple[str, int], int] | None = None
        """Occurrences so far of repeated events, by (reason, container index)."""
        self.spam_tokens = -1.0
        self.spam_seconds = 0.0


class ContainerRun:
    """One container of a pod that is followed individually."""

    __slots__ = (
        "backoff_seconds", "backoff_set_seconds", "call", "index", "ready", "record", "restarts",
        "running", "start_seconds", "successes",
    )  # fmt: skip

    def __init__(self, record: PodRecord, index: int) -> None:
        self.record = record
        self.index = index
        self.running = False
        self.ready = False
        self.restarts = 0
        self.successes = 0
        self.start_seconds = NEVER
        self.backoff_seconds = 0.0
        self.backoff_set_seconds = NEVER
        self.call: Call | None = None
        """Its pending exit, probe or restart."""
