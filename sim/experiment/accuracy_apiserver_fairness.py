"""Predictions for apiserver_apf.csv and apiserver_apf_server_metrics.csv.

A scenario's name says who asks for what (``greedy100_list+modest2_get_two_users``); all rows of one
scenario come from one simulated run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sim.base.objects import Generic, Pod
from sim.base.pod_template import PodTemplate
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
_REPLICATION_COUNT = 3
"""A modest user makes 8 to 25 calls in one run; the prediction is that of several."""


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


class _LevelOutcome(NamedTuple):
    """What a priority level counted in one run."""

    limits_seats: tuple[int, int, int]
    """Nominal, most, least."""
    served_count: int
    rejected_count: int
    wait_sum_seconds: float
    execution_sum_seconds: float


class _Outcome(NamedTuple):
    """What is kept of one run."""

    latencies: dict[str, list[float]]
    """Of the served requests by user, in seconds."""
    rejected_counts: dict[str, int]
    """Requests answered 429, by user."""
    levels: dict[str, _LevelOutcome]


class _Run:
    """One scenario, simulated."""

    def __init__(
        self, row: Mapping[str, str], profile: Profile, seed: int, replication_index: int
    ) -> None:
        params = APIServerParams(
            network_seconds=0.0,
            light_admission=False,
            max_requests_inflight=int(row["max_inflight"]),
            max_mutating_requests_inflight=int(row["max_mutating_inflight"]),
        )
        self.machine = machine = Machine(profile, seed, params, replication_index)
        template = PodTemplate(manifest={}, namespace="load", size_bytes=_POD_BYTES)
        machine.preload(
            Pod(name=f"p{index}", namespace="load", template=template, size_bytes=_POD_BYTES)
            for index in range(_POD_COUNT)
        )
        self._names = machine.engine.stream("names")
        self._created_count = 0
        self.clients: dict[str, list[LoadClient]] = {}
        everybody = parties(row["scenario"])
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

    def outcome(self) -> _Outcome:
        """Return what is kept of the run."""
        return _Outcome(
            {
                user: [value for client in clients for value in client.latencies]
                for user, clients in self.clients.items()
            },
            {
                user: sum(client.rejected_count for client in clients)
                for user, clients in self.clients.items()
            },
            {
                name: _LevelOutcome(
                    (level.nominal_seats, level.max_seats, level.min_seats),
                    level.served_count,
                    level.rejected_count,
                    level.wait_sum_seconds,
                    level.execution_sum_seconds,
                )
                for name, level in self.machine.server.fairness.levels.items()
            },
        )


def _of_user(runs: Sequence[_Outcome], user: str) -> Prediction:
    """Return what the clients of a user saw, over all replications."""
    latencies = [value for run in runs for value in run.latencies.get(user, ())]
    seconds = _DURATION_SECONDS * len(runs)
    result = quantiles_ms(latencies)
    result["ok_per_s"] = len(latencies) / seconds
    result["rejected_per_s"] = sum(run.rejected_counts.get(user, 0) for run in runs) / seconds
    return result


def _of_level(runs: Sequence[_Outcome], name: str) -> Prediction:
    """Return what the server's own metrics say of a priority level, over all replications."""
    levels = [run.levels[name] for run in runs]
    nominal, largest, least = levels[0].limits_seats
    served = sum(level.served_count for level in levels)
    decided = served + sum(level.rejected_count for level in levels)
    return {
        "nominal_limit_seats": float(nominal),
        "max_limit_seats": float(largest),
        "min_limit_seats": float(least),
        # both kinds have waited, if only for 0 s
        "queue_wait_mean_ms": sum(it.wait_sum_seconds for it in levels) / max(1, decided) * 1e3,
        "exec_mean_ms": sum(it.execution_sum_seconds for it in levels) / max(1, served) * 1e3,
    }


_cache: dict[tuple[str, int, str, str, str], list[_Outcome]] = {}
"""By the profile's text, the seed and the scenario with its limits: two files share the runs."""


def _outcomes(row: Mapping[str, str], profile: Profile, seed: int) -> list[_Outcome]:
    limits = (row["max_inflight"], row["max_mutating_inflight"])
    key = (repr(profile), seed, row["scenario"], *limits)
    if key not in _cache:
        runs = range(_REPLICATION_COUNT)
        _cache[key] = [_Run(row, profile, seed, index).outcome() for index in runs]
    return _cache[key]


def predict_apf(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """Who is served, delayed, rejected (apiserver_apf.csv)."""
    return _of_user(_outcomes(row, profile, seed), row["user"])


def predict_apf_server(row: Mapping[str, str], profile: Profile, seed: int) -> Prediction:
    """The same runs as the server sees them (apiserver_apf_server_metrics.csv)."""
    return _of_level(_outcomes(row, profile, seed), row["priority_level"])
