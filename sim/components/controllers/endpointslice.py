"""EndpointSlice controller and the legacy Endpoints controller.

**Modelled:** pod changes matched to services by selector, packing of at most 100 endpoints per
slice without rebalancing, de-duplication by service key, batch period, stale-cache check against
the controller's own writes, re-sync 1 s after the controller's own slice events, retry back-off 1 s
doubling, trigger time annotation, Endpoints truncated at 1,000 addresses.
**Not modelled:** topology hints, dual stack, ExternalName services, EndpointSlice mirroring, pods
whose Node object is missing (upstream leaves them out).
**Source:** `facts/model.md` g.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sim.base.objects import (
    NEVER,
    Endpoint,
    Endpoints,
    EndpointSlice,
    Key,
    OwnerReference,
    Pod,
    Service,
    ServicePort,
)
from sim.components.controllers.base import (
    ERROR,
    OK,
    Controller,
    ControllerContext,
    Steps,
    Sync,
    WrittenRevisions,
)
from sim.components.ports import Request

OWN_CHANGE_DELAY_SECONDS = 1.0
"""**Source:** `facts/defaults.csv`, endpointslice min delay after own slice change event."""
RETRY_BASE_SECONDS = 1.0
"""**Source:** `facts/defaults.csv`, endpointslice service queue retry backoff."""
ADDRESS_COUNT_MAX = 1000
"""Addresses in one Endpoints object. **Source:** `facts/model.md` g."""
_SLICE_BASE_BYTES = 400
_ENDPOINT_BYTES = 96
"""A slice of 100 endpoints is about 10 kB. **Source:** `facts/model.md` g."""
_ADDRESS_BYTES = 120
"""One address of an Endpoints object with its targetRef; assumed."""


def is_endpoint(pod: Pod) -> bool:
    """Whether a pod belongs into the slices of a service that selects it."""
    return bool(pod.pod_ip) and pod.phase not in {"Succeeded", "Failed"}


def endpoint_of(pod: Pod, *, publish_not_ready: bool) -> Endpoint:
    """Return the endpoint of a pod."""
    terminating = pod.deletion_seconds >= 0.0
    return Endpoint(
        pod.pod_ip,
        pod.node_name,
        publish_not_ready or (pod.ready and not terminating),
        pod.ready,
        terminating,
        pod.uid,
        pod.name,
    )


def is_relevant(new: Pod, old: Pod) -> bool:
    """Whether a pod update can change an endpoint."""
    return (
        new.pod_ip != old.pod_ip
        or new.ready != old.ready
        or new.node_name != old.node_name
        or (new.deletion_seconds >= 0.0) != (old.deletion_seconds >= 0.0)
        or new.is_terminal != old.is_terminal
        or new.labels is not old.labels
    )


class TriggerTimes:
    """The earliest change behind each service's next write, for one controller.

    A new service counts from its creation; later, pods count from the last transition of their
    Ready condition. **Source:** upstream endpointslice trigger time tracker.
    """

    def __init__(self) -> None:
        self._pending: dict[Key, float] = {}
        self._known: dict[Key, None] = {}

    def note(self, key: Key, seconds: float) -> None:
        """A pod of the service has become ready at ``seconds``."""
        known = self._pending.get(key)
        if known is None or seconds < known:
            self._pending[key] = seconds

    def take(self, service: Service) -> float:
        """Return the trigger time of a sync, NEVER if nothing new triggered it."""
        seconds = self._pending.pop(service.key, NEVER)
        if service.key not in self._known:
            self._known[service.key] = None
            return service.creation_seconds
        return seconds

    def forget(self, key: Key) -> None:
        """The service is gone."""
        self._pending.pop(key, None)
        self._known.pop(key, None)


class ServiceMembership:
    """The endpoints each service should have, kept from the informers; shared by both controllers.

    Upstream lists a service's pods in every sync; keeping the answer up to date gives the same.
    """

    def __init__(self, context: ControllerContext) -> None:
        self.services = context.informer("services")
        self._selectors: dict[str, dict[Key, Service]] = {}
        self._matches: dict[str, dict[int, tuple[Mapping[str, str], tuple[Key, ...]]]] = {}
        self._pods: dict[str, dict[int, Pod]] = {}
        self.endpoints: dict[Key, dict[int, Endpoint]] = {}
        """Service → pod uid → endpoint."""
        self.listeners: list[Callable[[Key], object]] = []
        """Called with the key of a service whose endpoints may have changed."""
        self.triggers: list[TriggerTimes] = []
        self.services.add_handler(self._service_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _service_changed(self, kind: str, new: Service, old: Service | None) -> None:
        key = new.key
        selectors = self._selectors.setdefault(new.namespace, {})
        if kind == "DELETED" or new.selector is None:
            selectors.pop(key, None)
            self.endpoints.pop(key, None)
        else:
            selectors[key] = new
            publish = new.publish_not_ready_addresses
            if old is None or old.selector != new.selector or (
                old.publish_not_ready_addresses != publish
            ):  # fmt: skip
                selector = new.selector
                self.endpoints[key] = {
                    uid: endpoint_of(pod, publish_not_ready=publish)
                    for uid, pod in self._pods.get(new.namespace, {}).items()
                    if is_endpoint(pod) and selector.matches(pod.labels)
                }
        self._matches.pop(new.namespace, None)
        self._tell(key)

    def _tell(self, key: Key) -> None:
        for listener in self.listeners:
            listener(key)

    def services_of(self, namespace: str, labels: Mapping[str, str]) -> tuple[Key, ...]:
        """Return the services of a namespace that select these labels."""
        selectors = self._selectors.get(namespace)
        if not selectors:
            return ()
        matches = self._matches.setdefault(namespace, {})
        # Pods of one template share one labels object, so its identity is a good cache key; the
        # object is kept beside the answer, hence its id is not used again.
        found = matches.get(id(labels))
        if found is None:
            keys = tuple(
                key
                for key, service in selectors.items()
                if service.selector is not None and service.selector.matches(labels)
            )
            found = matches[id(labels)] = (labels, keys)
        return found[1]

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        pods = self._pods.get(new.namespace)
        if pods is None:
            pods = self._pods[new.namespace] = {}
        if kind == "DELETED":
            pods.pop(new.uid, None)
            for key in self.services_of(new.namespace, new.labels):
                self.endpoints[key].pop(new.uid, None)
                self._tell(key)
            return
        pods[new.uid] = new
        if old is None:
            if not new.pod_ip:
                return
        elif not is_relevant(new, old):
            return
        elif new.labels is not old.labels:
            kept = self.services_of(new.namespace, new.labels)
            for key in self.services_of(old.namespace, old.labels):
                if key not in kept:
                    self.endpoints[key].pop(old.uid, None)
                    self._tell(key)
        for key in self.services_of(new.namespace, new.labels):
            self._place(key, new, old)

    def _place(self, key: Key, new: Pod, old: Pod | None) -> None:
        """Bring one pod's endpoint of one service up to date."""
        if is_endpoint(new):
            publish = self._selectors[new.namespace][key].publish_not_ready_addresses
            self.endpoints[key][new.uid] = endpoint_of(new, publish_not_ready=publish)
            seconds = new.ready_seconds
            if seconds >= 0.0 and (
                old is None or seconds > old.ready_seconds or not is_endpoint(old)
            ):
                for trigger in self.triggers:
                    trigger.note(key, seconds)
        else:
            self.endpoints[key].pop(new.uid, None)
        self._tell(key)


