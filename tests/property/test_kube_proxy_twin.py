"""The fleet's arrays against one readable kube-proxy per node, under random changes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.base.api_object import NEVER
from sim.base.objects import Endpoint, EndpointSlice, Service, ServicePort
from sim.components.facts import ALL
from sim.components.kube_proxy_fleet import KubeProxyFleet, KubeProxyFleetParams
from sim.components.kube_proxy_reference import ReferenceKubeProxy
from sim.components.node_cpu import NodeCPUs
from sim.components.ports import FleetWatcher, WatchEvent
from sim.costs.kube_proxy import KubeProxyParams
from sim.engine.engine import Engine
from sim.engine.tables import Recorder

EFFORT = max(1, settings().max_examples // 60)
NODE_COUNT = 50
ROOM_COUNT = 90
"""Delivery times are drawn for that many nodes, so that some may join."""
LAW = KubeProxyParams()
SPREAD_SECONDS = 0.4
REPLICA_LAG_SECONDS = 0.7
QUIET_SECONDS = SPREAD_SECONDS + REPLICA_LAG_SECONDS + 0.1


class Endless:
    """An endpoint that only takes the watches: the test delivers."""

    def __init__(self) -> None:
        self.watchers: list[FleetWatcher] = []

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        self.watchers.append(watcher)


@dataclass
class World:
    """The API's objects, and the events that their changes are."""

    services: dict[int, Service] = field(default_factory=dict)
    slices: dict[tuple[int, int], EndpointSlice] = field(default_factory=dict)
    revision: int = 0
    address: int = 0

    def event(self, kind: str, new: Any, old: Any, time: float) -> WatchEvent:
        self.revision += 1
        return WatchEvent(kind, new.resource, new.key, new, old, self.revision, time)

    def put_service(self, index: int, shape: int, time: float) -> WatchEvent:
        kind, affinity, headless, ports = [
            ("ClusterIP", "None", False, 1), ("ClusterIP", "ClientIP", False, 1),
            ("NodePort", "None", False, 2), ("LoadBalancer", "ClientIP", False, 3),
            ("ClusterIP", "None", True, 1), ("ExternalName", "None", False, 0),
        ][shape]  # fmt: skip
        old = self.services.get(index)
        new = Service(
            name=f"s{index}", namespace="ns", type=kind, session_affinity=affinity,
            headless=headless, cluster_ip="10.9.0.1", creation_seconds=time,
            ports=tuple(ServicePort(f"p{port}", port, "80") for port in range(ports)),
        )  # fmt: skip
        self.services[index] = new
        return self.event("ADDED" if old is None else "MODIFIED", new, old, time)

    def drop_service(self, index: int, time: float) -> WatchEvent | None:
        old = self.services.pop(index, None)
        return None if old is None else self.event("DELETED", old, old, time)

    def put_slice(self, key: tuple[int, int], ready: int, fresh: bool, time: float) -> WatchEvent:
        old = self.slices.get(key)
        kept = [] if old is None or fresh else list(old.endpoints[: max(0, ready - 1)])
        ends = [*kept]
        while len(ends) < ready:
            self.address += 1
            name = f"10.{self.address >> 8}.{self.address & 255}.1"
            ends.append(Endpoint(name, "", True, True, False, self.address, ""))
        new = EndpointSlice(
            name=f"s{key[0]}-{key[1]}", namespace="ns", service_name=f"s{key[0]}",
            endpoints=tuple(ends), trigger_seconds=time - 0.25,
        )  # fmt: skip
        self.slices[key] = new
        return self.event("ADDED" if old is None else "MODIFIED", new, old, time)

    def unready(self, key: tuple[int, int], time: float) -> WatchEvent | None:
        old = self.slices.get(key)
        if old is None or not old.endpoints:
            return None
        new = old.clone()
        new.endpoints = (old.endpoints[0]._replace(ready=False), *old.endpoints[1:])
        new.trigger_seconds = NEVER
        self.slices[key] = new
        return self.event("MODIFIED", new, old, time)

    def drop_slice(self, key: tuple[int, int], time: float) -> WatchEvent | None:
        old = self.slices.pop(key, None)
        return None if old is None else self.event("DELETED", old, old, time)

    def objects(self) -> list[Service | EndpointSlice]:
        return [*self.services.values(), *self.slices.values()]


