"""Predictions for the rows of `groundtruth/apiserver_*.csv` and `idle_heartbeats.csv`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sim.base.api_object import APIObject
from sim.base.objects import EventRecord, Generic, Lease, Pod
from sim.base.pod_template import PodTemplate
from sim.components.ports import Request
from sim.costs.profile import Profile
from sim.experiment.accuracy import Predictor, row_by_row
from sim.experiment.accuracy_apiserver_bench import (
    CpuMeter,
    LoadClient,
    LoadClientLaw,
    Machine,
    Prediction,
    quantiles_ms,
)
from sim.experiment.accuracy_apiserver_fairness import predict_apf, predict_apf_server
from sim.experiment.accuracy_apiserver_idle import predict_idle
from sim.experiment.accuracy_apiserver_lists import predict_list, predict_watch_fanout

_MASTERS = ("system:masters",)
_POD_BYTES = 1600
"""A pod with one container, defaulted, with managed fields (assumed; LISTs of bigger ones)."""
_WARM_UP_SECONDS = 0.3
_MEASURED_SECONDS = 2.5
_OPEN_REPLICATION_COUNT = 10
"""At 70 % of saturation the median of one run scatters by 50 %, that of ten pooled by 15 %."""
_CLOSED_REPLICATION_COUNT = 3
"""A window of 3 s holds few garbage collections; the prediction is that of several runs."""
_REQUEST_COUNT_MAX = 4000
"""Bound on the simulated window: enough for a p99."""
_SHARED_POD_COUNT = 200
_TEMPLATE = PodTemplate(manifest={}, namespace="load", size_bytes=_POD_BYTES)


def _pod(index: int, node: str = "") -> Pod:
    return Pod(
        name=f"p{index}",
        namespace="load",
        template=_TEMPLATE,
        node_name=node,
        size_bytes=_POD_BYTES,
    )


def _bind(current: Any) -> APIObject:
    new: Pod = current.clone()
    new.node_name = "node"
    return new


def _status(current: Any) -> APIObject:
    new: Pod = current.clone()
    new.restart_count += 1
    return new


class _Operation:
    """How one measured operation makes its requests."""

    def __init__(self, machine: Machine, op: str, object_bytes: int) -> None:
        self.machine = machine
        self.op = op
        self.object_bytes = object_bytes or 1024
        self._count = 0
        self._draw = machine.engine.stream("names")
        self._leases: dict[LoadClient, Lease] = {}

    def preload(self, pool_count: int) -> None:
        """Make what the operation needs to find."""
        op = self.op
        if op in {"get_pod", "get_pod_rv0", "patch_pod_status", "get"}:
            self.machine.preload(_pod(index, "node") for index in range(_SHARED_POD_COUNT))
        elif op == "bind_pod":
            self.machine.preload(_pod(index) for index in range(pool_count))
        elif op == "delete_pod":
            self.machine.preload(_pod(index, "node") for index in range(pool_count))
        elif op == "delete_configmap":
            self.machine.preload(self._config_map(index) for index in range(pool_count))

    def _config_map(self, index: int) -> Generic:
        return Generic(name=f"c{index}", namespace="load", size_bytes=self.object_bytes)

    def client_seconds(self, law: LoadClientLaw) -> float:
        """Return the load generator's CPU per call."""
        demand = law.call_seconds
        if not self.op.startswith("get"):
            demand += law.write_seconds
            if "pod" in self.op:
                demand += law.pod_seconds
            if self.op.startswith("patch"):
                demand += law.patch_seconds
        return demand

    def make(self, client: LoadClient) -> Request:
        """Return the client's next request."""
        index = self._count
        self._count += 1
        op = self.op
        if op in {"get_pod", "get"}:
            return Request("get", "pods", "load", self._random_name())
        if op == "get_pod_rv0":
            return Request("get", "pods", "load", self._random_name(), list_mode="cache")
        if op in {"create_configmap", "create"}:
            return self._create(self._config_map(index))
        if op == "create_pod":
            return self._create(_pod(index))
        if op == "create_event":
            name = f"e{index}"
            return self._create(EventRecord(name=name, namespace="load", size_bytes=500))
        if op == "delete_configmap":
            return Request("delete", "configmaps", "load", f"c{index}")
        if op == "delete_pod":
            return Request("delete", "pods", "load", f"p{index}", grace_seconds=0.0)
        if op == "bind_pod":
            return Request(
                "patch", "pods", "load", f"p{index}", subresource="binding", mutate=_bind
            )
        if op == "patch_pod_status":
            name = self._random_name()
            return Request("patch", "pods", "load", name, subresource="status", mutate=_status)
        assert op == "update_lease", op
        return self._renew(client)

    def _random_name(self) -> str:
        return f"p{self._draw.integer(_SHARED_POD_COUNT)}"

    def _create(self, new: APIObject) -> Request:
        return Request("create", new.resource, new.namespace, new.name, api_object=new)

    def _renew(self, client: LoadClient) -> Request:
        held = self._leases.get(client)
        if held is None:
            held = Lease(name=f"l{len(self._leases)}", namespace="load", size_bytes=400)
            self.machine.preload([held])
        new = held.clone()
        new.renew_seconds = self.machine.engine.now
        self._leases[client] = new
        return Request("update", "leases", "load", new.name, api_object=new)