Packing = list[tuple[EndpointSlice, list[Endpoint]]]


def pack(
    slices: list[EndpointSlice],
    desired: dict[int, Endpoint],
    ports: tuple[ServicePort, ...],
    endpoint_count_max: int,
) -> tuple[Packing, list[list[Endpoint]]]:
    """Distribute desired endpoints over existing slices with as few changes as possible.

    Returns (changed slices with their new endpoints, endpoints of slices to create); a changed
    slice without endpoints is to be deleted. **Source:** `facts/model.md` g, packing.
    """
    left = dict(desired)
    changed: Packing = []
    emptied: Packing = []
    untouched: list[EndpointSlice] = []
    for item in slices:
        new: list[Endpoint] = []
        differs = item.ports != ports
        for endpoint in item.endpoints:
            wanted = left.pop(endpoint.pod_uid, None)
            if wanted is None:
                differs = True
            else:
                new.append(wanted)
                differs = differs or (wanted is not endpoint and wanted != endpoint)
        if not differs:
            untouched.append(item)
        elif new or not item.endpoints:
            changed.append((item, new))
        else:
            emptied.append((item, new))
    adding = list(left.values())
    for _, new in sorted(changed, key=lambda pair: -len(pair[1])):
        room = endpoint_count_max - len(new)
        if adding and room > 0:
            new.extend(adding[:room])
            del adding[:room]
    if 0 < len(adding) < endpoint_count_max:
        room = endpoint_count_max - len(adding)
        fits = [item for item in untouched if len(item.endpoints) <= room]
        if fits:
            fullest = max(fits, key=lambda item: len(item.endpoints))
            changed.append((fullest, [*fullest.endpoints, *adding]))
            adding = []
    for _, new in emptied:  # a slice that would be deleted is used before one is created
        new.extend(adding[:endpoint_count_max])
        del adding[:endpoint_count_max]
    created = [
        adding[start : start + endpoint_count_max]
        for start in range(0, len(adding), endpoint_count_max)
    ]
    return changed + emptied, created