STEP = st.tuples(
    st.sampled_from([0.0, 0.003, 0.02, 0.1, 0.5, 0.9, 1.3, 4.0, 31.0]),
    st.lists(
        st.tuples(
            st.sampled_from(["slice", "slice", "slice", "unready", "service", "-slice",
                             "-service"]),
            st.integers(0, 3), st.integers(0, 1), st.integers(0, 5),
        ),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
NODE_STEP = st.tuples(
    st.sampled_from([2.0, 5.0, 40.0]),
    st.sampled_from(["die", "return", "join", "fail"]),
    st.integers(0, NODE_COUNT - 1),
)
MODES = st.sampled_from(
    [("iptables", "nf_tables"), ("iptables", "legacy"), ("nftables", "nf_tables"),
     ("ipvs", "nf_tables")]
)  # fmt: skip


class Run:
    """One random history, told to the fleet and to the twins."""

    def __init__(self, params: KubeProxyFleetParams, base_ready: int, seed: int,
                 replicas: int, *, crowded: bool = False) -> None:  # fmt: skip
        self.params = params
        self.replicas = replicas
        self.rng = np.random.default_rng(seed)
        self.world = World()
        if base_ready:
            for index in range(10):
                self.world.put_service(index, 0, 0.0)
                self.world.put_slice((index, 9), base_ready, True, 0.0)
        self.cpus: NodeCPUs | None = None
        if crowded:  # other work wants up to twice the cores of the node
            self.cpus = NodeCPUs(0.35, 1.0)
            self.cpus.reserve(ROOM_COUNT)
            self.cpus.millicores[:] = 2000.0
            wanted = np.random.default_rng(seed + 1).integers(0, 4000, len(self.cpus.millicores))
            self.cpus.wanted_millicores[:] = wanted
        self.fleet_engine, self.twin_engine = Engine(1), Engine(1)
        self.recorder = Recorder(ALL)
        self.fleet = KubeProxyFleet(
            self.fleet_engine,
            self.recorder,
            Endless(),
            params,
            LAW,
            NODE_COUNT,  # type: ignore[arg-type]
            cpus=self.cpus,
        )
        self.fleet.preload(self.world.objects())
        self.fleet.start()
        self.fleet_syncs: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self.fleet.runners.on_close = self._closed
        self.lives: dict[int, list[tuple[float, ReferenceKubeProxy]]] = {}
        self.twins: dict[int, ReferenceKubeProxy] = {}
        for index in range(NODE_COUNT):
            self.twins[index] = ReferenceKubeProxy(
                self.twin_engine, params, LAW, stretch=self._stretch(index)
            )
            self._preload(self.twins[index])
            self.lives[index] = [(0.0, self.twins[index])]
        self.deaths: dict[int, list[float]] = defaultdict(list)
        self.node_count = NODE_COUNT
        self.time = 1.0
        self.last = np.zeros(ROOM_COUNT)
        self.outbox: list[tuple[float, np.ndarray, list[WatchEvent]]] = []

    def _stretch(self, index: int) -> Callable[[], float]:
        """How much longer a node's kube-proxy computes, from the rule of processor sharing."""
        if self.cpus is None:
            return lambda: 1.0
        wanted = float(self.cpus.wanted_millicores[index])
        return lambda: max(1.0, (wanted + 1000.0) / 2000.0)

    def _closed(self, nodes: Any, start: np.ndarray, done: np.ndarray) -> None:
        which = np.arange(self.fleet.runners.capacity)[nodes]
        for node, begin, end in zip(which.tolist(), start.tolist(), done.tolist(), strict=True):
            self.fleet_syncs[node].append((begin, end))

    def _preload(self, twin: ReferenceKubeProxy) -> None:
        for item in self.world.objects():
            if isinstance(item, Service):
                twin.preload(item, None)
            else:
                twin.preload(None, item)

    def change(self, gap: float, what: Sequence[tuple[str, int, int, int]]) -> None:
        self.time += gap
        time, world = self.time, self.world
        events = []
        for kind, service, part, shape in what:
            key = (service, part)
            event = {
                "slice": lambda k=key, n=shape: world.put_slice(k, n, n % 2 == 0, time),
                "unready": lambda k=key: world.unready(k, time),
                "service": lambda s=service, n=shape: world.put_service(s, n, time),
                "-slice": lambda k=key: world.drop_slice(k, time),
                "-service": lambda s=service: world.drop_service(s, time),
            }[kind]()
            if event is not None:
                events.append(event)
        for resource in ("services", "endpointslices"):
            batch = [event for event in events if event.resource == resource]
            if batch:
                self._send(batch)

    def _send(self, batch: list[WatchEvent]) -> None:
        offsets = self.rng.random(ROOM_COUNT) * SPREAD_SECONDS
        for replica in range(self.replicas):
            times = np.full(ROOM_COUNT, np.inf)
            for node in self.twins:
                if node % self.replicas == replica:
                    times[node] = self.time + replica * REPLICA_LAG_SECONDS + offsets[node]
            if np.isfinite(times).any():
                sent = self.time + replica * REPLICA_LAG_SECONDS
                self.outbox.append((sent, times, batch))

    def flush(self) -> None:
        """Put what was sent into both worlds, in the order in which the sending began."""
        for first, times, batch in sorted(self.outbox, key=lambda entry: entry[0]):

            def deliver(
                _: None, times: np.ndarray = times, batch: list[WatchEvent] = batch
            ) -> None:
                self.fleet._deliver(batch, times[: self.fleet.runners.capacity].copy())

            self.fleet_engine.call_at(first, deliver)
            reached = np.isfinite(times)
            self.last[reached] = np.maximum(self.last, times)[reached]
            for node, twin in self.twins.items():
                if reached[node]:

                    def tell(_: None, twin: ReferenceKubeProxy = twin,
                             batch: list[WatchEvent] = batch) -> None:  # fmt: skip
                        for event in batch:
                            twin.deliver(event)

                    self.twin_engine.call_at(float(self.last[node]), tell)
        self.outbox.clear()
        self.fleet_engine.run(self.time)
        self.twin_engine.run(self.time)

    def node(self, gap: float, what: str, index: int) -> None:
        """Change a node while nothing is on its way to it."""
        self.time += max(gap, QUIET_SECONDS)
        self.flush()
        self.time = max(self.time, float(self.last.max()) + 0.01)
        self.flush()
        alive = index in self.twins
        if what == "fail" and alive:
            # A sync that has started already is not touched: only idle nodes are told to fail.
            twin = self.twins[index]
            if not twin._running and not twin._requested and self._settled(index):
                self.fleet.fail_next(index)
                twin.fails_next = True
        elif what == "die" and alive:
            self.fleet.disconnect(index)
            self.deaths[index].append(self.time)
            del self.twins[index]
        elif what == "return" and not alive:
            self.fleet.reconnect(index)
            self._born(index)
        elif what == "join" and self.node_count < ROOM_COUNT:
            assert self.fleet.add_node() == self.node_count
            self.lives[self.node_count] = []
            self._born(self.node_count)
            self.node_count += 1

    def _settled(self, index: int) -> bool:
        return bool(self.fleet.runners.start[index] > self.time)

    def _born(self, index: int) -> None:
        twin = ReferenceKubeProxy(
            self.twin_engine, self.params, LAW, rules_installed=False,
            stretch=self._stretch(index),
        )  # fmt: skip
        self._preload(twin)
        self.twins[index] = twin
        self.lives[index].append((self.time, twin))

    def finish(self) -> float:
        """Run to the end; return the time up to which everything is decided."""
        timer = self.fleet.runners.timer_seconds
        end = self.time + 60.0 + 2.0 * timer / 30.0
        self.flush()
        self.time = end
        self.flush()
        return end - 10.0 - timer / 30.0


def _compare_syncs(run: Run, horizon: float) -> int:
    count = 0
    for node, lives in run.lives.items():
        expected = [
            (sync.start_seconds, sync.completion_seconds)
            for born, twin in lives
            for sync in twin.syncs
            if not any(born <= death < sync.completion_seconds for death in run.deaths[node])
            and sync.start_seconds < horizon
        ]
        got = [
            (start, done)
            for start, done in run.fleet_syncs[node]
            if start < horizon and not any(start <= death < done for death in run.deaths[node])
        ]
        np.testing.assert_allclose(
            np.array(got).reshape(-1, 2), np.array(expected).reshape(-1, 2), rtol=0, atol=1e-9,
            err_msg=f"node {node}",
        )  # fmt: skip
        count += len(expected)
    return count


def _compare_latencies(run: Run) -> int:
    """Median, 99 % and last node of every measured change, in the order of the changes."""
    done: dict[int, list[float]] = defaultdict(list)
    trigger: dict[int, float] = {}
    for twin in run.twins.values():
        for change in twin.programmed:
            done[change.revision].append(change.completion_seconds)
            trigger[change.revision] = change.trigger_seconds
    rows = run.recorder["network_programming"]
    expected = []
    for revision in sorted(done):
        times = sorted(done[revision])
        assert len(times) == NODE_COUNT
        if trigger[revision] >= 0.0:
            picked = [times[24], times[49], times[49]]  # nearest rank of 50
            expected.append([trigger[revision], *(t - trigger[revision] for t in picked)])
    columns = ("time_seconds", "programmed_seconds_p50", "programmed_seconds_p99",
               "programmed_seconds_max")  # fmt: skip
    got = np.array([rows.column(name) for name in columns]).T
    order = np.lexsort(got.T[::-1])
    wanted = np.array(expected).reshape(-1, 4)
    wanted = wanted[np.lexsort(wanted.T[::-1])]
    np.testing.assert_allclose(got[order], wanted, rtol=0, atol=1e-9)
    return len(expected)


@settings(max_examples=100 * EFFORT)
@given(
    mode=MODES,
    period=st.sampled_from([0.0, 1.0, 3.0]),
    full_period=st.sampled_from([20.0, 3600.0]),
    base_ready=st.sampled_from([0, 3, 99, 110]),
    seed=st.integers(0, 2**31),
    replicas=st.sampled_from([1, 1, 2]),
    crowded=st.booleans(),
    steps=st.lists(STEP, min_size=6, max_size=30),
)
def test_every_sync_and_latency_is_that_of_the_twin(
    mode: tuple[str, str], period: float, full_period: float, base_ready: int, seed: int,
    replicas: int, crowded: bool, steps: list[Any],
) -> None:  # fmt: skip
    params = KubeProxyFleetParams(
        mode=mode[0], iptables_backend=mode[1], min_sync_period_seconds=period,  # type: ignore[arg-type]
        full_sync_period_seconds=full_period, jitter=False,
    )  # fmt: skip
    run = Run(params, base_ready, seed, replicas, crowded=crowded)
    for gap, what in steps:
        run.change(gap, what)
    horizon = run.finish()
    _compare_syncs(run, horizon)
    _compare_latencies(run)
    assert run.fleet.check() == []
    assert run.fleet.published_count == run.fleet.change_count


@settings(max_examples=100 * EFFORT)
@given(
    mode=MODES,
    base_ready=st.sampled_from([0, 3, 99, 110]),
    seed=st.integers(0, 2**31),
    replicas=st.sampled_from([1, 2]),
    crowded=st.booleans(),
    steps=st.lists(st.one_of(STEP, STEP, NODE_STEP), min_size=6, max_size=30),
)
def test_nodes_that_die_return_join_or_fail_are_those_of_the_twin(
    mode: tuple[str, str], base_ready: int, seed: int, replicas: int, crowded: bool,
    steps: list[Any],
) -> None:  # fmt: skip
    params = KubeProxyFleetParams(
        mode=mode[0],
        iptables_backend=mode[1],
        full_sync_period_seconds=300.0,
        jitter=False,  # type: ignore[arg-type]
    )
    run = Run(params, base_ready, seed, replicas, crowded=crowded)
    for step in steps:
        if len(step) == 2:
            run.change(*step)
        else:
            run.node(*step)
    horizon = run.finish()
    _compare_syncs(run, horizon)
    assert run.fleet.check() == []
    assert run.fleet.published_count == run.fleet.change_count


@pytest.mark.parametrize("mode", ["iptables", "nftables", "ipvs"])
def test_the_comparison_sees_a_wrong_runner(mode: str) -> None:
    """The twins told another min sync period (or law) than the fleet must not agree with it."""
    params = KubeProxyFleetParams(mode=mode, jitter=False)  # type: ignore[arg-type]
    run = Run(params, 3, 7, 1)
    other = replace(LAW, speed_ratio=1.01)
    for twin in run.twins.values():
        twin._law = other
    for index in range(6):
        run.change(0.3, [("slice", index % 3, 0, 3)])
    with pytest.raises(AssertionError):
        _compare_syncs(run, run.finish())


def test_syncs_are_known_to_run_while_the_twin_runs() -> None:
    """What kubelets see of their node's kube-proxy is what the twin does at that moment."""
    run = Run(KubeProxyFleetParams(jitter=False), 110, 11, 1, crowded=True)
    looks = 0
    for _ in range(40):
        run.change(0.6, [("slice", 0, 0, 4)])
        run.flush()
        run.time = float(run.last.max()) + 0.03
        run.flush()
        run.fleet._flush(None)
        assert run.cpus is not None
        for index, twin in run.twins.items():
            if run.fleet.runners.start[index] > run.time:  # decided, one way or the other
                assert run.cpus.is_syncing(index, run.time) == twin._running
                looks += twin._running
    assert looks > 100
