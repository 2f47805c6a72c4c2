"""Namespace controllers: what a new namespace gets, and how a deleted one is emptied.

**Modelled:** the default ServiceAccount and ConfigMap kube-root-ca.crt of every active namespace;
deletion: 5 s grace, status Terminating, one deletecollection and one list per namespaced resource
with a client of 400 qps / 3000 burst, retry while content remains, finalization.
**Not modelled:** discovery before each deletion (2 GETs), content of custom resources.
**Source:** `facts/model.md` a.2; `groundtruth/recipe_request_counts.csv` (namespace_delete_empty).
"""

from __future__ import annotations

from typing import Final

from sim.base.api_object import Key
from sim.base.objects import Generic, Namespace
from sim.components.controllers.base import ERROR, OK, Controller, ControllerContext, Sync
from sim.components.ports import Request

GRACE_SECONDS: Final = 5.0
"""**Source:** `facts/defaults.csv`, namespace deletion grace before content deletion."""
QPS_FACTOR: Final = 20.0
BURST_FACTOR: Final = 100
"""The client's limits relative to the configured ones. **Source:** facts 0.1."""
FINALIZER: Final = "kubernetes"
CONTENT_RESOURCES: Final = (
    "pods", "controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets",
    "horizontalpodautoscalers", "cronjobs", "jobs", "configmaps", "leases", "endpointslices",
    "endpoints", "events", "events.k8s.io", "limitranges", "ingresses", "networkpolicies",
    "persistentvolumeclaims", "podtemplates", "poddisruptionbudgets", "rolebindings", "roles",
    "replicationcontrollers", "resourceclaims", "resourceclaimtemplates", "resourcequotas",
    "secrets", "serviceaccounts", "services", "csistoragecapacities",
)  # fmt: skip
"""Namespaced built-in resources that can be deleted. **Source:** the recipe's list."""
_REMAINING_RETRY_SECONDS: Final = 5.0
"""First estimate of how long content needs; pods name their own grace. **Source:** upstream
namespaced_resources_deleter and namespace_controller: half of the estimate plus one second."""


class NamespaceController(Controller):
    """Keys are namespaces that are being deleted."""

    name = "namespace"
    service_account = "namespace-controller"

    def __init__(
        self, context: ControllerContext, worker_count: int, qps: float, burst: int
    ) -> None:
        super().__init__(context, worker_count, qps=qps * QPS_FACTOR, burst=burst * BURST_FACTOR)
        self._namespaces = context.informer("namespaces")
        self._namespaces.add_handler(self._namespace_changed)

    def _namespace_changed(self, kind: str, new: Namespace, old: Namespace | None) -> None:
        if kind != "DELETED" and new.deletion_seconds >= 0.0:
            self.queue.add_after(new.key, GRACE_SECONDS)

    def sync(self, key: Key) -> Sync:
        """Delete everything in a namespace, then the namespace itself."""
        known = self._namespaces.objects.get(key)
        if known is None or known.deletion_seconds < 0.0:
            return OK
        name = key[1]
        response = yield self.client.call(Request("get", "namespaces", "", name))
        if response.code == 404:
            return OK
        if not response.ok:
            return ERROR
        namespace: Namespace = response.result
        if namespace.phase != "Terminating":
            new = namespace.clone()
            new.phase = "Terminating"
            response = yield self.client.call(
                Request("update", "namespaces", "", name, subresource="status", api_object=new)
            )
            if not response.ok:
                return ERROR
            namespace = response.result
        remaining_seconds = -1.0
        for resource in CONTENT_RESOURCES:
            response = yield self.client.call(Request("deletecollection", resource, name))
            if not response.ok and response.code not in {404, 405}:
                return ERROR
            response = yield self.client.call(Request("list", resource, name))
            if response.ok and response.result:
                grace = _REMAINING_RETRY_SECONDS
                if resource == "pods":
                    grace = max(
                        item.template.termination_grace_period_seconds for item in response.result
                    )
                remaining_seconds = max(remaining_seconds, grace)
        if remaining_seconds >= 0.0:
            self.queue.add_after(key, remaining_seconds / 2.0 + 1.0)
            return OK
        new = namespace.clone()
        new.finalizers = tuple(item for item in namespace.finalizers if item != FINALIZER)
        response = yield self.client.call(
            Request("update", "namespaces", "", name, subresource="finalize", api_object=new)
        )
        return OK if response.ok or response.code in {404, 409} else ERROR


class NamespaceContentController(Controller):
    """Creates one object in every namespace, and again if it is deleted.

    ``terminating_too``: it does not look whether the namespace is being deleted, and is refused
    (403), as the publisher of the root CA is. **Source:** upstream
    pkg/controller/certificates/rootcacertpublisher/publisher.go :: syncNamespace.
    """

    def __init__(
        self,
        context: ControllerContext,
        *,
        name: str,
        account: str,
        resource: str,
        object_name: str,
        terminating_too: bool,
    ) -> None:
        self.name = name
        self.service_account = account
        super().__init__(context, 1)
        self._resource = resource
        self._object_name = object_name
        self._terminating_too = terminating_too
        self._namespaces = context.informer("namespaces")
        self._objects = context.informer(resource)
        self._namespaces.add_handler(self._namespace_changed)
        self._objects.add_handler(self._object_changed)

    def _namespace_changed(self, kind: str, new: Namespace, old: Namespace | None) -> None:
        if kind != "DELETED" and new.deletion_seconds < 0.0:
            self.queue.add(new.name)

    def _object_changed(self, kind: str, new: Generic, old: Generic | None) -> None:
        if kind == "DELETED" and new.name == self._object_name:
            self.queue.add(new.namespace)

    def sync(self, key: str) -> Sync:
        """Create the object of one namespace if it is missing."""
        namespace = self._namespaces.get("", key)
        if namespace is None:
            return OK
        if namespace.deletion_seconds >= 0.0 and not self._terminating_too:
            return OK
        if self._objects.get(key, self._object_name) is not None:
            return OK
        new = Generic(name=self._object_name, namespace=key, kind_plural=self._resource)
        response = yield self.client.call(
            Request("create", self._resource, key, new.name, api_object=new)
        )
        return OK if response.ok or response.code in {403, 404, 409} else ERROR


def root_ca_publisher(context: ControllerContext) -> NamespaceContentController:
    """Return the controller of ConfigMap kube-root-ca.crt."""
    return NamespaceContentController(
        context,
        name="root_ca_cert_publisher",
        account="root-ca-cert-publisher",
        resource="configmaps",
        object_name="kube-root-ca.crt",
        terminating_too=True,
    )


def service_account_controller(context: ControllerContext) -> NamespaceContentController:
    """Return the controller of ServiceAccount default."""
    return NamespaceContentController(
        context,
        name="service_account",
        account="service-account-controller",
        resource="serviceaccounts",
        object_name="default",
        terminating_too=False,
    )
