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

from typing import Any, Final

from sim.base.api_object import Key, OwnerReference
from sim.base.objects import Endpoint, Endpoints, EndpointSlice, Service, ServicePort
from sim.components.controllers.base import (
    ERROR,
    OK,
    REQUEUE,
    Controller,
    ControllerContext,
    Steps,
    Sync,
    WrittenRevisions,
)
from sim.components.controllers.membership import ServiceMembership, TriggerTimes
from sim.components.ports import Request

OWN_CHANGE_DELAY_SECONDS: Final = 1.0
"""**Source:** `facts/defaults.csv`, endpointslice min delay after own slice change event."""
RETRY_BASE_SECONDS: Final = 1.0
"""**Source:** `facts/defaults.csv`, endpointslice service queue retry backoff."""
ADDRESS_COUNT_MAX: Final = 1000
"""Addresses in one Endpoints object. **Source:** `facts/model.md` g."""
_SLICE_BASE_BYTES: Final = 400
_ENDPOINT_BYTES: Final = 96
"""A slice of 100 endpoints is about 10 kB. **Source:** `facts/model.md` g."""
_ADDRESS_BYTES: Final = 120
"""One address of an Endpoints object with its targetRef; assumed."""


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
        service = self._services.objects.get(key)
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
    """Legacy Endpoints: one object per service, the same work once more.

    It does not write on an object older than its last write. **Source:** upstream
    pkg/controller/endpoint/endpoints_controller.go, staleEndpointsTracker.
    """

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
        self._written = WrittenRevisions(context)
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
        service = self._services.objects.get(key)
        if service is None:
            self._triggers.forget(key)
            self._written.forget(key)
            gone = yield self.client.call(Request("delete", "endpoints", key[0], key[1]))
            return OK if gone.ok or gone.code == 404 else ERROR
        if service.selector is None:
            return OK
        if not self._written.caught_up(key):
            return REQUEUE
        trigger_seconds = self._triggers.take(service)
        ready: list[str] = []
        not_ready: list[str] = []
        for endpoint in self._membership.endpoints.get(key, {}).values():
            if not endpoint.terminating:
                (ready if endpoint.ready else not_ready).append(endpoint.address)
        good = tuple(sorted(ready)[:ADDRESS_COUNT_MAX])
        bad = tuple(sorted(not_ready)[: ADDRESS_COUNT_MAX - len(good)])
        current: Endpoints | None = self._endpoints.objects.get(key)
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
        self._written.wrote(key, response)
        return OK if response.ok else ERROR
