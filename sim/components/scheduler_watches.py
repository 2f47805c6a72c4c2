"""What kube-scheduler's informers tell: the cache is brought up to date, cluster events are made.

One instance is one life of the process; `stop` closes its watches.
**Source:** `facts/model.md` e.1; upstream ``pkg/scheduler/eventhandlers.go``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Final

from sim.base.api_object import APIObject
from sim.base.objects import Node, Pod
from sim.components.client import Client
from sim.components.informer import Informer
from sim.components.ports import APIEndpoint, FleetWatcher, Request, Watcher
from sim.components.scheduler_cache import SchedulerCache
from sim.components.scheduling_queue import ClusterEvent, SchedulingQueue
from sim.costs.scheduler import SchedulerLawParams
from sim.engine.engine import Engine
from sim.engine.host import HostProcess

_OTHERS: Final = (
    "namespaces",
    "services",
    "replicasets",
    "statefulsets",
    "poddisruptionbudgets",
    "persistentvolumeclaims",
    "persistentvolumes",
    "storageclasses",
    "csinodes",
)
_EVENT_RESOURCES: Final = {
    "namespaces": "namespace",
    "persistentvolumeclaims": "persistentvolumeclaim",
    "persistentvolumes": "persistentvolume",
    "storageclasses": "storageclass",
    "csinodes": "csinode",
}
"""Only these are cluster events: no plugin asks to be woken by Services, owners or budgets."""
_Event = tuple[Callable[[str, Any, Any], object], str, Any, Any]
"""Handler, kind, new state, state before."""
_ACTIONS: Final = {"ADDED": "add", "MODIFIED": "update", "DELETED": "delete"}


class _Connection:
    """The endpoint as one life of a process uses it: remembers its watches to close them."""

    def __init__(self, endpoint: APIEndpoint) -> None:
        self._endpoint = endpoint
        self._watchers: dict[str, Watcher] = {}
        self.closed = False

    def send(self, request: Request) -> None:
        """Carry a request."""
        self._endpoint.send(request)

    def watch(
        self, client: Any, watcher: Watcher, then: Callable[[list[APIObject], int], object]
    ) -> None:
        """Establish a watch, unless the process has died."""
        if self.closed:
            return
        self._watchers[watcher.resource] = watcher

        def listed(objects: list[APIObject], revision: int) -> None:
            if self.closed:
                self._endpoint.unwatch(watcher)
            else:
                then(objects, revision)

        self._endpoint.watch(client, watcher, listed)

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        """Register a fleet."""
        self._endpoint.watch_fleet(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Close one watch."""
        self._endpoint.unwatch(watcher)

    def close(self) -> None:
        """Close every watch."""
        self.closed = True
        for watcher in self._watchers.values():
            if not watcher.closed:
                self._endpoint.unwatch(watcher)


