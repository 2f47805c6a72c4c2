"""Bandwidth that image pulls share: every node's link, and the registry's.

Max-min fair shares over two levels: a transfer gets at most an equal share of its node's link, and
all of them together at most the registry's bandwidth (water-filling). Transfers on nodes with
equally many transfers have equal rates, so they form a class with one virtual clock: an arrival or
departure costs O(classes + log transfers), whatever the number of nodes.
**Assumes:** all nodes have links of one speed; TCP finds its fair share at once.
**Source:** max-min fairness (Bertsekas & Gallager, Data Networks, 6.5.2).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

from sim.engine.engine import Call, Engine

_TOLERANCE_BYTES: Final = 1e-3


class Transfer:
    """Bytes on their way to one node."""

    __slots__ = ("argument", "done", "finish", "node", "rate_class", "sequence")

    def __init__(
        self, node: int, sequence: int, done: Callable[[Any], object], argument: object
    ) -> None:
        self.node = node
        self.sequence = sequence
        self.done = done
        self.argument = argument
        self.rate_class: _RateClass | None = None
        self.finish = 0.0
        """Reading of the class's clock at which the last byte has arrived."""


class _RateClass:
    """All transfers on nodes with ``sharers`` transfers; ``clock`` is bytes per transfer."""

    __slots__ = ("clock", "count", "heap", "rate", "sharers")

    def __init__(self, sharers: int) -> None:
        self.sharers = sharers
        self.clock = 0.0
        self.rate = 0.0
        self.count = 0
        self.heap: list[tuple[float, int, Transfer]] = []

    def first(self) -> Transfer | None:
        """The transfer that ends first; entries of transfers that moved away are dropped."""
        heap = self.heap
        while heap:
            finish, _, transfer = heap[0]
            if transfer.rate_class is self and transfer.finish == finish:
                return transfer
            heappop(heap)
        return None


class SharedBandwidth:
    """The registry's link and the links of all nodes, bytes per second; 0 means unlimited."""

    def __init__(
        self, engine: Engine, node_bytes_per_second: float, registry_bytes_per_second: float
    ) -> None:
        self._engine = engine
        self._node_rate = node_bytes_per_second or float("inf")
        self._registry_rate = registry_bytes_per_second or float("inf")
        self._classes: dict[int, _RateClass] = {}
        self._by_node: dict[int, list[Transfer]] = {}
        self._last_seconds = 0.0
        self._sequence = 0
        self._timer: Call | None = None
        self.transferred_bytes = 0.0
        """Bytes of finished transfers."""
        self.active_count = 0

    def start(
        self, node: int, size_bytes: float, done: Callable[[Any], object], argument: object
    ) -> Transfer:
        """Begin a transfer; ``done(argument)`` when its last byte has arrived."""
        self._advance()
        self._sequence += 1
        transfer = Transfer(node, self._sequence, done, argument)
        present = self._by_node.setdefault(node, [])
        present.append(transfer)
        self.active_count += 1
        self._join(transfer, size_bytes, len(present))
        self._move(present[:-1], len(present))
        self._share()
        return transfer

    def stop(self, transfer: Transfer) -> None:
        """Give a transfer up."""
        if transfer.rate_class is not None:
            self._advance()
            self._leave(transfer)
            self._share()

    def rate_bytes_per_second(self, transfer: Transfer) -> float:
        """Present rate of a transfer, 0 if it is over."""
        return transfer.rate_class.rate if transfer.rate_class is not None else 0.0

    def _advance(self) -> None:
        now = self._engine.now
        elapsed = now - self._last_seconds
        if elapsed > 0.0:
            for item in self._classes.values():
                item.clock += item.rate * elapsed
        self._last_seconds = now

    def _join(self, transfer: Transfer, remaining_bytes: float, sharers: int) -> None:
        found = self._classes.get(sharers)
        if found is None:
            found = self._classes[sharers] = _RateClass(sharers)
        if found.count == 0:
            found.clock = 0.0
            found.heap.clear()
        transfer.rate_class = found
        transfer.finish = found.clock + remaining_bytes
        found.count += 1
        heappush(found.heap, (transfer.finish, transfer.sequence, transfer))

    def _move(self, transfers: list[Transfer], sharers: int) -> None:
        for transfer in transfers:
            old = transfer.rate_class
            assert old is not None
            old.count -= 1
            self._join(transfer, max(0.0, transfer.finish - old.clock), sharers)

    def _leave(self, transfer: Transfer) -> None:
        assert transfer.rate_class is not None
        transfer.rate_class.count -= 1
        transfer.rate_class = None
        self.active_count -= 1
        present = self._by_node[transfer.node]
        present.remove(transfer)
        if present:
            self._move(list(present), len(present))
        else:
            del self._by_node[transfer.node]

    def _share(self) -> None:
        """Water-filling over the classes, most restricted first; then arm the next completion."""
        left_rate = self._registry_rate
        left_count = self.active_count
        soonest = float("inf")
        for sharers in sorted(self._classes, reverse=True):
            item = self._classes[sharers]
            if item.count == 0:
                item.rate = 0.0
                continue
            rate = min(self._node_rate / sharers, left_rate / left_count)
            item.rate = rate
            left_rate -= rate * item.count
            left_count -= item.count
            first = item.first()
            assert first is not None
            soonest = min(soonest, max(0.0, first.finish - item.clock) / rate)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if soonest < float("inf"):
            self._timer = self._engine.call_later(soonest, self._fire)

    def _fire(self, _: None) -> None:
        self._timer = None
        self._advance()
        finished: list[Transfer] = []
        for sharers in sorted(self._classes):
            item = self._classes[sharers]
            while item.count:
                first = item.first()
                assert first is not None
                slack = item.rate * 1e-9 if item.rate < float("inf") else float("inf")
                if first.finish - item.clock > max(_TOLERANCE_BYTES, slack):
                    break
                finished.append(first)
                heappop(item.heap)
                first.rate_class = None
                item.count -= 1
        for transfer in finished:
            self.active_count -= 1
            present = self._by_node[transfer.node]
            present.remove(transfer)
            if present:
                # those that end at this very instant have left their class already
                staying = [item for item in present if item.rate_class is not None]
                self._move(staying, len(present))
            else:
                del self._by_node[transfer.node]
        self._share()
        for transfer in finished:
            transfer.done(transfer.argument)
