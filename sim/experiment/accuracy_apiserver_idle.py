"""Predictions for idle_heartbeats.csv: N nodes at rest, controllers and scheduler watching."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import Lease, Node
from sim.components.ports import Request, Watcher, WatchEvent
from sim.costs.profile import Profile
from sim.experiment.accuracy_apiserver_bench import CpuMeter, Machine, Prediction

_LEASE_PERIOD_SECONDS = 10.0
_LEASE_JITTER_RATIO = 0.04
_STATUS_PERIOD_SECONDS = 300.0
_NODE_BYTES = 6000
_DURATION_SECONDS = 25.0
"""**Source:** groundtruth/README.md, simulated kubelets and idle_heartbeats.csv."""
_DISCOVERY_PER_SECOND = 9.0 / 25.0
"""GETs of /api, /apis and /openapi by the controller manager. **Source:** idle_requests.csv."""
_NODE_GROUPS = ("system:nodes", "system:authenticated")
_MASTERS = ("system:masters",)


class _Caller:
    """Stands where a client stands; counts what comes back."""

    def __init__(self, machine: Machine, user: str, groups: tuple[str, ...]) -> None:
        self.machine = machine
        self.user = self.fleet_user = user
        self.groups = groups
        self.lease_seconds: list[float] = []
        self.count = 0

    def send(self, request: Request) -> None:
        """Spend the client's CPU, then send."""
        request.client = self
        request.submitted_seconds = self.machine.engine.now
        law = self.machine.load_law
        self.machine.run_client(0.5 * law.call_seconds, self.machine.endpoint.send, request)

    def receive(self, request: Request) -> None:
        """Take a response."""
        machine = self.machine
        assert request.ok, request.code
        if machine.measuring:
            self.count += 1
            if request.resource == "leases":
                self.lease_seconds.append(request.execution_seconds + request.queue_wait_seconds)
        machine.run_client(0.5 * machine.load_law.call_seconds, self._decoded, request)

    def _decoded(self, request: Request) -> None:
        if request.then is not None:
            request.then(request)


class _Nodes:
    """The heartbeats of N kubelets, each on its own connection."""

    def __init__(self, machine: Machine, count: int) -> None:
        self.machine = machine
        self.draw = machine.engine.stream("phase")
        self.caller = _Caller(machine, "system:node:any", _NODE_GROUPS)
        objects: list[APIObject] = []
        for index in range(count):
            objects.append(Lease(name=f"n{index}", namespace="kube-node-lease"))
            objects.append(Node(name=f"n{index}", size_bytes=_NODE_BYTES))
        machine.preload(objects)
        fanout = machine.server.fanout
        controllers = machine.host.process("kube-controller-manager")
        scheduler = machine.host.process("kube-scheduler")
        watched = [("leases", controllers), ("nodes", controllers), ("nodes", scheduler)]
        for resource, process in watched:
            self._watch(Watcher(resource, _forget), process)
        for index in range(count):
            self._watch(Watcher("nodes", _forget, name=f"n{index}"), machine.client_cpu)
        fanout.cache("pods")
        engine = machine.engine
        for index in range(count):
            lease: Any = objects[2 * index]
            engine.call_later(self.draw.uniform() * _LEASE_PERIOD_SECONDS, self._renew, lease)
            phase = self.draw.uniform() * _STATUS_PERIOD_SECONDS
            engine.call_later(phase, self._status, f"n{index}")

    def _watch(self, watcher: Watcher, process: Any) -> None:
        fanout = self.machine.server.fanout
        watcher.process = process
        fanout.cache(watcher.resource).add(watcher)
        fanout.joined(watcher)

    def _renew(self, held: Lease) -> None:
        engine = self.machine.engine
        new = held.clone()
        new.renew_seconds = engine.now
        period = _LEASE_PERIOD_SECONDS * (1.0 + _LEASE_JITTER_RATIO * self.draw.uniform())

        def renewed(request: Request) -> None:
            engine.call_later(period, self._renew, request.result)

        self.caller.send(
            Request("update", "leases", new.namespace, new.name, api_object=new, then=renewed)
        )

    def _status(self, name: str) -> None:
        engine = self.machine.engine

        def beat(current: Any) -> APIObject:
            new: Node = current.clone()
            new.heartbeat_seconds = engine.now
            return new

        def got(_: Request) -> None:
            self.caller.send(Request("patch", "nodes", "", name, subresource="status", mutate=beat))

        self.caller.send(Request("get", "nodes", "", name, list_mode="cache", then=got))
        engine.call_later(_STATUS_PERIOD_SECONDS, self._status, name)


def _forget(_: list[WatchEvent]) -> None:
    return


def predict_idle(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """N nodes at rest (idle_heartbeats.csv)."""
    machine = Machine(profile, seed)
    engine = machine.engine
    nodes = _Nodes(machine, int(row["nodes"]))
    discovery = _Caller(machine, "system:kube-controller-manager", _MASTERS)

    def discover(_: None) -> None:
        discovery.send(Request("get", "nodes", "", "n0", list_mode="cache"))
        engine.call_later(1.0 / _DISCOVERY_PER_SECOND, discover)

    engine.call_later(0.0, discover)
    engine.run(_LEASE_PERIOD_SECONDS)
    machine.measuring = True
    meter = CpuMeter(machine)
    entries = machine.etcd.raft.entry_count
    engine.run(_LEASE_PERIOD_SECONDS + _DURATION_SECONDS)
    machine.check()
    server, etcd, _ = meter.used_seconds()
    leases = nodes.caller.lease_seconds
    return {
        "apiserver_requests_per_s": (nodes.caller.count + discovery.count) / _DURATION_SECONDS,
        "lease_puts_per_s": len(leases) / _DURATION_SECONDS,
        "etcd_puts_per_s": (machine.etcd.raft.entry_count - entries) / _DURATION_SECONDS,
        "apiserver_cores": server / _DURATION_SECONDS,
        "etcd_cores": etcd / _DURATION_SECONDS,
        "lease_put_mean_ms": sum(leases) / max(1, len(leases)) * 1e3,
    }
