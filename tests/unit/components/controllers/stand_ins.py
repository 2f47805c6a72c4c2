"""Small stand-ins for the components around the controllers, and a cluster of them for tests."""

from __future__ import annotations

from collections import Counter
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import Lease, Node, Pod
from sim.base.pod_template import ContainerSpec, PodTemplate
from sim.components import facts
from sim.components.controller_manager import ControllerManager, ControllerManagerParams
from sim.components.controllers.daemonset import target_node
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.costs.controllers import ControllerManagerLaw
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder
from tests.support.instant_apiserver import InstantAPIServer


def make_template(name: str = "web", **options: Any) -> PodTemplate:
    labels = {"app": name}
    return PodTemplate(
        manifest={"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main"}]}},
        labels=labels,
        containers=(ContainerSpec(name="main", image="pause"),),
        **options,
    )


class QuickWatchServer(InstantAPIServer):
    """Delivers watch events just before the response, and knows deletecollection."""

    def _commit(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        delay_seconds = self.delay_seconds
        self.delay_seconds = delay_seconds / 2 - 0.0005 + self.watch_lag_seconds
        super()._commit(kind, new, old)
        self.delay_seconds = delay_seconds

    def _deletecollection(self, request: Request) -> None:
        for item in list(self._table(request.resource).values()):
            if item.namespace == request.namespace:
                one = Request("delete", request.resource, item.namespace, item.name)
                self._delete(one)
        request.code = 200

    def _handle(self, request: Request) -> None:
        super()._handle(request)
        self.codes.append(request.code)

    watch_lag_seconds = 0.0
    """How much later than just before the response watch events arrive."""
    codes: list[int]
    """HTTP status of every request handled, in the order of ``requests``."""


class StandInScheduler:
    """Binds pods round robin, daemon pods to their node."""

    def __init__(self, server: InstantAPIServer) -> None:
        self._client = server.clients.client("scheduler")
        self._nodes: Informer[Node] = Informer(server.engine, server, self._client, "nodes")
        self._pods: Informer[Pod] = Informer(server.engine, server, self._client, "pods")
        self._pods.add_handler(self._changed)
        self._index = 0

    def start(self) -> None:
        self._nodes.start()
        self._pods.start()

    def _changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        if kind != "ADDED" or new.node_name or new.deletion_seconds >= 0:
            return
        names = [item.name for item in self._nodes.objects.values()]
        node_name = target_node(new) or names[self._index % len(names)]
        self._index += 1

        def bind(current: APIObject) -> APIObject:
            assert isinstance(current, Pod)
            bound = current.clone()
            bound.node_name = node_name
            return bound

        self._client.submit(
            Request("patch", "pods", new.namespace, new.name, subresource="binding", mutate=bind)
        )


class StandInKubelet:
    """Runs pods of all nodes: Pending status, Running and Ready, then termination on deletion."""

    def __init__(self, server: InstantAPIServer, start_seconds: float = 0.0) -> None:
        self._engine = server.engine
        self._client = server.clients.client("kubelet")
        self._pods: Informer[Pod] = Informer(server.engine, server, self._client, "pods")
        self._pods.add_handler(self._changed)
        self._start_seconds = start_seconds
        self._begun: set[int] = set()
        self._stopping: set[int] = set()
        self._ip_count = 0
        self._spread_count = 0
        self.run_seconds = -1.0
        self.start_spread_seconds = 0.0
        self.stop_spread_seconds = 0.0
        self.dead_nodes: set[str] = set()

    def start(self) -> None:
        self._pods.start()

    def _changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        if kind == "DELETED" or not new.node_name or new.node_name in self.dead_nodes:
            return
        if new.deletion_seconds >= 0:
            if new.uid not in self._stopping:
                self._stopping.add(new.uid)
                self._engine.call_later(self._spread(self.stop_spread_seconds), self._stop, new)
        elif new.uid not in self._begun:
            self._begun.add(new.uid)
            self._status(new, start_seconds=self._engine.now)
            spread = self._spread(self.start_spread_seconds)
            self._engine.call_later(self._start_seconds + spread, self._run, new)

    def _spread(self, seconds: float) -> float:
        """Spread over an interval, in steps of the golden ratio."""
        self._spread_count += 1
        return seconds * (self._spread_count * 0.6180339887 % 1.0)

    def _stop(self, pod: Pod) -> None:
        self._status(pod, phase="Succeeded" if pod.is_terminal else "Failed", then=True)

    def _run(self, pod: Pod) -> None:
        self._ip_count += 1
        address = f"10.0.{self._ip_count // 250}.{self._ip_count % 250 + 1}"
        self._status(pod, phase="Running", ready=True, ready_seconds=self._engine.now,
                     pod_ip=address)  # fmt: skip
        if self.run_seconds >= 0:
            self._engine.call_later(self.run_seconds, self._finish, pod)

    def _finish(self, pod: Pod) -> None:
        self._status(pod, phase="Succeeded", ready=False, finished_seconds=self._engine.now)

    def _status(self, pod: Pod, *, then: bool = False, **fields: Any) -> None:
        def mutate(current: APIObject) -> APIObject:
            new = current.clone()
            for name, value in fields.items():
                setattr(new, name, value)
            if then:
                new.ready = False  # type: ignore[attr-defined]
            return new

        def patched(request: Request) -> None:
            if then:
                self._client.delete(
                    "pods", pod.namespace, pod.name, grace_seconds=0.0, precondition_uid=pod.uid
                )

        def got(request: Request) -> None:
            if request.ok:
                self._client.patch("pods", pod.namespace, pod.name, mutate, patched, "status")

        self._client.get("pods", pod.namespace, pod.name, got)


class World:
    """An instant apiserver, a controller manager, a scheduler and kubelets for tests."""

    def __init__(
        self,
        node_count: int = 3,
        *,
        high_qps: bool = True,
        delay_seconds: float = 0.004,
        start_seconds: float = 0.0,
        kubelet: bool = True,
        **params: Any,
    ) -> None:
        self.engine = Engine(seed=1)
        self.server = QuickWatchServer(self.engine, delay_seconds)
        self.server.codes = []
        self.recorder = Recorder(facts.ALL)
        self.host = Host(self.engine, "control-plane-0", 2)
        if high_qps:
            params = {"kube_api_qps": 5000.0, "kube_api_burst": 5000, **params}
        self.manager = ControllerManager(
            self.engine, self.recorder, self.server.clients,
            self.host.process("kube-controller-manager"),
            ControllerManagerParams(**params), ControllerManagerLaw(),
        )  # fmt: skip
        self.driver = self.server.clients.client("driver")
        self.scheduler = StandInScheduler(self.server)
        self.kubelet = StandInKubelet(self.server, start_seconds)
        self.manager.start()
        for index in range(node_count):
            self.add_node(f"node-{index}")
        self.scheduler.start()
        if kubelet:
            self.kubelet.start()
        self.run(2.0)

    def add_node(self, name: str, **fields: Any) -> None:
        self.driver.create(
            Node(
                name=name,
                **{"ready": "True", "ready_transition_seconds": self.engine.now, **fields},
            )
        )

    def run(self, seconds: float) -> None:
        self.engine.run(self.engine.now + seconds)

    def heartbeat(self, name: str) -> None:
        lease = Lease(name=name, namespace="kube-node-lease", renew_seconds=self.engine.now)
        if ("kube-node-lease", name) in self.server.objects.get("leases", {}):
            self.driver.update(lease)
        else:
            self.driver.create(lease)

    def objects(self, resource: str) -> list[Any]:
        return list(self.server.objects.get(resource, {}).values())

    def change(self, resource: str, name: str, namespace: str = "default", **fields: Any) -> None:
        def mutate(current: APIObject) -> APIObject:
            new = current.clone()
            for field, value in fields.items():
                setattr(new, field, value)
            new.generation += 1
            return new

        self.driver.patch(resource, namespace, name, mutate)

    def counts(self, since_seconds: float) -> Counter[tuple[str, str, str]]:
        """Requests by (user's last word, verb, resource) since a time; conflicts apart."""
        return Counter(
            (user.rpartition(":")[2], verb, resource + (" 409" if code == 409 else ""))
            for (seconds, user, verb, resource, _), code in zip(
                self.server.requests, self.server.codes, strict=True
            )
            if seconds >= since_seconds
        )
