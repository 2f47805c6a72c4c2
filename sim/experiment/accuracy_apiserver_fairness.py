"""Predictions for apiserver_apf.csv and apiserver_apf_server_metrics.csv.

A scenario's name says who asks for what (``greedy100_list+modest2_get_two_users``); all rows of one
scenario come from one simulated run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from sim.base.objects import Generic, Pod, PodTemplate
from sim.components.apiserver import APIServerParams
from sim.components.ports import Request
from sim.costs.profile import Profile
from sim.experiment.accuracy_apiserver_bench import (
    LoadClient,
    Machine,
    Prediction,
    quantiles_ms,
)

_ACCOUNTS = ("system:serviceaccounts", "system:authenticated")
_OTHERS = ("system:authenticated",)
_EARLIER_DEMAND_SEATS = 100.0
"""Seats that earlier scenarios had asked for (their clients, apiserver_apf.csv)."""
_POD_COUNT = 500
_POD_BYTES = 2200
"""Pods that nobody has scheduled (assumed; apiserver CPU per LIST is 20 % lower here)."""
_DURATION_SECONDS = 6.0
"""**Source:** apiserver_apf.csv, duration_s; no warm-up is described."""


class _Party:
    """The clients of one user."""

    def __init__(self, user: str, op: str, clients: int, *, account: bool) -> None:
        self.user = user
        self.op = "list500" if op == "list" else op
        self.clients = clients
        self.groups = _ACCOUNTS if account else _OTHERS
        self.level = "workload-low" if account else "global-default"


def parties(scenario: str) -> list[_Party]:
    """Read a scenario's name.

    Raises:
        ValueError: if the name says nothing known.
    """
    found = re.fullmatch(r"modest(\d*)_alone_(\w+)", scenario)
    if found:
        return [_Party("bob", found[2], int(found[1] or 2), account=True)]
    found = re.fullmatch(r"catchall_(\d+)_([a-z]+)_\w+", scenario)
    if found:
        return [_Party("erin", found[2], int(found[1]), account=False)]
    found = re.fullmatch(r"greedy(\d+)_([a-z]+)\+modest(\d+)_(\w+)", scenario)
    if not found:
        raise ValueError(f"scenario {scenario!r} is not known")
    greedy = _Party("alice", found[2], int(found[1]), account=True)
    rest = found[4]
    if rest.endswith("other_level"):
        op = rest.removesuffix("other_level").strip("_") or found[2]
        return [greedy, _Party("dave", op, int(found[3]), account=False)]
    op = rest.removesuffix("two_users").strip("_")
    return [greedy, _Party("bob", op, int(found[3]), account=True)]


class _Run:
    """One scenario, simulated."""

    def __init__(self, scenario: str, row: Mapping[str, str], profile: Profile, seed: int) -> None:
        params = APIServerParams(
            network_seconds=0.0,
            light_admission=False,
            max_requests_inflight=int(row["max_inflight"]),
            max_mutating_requests_inflight=int(row["max_mutating_inflight"]),
        )
        self.machine = machine = Machine(profile, seed, params)
        template = PodTemplate(manifest={}, namespace="load", size_bytes=_POD_BYTES)
        machine.preload(
            Pod(name=f"p{index}", namespace="load", template=template, size_bytes=_POD_BYTES)
            for index in range(_POD_COUNT)
        )
        self._names = machine.engine.stream("names")
        self._created_count = 0
        self.clients: dict[str, list[LoadClient]] = {}
        everybody = parties(scenario)
        if len(everybody) > 1 or everybody[0].user != "bob":
            # Scenarios ran one after another on one server: whoever was overloaded before has
            # borrowed from everybody, and its smoothed demand sinks only with 430 s.
            machine.server.fairness.levels["workload-low"].smoothed_seats = _EARLIER_DEMAND_SEATS
            machine.server.fairness.adjust()
        for party in everybody:
            self._start(party)
        machine.measuring = True
        machine.engine.run(_DURATION_SECONDS)
        machine.check()

    def _start(self, party: _Party) -> None:
        machine = self.machine
        law = machine.load_law
        demand = law.call_seconds + (law.write_seconds if party.op == "create" else 0.0)

        def make(_: LoadClient) -> Request:
            return self._request(party.op)

        started = []
        for _ in range(party.clients):
            client = LoadClient(machine, party.user, party.groups, demand, make)
            if party.op == "list500":
                client.byte_seconds = law.gunzip_byte_seconds
            started.append(client)
            machine.engine.call_later(0.0, client.begin)
        self.clients[party.user] = started

    def _request(self, op: str) -> Request:
        if op == "list500":
            return Request("list", "pods", "load", list_mode="cache")
        if op == "get":
            return Request("get", "pods", "load", f"p{self._names.integer(_POD_COUNT)}")
        assert op == "create", op
        self._created_count += 1
        new = Generic(name=f"c{self._created_count}", namespace="load", size_bytes=1024)
        return Request("create", "configmaps", "load", new.name, api_object=new)

    def of_user(self, user: str) -> Prediction:
        """Return what the clients of a user saw."""
        clients = self.clients.get(user, [])
        latencies = [value for client in clients for value in client.latencies]
        result = quantiles_ms(latencies)
        result["ok_per_s"] = len(latencies) / _DURATION_SECONDS
        rejected = sum(client.rejected_count for client in clients)
        result["rejected_per_s"] = rejected / _DURATION_SECONDS
        return result

    def of_level(self, name: str) -> Prediction:
        """Return what the server's own metrics say of a priority level."""
        level = self.machine.server.fairness.levels[name]
        served = max(1, level.served_count)
        decided = max(1, level.served_count + level.rejected_count)  # both wait, if only for 0 s
        return {
            "nominal_limit_seats": float(level.nominal_seats),
            "max_limit_seats": float(level.max_seats),
            "min_limit_seats": float(level.min_seats),
            "queue_wait_mean_ms": level.wait_sum_seconds / decided * 1e3,
            "exec_mean_ms": level.execution_sum_seconds / served * 1e3,
        }


def _runs(rows: Sequence[Mapping[str, str]], profile: Profile, seed: int) -> list[_Run]:
    made: dict[tuple[str, str, str], _Run] = {}
    found = []
    for row in rows:
        key = (row["scenario"], row["max_inflight"], row["max_mutating_inflight"])
        if key not in made:
            made[key] = _Run(row["scenario"], row, profile, seed)
        found.append(made[key])
    return found


def predict_apf(rows: Sequence[Mapping[str, str]], profile: Profile, seed: int) -> list[Prediction]:
    """Who is served, delayed, rejected (apiserver_apf.csv)."""
    runs = _runs(rows, profile, seed)
    return [run.of_user(row["user"]) for run, row in zip(runs, rows, strict=True)]


def predict_apf_server(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[Prediction]:
    """The same runs as the server sees them (apiserver_apf_server_metrics.csv)."""
    runs = _runs(rows, profile, seed)
    return [run.of_level(row["priority_level"]) for run, row in zip(runs, rows, strict=True)]