class EndpointSliceController(Controller):
    """Keys are services."""

    name = "endpoint_slice"
    service_account = "endpointslice-controller"

    def __init__(
        self,
        context: ControllerContext,
        worker_count: int,
        membership: ServiceMembership,
        *,
        endpoint_count_max: int = 100,
        batch_period_seconds: float = 0.0,
    ) -> None:
        super().__init__(context, worker_count, retry_base_seconds=RETRY_BASE_SECONDS)
        self._membership = membership
        self._services = membership.services
        self._slices: dict[Key, dict[Key, EndpointSlice]] = {}
        self._written = WrittenRevisions(context)
        self._triggers = TriggerTimes()
        self._endpoint_count_max = endpoint_count_max
        self._batch_period_seconds = batch_period_seconds
        self._transitions = context.recorder["pod_transitions"]
        self._reachable: dict[Key, set[int]] = {}
        membership.listeners.append(self._enqueue)
        membership.triggers.append(self._triggers)
        context.informer("endpointslices").add_handler(self._slice_changed)

    def _enqueue(self, key: Key) -> None:
        self.queue.add_after(key, self._batch_period_seconds)

    def _slice_changed(self, kind: str, new: EndpointSlice, old: EndpointSlice | None) -> None:
        key = (new.namespace, new.service_name)
        group = self._slices.setdefault(key, {})
        if kind == "DELETED":
            group.pop(new.key, None)
        else:
            group[new.key] = new
            if not self.started:  # written by a former leader
                reachable = self._reachable.setdefault(key, set())
                reachable.update(item.pod_uid for item in new.endpoints if item.ready)
        self.queue.add_after(key, max(OWN_CHANGE_DELAY_SECONDS, self._batch_period_seconds))

    def object_count(self, key: Key) -> int:
        """Return the pods and slices of the service."""
        endpoints = self._membership.endpoints.get(key, ())
        return len(endpoints) + len(self._slices.get(key, ()))

    def sync(self, key: Key) -> Sync:
        """Bring the slices of one service up to date."""
        service = self._services.get(*key)
        if service is None:
            self._forget(key)
            return OK
        if service.selector is None:
            return OK
        if not self._written.caught_up(key):
            return ERROR
        desired = self._membership.endpoints.get(key, {})
        slices = sorted(self._slices.get(key, {}).values(), key=lambda item: item.uid)
        slices = [item for item in slices if item.deletion_seconds < 0.0]
        trigger_seconds = self._triggers.take(service)
        changed, created = pack(slices, desired, service.ports, self._endpoint_count_max)
        if not slices and not created:
            created = [[]]
        reachable = self._reachable.get(key)
        if reachable is not None and len(reachable) > 2 * len(desired) + 100:
            self._reachable[key] = {uid for uid in reachable if uid in desired}
        requests = self._requests(service, len(slices), changed, created, trigger_seconds)
        failed = yield from self._write(key, requests)
        return ERROR if failed else OK

    def _forget(self, key: Key) -> None:
        self._triggers.forget(key)
        self._written.forget(key)
        self._reachable.pop(key, None)
        if not self._slices.get(key):
            self._slices.pop(key, None)

    def _requests(
        self,
        service: Service,
        slice_count: int,
        changed: Packing,
        created: list[list[Endpoint]],
        trigger_seconds: float,
    ) -> list[Request]:
        """Return the writes in upstream's order: creations, updates, deletions."""
        requests = [self._creation(service, item, trigger_seconds) for item in created]
        deletions: list[Request] = []
        empty_count = sum(1 for _, endpoints in changed if not endpoints)
        keeps_one = not created and empty_count == slice_count
        for item, endpoints in changed:
            if not endpoints and not keeps_one:
                deletions.append(Request("delete", "endpointslices", item.namespace, item.name))
                continue
            keeps_one = keeps_one and bool(endpoints)
            new = item.clone()
            new.endpoints = tuple(endpoints)
            new.ports = service.ports
            new.trigger_seconds = trigger_seconds
            new.generation += 1
            new.size_bytes = _SLICE_BASE_BYTES + _ENDPOINT_BYTES * len(endpoints)
            requests.append(
                Request("update", "endpointslices", new.namespace, new.name, api_object=new)
            )
        return requests + deletions

    def _creation(
        self, service: Service, endpoints: list[Endpoint], trigger_seconds: float
    ) -> Request:
        new = EndpointSlice(
            name=f"{service.name}-{self.context.next_suffix(service.uid)}",
            namespace=service.namespace,
            labels={
                "kubernetes.io/service-name": service.name,
                "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            },
            owner=OwnerReference("Service", service.name, service.uid),
            service_name=service.name,
            endpoints=tuple(endpoints),
            ports=service.ports,
            trigger_seconds=trigger_seconds,
            size_bytes=_SLICE_BASE_BYTES + _ENDPOINT_BYTES * len(endpoints),
        )
        return Request("create", "endpointslices", new.namespace, new.name, api_object=new)

    def _write(self, key: Key, requests: list[Request]) -> Steps:
        """Send the requests one after another, as upstream does; stop at the first error."""
        for request in requests:
            response = yield self.client.call(request)
            if not response.ok and not (response.verb == "delete" and response.code == 404):
                return True
            if response.verb != "delete":
                self._written.wrote(key, response)
                self._note_reachable(key, response.result)
        return False

    def _note_reachable(self, key: Key, item: EndpointSlice) -> None:
        """Record the pods that this write has made reachable through their service."""
        reachable = self._reachable.setdefault(key, set())
        now = self.engine.now
        for endpoint in item.endpoints:
            if endpoint.ready and endpoint.pod_uid not in reachable:
                reachable.add(endpoint.pod_uid)
                self._transitions.append(
                    (now, endpoint.pod_uid, "in_endpoint_slice", f"{item.namespace}/{item.name}")
                )


class EndpointsController(Controller):
    """Legacy Endpoints: one object per service, the same work once more."""

    name = "endpoint"
    service_account = "endpoint-controller"

    def __init__(
        self, context: ControllerContext, worker_count: int, membership: ServiceMembership
    ) -> None:
        super().__init__(context, worker_count)
        self._membership = membership
        self._services = membership.services
        self._endpoints = context.informer("endpoints")
        self._triggers = TriggerTimes()
        membership.listeners.append(self.queue.add)
        membership.triggers.append(self._triggers)
        self._endpoints.add_handler(self._endpoints_changed)

    def _endpoints_changed(self, kind: str, new: Endpoints, old: Endpoints | None) -> None:
        if kind == "DELETED":
            self.queue.add(new.key)

    def object_count(self, key: Key) -> int:
        """Return the pods of the service."""
        return len(self._membership.endpoints.get(key, ()))

    def sync(self, key: Key) -> Sync:
        """Write the Endpoints object of one service if it changed."""
        service = self._services.get(*key)
        if service is None:
            self._triggers.forget(key)
            gone = yield self.client.call(Request("delete", "endpoints", key[0], key[1]))
            return OK if gone.ok or gone.code == 404 else ERROR
        if service.selector is None:
            return OK
        trigger_seconds = self._triggers.take(service)
        ready: list[str] = []
        not_ready: list[str] = []
        for endpoint in self._membership.endpoints.get(key, {}).values():
            if not endpoint.terminating:
                (ready if endpoint.ready else not_ready).append(endpoint.address)
        good = tuple(sorted(ready)[:ADDRESS_COUNT_MAX])
        bad = tuple(sorted(not_ready)[: ADDRESS_COUNT_MAX - len(good)])
        current: Endpoints | None = self._endpoints.get(*key)
        if current is None:
            verb = "create"
            new = Endpoints(name=service.name, namespace=service.namespace)
        elif current.ready_addresses == good and current.not_ready_addresses == bad:
            return OK
        else:
            verb = "update"
            new = current.clone()
        new.ready_addresses = good
        new.not_ready_addresses = bad
        new.trigger_seconds = trigger_seconds
        new.size_bytes = _SLICE_BASE_BYTES + _ADDRESS_BYTES * (len(good) + len(bad))
        request = Request(verb, "endpoints", new.namespace, new.name, api_object=new)
        response: Any = yield self.client.call(request)
        return OK if response.ok else ERROR
