"""Nodes as a struct of arrays: their numbers, labels, taints, images and visiting order.

Numbers of a node live twice: as a short list of Python integers on the node (the truth, cheap to
change by one pod) and as columns over node rows (for kernels), brought up to date from the change
log when a kernel asks. Strings are interned.

**Source:** Kubernetes v1.36 ``pkg/scheduler/backend/cache`` (what is kept, node order).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.scheduling.labels import NodeSelectorTerm, Requirement, value_matches
from sim.scheduling.node_order import zone_key, zone_round_robin
from sim.scheduling.quantities import is_scalar_resource, parse_nano, round_up
from sim.scheduling.shape import PodShape, Taint, Toleration, normalized_image_name
from sim.scheduling.tallies import BoolArray, IntArray, LabelColumn

CPU, MEMORY, EPHEMERAL, PODS, NONZERO_CPU, NONZERO_MEMORY = range(6)
FIXED_COLUMNS = {"cpu": CPU, "memory": MEMORY, "ephemeral-storage": EPHEMERAL}
LOG_ENTRIES_MAX = 1 << 20


class Pod:
    """A bound or assumed pod."""

    __slots__ = ("key", "node", "preempted", "shape", "slot", "start_time_seconds", "terminating")

    def __init__(
        self, key: str, shape: PodShape, node: Node, start_time_seconds: float, terminating: bool
    ) -> None:
        self.key = key
        self.shape = shape
        self.node = node
        self.start_time_seconds = start_time_seconds
        self.terminating = terminating
        self.preempted = False
        self.slot = 0


class Node:
    """A node and the pods on it. ``row`` is its index in every column, for as long as it exists."""

    __slots__ = (
        "allocatable",
        "images",
        "labels",
        "name",
        "pods",
        "ports",
        "present",
        "row",
        "taints",
        "unschedulable",
        "used",
        "zone",
    )

    def __init__(self, name: str, row: int, column_count: int) -> None:
        self.name = name
        self.row = row
        self.labels: Mapping[str, str] = {}
        self.taints: tuple[Taint, ...] = ()
        self.unschedulable = False
        self.allocatable: tuple[int, ...] = (0,) * column_count
        self.used = [0] * column_count
        self.pods: list[Pod] = []
        self.ports: dict[tuple[str, int], set[str]] | None = None
        self.images: tuple[tuple[str, int], ...] = ()
        self.zone = ""
        self.present = False


class NodeTable(ABC):
    """Nodes by row; the part of the state that knows nothing of selectors over pods.

    ``node_epoch`` counts changes of nodes themselves; ``log`` lists the row of every change of a
    node's pods, ``log_start`` is the number of entries already dropped from its front.
    """

    def __init__(self) -> None:
        self.columns: dict[str, int] = dict(FIXED_COLUMNS)
        self.column_count = 6
        self.nodes: dict[str, Node] = {}
        self.rows: list[Node | None] = []
        self.capacity = 64
        self.node_epoch = 0
        self.node_count = 0
        self.log: list[int] = []
        self.log_start = 0
        self.present: BoolArray = np.zeros(self.capacity, np.bool_)
        self.unschedulable: BoolArray = np.zeros(self.capacity, np.bool_)
        self.taint_set_ids: NDArray[np.int64] = np.zeros(self.capacity, np.int64)
        self.allocatable: IntArray = np.zeros((self.column_count, self.capacity), np.int64)
        self._used: IntArray = np.zeros((self.column_count, self.capacity), np.int64)
        self._used_at = 0
        self._free_rows: list[int] = []
        self._zone_names: dict[str, str] = {}
        self._allocatables: dict[tuple[int, ...], tuple[int, ...]] = {}
        self._zones: dict[str, dict[str, Node]] = {}
        self._order: NDArray[np.int64] = np.zeros(0, np.int64)
        self._order_epoch = -1
        self._positions: dict[str | None, NDArray[Any]] = {}
        self._positions_epoch = -1
        self._every: dict[str, bool] = {}
        self._label_columns: dict[str, LabelColumn] = {}
        self._taint_sets: dict[tuple[Taint, ...], int] = {(): 0}
        self._taint_tables: dict[tuple[Toleration, ...], tuple[BoolArray, IntArray]] = {}
        self._selector_masks: dict[Any, BoolArray] = {}
        self._selector_epoch = -1
        self._image_nodes: dict[str, tuple[int, dict[int, None]]] = {}
        self._image_scores: dict[tuple[str, ...], IntArray] = {}
        self._image_epoch = -1

    @abstractmethod
    def count_pods(self, node: Node, delta: int) -> None:
        """Count a node's pods into (1) or out of (-1) what is kept per topology domain."""

    # ------------------------------------------------------------------------------ resources
    def column(self, resource: str) -> int:
        """Column number of a resource, allotted at first sight."""
        known = self.columns.get(resource)
        if known is not None:
            return known
        number = self.columns[resource] = self.column_count
        self.column_count += 1
        for node in self.rows:
            if node is not None:
                node.allocatable = self._shared((*node.allocatable, 0))
                node.used.append(0)
        row = np.zeros((1, self.capacity), np.int64)
        self.allocatable = np.vstack([self.allocatable, row])
        self._used = np.vstack([self._used, row])
        return number

    def _shared(self, amounts: tuple[int, ...]) -> tuple[int, ...]:
        """One tuple for all nodes of a size."""
        return self._allocatables.setdefault(amounts, amounts)

    def used(self) -> IntArray:
        """Used amounts, shape (columns, rows allocated), int64; current with the change log."""
        end = self.log_start + len(self.log)
        if self._used_at < end:
            first = max(self._used_at - self.log_start, 0)
            for row in set(self.log[first:]):
                node = self.rows[row]
                if node is not None:
                    self._used[:, row] = node.used
            self._used_at = end
        return self._used

    def version(self) -> tuple[int, int]:
        """What changes with every change of nodes or of their pods."""
        return self.node_epoch, self.log_start + len(self.log)

    def changed(self, node: Node) -> None:
        """Note that the pods of a node changed."""
        log = self.log
        log.append(node.row)
        if len(log) > LOG_ENTRIES_MAX:
            self.used()
            self.log_start += len(log)
            log.clear()

    # ------------------------------------------------------------------------------ nodes
    def add_node(self, node: Mapping[str, Any]) -> None:
        """Add a v1 Node (a plain dict). A node of that name is updated instead."""
        name = node["metadata"]["name"]
        known = self.nodes.get(name)
        if known is None:
            known = self.new_node(name)
        elif known.present:
            self.update_node(node)
            return
        self._assign(known, node)
        known.present = True
        self.node_count += 1
        self._zones.setdefault(known.zone, {})[name] = known
        self._refresh_columns(known)
        self.count_pods(known, 1)

    def update_node(self, node: Mapping[str, Any]) -> bool:
        """Replace a node's object; returns whether anything decisions depend on changed."""
        known = self.nodes.get(node["metadata"]["name"])
        if known is None or not known.present:
            self.add_node(node)
            return True
        before = self._identity(known)
        zone = zone_key((node["metadata"].get("labels")) or {})
        if zone == known.zone and self._identity(self._preview(known, node)) == before:
            return False
        self.count_pods(known, -1)
        self._forget_images(known)
        self._leave_zone(known)
        self._assign(known, node)
        self._zones.setdefault(known.zone, {})[known.name] = known
        self._refresh_columns(known)
        self.count_pods(known, 1)
        return True

    def remove_node(self, name: str) -> None:
        """Remove a node; pods still bound to it stay known. Raises ``KeyError`` if unknown."""
        node = self.nodes[name]
        if not node.present:
            raise KeyError(name)
        self.count_pods(node, -1)
        self._forget_images(node)
        self._leave_zone(node)
        node.present = False
        self.node_count -= 1
        node.labels = {}
        node.taints = ()
        node.unschedulable = False
        node.allocatable = (0,) * self.column_count
        self._refresh_columns(node)
        if not node.pods:
            self.drop(node)

    def new_node(self, name: str) -> Node:
        """A row for a node that is not present yet."""
        if self._free_rows:
            row = self._free_rows.pop()
        else:
            row = len(self.rows)
            self.rows.append(None)
            if row >= self.capacity:
                self._grow()
        node = Node(name, row, self.column_count)
        self.rows[row] = node
        self.nodes[name] = node
        self.changed(node)
        return node

    def drop(self, node: Node) -> None:
        """Free the row of a node that has neither object nor pods."""
        del self.nodes[node.name]
        self.used()
        self._used[:, node.row] = 0
        self.rows[node.row] = None
        self._free_rows.append(node.row)

    def _grow(self) -> None:
        extra = self.capacity
        self.capacity += extra
        self.present = np.append(self.present, np.zeros(extra, np.bool_))
        self.unschedulable = np.append(self.unschedulable, np.zeros(extra, np.bool_))
        self.taint_set_ids = np.append(self.taint_set_ids, np.zeros(extra, np.int64))
        more = np.zeros((self.column_count, extra), np.int64)
        self.allocatable = np.hstack([self.allocatable, more])
        self._used = np.hstack([self._used, more])
        for column in self._label_columns.values():
            column.ids = np.append(column.ids, np.zeros(extra, np.int32))

    def _leave_zone(self, node: Node) -> None:
        members = self._zones[node.zone]
        del members[node.name]
        if not members:
            del self._zones[node.zone]

    def _identity(self, node: Node) -> tuple[Any, ...]:
        return (
            dict(node.labels), node.taints, node.unschedulable, node.allocatable, node.images
        )  # fmt: skip

    def _preview(self, known: Node, node: Mapping[str, Any]) -> Node:
        preview = Node(known.name, known.row, self.column_count)
        self._assign(preview, node)
        return preview

    def _assign(self, target: Node, node: Mapping[str, Any]) -> None:
        """Take over what matters of a v1 Node dict."""
        spec = node.get("spec") or {}
        status = node.get("status") or {}
        target.labels = dict(node["metadata"].get("labels") or {})
        zone = zone_key(target.labels)
        target.zone = self._zone_names.setdefault(zone, zone)
        target.unschedulable = bool(spec.get("unschedulable"))
        target.taints = tuple(
            Taint(t.get("key") or "", t.get("value") or "", t.get("effect") or "")
            for t in spec.get("taints") or ()
        )
        amounts: dict[int, int] = {}
        for name, quantity in (status.get("allocatable") or {}).items():
            amount = round_up(name, parse_nano(quantity))
            if name == "pods":
                amounts[PODS] = amount
            elif name in FIXED_COLUMNS or is_scalar_resource(name):
                amounts[self.column(name)] = amount
        amounts[NONZERO_CPU] = amounts.get(CPU, 0)
        amounts[NONZERO_MEMORY] = amounts.get(MEMORY, 0)
        target.allocatable = self._shared(
            tuple(amounts.get(c, 0) for c in range(self.column_count))
        )
        if len(target.used) < self.column_count:
            target.used.extend([0] * (self.column_count - len(target.used)))
        target.images = tuple(
            (normalized_image_name(n), int(image.get("sizeBytes") or 0))
            for image in status.get("images") or ()
            for n in image.get("names") or ()
        )

    def _refresh_columns(self, node: Node) -> None:
        row = node.row
        self.node_epoch += 1
        self.present[row] = node.present
        self.unschedulable[row] = node.unschedulable
        sets = self._taint_sets
        if node.taints not in sets:
            sets[node.taints] = len(sets)
            self._taint_tables.clear()
        self.taint_set_ids[row] = sets[node.taints]
        self.allocatable[:, row] = node.allocatable
        for key, column in self._label_columns.items():
            column.ids[row] = column.intern(node.labels.get(key))
        if node.present:
            for name, size in node.images:
                self._image_nodes.setdefault(name, (size, {}))[1][row] = None
        self.changed(node)

    def _forget_images(self, node: Node) -> None:
        for name, _ in node.images:
            entry = self._image_nodes.get(name)
            if entry is not None:
                entry[1].pop(node.row, None)
                if not entry[1]:
                    del self._image_nodes[name]
        node.images = ()

    def order(self) -> NDArray[np.int64]:
        """Rows of the nodes in the order of the scheduler's snapshot, shape (node_count,)."""
        if self._order_epoch != self.node_epoch:
            names = zone_round_robin([list(z.values()) for z in self._zones.values()])
            self._order = np.array([n.row for n in names], np.int64)
            self._order_epoch = self.node_epoch
        return self._order

    def node_names(self) -> list[str]:
        """Names of the nodes in snapshot order."""
        return [self.node_at(row).name for row in self.order().tolist()]

    def node_at(self, row: int) -> Node:
        """The node of a row. Raises ``KeyError`` for a free row."""
        node = self.rows[row]
        if node is None:
            raise KeyError(row)
        return node

    def by_position(self, key: str | None) -> NDArray[Any]:
        """Label ids (``key`` None: rows) in snapshot order, twice over, shape (2 * node_count,).

        Twice, so that a window that wraps around the end is one slice.
        """
        if self._positions_epoch != self.node_epoch:
            self._positions = {}
            self._every = {}
            self._positions_epoch = self.node_epoch
        known = self._positions.get(key)
        if known is None:
            order = self.order()
            known = order if key is None else self.label_column(key).ids[order].astype(np.int64)
            known = self._positions[key] = np.concatenate([known, known])
        return known

    def every_node_has(self, key: str) -> bool:
        """Whether no node lacks a label."""
        ids = self.by_position(key)
        known = self._every.get(key)
        if known is None:
            known = self._every[key] = bool((ids != 0).all())
        return known

    # ------------------------------------------------------------------------------ node facts
    def label_column(self, key: str) -> LabelColumn:
        """The interned column of a node label."""
        column = self._label_columns.get(key)
        if column is None:
            column = self._label_columns[key] = LabelColumn(key, self.capacity)
            for node in self.rows:
                if node is not None:
                    column.ids[node.row] = column.intern(node.labels.get(key))
        return column

    def taint_tables(self, tolerations: tuple[Toleration, ...]) -> tuple[BoolArray, IntArray]:
        """Per interned taint set: untolerated (NoSchedule, NoExecute), number not preferred.

        Index the tables with ``taint_set_ids``.
        """
        tables = self._taint_tables.get(tolerations)
        if tables is None:
            soft = [t for t in tolerations if t.effect in ("", "PreferNoSchedule")]
            hard = np.zeros(len(self._taint_sets), np.bool_)
            count = np.zeros(len(self._taint_sets), np.int64)
            for taints, number in self._taint_sets.items():
                for taint in taints:
                    if taint.effect == "PreferNoSchedule":
                        count[number] += not any(t.tolerates(taint) for t in soft)
                    elif taint.effect in ("NoSchedule", "NoExecute"):
                        hard[number] |= not any(t.tolerates(taint) for t in tolerations)
            tables = self._taint_tables[tolerations] = (hard, count)
        return tables

    def requirement_mask(self, requirement: Requirement) -> BoolArray:
        """Node rows whose label satisfies a requirement, shape (rows allocated,)."""
        column = self.label_column(requirement.key)
        operator, values = requirement.operator, requirement.values
        if operator in ("In", "NotIn"):
            table = np.zeros(len(column.values), np.bool_)
            for value in values:
                if value in column.index:
                    table[column.index[value]] = True
            if operator == "NotIn":
                table = ~table
        else:
            table = np.array([value_matches(operator, values, v) for v in column.values], np.bool_)
        return table[column.ids]

    def term_mask(self, term: NodeSelectorTerm) -> BoolArray:
        """Node rows that satisfy a node selector term."""
        mask = np.full(self.capacity, bool(term.expressions or term.fields))
        for requirement in term.expressions:
            mask &= self.requirement_mask(requirement)
        for requirement in term.fields:
            named = np.zeros(self.capacity, np.bool_)
            for name in requirement.values:
                if name in self.nodes:
                    named[self.nodes[name].row] = True
            known = requirement.key == "metadata.name" and requirement.operator in ("In", "NotIn")
            if requirement.operator == "NotIn":
                named = ~named
            mask &= named if known else np.zeros(self.capacity, np.bool_)
        return mask

    def node_selector_mask(
        self,
        node_selector: tuple[Requirement, ...],
        affinity: tuple[NodeSelectorTerm, ...] | None,
    ) -> BoolArray:
        """Node rows that satisfy ``nodeSelector`` and required node affinity; do not modify."""
        if self._selector_epoch != self.node_epoch:
            self._selector_masks = {}
            self._selector_epoch = self.node_epoch
        key = (node_selector, affinity)
        mask = self._selector_masks.get(key)
        if mask is None:
            mask = np.ones(self.capacity, np.bool_)
            for requirement in node_selector:
                mask &= self.requirement_mask(requirement)
            if affinity is not None:
                any_term = np.zeros(self.capacity, np.bool_)
                for term in affinity:
                    any_term |= self.term_mask(term)
                mask &= any_term
            self._selector_masks[key] = mask
        return mask

    @property
    def images(self) -> Mapping[str, tuple[int, Mapping[int, None]]]:
        """Per image name: size in bytes (as first reported) and the rows that have it."""
        return self._image_nodes

    def image_scores(
        self,
        images: tuple[str, ...],
        compute: Callable[[NodeTable, tuple[str, ...]], IntArray],
    ) -> IntArray:
        """Image scores per node row, cached until nodes change."""
        if self._image_epoch != self.node_epoch:
            self._image_scores = {}
            self._image_epoch = self.node_epoch
        known = self._image_scores.get(images)
        if known is None:
            known = self._image_scores[images] = compute(self, images)
        return known

    def __iter__(self) -> Iterator[Node]:
        return (self.node_at(row) for row in self.order().tolist())
