"""Label selectors and node selectors, compiled once and matched against plain dicts.

A compiled selector is a tuple of :class:`Requirement` (all must hold); ``()`` selects everything
and ``None`` nothing, as the zero values of upstream's selector types do.

**Source:** Kubernetes v1.36 ``apimachinery/pkg/labels/selector.go``, ``pkg/apis/meta/v1``
``LabelSelectorAsSelector``, ``component-helpers/scheduling/corev1/nodeaffinity``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

_INT64_MAX = 2**63 - 1


class Requirement(NamedTuple):
    """One condition on one label: ``operator`` is upstream's word (In, NotIn, Exists, ...)."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether a label set satisfies the condition."""
        return value_matches(self.operator, self.values, labels.get(self.key))


Selector: TypeAlias = "tuple[Requirement, ...] | None"


def value_matches(operator: str, values: tuple[str, ...], value: str | None) -> bool:
    """Whether the label value (``None``: the label is absent) satisfies operator and values."""
    if operator == "In":
        return value is not None and value in values
    if operator == "NotIn":
        return value is None or value not in values
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator in ("Gt", "Lt"):
        if value is None or len(values) != 1:
            return False
        left, right = parse_int64(value), parse_int64(values[0])
        if left is None or right is None:
            return False
        return left > right if operator == "Gt" else left < right
    return False


def parse_int64(text: str) -> int | None:
    """A decimal int64 as Go's ``ParseInt`` reads it, or None."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    number = int(text)
    return number if -_INT64_MAX - 1 <= number <= _INT64_MAX else None


def selector_matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold (``None`` never matches, ``()`` always)."""
    if selector is None:
        return False
    for requirement in selector:
        if not requirement.matches(labels):
            return False
    return True


def from_match_labels(labels: Mapping[str, str] | None) -> tuple[Requirement, ...]:
    """The requirements ``key in (value)`` of a plain label set."""
    return tuple(sorted(Requirement(k, "In", (str(v),)) for k, v in (labels or {}).items()))


def compile_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """Compile a ``metav1.LabelSelector``; None selects nothing, an empty one everything."""
    if selector is None:
        return None
    return canonical(
        (
            *from_match_labels(selector.get("matchLabels")),
            *_expressions(selector.get("matchExpressions")),
        )
    )


def canonical(requirements: Iterable[Requirement]) -> tuple[Requirement, ...]:
    """Sorted, without repetitions: equal selectors become equal keys."""
    return tuple(sorted(set(requirements)))


def _expressions(expressions: Iterable[Mapping[str, Any]] | None) -> list[Requirement]:
    return [
        Requirement(e["key"], e["operator"], tuple(sorted(str(v) for v in e.get("values") or ())))
        for e in expressions or ()
    ]


class NodeSelectorTerm(NamedTuple):
    """One ORed term of a node selector: conditions on labels and on the node's name."""

    expressions: tuple[Requirement, ...]
    fields: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node satisfies the term; a term without any condition matches no node."""
        if not self.expressions and not self.fields:
            return False
        return all(r.matches(labels) for r in self.expressions) and all(
            r.key == "metadata.name" and value_matches(r.operator, r.values, name)
            for r in self.fields
        )


def compile_node_selector_term(term: Mapping[str, Any] | None) -> NodeSelectorTerm:
    """Compile a ``v1.NodeSelectorTerm``."""
    term = term or {}
    return NodeSelectorTerm(
        canonical(_expressions(term.get("matchExpressions"))),
        canonical(_expressions(term.get("matchFields"))),
    )


def compile_node_selector(
    selector: Mapping[str, Any] | None,
) -> tuple[NodeSelectorTerm, ...] | None:
    """Compile a ``v1.NodeSelector``; None stands for an absent one (no restriction)."""
    if selector is None:
        return None
    return tuple(compile_node_selector_term(t) for t in selector.get("nodeSelectorTerms") or ())