_Usage = tuple[list[float], tuple[float, float, float], float]
"""Latencies, CPU seconds of apiserver, etcd and client, length of the window in seconds."""


def _measure(machine: Machine, clients: Sequence[LoadClient], window_seconds: float) -> _Usage:
    engine = machine.engine
    engine.run(_WARM_UP_SECONDS)
    machine.measuring = True
    meter = CpuMeter(machine)
    engine.run(_WARM_UP_SECONDS + window_seconds)
    machine.check()
    latencies = [value for client in clients for value in client.latencies]
    errors = sum(client.error_count for client in clients)
    assert errors == 0, f"{errors} requests failed"
    return latencies, meter.used_seconds(), window_seconds


def _prediction(runs: Sequence[_Usage]) -> Prediction:
    """Return the scored columns over all replications."""
    latencies = [value for run in runs for value in run[0]]
    count = max(1, len(latencies))
    result = quantiles_ms(latencies)
    result["throughput_per_s"] = len(latencies) / sum(run[2] for run in runs)
    for index, process in enumerate(("apiserver", "etcd", "client")):
        cpu_seconds = sum(run[1][index] for run in runs)
        result[f"{process}_cpu_ms_per_req"] = cpu_seconds / count * 1e3
    return result


def predict_verbs_closed(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Closed-loop clients of one verb (apiserver_verbs_closed.csv)."""
    runs = range(_CLOSED_REPLICATION_COUNT)
    return _prediction([_run_closed(row, profile, seed, index) for index in runs])


def _run_closed(
    row: Mapping[str, str], profile: Profile, seed: int, replication_index: int
) -> _Usage:
    machine = Machine(profile, seed, replication_index=replication_index)
    operation = _Operation(machine, row["op"], int(row.get("object_bytes") or 0))
    operation.preload(12_000)
    clients = _load_clients(machine, operation, int(row["clients"]))
    for client in clients:
        machine.engine.call_later(0.0, client.begin)
    return _measure(machine, clients, _MEASURED_SECONDS)


def _load_clients(machine: Machine, operation: _Operation, count: int) -> list[LoadClient]:
    demand = operation.client_seconds(machine.load_law)
    return [
        LoadClient(machine, f"load-{index}", _MASTERS, demand, operation.make)
        for index in range(count)
    ]


def predict_verbs_open(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Poisson requests of one verb (apiserver_verbs_open.csv)."""
    runs = range(_OPEN_REPLICATION_COUNT)
    return _prediction([_run_open(row, profile, seed, index) for index in runs])


def _run_open(
    row: Mapping[str, str], profile: Profile, seed: int, replication_index: int
) -> _Usage:
    machine = Machine(profile, seed, replication_index=replication_index)
    operation = _Operation(machine, row["op"], 1024)
    rate = float(row["rate_per_s"])
    window_seconds = max(3.0, min(20.0, 1000.0 / rate))
    expected = rate * (_WARM_UP_SECONDS + window_seconds)
    operation.preload(int(expected + 6.0 * expected**0.5) + 1)  # six standard deviations of room
    engine = machine.engine
    pool = _load_clients(machine, operation, 512)
    arrivals = engine.stream("arrivals")
    lateness = engine.stream("timer")
    turn = [0]

    def call(intended_seconds: float) -> None:
        turn[0] += 1
        pool[turn[0] % len(pool)].open_call(intended_seconds)

    def arrive(_: None) -> None:
        busy = machine.client_cpu.running_count > 0
        late = 0.0 if busy else lateness.uniform() * machine.load_law.timer_seconds
        engine.call_later(late + machine.load_law.open_seconds, call, engine.now)
        engine.call_later(arrivals.exponential(1.0 / rate), arrive)

    for client in pool:
        client.closed = False
    engine.call_later(0.0, arrive)
    return _measure(machine, pool, window_seconds)


PREDICTORS: dict[str, Predictor] = {
    "apiserver_verbs_closed.csv": row_by_row(predict_verbs_closed),
    "apiserver_verbs_open.csv": row_by_row(predict_verbs_open),
    "apiserver_list.csv": row_by_row(predict_list),
    "apiserver_watch_fanout.csv": row_by_row(predict_watch_fanout),
    "apiserver_apf.csv": row_by_row(predict_apf),
    "apiserver_apf_server_metrics.csv": row_by_row(predict_apf_server),
    "idle_heartbeats.csv": row_by_row(predict_idle),
}
"""By file name: one prediction of the scored columns per row."""
