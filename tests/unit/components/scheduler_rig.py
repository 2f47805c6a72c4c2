"""A scheduler beside an apiserver that answers at once: what its tests share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.base.objects import Lease, Node, Pod
from sim.components import facts
from sim.components.ports import Request
from sim.components.scheduler import Scheduler, SchedulerParams
from sim.costs.scheduler import SchedulerLawParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from sim.scheduling import SchedulerConfiguration, UserPlugins
from sim.workload.pod_templates import PodTemplates
from tests.support.instant_apiserver import InstantAPIServer

ZONE = "topology.kubernetes.io/zone"


class BindingServer(InstantAPIServer):
    """Knows POST pods/binding, and can refuse it."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self.binding_codes: list[int] = []
        """Answers to give to the next bindings instead of obeying."""

    def _create(self, request: Request) -> None:
        if request.subresource != "binding":
            super()._create(request)
        elif self.binding_codes:
            request.code = self.binding_codes.pop(0)
        else:
            self._patch(request)


class Rig:
    """Nodes and pods are created through the API; `run` lets time pass."""

    def __init__(
        self,
        *,
        replicas: int = 1,
        configuration: Mapping[str, Any] | None = None,
        params: SchedulerParams | None = None,
        user_plugins: Mapping[str, UserPlugins] | None = None,
        extension_points: Mapping[str, tuple[str, ...]] | None = None,
        core_count: int = 8,
    ) -> None:
        self.engine = Engine(7)
        self.recorder = Recorder(facts.ALL)
        self.server = BindingServer(self.engine)
        self.templates = PodTemplates({"high": 1000, "low": 10})
        self.client = self.server.clients.client("tester")
        self.hosts = [Host(self.engine, f"host-{i}", core_count) for i in range(replicas)]
        self.schedulers = [
            Scheduler(
                self.engine,
                self.recorder,
                self.server.clients,
                params or SchedulerParams(kube_api_qps=1000.0, kube_api_burst=1000),
                SchedulerConfiguration.from_dict(
                    configuration or {}, user_plugins=extension_points
                ),
                SchedulerLawParams(),
                host.process("kube-scheduler"),
                index=index,
                user_plugins=user_plugins,
            )
            for index, host in enumerate(self.hosts)
        ]

    @property
    def scheduler(self) -> Scheduler:
        return self.schedulers[0]

    def start(self) -> None:
        for scheduler in self.schedulers:
            scheduler.start()

    def run(self, seconds: float) -> None:
        self.engine.run(self.engine.now + seconds)

    def node(self, name: str, cpu: int = 4, **more: Any) -> Node:
        labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
        amounts = {"cpu": str(cpu), "memory": "32Gi", "pods": "110"}
        node = Node(
            name=name,
            labels=labels,
            cpu_allocatable_millicores=1000 * cpu,
            memory_allocatable_bytes=32 * 2**30,
            manifest={
                "metadata": {"name": name, "labels": labels},
                "status": {"capacity": amounts, "allocatable": amounts},
            },
            **more,
        )
        self.client.create(node)
        return node

    def pod(
        self,
        name: str,
        cpu: str = "100m",
        *,
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        **spec: Any,
    ) -> Pod:
        manifest = {
            "metadata": {"namespace": namespace, "labels": dict(labels or {})},
            "spec": {
                "containers": [
                    {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
                ],
                **spec,
            },
        }
        template = self.templates.template(manifest)
        pod = Pod(name=name, namespace=namespace, template=template, labels=template.labels)
        self.client.create(pod)
        return pod

    def stored(self, name: str, namespace: str = "default") -> Pod:
        found = self.server.objects["pods"][namespace, name]
        assert isinstance(found, Pod)
        return found

    def lease_holder(self) -> str:
        found = self.server.objects["leases"]["kube-system", "kube-scheduler"]
        assert isinstance(found, Lease)
        return found.holder

    def attempts(self) -> list[dict[str, Any]]:
        table = self.recorder["scheduling_attempts"]
        names = [column.name for column in table.spec.columns]
        columns = {}
        for column in table.spec.columns:
            values = table.column(column.name).tolist()
            if column.dtype == "text":
                categories = table.categories(column.name)
                values = [categories[code] for code in values]
            columns[column.name] = values
        return [
            dict(zip(names, row, strict=True))
            for row in zip(*(columns[name] for name in names), strict=True)
        ]

    def kill_when_deleted(self) -> None:
        """Stand in for the kubelet: pods that are being deleted are gone a second later."""

        def look(_: None) -> None:
            for pod in list(self.server.objects.get("pods", {}).values()):
                if pod.deletion_seconds >= 0.0:
                    self.client.delete("pods", pod.namespace, pod.name, grace_seconds=0.0)
            self.engine.call_later(1.0, look)

        look(None)
