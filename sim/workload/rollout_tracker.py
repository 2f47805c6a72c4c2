"""Whether workloads whose spec was changed have followed, as ``kubectl rollout status`` decides.

**Source:** kubectl pkg/polymorphichelpers/rollout_status.go, v1.36: the controller has observed the
generation, every replica is of the newest template and available, and none is left over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial

from sim.base.api_object import APIObject, Key
from sim.base.objects import DaemonSet, StatefulSet, Workload
from sim.components.client import Client
from sim.components.informer import Informer
from sim.components.ports import APIEndpoint, Request
from sim.engine.engine import Engine


def is_complete(item: APIObject) -> bool:
    """Whether a workload has nothing left to do for its spec."""
    assert isinstance(item, Workload)
    if item.observed_generation < item.generation:
        return False
    wanted = item.replica_count
    if isinstance(item, DaemonSet):
        wanted = item.desired_count
        return item.updated_count >= wanted and item.available_count >= wanted
    if isinstance(item, StatefulSet):
        same = item.update_revision == item.current_revision
        return same and item.current_count == wanted == item.ready_count
    if item.resource == "replicasets":
        return item.current_count == wanted == item.ready_count
    return item.updated_count == item.current_count == wanted == item.available_count


class RolloutTracker:
    """Remembers which workloads were changed, and watches them until they are complete."""

    def __init__(
        self,
        engine: Engine,
        endpoint: APIEndpoint,
        client: Client,
        notify: Callable[[], object],
    ) -> None:
        self._make = partial(Informer[Workload], engine, endpoint, client)
        self._notify = notify
        self._informers: dict[str, Informer[Workload]] = {}
        self._open: dict[tuple[str, Key], int] = {}
        """Changed workload → revision of the change."""

    def watch(self, resources: Collection[str]) -> None:
        """Watch these kinds of workloads; changes of others are not followed."""
        for resource in sorted(resources):
            informer = self._informers[resource] = self._make(resource)
            informer.add_handler(self._changed)
            informer.start()

    def answered(self, request: Request) -> None:
        """Take the answer to a change of a workload's spec."""
        informer = self._informers.get(request.resource)
        if informer is None or request.verb != "patch" or not request.ok:
            return
        revision = request.result.resource_version
        known = informer.get(request.namespace, request.name)
        if known is None or known.resource_version < revision or not is_complete(known):
            self._open[request.resource, (request.namespace, request.name)] = revision

    def _changed(self, kind: str, new: Workload, old: Workload | None) -> None:
        place = (new.resource, new.key)
        revision = self._open.get(place)
        if revision is not None and (
            kind == "DELETED" or (new.resource_version >= revision and is_complete(new))
        ):
            del self._open[place]
            self._notify()

    def is_settled(self, namespaces: Collection[str]) -> bool:
        """Whether every change in these namespaces (none: in all) has been followed."""
        if not namespaces:
            return not self._open
        return not any(key[0] in namespaces for _, key in self._open)
