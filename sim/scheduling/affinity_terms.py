"""Pod (anti-)affinity terms and the labels of pods they select.

**Source:** Kubernetes v1.36 ``pkg/scheduler/framework/types.go`` (``AffinityTerm.Matches``,
``getNamespacesFromPodAffinityTerm``) and
``pkg/scheduler/framework/plugins/interpodaffinity/plugin.go`` (namespaces merged for the incoming
pod).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.scheduling.labels import (
    Requirement,
    Selector,
    canonical,
    compile_label_selector,
    selector_matches,
)


class AffinityTerm(NamedTuple):
    """One compiled term: which pods it selects and the label that makes nodes one place."""

    topology_key: str
    selector: Selector
    namespaces: tuple[str, ...]
    namespace_selector: Selector

    def matches(
        self,
        namespace: str,
        labels: Mapping[str, str],
        namespace_labels: Mapping[str, str] | None,
        *,
        listed_only: bool,
    ) -> bool:
        """Whether the term selects a pod of this namespace with these labels.

        ``namespace_labels`` is None when the namespace is unknown; with ``listed_only`` (a term of
        the incoming pod) a namespace selector then selects nothing unless it is empty.
        """
        if namespace not in self.namespaces and not self._selects_namespace(
            namespace_labels, listed_only
        ):
            return False
        return selector_matches(self.selector, labels)

    def _selects_namespace(
        self, namespace_labels: Mapping[str, str] | None, listed_only: bool
    ) -> bool:
        if self.namespace_selector is None:
            return False
        if listed_only and namespace_labels is None and self.namespace_selector:
            return False
        return selector_matches(self.namespace_selector, namespace_labels or {})


class WeightedTerm(NamedTuple):
    """A preferred term; ``weight`` is positive for affinity, negative for anti-affinity."""

    term: AffinityTerm
    weight: int


class PodAffinity(NamedTuple):
    """Every compiled term of one pod."""

    required: tuple[AffinityTerm, ...] = ()
    required_anti: tuple[AffinityTerm, ...] = ()
    preferred: tuple[WeightedTerm, ...] = ()
    """Preferred affinity and anti-affinity together, told apart by the weight's sign."""


NO_AFFINITY = PodAffinity()


def compile_pod_affinity(
    affinity: Mapping[str, Any] | None, namespace: str, labels: Mapping[str, str]
) -> PodAffinity:
    """Compile ``spec.affinity`` of a pod of the given namespace and labels."""
    if not affinity:
        return NO_AFFINITY
    near = affinity.get("podAffinity") or {}
    far = affinity.get("podAntiAffinity") or {}
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    return PodAffinity(
        tuple(_term(t, namespace, labels) for t in near.get(required) or ()),
        tuple(_term(t, namespace, labels) for t in far.get(required) or ()),
        tuple(
            WeightedTerm(_term(t["podAffinityTerm"], namespace, labels), sign * int(t["weight"]))
            for sign, group in ((1, near), (-1, far))
            for t in group.get(preferred) or ()
        ),
    )


def _term(term: Mapping[str, Any], namespace: str, labels: Mapping[str, str]) -> AffinityTerm:
    selector = compile_label_selector(term.get("labelSelector"))
    if selector is not None:
        extra = [
            Requirement(key, operator, (labels[key],))
            for field, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
            for key in term.get(field) or ()
            if key in labels
        ]
        selector = canonical((*selector, *extra))
    namespaces = tuple(sorted(term.get("namespaces") or ()))
    namespace_selector = compile_label_selector(term.get("namespaceSelector"))
    if not namespaces and namespace_selector is None:
        namespaces = (namespace,)
    return AffinityTerm(term["topologyKey"], selector, namespaces, namespace_selector)
