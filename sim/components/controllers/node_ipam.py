"""Node IPAM: gives every node its pod CIDR.

**Modelled:** one range per node of a cluster CIDR (of both, with dual stack), round robin with
reuse of released ranges, PATCH of the node by 30 workers, CIDRNotAvailable events and retries when
a cluster CIDR is exhausted.
**Not modelled:** cloud allocators, a service CIDR inside the cluster CIDR.
**Source:** `facts/model.md` a.3, i; `facts/defaults.csv` node CIDR rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Final

from sim.base.api_object import APIObject, Key
from sim.base.objects import Node
from sim.components.controllers.base import ERROR, OK, REQUEUE, Controller, ControllerContext, Sync
from sim.components.ports import Request

_PATCH_TRY_COUNT: Final = 3


class CIDRSet:
    """Ranges of equal size inside a network, handed out round robin."""

    def __init__(self, cluster_cidr: str, node_mask_bits: int) -> None:
        network = ip_network(cluster_cidr)
        if node_mask_bits < network.prefixlen:
            raise ValueError(
                f"node CIDR mask /{node_mask_bits} is larger than the cluster CIDR {network}"
            )
        self._base = int(network.network_address)
        self._step = 1 << (network.max_prefixlen - node_mask_bits)
        self._make = type(network.network_address)
        self._mask_bits = node_mask_bits
        self._next = 0
        self._used: dict[int, None] = {}
        self.range_count = 1 << (node_mask_bits - network.prefixlen)

    @property
    def used_count(self) -> int:
        """Ranges handed out."""
        return len(self._used)

    def allocate(self) -> str:
        """Return a free range, empty if there is none."""
        if len(self._used) >= self.range_count:
            return ""
        index = self._next
        while index in self._used:
            index = (index + 1) % self.range_count
        self._used[index] = None
        self._next = (index + 1) % self.range_count
        return f"{self._make(self._base + index * self._step)}/{self._mask_bits}"

    def _index(self, cidr: str) -> int:
        return (int(ip_network(cidr).network_address) - self._base) // self._step

    def occupy(self, cidr: str) -> None:
        """Note that a range is in use."""
        index = self._index(cidr)
        if 0 <= index < self.range_count:
            self._used[index] = None

    def release(self, cidr: str) -> None:
        """Take a range back."""
        self._used.pop(self._index(cidr), None)


class NodeIPAMController(Controller):
    """Keys are nodes without a pod CIDR."""

    name = "node_ipam"
    service_account = "node-controller"

    def __init__(
        self,
        context: ControllerContext,
        worker_count: int,
        *,
        cluster_cidr: str,
        node_mask_bits: int,
        second: tuple[str, int] = ("", 0),
    ) -> None:
        """Make one; ``second`` is the other family's cluster CIDR and mask, empty without one."""
        super().__init__(context, worker_count)
        self.cidrs = CIDRSet(cluster_cidr, node_mask_bits)
        self.sets = (self.cidrs,) + ((CIDRSet(*second),) if second[0] else ())
        self._nodes = context.informer("nodes")
        self._nodes.add_handler(self._node_changed)

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        if kind == "DELETED":
            self._release(_ranges(new))
        elif not new.pod_cidr:
            if old is None:
                self.queue.add(new.key)
        elif old is None:
            for cidrs, cidr in zip(self.sets, _ranges(new), strict=False):
                cidrs.occupy(cidr)

    def _allocate(self) -> tuple[str, ...]:
        """Return a range of each family, nothing if one family has none left."""
        found: list[str] = []
        for cidrs in self.sets:
            cidr = cidrs.allocate()
            if not cidr:
                self._release(found)
                return ()
            found.append(cidr)
        return tuple(found)

    def _release(self, ranges: Sequence[str]) -> None:
        for cidrs, cidr in zip(self.sets, ranges, strict=False):
            cidrs.release(cidr)

    def sync(self, key: Key) -> Sync:
        """Allocate a range and write it into the node."""
        node = self._nodes.objects.get(key)
        if node is None or node.pod_cidr:
            return OK
        ranges = self._allocate()
        if not ranges:
            self.events.event(
                node,
                "Normal",
                "CIDRNotAvailable",
                f"Node {node.name} status is now: CIDRNotAvailable",
            )
            return REQUEUE

        def mutate(current: APIObject) -> APIObject:
            assert isinstance(current, Node)
            if current.pod_cidr:
                return current
            new = current.clone()
            new.pod_cidr = ranges[0]
            new.pod_cidrs = ranges
            return new

        for _ in range(_PATCH_TRY_COUNT):
            response = yield self.client.call(
                Request("patch", "nodes", "", node.name, mutate=mutate)
            )
            if response.ok:
                if response.result.pod_cidr != ranges[0]:
                    self._release(ranges)
                return OK
        self._release(ranges)
        return ERROR


def _ranges(node: Node) -> tuple[str, ...]:
    return node.pod_cidrs or ((node.pod_cidr,) if node.pod_cidr else ())
