"""Garbage collector: deletes what a deleted owner has left behind (background propagation).

**Modelled:** the dependency graph from the informers, one live GET and one DELETE per dependent by
20 workers with a client of 40 qps / 30 burst, dependents that appear after their owner is gone.
**Not modelled:** foreground and orphan propagation, owners that are not controllers.
**Source:** `facts/model.md` 0.1, a.2; `groundtruth/recipe_request_counts.csv`
(deployment_delete_background_gc: GET and DELETE once per object).
"""

from __future__ import annotations

from typing import Any, Final

from sim.base.api_object import APIObject
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Sync
from sim.components.ports import Request

QPS_FACTOR: Final = 2.0
"""The client's qps is twice the configured one, the burst is not. **Source:** facts 0.1."""
ABSENT_OWNER_COUNT_MAX: Final = 500
"""Owners remembered as absent. **Source:** upstream garbagecollector absentOwnerCache."""
DEPENDENT_RESOURCES: Final = (
    "pods", "replicasets", "jobs", "endpointslices", "controllerrevisions", "leases", "configmaps",
    "secrets", "persistentvolumeclaims",
)  # fmt: skip
OWNER_RESOURCES: Final = (
    "deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs", "services",
    "nodes", "pods", "configmaps",
)  # fmt: skip


class GarbageCollector(Controller):
    """Queue keys are (resource, namespace, name, uid) of dependents to look at."""

    name = "garbage_collector"
    service_account = "generic-garbage-collector"

    def __init__(
        self, context: ControllerContext, worker_count: int, qps: float, burst: int
    ) -> None:
        super().__init__(context, worker_count, qps=qps * QPS_FACTOR, burst=burst)
        self._indexes = {name: context.owner_index(name) for name in DEPENDENT_RESOURCES}
        self._absent: dict[int, None] = {}
        for name in dict.fromkeys([*OWNER_RESOURCES, *DEPENDENT_RESOURCES]):
            context.informer(name).add_handler(self._changed, plain_updates=False)

    def _changed(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        if kind == "DELETED":
            self._owner_gone(new.uid)
        elif kind == "ADDED" and new.owner is not None and new.owner.uid in self._absent:
            self.queue.add((new.resource, new.namespace, new.name, new.uid))

    def _owner_gone(self, uid: int) -> None:
        found = False
        for resource, index in self._indexes.items():
            children = index.children.get(uid)
            if children:
                found = True
                for child in children.values():
                    self.queue.add((resource, child.namespace, child.name, child.uid))
        if found:
            self._absent[uid] = None
            if len(self._absent) > ABSENT_OWNER_COUNT_MAX:
                del self._absent[next(iter(self._absent))]

    def sync(self, key: Any) -> Sync:
        """Look at one dependent live and delete it if its owner is gone."""
        resource, namespace, name, uid = key
        response = yield self.client.call(Request("get", resource, namespace, name))
        if response.code == 404:
            return OK
        if not response.ok:
            return ERROR
        live: APIObject = response.result
        if live.uid != uid or live.owner is None or live.deletion_seconds >= 0.0:
            return OK
        response = yield self.client.call(
            Request("delete", resource, namespace, name, precondition_uid=uid)
        )
        return OK if response.ok or response.code in {404, 409} else ERROR
