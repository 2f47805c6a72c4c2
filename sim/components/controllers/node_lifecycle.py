"""Node lifecycle controller: notices dead nodes, taints them, marks their pods not ready.

**Modelled:** the monitoring pass every 5 s that stamps its own clock when it first sees a newer
lease or status, 50 s grace, PUT of the unknown condition, MarkPodsNotReady (serial per node, 8
nodes at a time), NoSchedule taints by a work queue, NoExecute taints through a rate-limited queue
per zone with the three disruption states, removal of taints when a node returns, events.
**Not modelled:** label reconciliation, conditions other than Ready.
**Source:** `facts/model.md` a.3, a.4; `facts/defaults.csv` rows of node lifecycle.
"""

from __future__ import annotations

from typing import Final

from sim.base.api_object import NEVER, APIObject, Key
from sim.base.objects import Node, Taint
from sim.components.controllers.base import (
    ERROR,
    OK,
    Controller,
    ControllerContext,
    Steps,
    Sync,
)
from sim.components.controllers.node_lifecycle_params import NodeLifecycleParams
from sim.components.controllers.node_pods import NodePods
from sim.components.informer import Listener
from sim.components.ports import Request
from sim.engine.engine import Event
from sim.engine.tasks import Task
from sim.engine.token_bucket import TokenBucket

NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"
UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"
_PARALLEL_COUNT: Final = 8
_STATUS_TRY_COUNT: Final = 5
_STATUS_RETRY_SECONDS: Final = 0.02
_TAINT_POLL_SECONDS: Final = 0.1
"""**Source:** `facts/defaults.csv`: node update workers, status retry, taint queue poll."""


def with_taints(node: Node, added: tuple[Taint, ...], removed: tuple[tuple[str, str], ...]) -> Node:
    """Return the node with taints added and (key, effect) pairs removed; itself if unchanged."""
    present = {(taint.key, taint.effect) for taint in node.taints}
    kept = tuple(taint for taint in node.taints if (taint.key, taint.effect) not in removed)
    missing = tuple(taint for taint in added if (taint.key, taint.effect) not in present)
    if len(kept) == len(node.taints) and not missing:
        return node
    new = node.clone()
    new.taints = kept + missing
    return new


class _Zone:
    """The nodes of one zone that wait for their NoExecute taint."""

    def __init__(self, rate_per_second: float) -> None:
        self.rate_per_second = rate_per_second
        self.bucket = TokenBucket(rate_per_second, 1)
        self.queue: dict[str, None] = {}
        self.state = "Normal"

    def set_rate(self, rate_per_second: float) -> None:
        """Change the limiter if the rate is another one."""
        if rate_per_second != self.rate_per_second:
            self.rate_per_second = rate_per_second
            self.bucket = TokenBucket(rate_per_second, 1)

    def may_taint(self, now_seconds: float) -> bool:
        """Take a token if there is one; a rate of 0 lets nothing pass."""
        return self.rate_per_second > 0.0 and self.bucket.try_take(now_seconds)


class _Seen:
    """What the monitor has seen of one node."""

    __slots__ = ("has_news", "name", "stamp_seconds")

    def __init__(self, name: str) -> None:
        self.name = name
        self.has_news = False
        """Whether there is something newer than the last pass."""
        self.stamp_seconds = NEVER
        """When a pass last saw news of it; never if the node is not known."""