class SchedulerWatches:
    """The informers of one life of a scheduler."""

    def __init__(
        self,
        engine: Engine,
        endpoint: APIEndpoint,
        client: Client,
        process: HostProcess,
        law: SchedulerLawParams,
        cache: SchedulerCache,
        queue: SchedulingQueue,
        scheduler_names: Collection[str],
    ) -> None:
        self._engine = engine
        self._process = process
        self._law = law
        self._cache = cache
        self._queue = queue
        self._scheduler_names = scheduler_names
        self._connection = _Connection(endpoint)
        self._events: list[_Event] = []
        """What has arrived and waits for the goroutine that handles events."""
        self._handling = False
        self._due_seconds = 0.0
        self._hint_count = queue.hint_count
        self.preempting: set[int] = set()
        """Pods whose victims are being deleted; they are held back meanwhile."""

        def informer(resource: str, handler: Callable[[str, Any, Any], object]) -> Informer[Any]:
            made: Informer[Any] = Informer(
                engine, self._connection, client, resource, process=process
            )
            made.add_handler(handler)
            return made

        self.nodes: Informer[Node] = informer("nodes", self._node_event)
        self.pods: Informer[Pod] = informer("pods", self._pod_event)
        self._all = [
            self.nodes,
            *(informer(resource, self._other_event) for resource in _OTHERS),
            self.pods,
        ]

    @property
    def synced(self) -> bool:
        """Whether every informer has its initial state, and the handlers have seen it.

        **Source:** upstream, ``Scheduler.WaitForHandlersSync``.
        """
        return not self._handling and all(informer.synced for informer in self._all)

    def start(self) -> None:
        """List and watch."""
        for informer in self._all:
            informer.start()

    def stop(self) -> None:
        """The process has died: its connections close."""
        self._connection.close()

    # Events take effect when the CPU time of handling them has been spent, batch by batch.

    def _pod_event(self, kind: str, new: Pod, old: Pod | None) -> None:
        self._due_seconds += self._law.watch_event_seconds
        self._receive(self._on_pod, kind, new, old)

    def _node_event(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "MODIFIED" and not self._handling:
            self._on_node(kind, new, old)  # most are heartbeats, which change nothing
            return
        if kind != "MODIFIED":
            self._due_seconds += self._law.node_event_seconds
        self._receive(self._on_node, kind, new, old)

    def _other_event(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        if self._handling:
            self._receive(self._on_other, kind, new, old)
        else:
            self._on_other(kind, new, old)

    def _receive(
        self, handler: Callable[[str, Any, Any], object], kind: str, new: APIObject, old: Any
    ) -> None:
        self._events.append((handler, kind, new, old))
        self._begin()

    def _begin(self) -> None:
        if not self._handling:
            self._handling = True
            self._engine.after(0.0, self._spend)

    def _spend(self, _: object) -> None:
        """Spend the CPU of what has arrived by now, and of hints called since the last batch."""
        hints = self._queue.hint_count - self._hint_count
        self._hint_count += hints
        demand = self._due_seconds + hints * self._law.hint_seconds
        self._due_seconds = 0.0
        batch, self._events = self._events, []
        self._process.run(demand, self._handled, batch)

    def _handled(self, batch: list[_Event]) -> None:
        if self._connection.closed:
            return
        for handler, kind, new, old in batch:
            handler(kind, new, old)
        if self._events or self._due_seconds > 0.0:
            self._spend(None)
        else:
            self._handling = False

    def _on_pod(self, kind: str, new: Pod, old: Pod | None) -> None:
        if kind == "DELETED" or new.is_terminal:
            self._forget(new, old)
        elif new.node_name:
            self._on_assigned(new, old)
        elif new.template.scheduler_name not in self._scheduler_names:
            return
        elif new.deletion_seconds >= 0.0:
            self._cache.nominate(new, None, "")
            self._queue.remove(new.uid)
        elif old is None:
            if new.nominated_node_name:
                self._cache.nominate(new, self._cache.shape(new), new.nominated_node_name)
            self._queue.add(new)
        else:
            self._queue.update(new)

    def _on_assigned(self, new: Pod, old: Pod | None) -> None:
        if old is None or not old.node_name:
            self._queue.remove(new.uid)
            self._cache.nominate(new, None, "")
            self._cache.confirm(new)
            self._queue.cluster_event(ClusterEvent("assigned_pod", "add", new, old))
            return
        if new.start_seconds != old.start_seconds:
            self._cache.note_start(new)
        if new.deletion_seconds >= 0.0 and old.deletion_seconds < 0.0:
            self._cache.mark_terminating(new)
            self._queue.cluster_event(ClusterEvent("assigned_pod", "update", new, old))

    def _forget(self, new: Pod, old: Pod | None) -> None:
        self.preempting.discard(new.uid)
        self._queue.remove(new.uid)
        self._cache.nominate(new, None, "")
        if self._cache.remove(new):
            self._queue.cluster_event(ClusterEvent("assigned_pod", "delete", new, old))

    def _on_node(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "DELETED":
            self._cache.remove_node(new)
            self._queue.cluster_event(ClusterEvent("node", "delete", new, old))
        elif old is None:
            self._cache.add_node(new)
            self._queue.cluster_event(ClusterEvent("node", "add", new, None))
        elif self._cache.update_node(new, old):
            self._due_seconds += self._law.node_event_seconds
            self._begin()
            self._queue.cluster_event(ClusterEvent("node", "update", new, old))

    def _on_other(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        if not self._cache.update_other(kind, new, old):
            return
        resource = _EVENT_RESOURCES.get(new.resource)
        if resource is not None:
            self._queue.cluster_event(ClusterEvent(resource, _ACTIONS[kind], new, old))
