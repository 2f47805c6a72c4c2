"""Kubelets that stop: crashes of machines, restarts of the process, and coming back.

**Modelled:** a crash loses sandboxes, addresses and everything in flight; a booted machine lists
its pods and starts them anew; a restarted kubelet lists its pods, asks for their tokens again,
compares every status with the API (GET, PATCH if it differs) and resumes unfinished starts.
**Not modelled:** runtime calls that finish while the kubelet is away (they are begun again).
**Source:** `facts/model.md` a.4, h.1, h.5.

Streams: ``kubelet/restart``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components.kubelet_client import FleetClient
from sim.components.kubelet_containers import ContainerRuns
from sim.components.kubelet_context import KubeletContext
from sim.components.kubelet_nodes import NodeLoops
from sim.components.kubelet_pods import PodWorkers
from sim.components.kubelet_record import GONE, NETWORK, OBSERVED, RUNNING, STOPPING, PodRecord
from sim.components.kubelet_stop import PodTerminators
from sim.components.ports import FleetWatcher, Request


class OwnPods:
    """Field selector spec.nodeName=NAME, as a predicate whose node can also be read."""

    __slots__ = ("node_name",)

    def __init__(self, node_name: str) -> None:
        self.node_name = node_name

    def __call__(self, item: APIObject) -> bool:
        """Whether the object is a pod of the node."""
        return isinstance(item, Pod) and item.node_name == self.node_name


class KubeletFaults:
    """Stops and restarts kubelets, by node index."""

    def __init__(
        self,
        context: KubeletContext,
        client: FleetClient,
        workers: PodWorkers,
        terminators: PodTerminators,
        runs: ContainerRuns,
        loops: NodeLoops,
        watchers: tuple[FleetWatcher, FleetWatcher],
    ) -> None:
        self._context = context
        self._engine = context.engine
        self._client = client
        self._workers = workers
        self._terminators = terminators
        self._runs = runs
        self._loops = loops
        self._watchers = watchers
        self._known_before: dict[int, tuple[int, ...]] = {}
        """Pods that a kubelet had when it asked for its list: those that are not on it are gone."""
        self.observe: Callable[[int, Pod], object]
        self.create_mirror: Callable[[int, str], object]
        self.agent_started: Callable[[int], object]
        self.static: list[dict[str, PodTemplate]]

    def kill_node(self, index: int) -> None:
        """The machine crashes: everything on it is lost, nobody is told."""
        context = self._context
        if context.up[index]:
            self._disconnect(index)
        for record in context.by_node[index].values():
            self._terminators.abandon(record)
            self._terminators.release(record)
            record.stage = GONE
        context.by_node[index].clear()
        context.runtime.reset(index)
        context.images.reset(index)
        self._context.overlay.stop_agent(index)
        self._loops.ready[index] = False
        context.faults.append(
            (self._engine.now, f"node/{self._context.names[index]}", "crashed", "")
        )

    def _note(self, index: int, what: str) -> None:
        context = self._context
        context.faults.append((self._engine.now, f"node/{context.names[index]}", what, ""))

    def recover_node(self, index: int) -> None:
        """A crashed machine has booted again: its kubelet lists its pods and starts them anew."""
        assert not self._context.up[index], f"{self._context.names[index]} runs"
        self._context.faults.append(
            (self._engine.now, f"node/{self._context.names[index]}", "booted", "")
        )
        self._connect(index)
        if not self._context.params.network_agent_label:
            self._engine.after(
                self._context.law.network_agent_start_seconds, self.agent_started, index
            )

    def restart_kubelets(self, window_seconds: float) -> None:
        """Restart all kubelets at random moments of a window; their pods keep running."""
        count = len(self._context.names)
        offsets = self._engine.stream("kubelet/restart").uniforms(count) * window_seconds
        for index, offset in enumerate(offsets.tolist()):
            self._engine.after(offset, self._restart, index)

    def _restart(self, index: int) -> None:
        if self._context.up[index]:
            self._disconnect(index)
            for record in self._context.by_node[index].values():
                self._suspend(record)
            self._engine.after(self._context.law.restart_seconds, self._connect, index)

    def _disconnect(self, index: int) -> None:
        context = self._context
        context.up[index] = False
        for watcher in self._watchers:
            watcher.connected[index] = False
        self._loops.stop(index)
        context.status.reset(index)
        context.events.reset(index)
        self._workers.forget_namespaces(index)

    def _suspend(self, record: PodRecord) -> None:
        """A worker ends with its process; what the runtime has keeps running."""
        if record.stage >= STOPPING:
            return
        if record.stage == RUNNING:
            if record.call is not None:
                record.call.cancel()
                record.call = None
            self._runs.pause(record)
            return
        unfinished = record.stage == NETWORK
        self._terminators.abandon(record)
        record.stage = OBSERVED
        record.volumes_mounted = False
        if unfinished:
            self._context.pleg.pod_counts[record.node] -= 1
            record.has_sandbox = False
            self._context.overlay.release(record.node, record.ip, record.ip6)
            record.ip = record.ip6 = ""

    def _connect(self, index: int) -> None:
        context = self._context
        name = context.names[index]
        context.up[index] = True
        for watcher in self._watchers:
            watcher.connected[index] = True
        context.events.report_node(index, name, "Starting", "Starting kubelet.")
        self._client.submit(index, Request("get", "nodes", "", name, then=self._node_read))
        self._client.submit(
            index, Request("list", "pods", selector=OwnPods(name), then=self._listed)
        )
        self._known_before[index] = tuple(context.by_node[index])
        self._loops.begin(index, 0.0, self._context.params.fast_status_seconds)

    def _node_read(self, request: Request) -> None:
        if request.ok and isinstance(request.result, Node):
            self._context.nodes[request.client.index] = request.result

    def _listed(self, request: Request) -> None:
        """Compare the pods the API has with those that are here."""
        index: int = request.client.index
        context = self._context
        if not context.up[index]:
            return
        if not request.ok:
            self._engine.after(1.0, self._list_again, index)
            return
        pods: Sequence[Pod] = request.result
        listed = {pod.uid: pod for pod in pods}
        here = context.by_node[index]
        for uid in self._known_before.pop(index, ()):
            record = here.get(uid)
            if uid not in listed and record is not None:
                self._terminators.deleted(record)
        for pod in pods:
            known = here.get(pod.uid)
            if known is None:
                self.observe(index, pod)
            else:
                self._resume(known, pod)
        for name in self.static[index]:
            if not any(pod.name == name for pod in pods):
                self.create_mirror(index, name)

    def _list_again(self, index: int) -> None:
        if self._context.up[index]:
            self._client.submit(
                index,
                Request(
                    "list", "pods", selector=OwnPods(self._context.names[index]), then=self._listed
                ),
            )

    def _resume(self, record: PodRecord, pod: Pod) -> None:
        """A restarted kubelet meets a pod that it has on its node."""
        context = self._context
        if pod.resource_version > record.pod.resource_version:
            record.pod = pod
        if record.stage == RUNNING:
            if record.plan.template.service_account_token:
                namespace = record.key[0]
                self._client.submit(
                    record.node,
                    Request("create", "serviceaccounts", namespace, "default", subresource="token"),
                )
            if record.ready_container_count == 0:
                self._workers.running(record)
            else:
                context.publish(record)
            self._runs.resume(record)
        elif record.stage >= STOPPING:
            context.publish(record)
        elif record.call is None and record.request is None:
            record.call = self._engine.call_later(
                self._context.law.dispatch_seconds, self._workers.sync, record
            )
        if record.pod.deletion_seconds >= 0.0 and not record.removing:
            self._terminators.delete(record, record.pod.deletion_grace_seconds)
