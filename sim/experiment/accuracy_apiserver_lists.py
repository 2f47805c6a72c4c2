"""Predictions for apiserver_list.csv and apiserver_watch_fanout.csv."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sim.base.api_object import APIObject
from sim.base.objects import EndpointSlice, Generic, Lease, Node, Pod
from sim.base.pod_template import PodTemplate
from sim.components.apiserver import APIServerParams
from sim.components.ports import Request, Watcher, WatchEvent
from sim.costs.profile import Profile
from sim.experiment.accuracy_apiserver_bench import (
    CpuMeter,
    LoadClient,
    Machine,
    Prediction,
    quantiles_ms,
)

_MASTERS = ("system:masters",)
_BYTES_PER_POD = {"protobuf": 3062, "json": 4782}
"""**Source:** apiserver_list.csv, body_bytes_uncompressed per item."""
_PAGE_COUNT = 500
_LIST_COUNT = 150
_WATCHED_OBJECT_COUNT = 10
"""**Source:** groundtruth/README.md: 10 objects updated in turn."""
_FANOUT_WINDOW_SECONDS = 2.4
"""**Source:** apiserver_watch_fanout.csv, duration_s: what collections a window holds matters."""
_FANOUT_REPLICATION_COUNT = 15
"""The prediction is the median of several windows: one p99 is that of one or two updates."""


class _Lister(LoadClient):
    """Lists again and again; a paged list is as many requests as it has pages."""

    page_count = 1
    pages_left = 0
    first_seconds = 0.0

    def _received(self, request: Request) -> None:
        if self.pages_left == self.page_count:
            self.first_seconds = request.submitted_seconds
        self.pages_left -= 1
        if self.pages_left > 0:
            self._started_seconds = self.machine.engine.now
            self._send(None)
            return
        self.pages_left = self.page_count
        request.submitted_seconds = self.first_seconds
        super()._received(request)


def predict_list(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Closed-loop LISTs of pods (apiserver_list.csv)."""
    compress = row["gzip"].lower() == "true"
    params = APIServerParams(network_seconds=0.0, api_response_compression=compress)
    machine = Machine(profile, seed, params)
    engine = machine.engine
    items = int(row["items"])
    size = _BYTES_PER_POD[row["encoding"]]
    template = PodTemplate(manifest={}, namespace="load", size_bytes=size)
    machine.preload(
        Pod(name=f"p{index}", namespace="load", template=template, node_name="n", size_bytes=size)
        for index in range(items)
    )
    paged = row["mode"].startswith("paged")
    page = int(row["mode"][5:]) if paged else 0
    mode = "cache" if row["mode"] == "rv0" else "consistent"

    def make(client: LoadClient) -> Request:
        assert isinstance(client, _Lister)
        first = client.pages_left == client.page_count
        return Request(
            "list",
            "pods",
            "load",
            list_mode=mode if first else "cache",
            limit_count=page,
        )

    law = machine.load_law
    clients = []
    for index in range(int(row["clients"])):
        client = _Lister(machine, f"load-{index}", _MASTERS, law.call_seconds, make)
        client.page_count = client.pages_left = max(1, -(-items // page)) if paged else 1
        client.byte_seconds = law.gunzip_byte_seconds if compress else law.byte_seconds
        clients.append(client)
        engine.call_later(0.0, client.begin)
    body = items * size
    each = body * 15e-9 + 2e-3
    engine.run(2.0 * each)
    machine.measuring = True
    meter = CpuMeter(machine)
    window = max(2.0, _LIST_COUNT * each / len(clients))
    engine.run(engine.now + window)
    machine.check()
    latencies = [value for client in clients for value in client.latencies]
    count = max(1, len(latencies))
    result = quantiles_ms(latencies)
    server, etcd, load = meter.used_seconds()
    result["lists_per_s"] = len(latencies) / window
    result["apiserver_cpu_ms_per_list"] = server / count * 1e3
    result["etcd_cpu_ms_per_list"] = etcd / count * 1e3
    result["client_cpu_ms_per_list"] = load / count * 1e3
    return result


class _Watchers:
    """The load generator's side of W watches, one connection each."""

    def __init__(self, machine: Machine, resource: str, count: int) -> None:
        self.machine = machine
        self.sent_seconds: dict[int, float] = {}
        self.latencies: list[float] = []
        self._inbox: list[tuple[int, float]] = []
        for _ in range(count):
            watcher = Watcher(resource, self._frame, namespace="load")
            machine.server.fanout.cache(resource).add(watcher)
            machine.server.fanout.joined(watcher)

    def _frame(self, events: list[WatchEvent]) -> None:
        """Take what one write of the server brought on one connection."""
        law = self.machine.load_law
        demand = law.frame_wake_seconds
        for event in events:
            demand += law.frame_seconds + law.frame_byte_seconds * event.new.size_bytes
        self.machine.client_queue.submit(demand, self._read, events)

    def _read(self, events: list[WatchEvent]) -> None:
        if not self.machine.measuring:
            return
        now = self.machine.engine.now
        for event in events:
            sent: Any = event.new.annotations
            self.latencies.append(now - sent["sent"])


def _watched_object(resource: str, index: int, size_bytes: int) -> APIObject:
    name, namespace = f"o{index}", "load"
    if resource == "endpointslices":
        return EndpointSlice(name=name, namespace=namespace, size_bytes=size_bytes)
    if resource == "leases":
        return Lease(name=name, namespace=namespace, size_bytes=size_bytes)
    if resource == "pods":
        template = PodTemplate(manifest={}, namespace=namespace, size_bytes=size_bytes)
        return Pod(name=name, namespace=namespace, template=template, size_bytes=size_bytes)
    if resource == "nodes":
        return Node(name=name, namespace=namespace, size_bytes=size_bytes)
    return Generic(name=name, namespace=namespace, size_bytes=size_bytes, kind_plural=resource)


def predict_watch_fanout(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Updates of ten objects delivered to W watches (apiserver_watch_fanout.csv)."""
    runs = [
        _watch_fanout(Machine(profile, seed, replication_index=index), row)
        for index in range(_FANOUT_REPLICATION_COUNT)
    ]
    return {name: float(np.median([run[name] for run in runs])) for name in runs[0]}


def _watch_fanout(machine: Machine, row: Mapping[str, str]) -> Prediction:
    engine = machine.engine
    resource, size = row["resource"], int(row["object_bytes"])
    rate = float(row["updates_per_s_offered"])
    watches = int(row["watches"])
    objects = [_watched_object(resource, index, size) for index in range(_WATCHED_OBJECT_COUNT)]
    positions = {item.name: index for index, item in enumerate(objects)}
    machine.preload(objects)
    watchers = _Watchers(machine, resource, watches)
    law = machine.load_law
    turn = [0]
    updates: list[float] = []

    def answered(request: Request) -> None:
        demand = 0.5 * (law.call_seconds + law.write_seconds)
        machine.run_client(demand, done, request)

    def done(request: Request) -> None:
        assert request.ok, request.code
        objects[positions[request.name]] = request.result
        if machine.measuring:
            updates.append(engine.now - request.submitted_seconds)

    caller = _Caller(answered)

    def tick(_: None) -> None:
        index = turn[0] % _WATCHED_OBJECT_COUNT
        turn[0] += 1
        engine.call_later(1.0 / rate, tick)
        new = objects[index].clone()
        new.resource_version = 0
        sent: Any = {"sent": engine.now}
        new.annotations = sent
        request = Request("update", resource, "load", new.name, api_object=new)
        request.client = caller
        request.submitted_seconds = engine.now
        demand = 0.5 * (law.call_seconds + law.write_seconds)
        machine.run_client(demand, machine.endpoint.send, request)

    engine.call_later(0.0, tick)
    warm_up = max(0.5, 2.0 / rate)
    engine.run(warm_up)
    machine.measuring = True
    meter = CpuMeter(machine)
    window = max(_FANOUT_WINDOW_SECONDS, min(12.0 / rate, 40.0))
    engine.run(warm_up + window)
    machine.check()
    result = quantiles_ms(watchers.latencies)
    server, _, load = meter.used_seconds()
    count = max(1, len(watchers.latencies))
    result["apiserver_cpu_us_per_delivery"] = server / count * 1e6
    result["client_cpu_us_per_delivery"] = load / count * 1e6
    result["update_call_p50_ms"] = float(np.median(updates)) * 1e3 if updates else float("nan")
    return result


class _Caller:
    """Stands where a client stands."""

    user = fleet_user = "load"
    groups = _MASTERS

    def __init__(self, receive: Any) -> None:
        self.receive = receive