class NodeLifecycleController(Controller):
    """Queue keys are nodes whose NoSchedule taints may have to change."""

    name = "node_lifecycle"
    service_account = "node-controller"

    def __init__(
        self,
        context: ControllerContext,
        params: NodeLifecycleParams,
        node_pods: NodePods,
    ) -> None:
        super().__init__(context, _PARALLEL_COUNT)
        self._params = params
        self._node_pods = node_pods
        self._nodes = context.informer("nodes")
        self._seen: dict[str, _Seen] = {}
        self._news: list[_Seen] = []
        """What has news since the last pass, in order."""
        self._batches: list[tuple[float, list[_Seen]]] = []
        """When a pass ran and what it stamped then, oldest first; who has another stamp by now is
        in a later one. Heartbeats need no more than this, thousands of them per pass."""
        self._newcomers: dict[str, None] = {}
        """Nodes without a Ready condition so far."""
        self._unhealthy: dict[str, None] = {}
        self._zones: dict[str, _Zone] = {}
        self._zone_of: dict[str, str] = {}
        self._retry: dict[str, None] = {}
        self._polling = False
        self._all_disrupted = False
        self._nodes.add_handler(self._node_changed)
        context.informer("leases").add_listener(_LeaseListener(self))

    # what the informers say

    def note_news(self, name: str) -> None:
        """Have the next pass stamp a node."""
        seen = self._seen.get(name)
        if seen is None:
            seen = _Seen(name)
            self._seen[name] = seen
        if not seen.has_news:
            seen.has_news = True
            self._news.append(seen)

    def _forget(self, name: str) -> None:
        seen = self._seen.get(name)
        if seen is not None:
            seen.stamp_seconds = NEVER
            if not seen.has_news:  # else the next pass finds that there is no such node
                del self._seen[name]

    def _node_changed(self, kind: str, new: Node, old: Node | None) -> None:
        name = new.name
        if kind == "DELETED":
            self._forget(name)
            for known in (self._newcomers, self._unhealthy, self._retry):
                known.pop(name, None)
            zone = self._zones.get(self._zone_of.pop(name, ""))
            if zone is not None:
                zone.queue.pop(name, None)
            self.events.event(new, "Normal", "RemovingNode", f"Node {name} event: Removing Node"
                              f" {name} from Controller")  # fmt: skip
            return
        if old is None or old.heartbeat_seconds != new.heartbeat_seconds or old.ready != new.ready:
            self.note_news(name)
        if new.ready != "True" or any(taint.effect == "NoExecute" for taint in new.taints):
            self._unhealthy[name] = None
        else:
            self._unhealthy.pop(name, None)
        if old is None or old.ready != new.ready or old.taints != new.taints or (
            old.unschedulable != new.unschedulable
        ):  # fmt: skip
            self.queue.add(new.key)

    # NoSchedule taints

    def sync(self, key: Key) -> Sync:
        """Bring the NoSchedule taints of one node in line with its conditions."""
        node = self._nodes.objects.get(key)
        if node is None:
            return OK
        wanted: dict[str, None] = {}
        if node.ready == "False" or (node.ready == "Unknown" and not _has_reported(node)):
            wanted[NOT_READY] = None
        elif node.ready == "Unknown":
            wanted[UNREACHABLE] = None
        if node.unschedulable:
            wanted[UNSCHEDULABLE] = None
        present = {
            taint.key: None
            for taint in node.taints
            if taint.effect == "NoSchedule" and taint.key in {NOT_READY, UNREACHABLE, UNSCHEDULABLE}
        }
        now = self.engine.now
        added = tuple(Taint(k, "", "NoSchedule", now) for k in wanted if k not in present)
        removed = tuple((k, "NoSchedule") for k in present if k not in wanted)
        good = True
        if added:
            good = yield from self._swap_taints(node, added, ())
        if removed and good:
            good = yield from self._swap_taints(node, (), removed)
        return OK if good else ERROR

    def _swap_taints(
        self, node: Node, added: tuple[Taint, ...], removed: tuple[tuple[str, str], ...]
    ) -> Steps:
        """GET the node from the cache and PATCH its taints, as upstream's helper does."""
        if with_taints(node, added, removed) is node:
            return True
        response = yield self.client.call(Request("get", "nodes", "", node.name, list_mode="cache"))
        if not response.ok:
            return bool(response.code == 404)

        def mutate(current: APIObject) -> APIObject:
            assert isinstance(current, Node)
            return with_taints(current, added, removed)

        response = yield self.client.call(Request("patch", "nodes", "", node.name, mutate=mutate))
        return bool(response.ok or response.code == 404)

    # the monitor

    def start(self) -> None:
        """Start workers and monitor."""
        super().start()
        Task(self.engine, self._monitor())

    def _monitor(self) -> Steps:
        while self.context.running:
            yield self.context.cpu(self.context.law.sync_seconds(len(self._nodes.objects)))
            yield from self._pass()
            self._judge_zones()
            yield self.engine.sleep(self._params.node_monitor_period_seconds)

    def _pass(self) -> Steps:
        """Stamp nodes with news, then treat the silent and the unhealthy, 8 at a time."""
        now = self.engine.now
        params = self._params
        self._stamp(now)
        silent: dict[str, None] = {}
        for name in self._silent_for(now, params.node_monitor_grace_period_seconds):
            if name not in self._newcomers:
                silent[name] = None
        for name in self._newcomers:
            node = self._nodes.get("", name)
            if node is not None:
                seen = self._seen.get(name)
                start = max(node.creation_seconds, seen.stamp_seconds if seen is not None else 0.0)
                if now > start + params.node_startup_grace_period_seconds:
                    silent[name] = None
        jobs = dict.fromkeys([*silent, *self._unhealthy, *self._retry])
        yield from self._treat_all([(name, name in silent) for name in jobs])

    def _stamp(self, now: float) -> None:
        """Stamp the nodes with news."""
        news, self._news = self._news, []
        newcomers = self._newcomers
        stamped: list[_Seen] = []
        for seen in news:
            seen.has_news = False
            if seen.stamp_seconds < 0.0 or (newcomers and seen.name in newcomers):
                name = seen.name
                node = self._nodes.get("", name)
                if node is None:
                    self._forget(name)
                    continue
                if name not in self._zone_of:
                    self._welcome(node)
                if _has_reported(node):
                    newcomers.pop(name, None)
            seen.stamp_seconds = now
            stamped.append(seen)
        self._batches.append((now, stamped))

    def _silent_for(self, now: float, grace_seconds: float) -> list[str]:
        """Return the nodes whose last stamp is older than that, the oldest first."""
        silent: list[str] = []
        kept: list[tuple[float, list[_Seen]]] = []
        old_count = 0
        for stamp_seconds, batch in self._batches:
            if now <= stamp_seconds + grace_seconds:
                break
            old_count += 1
            left = [seen for seen in batch if seen.stamp_seconds == stamp_seconds]
            if left:
                silent += [seen.name for seen in left]
                kept.append((stamp_seconds, left))
        self._batches[:old_count] = kept
        return silent

    def _welcome(self, node: Node) -> None:
        zone = node.labels.get(ZONE_LABEL, "")
        self._zone_of[node.name] = zone
        if zone not in self._zones:
            self._zones[zone] = _Zone(self._params.node_eviction_rate_per_second)
        if not _has_reported(node):
            self._newcomers[node.name] = None
        self.events.event(node, "Normal", "RegisteredNode", f"Node {node.name} event: Registered"
                          f" Node {node.name} in Controller")  # fmt: skip

    def _treat_all(self, jobs: list[tuple[str, bool]]) -> Steps:
        """Treat (node, silent) pairs in order, at most 8 at a time."""
        if not jobs:
            return
        todo = list(reversed(jobs))

        def worker() -> Steps:
            while todo and self.context.running:
                name, silent = todo.pop()
                yield from self._treat(name, silent=silent)

        workers: list[Event] = [
            self.engine.process(worker()) for _ in range(min(_PARALLEL_COUNT, len(todo)))
        ]
        yield self.engine.all_of(workers)

    def _treat(self, name: str, *, silent: bool) -> Steps:
        """Handle one node that is silent, not ready, or tainted."""
        node = self._nodes.get("", name)
        if node is None:
            return
        observed = node.ready
        current = observed
        if silent and not (observed == "Unknown" and _has_reported(node)):
            if not (yield from self._write_unknown(node)):
                return
            current = "Unknown"
        if observed == "True":
            yield from self._release(node)
        elif observed == "False" or _has_reported(node):
            self._queue_taint(node)
        turned = current != "True" and observed == "True"
        if turned:
            self.events.event(node, "Normal", "NodeNotReady",
                              f"Node {name} status is now: NodeNotReady")  # fmt: skip
        if turned or (name in self._retry and observed != "True"):
            yield from self._mark_pods_not_ready(name)

    def _write_unknown(self, node: Node) -> Steps:
        for attempt in range(_STATUS_TRY_COUNT):
            if attempt:
                yield self.engine.sleep(_STATUS_RETRY_SECONDS)
                fresh = yield self.client.call(Request("get", "nodes", "", node.name))
                if not fresh.ok:
                    continue
                node = fresh.result
            new = node.clone()
            new.ready = "Unknown"
            new.ready_reason = "NodeStatusUnknown"
            new.ready_transition_seconds = self.engine.now
            response = yield self.client.call(
                Request("update", "nodes", "", node.name, subresource="status", api_object=new)
            )
            if response.ok:
                return True
        return False

    def _mark_pods_not_ready(self, node_name: str) -> Steps:
        """PUT Ready=False and one event per pod, one after another."""
        self._retry.pop(node_name, None)
        for pod in self._node_pods.of(node_name):
            if not pod.ready:
                continue
            new = pod.clone()
            new.ready = False
            response = yield self.client.call(
                Request(
                    "update", "pods", pod.namespace, pod.name,
                    subresource="status", api_object=new,
                )
            )  # fmt: skip
            if response.ok:
                self.events.event(pod, "Warning", "NodeNotReady", "Node is not ready")
            elif response.code != 404:
                self._retry[node_name] = None

    # NoExecute taints

    def _release(self, node: Node) -> Steps:
        """Take the NoExecute taints off a node that is ready again."""
        zone = self._zones.get(self._zone_of.get(node.name, ""))
        if zone is not None:
            zone.queue.pop(node.name, None)
        removed = tuple(
            (taint.key, taint.effect)
            for taint in node.taints
            if taint.effect == "NoExecute" and taint.key in {NOT_READY, UNREACHABLE}
        )
        if removed:
            yield from self._swap_taints(node, (), removed)

    def _queue_taint(self, node: Node) -> None:
        key = NOT_READY if node.ready == "False" else UNREACHABLE
        if any(taint.key == key and taint.effect == "NoExecute" for taint in node.taints):
            return
        zone = self._zones.get(self._zone_of.get(node.name, ""))
        if zone is None:
            return
        zone.queue[node.name] = None
        if not self._polling:
            self._polling = True
            self.engine.process(self._taint())

    def _taint(self) -> Steps:
        """Drain the zones' queues at their rates, polling every 100 ms while there is anything."""
        while self.context.running and any(zone.queue for zone in self._zones.values()):
            for zone in list(self._zones.values()):
                while zone.queue and zone.may_taint(self.engine.now):
                    name = next(iter(zone.queue))
                    del zone.queue[name]
                    yield from self._taint_one(name)
            yield self.engine.sleep(_TAINT_POLL_SECONDS)
        self._polling = False

    def _taint_one(self, name: str) -> Steps:
        node = self._nodes.get("", name)
        if node is None or node.ready == "True":
            return
        key, other = (NOT_READY, UNREACHABLE) if node.ready == "False" else (UNREACHABLE, NOT_READY)
        yield from self._swap_taints(
            node, (Taint(key, "", "NoExecute", self.engine.now),), ((other, "NoExecute"),)
        )

    def _judge_zones(self) -> None:
        """Set each zone's rate by the share of its nodes that are not ready."""
        if not self._unhealthy and not self._all_disrupted:
            return
        sizes: dict[str, int] = {}
        for zone_name in self._zone_of.values():
            sizes[zone_name] = sizes.get(zone_name, 0) + 1
        sick: dict[str, int] = {}
        for name in self._unhealthy:
            node = self._nodes.get("", name)
            if node is not None and node.ready != "True" and name in self._zone_of:
                zone_name = self._zone_of[name]
                sick[zone_name] = sick.get(zone_name, 0) + 1
        params = self._params
        states: dict[str, str] = {}
        for zone_name, size in sizes.items():
            count = sick.get(zone_name, 0)
            if count == size:
                states[zone_name] = "FullDisruption"
            elif count > 2 and count / size >= params.unhealthy_zone_threshold_ratio:
                states[zone_name] = "PartialDisruption"
            else:
                states[zone_name] = "Normal"
        everywhere = bool(states) and all(state == "FullDisruption" for state in states.values())
        if self._all_disrupted and not everywhere:
            self._restamp()
        self._all_disrupted = everywhere
        for zone_name, state in states.items():
            zone = self._zones[zone_name]
            zone.state = state
            if everywhere:
                zone.set_rate(0.0)
            elif state == "PartialDisruption":
                large = sizes[zone_name] > params.large_cluster_size_threshold_nodes
                zone.set_rate(params.secondary_node_eviction_rate_per_second if large else 0.0)
            else:
                zone.set_rate(params.node_eviction_rate_per_second)

    def _restamp(self) -> None:
        """Count all nodes as heard of now."""
        now = self.engine.now
        everybody = [
            seen
            for stamp_seconds, batch in self._batches
            for seen in batch
            if seen.stamp_seconds == stamp_seconds
        ]
        for seen in everybody:
            seen.stamp_seconds = now
        self._batches = [(now, everybody)]


class _LeaseListener(Listener):
    """Hears of the heartbeats."""

    def __init__(self, controller: NodeLifecycleController) -> None:
        self._controller = controller

    def changed(self, kind: str, new: APIObject, old: APIObject | None) -> None:
        """A node is alive."""
        if kind != "DELETED" and new.namespace == "kube-node-lease":
            self._controller.note_news(new.name)


def _has_reported(node: Node) -> bool:
    return node.ready_transition_seconds > NEVER
