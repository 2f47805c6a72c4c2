"""Queueing hints: which events wake which pods."""

from __future__ import annotations

from typing import Any

import pytest

from sim.base.objects import Node, Pod, Taint
from sim.components.queueing_hints import HINTS
from sim.components.scheduling_queue import ClusterEvent, QueuedPod
from sim.workload.pod_templates import PodTemplates

TEMPLATES = PodTemplates()
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
SAME: dict[str, Any] = {}
"""One manifest for all nodes: what differs is what the case says."""


def pod(
    cpu: str = "1",
    labels: dict[str, str] | None = None,
    namespace: str = "d",
    node: str = "",
    **spec: Any,
) -> Pod:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    ports = spec.pop("ports", None)
    if ports:
        container["ports"] = ports
    manifest = {
        "metadata": {"namespace": namespace, "labels": labels or {}},
        "spec": {"containers": [container], **spec},
    }
    template = TEMPLATES.template(manifest)
    return Pod(
        name="p", namespace=namespace, template=template, labels=template.labels, node_name=node
    )


def node(cpu: int = 4, **more: Any) -> Node:
    return Node(
        name=more.pop("name", "n"),
        cpu_allocatable_millicores=1000 * cpu,
        memory_allocatable_bytes=2**35,
        manifest=more.pop("manifest", SAME),
        **more,
    )


def wakes(plugin: str, waiting: Pod, event: ClusterEvent) -> bool:
    return HINTS[plugin](QueuedPod(waiting, 0.0), event)


def added(what: Node | Pod) -> ClusterEvent:
    return ClusterEvent("node" if isinstance(what, Node) else "assigned_pod", "add", what)


def left(what: Pod) -> ClusterEvent:
    return ClusterEvent("assigned_pod", "delete", what, what)


def changed(old: Node, new: Node) -> ClusterEvent:
    return ClusterEvent("node", "update", new, old)


AFFINITY = {
    "requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": ZONE}
    ]
}
SPREAD = [
    {
        "maxSkew": 1,
        "topologyKey": ZONE,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "a"}},
    }
]
SELECTOR = {"pool": "gpu"}
TAINT = Taint("k", "v", "NoSchedule")
TOLERATION = [{"key": "k", "operator": "Exists", "effect": "NoSchedule"}]


CASES = [
    ("NodeResourcesFit", pod("2"), added(node(4)), True),
    ("NodeResourcesFit", pod("8"), added(node(4)), False),
    ("NodeResourcesFit", pod("2"), left(pod(node="n")), True),
    ("NodeResourcesFit", pod("2"), added(pod(node="n")), False),
    ("NodeResourcesFit", pod("2"), changed(node(1), node(4)), True),
    ("NodeResourcesFit", pod("2"), changed(node(4), node(4)), False),
    ("NodeUnschedulable", pod(), added(node()), True),
    ("NodeUnschedulable", pod(), added(node(unschedulable=True)), False),
    ("NodeUnschedulable", pod(), changed(node(unschedulable=True), node()), True),
    ("NodeUnschedulable", pod(), changed(node(), node()), False),
    ("TaintToleration", pod(), added(node(taints=(TAINT,))), False),
    ("TaintToleration", pod(tolerations=TOLERATION), added(node(taints=(TAINT,))), True),
    ("TaintToleration", pod(), changed(node(taints=(TAINT,)), node()), True),
    ("TaintToleration", pod(), changed(node(), node()), False),
    ("NodeAffinity", pod(nodeSelector=SELECTOR), added(node(labels=SELECTOR)), True),
    ("NodeAffinity", pod(nodeSelector=SELECTOR), added(node()), False),
    ("NodeAffinity", pod(nodeSelector=SELECTOR), changed(node(), node(labels=SELECTOR)), True),
    (
        "NodeAffinity",
        pod(nodeSelector=SELECTOR),
        changed(node(labels=SELECTOR), node(labels={**SELECTOR, "x": "y"})),
        False,
    ),
    ("NodePorts", pod(ports=[{"hostPort": 80}]), left(pod(ports=[{"hostPort": 80}])), True),
    ("NodePorts", pod(ports=[{"hostPort": 80}]), left(pod(ports=[{"hostPort": 81}])), False),
    ("NodePorts", pod(ports=[{"hostPort": 80}]), added(node()), True),
    ("PodTopologySpread", pod(topologySpreadConstraints=SPREAD), left(pod(labels={"app": "a"})),
     True),
    ("PodTopologySpread", pod(topologySpreadConstraints=SPREAD), left(pod(labels={"app": "b"})),
     False),
    ("PodTopologySpread", pod(topologySpreadConstraints=SPREAD),
     added(pod(labels={"app": "a"}, namespace="other")), False),
    ("PodTopologySpread", pod(topologySpreadConstraints=SPREAD), added(node(labels={ZONE: "z"})),
     True),
    ("PodTopologySpread", pod(topologySpreadConstraints=SPREAD), added(node()), False),
    ("InterPodAffinity", pod(affinity={"podAffinity": AFFINITY}), added(pod(labels={"app": "a"})),
     True),
    ("InterPodAffinity", pod(affinity={"podAffinity": AFFINITY}), added(pod(labels={"app": "b"})),
     False),
    ("InterPodAffinity", pod(affinity={"podAntiAffinity": AFFINITY}),
     left(pod(labels={"app": "a"})), True),
    ("InterPodAffinity", pod(affinity={"podAntiAffinity": AFFINITY}),
     left(pod(labels={"app": "b"})), False),
    ("InterPodAffinity", pod(labels={"app": "a"}),
     left(pod(affinity={"podAntiAffinity": AFFINITY})), True),
    ("SchedulingGates", pod(), added(node()), False),
    ("VolumeBinding", pod(), ClusterEvent("persistentvolume", "add"), True),
    ("VolumeBinding", pod(), left(pod()), False),
    ("NodeVolumeLimits", pod(), left(pod()), True),
]  # fmt: skip


@pytest.mark.parametrize(("plugin", "waiting", "event", "expected"), CASES)
def test_hint(plugin: str, waiting: Pod, event: ClusterEvent, expected: bool) -> None:
    assert wakes(plugin, waiting, event) is expected


def test_the_schedulers_own_status_patch_wakes_nobody() -> None:
    from sim.components.scheduling_queue import SchedulingQueue
    from sim.components.scheduling_queue_params import SchedulingQueueParams
    from sim.engine.engine import Engine

    queue = SchedulingQueue(Engine(1), SchedulingQueueParams(), HINTS, lambda _: False, list)
    waiting = pod("8")
    waiting.uid = 1
    queue.add(waiting)
    queued = queue.pop()
    assert queued is not None
    queue.reject(queued, ("NodeResourcesFit",), error=False)
    patched = waiting.clone()
    patched.message = "0/1 nodes are available"
    queue.update(patched)
    assert queue.unschedulable_count == 1
    smaller = patched.clone()
    smaller.template = pod("1").template
    queue.update(smaller)
    assert queue.unschedulable_count == 0
