"""How far the workload's pods are, as its own informer sees them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from sim.base.objects import Pod
from sim.components.client import Client
from sim.components.informer import Informer
from sim.components.ports import APIEndpoint
from sim.engine.engine import Engine

SYSTEM_NAMESPACES: Final = frozenset(
    {"kube-system", "kube-public", "kube-node-lease", "kube-flannel"}
)
Labels = tuple[tuple[str, str], ...]


class PodCounter:
    """Pods of some namespaces with some labels, by how far they are."""

    def __init__(self, namespaces: tuple[str, ...], labels: Mapping[str, str]) -> None:
        self._namespaces = frozenset(namespaces)
        self._labels: Labels = tuple(sorted(labels.items()))
        self.counts = {"existing": 0, "scheduled": 0, "ready": 0, "succeeded": 0}

    def covers(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether pods of that namespace with these labels are counted here."""
        if self._namespaces:
            if namespace not in self._namespaces:
                return False
        elif namespace in SYSTEM_NAMESPACES:
            return False
        return all(labels.get(key) == value for key, value in self._labels)

    def add(self, pod: Pod, sign: int) -> None:
        """Count a pod (+1) or take it away (-1)."""
        if not self.covers(pod.namespace, pod.labels):
            return
        counts = self.counts
        counts["existing"] += sign
        finished = pod.phase == "Succeeded"
        if pod.node_name:
            counts["scheduled"] += sign
        if pod.ready or finished:
            counts["ready"] += sign
        if finished:
            counts["succeeded"] += sign


class PodTracker:
    """Counters over one informer of pods, and what was asked for."""

    def __init__(self, engine: Engine, endpoint: APIEndpoint, client: Client) -> None:
        self.informer: Informer[Pod] = Informer(engine, endpoint, client, "pods")
        self.informer.add_handler(self._changed)
        self._counters: dict[tuple[Any, ...], PodCounter] = {}
        self._expected: dict[tuple[str, Labels], int] = {}
        self._leaving: list[set[int]] = []
        self.listeners: list[Callable[[], object]] = []
        """Called after every event; barriers come and go here."""

    def counter(self, namespaces: tuple[str, ...], labels: Mapping[str, str]) -> PodCounter:
        """Return the counter of a selection; pods known already are counted at once."""
        key = (namespaces, tuple(sorted(labels.items())))
        found = self._counters.get(key)
        if found is None:
            found = self._counters[key] = PodCounter(namespaces, labels)
            for pod in self.informer.objects.values():
                found.add(pod, 1)
        return found

    def _changed(self, kind: str, new: Pod, old: Pod | None) -> None:
        for counter in self._counters.values():
            if kind != "ADDED" and old is not None:
                counter.add(old, -1)
            if kind != "DELETED":
                counter.add(new, 1)
        if self._leaving and old is not None and (kind == "DELETED" or old.uid != new.uid):
            for uids in self._leaving:
                uids.discard(old.uid)
            self._leaving = [uids for uids in self._leaving if uids]
        self.notify()

    def notify(self) -> None:
        """Let everybody who waits look again."""
        for listener in list(self.listeners):
            listener()

    def leaving(self, pods: Iterable[Pod]) -> set[int]:
        """Return the uids of pods; each is taken out when its pod is gone."""
        left = {pod.uid for pod in pods}
        if left:
            self._leaving.append(left)
        return left

    def expect(self, namespace: str, labels: Mapping[str, str], count: int) -> None:
        """Note that the workload asked for (or gave up) so many pods."""
        if count:
            key = (namespace, tuple(sorted(labels.items())))
            self._expected[key] = self._expected.get(key, 0) + count

    def expected_count(self, counter: PodCounter) -> int:
        """Return how many of the pods asked for fall under a counter."""
        return sum(
            count
            for (namespace, labels), count in self._expected.items()
            if counter.covers(namespace, dict(labels))
        )

    @property
    def expected_total_count(self) -> int:
        """Pods asked for so far."""
        return sum(self._expected.values())
