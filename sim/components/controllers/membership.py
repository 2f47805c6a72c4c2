"""Which pods belong to which Services, and since when: shared by the controllers of endpoints.

Both directions are found through an index by label, so that a pod or a Service costs the same
whether there are ten Services in a namespace or ten thousand.
**Source:** `facts/model.md` g.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import count

from sim.base.api_object import NEVER, Key
from sim.base.objects import Endpoint, LabelSelector, Pod, Service
from sim.components.controllers.base import ControllerContext

Pair = tuple[str, str]
"""One label: key and value."""
_ANY: Pair = ("", "")
"""Stands for selectors that ask for no particular label."""


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


class Selectors:
    """The Services of one namespace that have a selector, found by labels.

    A selector is filed under the first label it asks for: only pods with that label can match.
    """

    def __init__(self) -> None:
        self.services: dict[Key, Service] = {}
        self._filed: dict[Pair, dict[Key, int]] = {}
        self._order = count()

    def __len__(self) -> int:
        return len(self.services)

    @staticmethod
    def _pair(service: Service) -> Pair:
        assert service.selector is not None
        return next(iter(service.selector.match_labels), _ANY)

    def put(self, service: Service) -> None:
        """Add or replace a Service; one that is known keeps its place in the order."""
        key = service.key
        pair = self._pair(service)
        order = self.discard(key)
        self._filed.setdefault(pair, {})[key] = next(self._order) if order is None else order
        self.services[key] = service

    def discard(self, key: Key) -> int | None:
        """Forget a Service; return its place in the order, None if it was not known."""
        service = self.services.pop(key, None)
        if service is None:
            return None
        pair = self._pair(service)
        group = self._filed[pair]
        order = group.pop(key)
        if not group:
            del self._filed[pair]
        return order

    def matching(self, labels: Mapping[str, str]) -> tuple[Key, ...]:
        """Return the Services that select these labels, oldest first."""
        found: list[tuple[int, Key]] = []
        for pair in (_ANY, *labels.items()):
            for key, order in self._filed.get(pair, {}).items():
                selector = self.services[key].selector
                if selector is not None and selector.matches(labels):
                    found.append((order, key))
        return tuple(key for _, key in sorted(found))


class PodsByLabel:
    """The pods of one namespace, found by selector."""

    def __init__(self) -> None:
        self._pods: dict[int, Pod] = {}
        self._filed: dict[Pair, dict[int, None]] = {}

    def put(self, new: Pod) -> None:
        """Add or replace a pod."""
        known = self._pods.get(new.uid)
        self._pods[new.uid] = new
        if known is not None:
            if known.labels is new.labels:
                return
            self._unfile(known)
        for pair in new.labels.items():
            self._filed.setdefault(pair, {})[new.uid] = None

    def discard(self, pod: Pod) -> None:
        """Forget a pod."""
        known = self._pods.pop(pod.uid, None)
        if known is not None:
            self._unfile(known)

    def _unfile(self, pod: Pod) -> None:
        for pair in pod.labels.items():
            group = self._filed[pair]
            del group[pod.uid]
            if not group:
                del self._filed[pair]

    def matching(self, selector: LabelSelector) -> Iterator[Pod]:
        """Yield the pods that a selector selects, in the order in which they came."""
        pods = self._pods
        asked = next(iter(selector.match_labels), None)
        candidates = self._filed.get(asked, {}) if asked is not None else pods
        for uid in candidates:
            if selector.matches(pods[uid].labels):
                yield pods[uid]


class ServiceMembership:
    """The endpoints each service should have, kept from the informers; shared by both controllers.

    Upstream lists a service's pods in every sync; keeping the answer up to date gives the same.
    """

    def __init__(self, context: ControllerContext) -> None:
        self.services = context.informer("services")
        self._selectors: dict[str, Selectors] = {}
        self._matches: dict[str, dict[int, tuple[Mapping[str, str], tuple[Key, ...]]]] = {}
        self._pods: dict[str, PodsByLabel] = {}
        self.endpoints: dict[Key, dict[int, Endpoint]] = {}
        """Service → pod uid → endpoint."""
        self.listeners: list[Callable[[Key], object]] = []
        """Called with the key of a service whose endpoints may have changed."""
        self.triggers: list[TriggerTimes] = []
        self.services.add_handler(self._service_changed)
        context.informer("pods").add_handler(self._pod_changed)

    def _service_changed(self, kind: str, new: Service, old: Service | None) -> None:
        key = new.key
        selectors = self._selectors.setdefault(new.namespace, Selectors())
        same = old is not None and kind != "DELETED" and old.selector == new.selector
        if kind == "DELETED" or new.selector is None:
            selectors.discard(key)
            self.endpoints.pop(key, None)
        else:
            selectors.put(new)
            publish = new.publish_not_ready_addresses
            if not same or old is None or old.publish_not_ready_addresses != publish:
                pods = self._pods.get(new.namespace)
                self.endpoints[key] = {
                    pod.uid: endpoint_of(pod, publish_not_ready=publish)
                    for pod in (pods.matching(new.selector) if pods is not None else ())
                    if is_endpoint(pod)
                }
        if not same:
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
            found = matches[id(labels)] = (labels, selectors.matching(labels))
        return found[1]

    def _pod_changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        pods = self._pods.get(new.namespace)
        if pods is None:
            pods = self._pods[new.namespace] = PodsByLabel()
        if kind == "DELETED":
            pods.discard(new)
            for key in self.services_of(new.namespace, new.labels):
                self.endpoints[key].pop(new.uid, None)
                self._tell(key)
            return
        pods.put(new)
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
            publish = self._selectors[new.namespace].services[key].publish_not_ready_addresses
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
