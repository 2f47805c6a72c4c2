"""A few nodes with kubelets against an apiserver that answers after 4 ms."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from sim.base.objects import Node, Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components import facts
from sim.components.container_runtime import ContainerRuntime
from sim.components.image import Images
from sim.components.image_params import ImageParams
from sim.components.kubelet_fleet import KubeletFleet
from sim.components.kubelet_params import KubeletParams
from sim.components.overlay import Overlay
from sim.components.overlay_params import OverlayParams
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.costs.kubelet import KubeletLawParams
from sim.costs.overlay import PodNetworkParams, RemoteNodeParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer

PAUSE = PodTemplate(
    manifest={}, containers=(ContainerSpec(name="pause", image="registry.k8s.io/pause:3.10"),)
)


def make_node(index: int, cidr: str | None = None, **fields: Any) -> Node:
    return Node(
        name=f"node-{index}",
        uid=10_000 + index,
        pod_cidr=f"10.244.{index}.0/24" if cidr is None else cidr,
        ready="True",
        internal_ip=f"172.16.0.{index + 1}",
        backend_annotated=True,
        **fields,
    )


class Rig:
    """Engine, apiserver and fleet; ``pods`` and ``rows`` read what has happened."""

    def __init__(
        self,
        node_count: int = 2,
        *,
        params: KubeletParams | None = None,
        law: KubeletLawParams | None = None,
        overlay: OverlayParams | None = None,
        images: ImageParams | None = None,
        catalogue: Any = None,
        capacity: int = 0,
        cidr: str | None = None,
        seed: int = 5,
        delay_seconds: float = 0.004,
        start: bool = True,
    ) -> None:
        self.engine = Engine(seed)
        self.recorder = Recorder(facts.ALL)
        self.api = InstantAPIServer(self.engine, delay_seconds)
        runtime_law = replace(ContainerRuntimeParams(), jitter_log_sd=0.0)
        self.runtime = ContainerRuntime(self.engine, runtime_law)
        self.overlay = Overlay(
            self.engine, self.recorder, self.api, overlay or OverlayParams(), PodNetworkParams(),
            RemoteNodeParams(), capacity or node_count,
        )  # fmt: skip
        self.images = Images(
            self.engine, self.recorder, images or ImageParams(), runtime_law, catalogue
        )
        self.fleet = KubeletFleet(
            self.engine, self.recorder, self.api, params or KubeletParams(),
            law or KubeletLawParams(), self.runtime, self.overlay, self.images,
        )  # fmt: skip
        nodes = [make_node(index, cidr) for index in range(node_count)]
        for node in nodes:
            self.api.objects.setdefault("nodes", {})[node.key] = node
        self.fleet.add_nodes(nodes)
        self.user = self.api.clients.client("user")
        if start:
            self.fleet.start()

    def create(self, name: str, node: int = 0, template: PodTemplate = PAUSE, **more: Any) -> None:
        self.user.create(
            Pod(
                name=name, namespace="default", template=template, node_name=f"node-{node}", **more
            )
        )  # fmt: skip

    def at(self, seconds: float, action: Any, *arguments: Any) -> None:
        self.engine.call_at(seconds, lambda _: action(*arguments))

    def delete(self, name: str) -> None:
        self.user.delete("pods", "default", name)

    def pod(self, name: str) -> Pod:
        found = self.api.objects["pods"]["default", name]
        assert isinstance(found, Pod)
        return found

    def pods(self) -> dict[str, Pod]:
        found = self.api.objects.get("pods", {})
        return {pod.name: pod for pod in found.values() if isinstance(pod, Pod)}

    def table(self, name: str) -> list[dict[str, Any]]:
        table = self.recorder[name]
        columns = {}
        for column in table.spec.columns:
            values = table.column(column.name).tolist()
            if column.dtype == "text":
                texts = table.categories(column.name)
                values = [texts[code] for code in values]
            columns[column.name] = values
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def times(self, name: str) -> dict[str, float]:
        uid = self.pod(name).uid
        return {
            row["transition"]: row["time_seconds"]
            for row in self.table("pod_transitions")
            if row["pod_uid"] == uid
        }

    def counts(self, since_seconds: float = 0.0) -> Counter[tuple[str, str]]:
        return Counter(
            (verb, resource)
            for time, user, verb, resource, _ in self.api.requests
            if user.startswith("system:node") and time >= since_seconds
        )

    def events(self) -> Counter[str]:
        found = self.api.objects.get("events", {}).values()
        return Counter(
            {reason: sum(item.count for item in found if item.reason == reason)  # type: ignore[attr-defined]
             for reason in {item.reason for item in found}}  # type: ignore[attr-defined]
        )  # fmt: skip

    def check(self) -> None:
        assert self.fleet.check() == []
        assert all(count >= 0 for count in self.runtime.operation_counts)
