"""Objects other than nodes and pods that decisions depend on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.scheduling.labels import (
    Requirement,
    Selector,
    canonical,
    compile_label_selector,
    from_match_labels,
    selector_matches,
)

_KINDS = frozenset(
    {
        "Service",
        "ReplicationController",
        "ReplicaSet",
        "StatefulSet",
        "PodDisruptionBudget",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "StorageClass",
        "CSINode",
        "CSIDriver",
        "PriorityClass",
    }
)
_OWNER_GROUPS = {
    "ReplicationController": "v1",
    "ReplicaSet": "apps/v1",
    "StatefulSet": "apps/v1",
}


class DisruptionBudget(NamedTuple):
    """A compiled PodDisruptionBudget."""

    namespace: str
    selector: Selector
    disruptions_allowed_count: int
    disrupted_pods: frozenset[str]


def _relevant(kind: str, document: Mapping[str, Any]) -> object:
    """The part of an object that scheduling depends on; status updates mostly change nothing."""
    if kind in ("Service", "ReplicationController", "ReplicaSet", "StatefulSet"):
        return (document.get("spec") or {}).get("selector")
    return document


def _filed_under(service: Mapping[str, Any]) -> tuple[str, str, object]:
    """Namespace and first label that a Service's selector asks for; empty if it asks for none."""
    namespace = service["metadata"].get("namespace") or ""
    selector = (service.get("spec") or {}).get("selector") or {}
    for key, value in selector.items():
        return namespace, key, value
    return namespace, "", ""


class ObjectStore:
    """Plain dicts by kind and ``namespace/name``.

    ``epoch`` counts the changes that compiled plans depend on (budgets are not among them).
    """

    def __init__(self) -> None:
        self.by_kind: dict[str, dict[str, Mapping[str, Any]]] = {kind: {} for kind in _KINDS}
        self.epoch = 0
        self._selecting: dict[tuple[str, str, object], dict[str, Mapping[str, Any]]] = {}
        """(namespace, first label a Service's selector asks for) → Services, by key."""
        self._budgets: list[DisruptionBudget] = []
        self._budgets_current = False

    def put(self, document: Mapping[str, Any]) -> None:
        """Add or replace an object; kinds that no decision depends on are ignored."""
        kind = document.get("kind", "")
        if kind not in _KINDS:
            return
        key = self._key(document)
        known = self.by_kind[kind].get(key)
        self.by_kind[kind][key] = document
        if kind == "Service":
            if known is not None:
                self._selecting[_filed_under(known)].pop(key)
            self._selecting.setdefault(_filed_under(document), {})[key] = document
        if kind == "PodDisruptionBudget":
            self._budgets_current = False
        elif known is None or _relevant(kind, known) != _relevant(kind, document):
            self.epoch += 1

    def discard(self, document: Mapping[str, Any]) -> None:
        """Remove an object if it is known."""
        kind = document.get("kind", "")
        key = self._key(document) if kind in _KINDS else ""
        known = self.by_kind[kind].pop(key, None) if key else None
        if known is not None:
            if kind == "Service":
                self._selecting[_filed_under(known)].pop(key)
            self._budgets_current = False
            self.epoch += 1

    @staticmethod
    def _key(document: Mapping[str, Any]) -> str:
        metadata = document["metadata"]
        return f"{metadata.get('namespace') or ''}/{metadata['name']}"

    def get(self, kind: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        """An object, or None."""
        return self.by_kind[kind].get(f"{namespace}/{name}")

    def default_selector(
        self,
        namespace: str,
        labels: Mapping[str, str],
        owner: tuple[str, str, str] | None,
    ) -> tuple[Requirement, ...]:
        """Selector of the default spread constraints: services and the controlling owner.

        ``owner`` is ``(apiVersion, kind, name)``. An empty result means no constraint applies.
        **Source:** ``pkg/scheduler/framework/plugins/helper/spread.go`` ``DefaultSelector``.
        """
        merged: dict[str, str] = {}
        for label in labels.items():
            for service in self._selecting.get((namespace, *label), {}).values():
                selector = service["spec"]["selector"]
                if all(labels.get(k) == v for k, v in selector.items()):
                    merged.update(selector)
        requirements = from_match_labels(merged)
        if owner is None or _OWNER_GROUPS.get(owner[1]) != owner[0]:
            return requirements
        document = self.get(owner[1], namespace, owner[2])
        if document is None:
            return requirements
        given = (document.get("spec") or {}).get("selector")
        if owner[1] == "ReplicationController":
            merged.update(given or {})
            return from_match_labels(merged)
        return canonical((*requirements, *(compile_label_selector(given) or ())))

    def budgets(self) -> list[DisruptionBudget]:
        """Compiled PodDisruptionBudgets in order of appearance."""
        if not self._budgets_current:
            self._budgets = [_budget(d) for d in self.by_kind["PodDisruptionBudget"].values()]
            self._budgets_current = True
        return self._budgets


def _budget(document: Mapping[str, Any]) -> DisruptionBudget:
    status = document.get("status") or {}
    return DisruptionBudget(
        namespace=document["metadata"].get("namespace") or "",
        selector=compile_label_selector((document.get("spec") or {}).get("selector")) or None,
        disruptions_allowed_count=int(status.get("disruptionsAllowed") or 0),
        disrupted_pods=frozenset(status.get("disruptedPods") or ()),
    )


def budget_matches(budget: DisruptionBudget, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a budget covers a pod; an empty selector covers none."""
    return budget.namespace == namespace and selector_matches(budget.selector, labels)
