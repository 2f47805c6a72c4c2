"""Predictions for recipe_density_*.csv: Deployments scaled up and down again on fake nodes.

Rows that share nodes, watch mode and client limits were measured one after another on one cluster,
and are simulated so: every condition once, in the order of the rows, shared by the three files.
A prediction is the median (counts: the mean) of a few runs that differ in their seed.
**Source:** groundtruth/README.md, "Files and methods".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any, Final, NamedTuple

from sim.base.api_object import APIObject
from sim.base.objects import Deployment, Pod
from sim.costs.profile import Profile
from sim.experiment.accuracy_apiserver_bench import CpuMeter, Prediction, quantiles_ms
from sim.experiment.accuracy_recipe_bench import Cluster, Setting, selector_of

_REPLICATION_COUNT: Final = 3
_TAIL_SECONDS: Final = 1.5
"""After the last pod, still part of the interval of CPU and requests. **Source:** the README."""
_PAUSE_SECONDS: Final = 5.0
"""Between two conditions on one cluster (assumed)."""
_VERBS: Final = {
    "get": "GET",
    "list": "LIST",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETE",
}
"""The apiserver's request counter names HTTP methods; it counts watches when they end."""
_UP: Final = ("scale_up", "scale_down")
CountKey = tuple[str, str, str]


class Condition(NamedTuple):
    """What was varied on one cluster."""

    start_delay_seconds: float
    deployments_count: int
    pods_count: int


@dataclass(slots=True)
class Phase:
    """What one scale-up or scale-down gave."""

    pods_per_s: float = 0.0
    latencies: dict[str, Prediction] = field(default_factory=dict)
    """By metric of recipe_density_latency.csv."""
    totals: Prediction = field(default_factory=dict)
    """By column of recipe_density_cpu.csv."""
    counts: Counter[CountKey] = field(default_factory=Counter)
    """(verb, resource, code) as the apiserver's request counter has them."""


class _Moments:
    """When each pod was first seen in each state, by the driver's watch."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._engine = cluster.engine
        self._namespace = namespace
        self.created: dict[str, float] = {}
        self.scheduled: dict[str, float] = {}
        self.running: dict[str, float] = {}
        self.deleting: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        cluster.pods.add_handler(self._changed)

    def _changed(self, kind: str, new: Pod, _: Pod | None) -> None:
        if new.namespace != self._namespace:
            return
        now = self._engine.now
        if kind == "DELETED":
            self.gone[new.name] = now
            return
        self.created.setdefault(new.name, now)
        if new.node_name:
            self.scheduled.setdefault(new.name, now)
        if new.ready:
            self.running.setdefault(new.name, now)
        if new.deletion_seconds >= 0.0:
            self.deleting.setdefault(new.name, now)

    def up(self) -> dict[str, Prediction]:
        """Latencies of a scale-up by metric."""
        first = min(self.created.values())
        return {
            "created_since_first": _since(self.created, first),
            "running_since_first": _since(self.running, first),
            "create_to_scheduled": _between(self.created, self.scheduled),
            "scheduled_to_running": _between(self.scheduled, self.running),
            "create_to_running_watched": _between(self.created, self.running),
        }

    def down(self) -> dict[str, Prediction]:
        """Latencies of a scale-down by metric."""
        first = min(self.deleting.values())
        return {
            "deleting_since_first": _since(self.deleting, first),
            "gone_since_first": _since(self.gone, first),
            "deleting_to_gone": _between(self.deleting, self.gone),
        }


def _since(moments: Mapping[str, float], first: float) -> Prediction:
    return quantiles_ms([seconds - first for seconds in moments.values()])


def _between(begin: Mapping[str, float], end: Mapping[str, float]) -> Prediction:
    return quantiles_ms([end[name] - begin[name] for name in end if name in begin])


class _Interval:
    """Everything counted between two moments of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._meter = CpuMeter(cluster.machine)
        self.start_seconds = cluster.engine.now
        self._request_index = len(cluster.requests)
        self._extra_index = len(cluster.surroundings.extras)
        self._writes = self._puts()
        self._closed = self._watches_closed()

    def _puts(self) -> int:
        store = self._cluster.machine.etcd.store
        return store.put_count - store.delete_count

    def _watches_closed(self) -> tuple[int, int]:
        simulated = self._cluster.kubelets.simulated
        assert simulated is not None
        return simulated.bundles.closed_count, self._cluster.machine.server.fanout.evicted_count

    def counts(self) -> Counter[CountKey]:
        """Requests as the apiserver's counter has them."""
        cluster = self._cluster
        counts: Counter[CountKey] = Counter()
        for row in cluster.rows(self._request_index):
            verb = _VERBS.get(row.verb)
            if verb is not None and row.code != 403:
                counts[verb, row.resource, str(row.code)] += 1
        for extra in cluster.surroundings.extras[self._extra_index :]:
            counts[_VERBS[extra.verb], extra.resource, "200"] += 1
        bundles, evicted = (
            now - before
            for now, before in zip(self._watches_closed(), self._closed, strict=True)
        )
        counts["WATCH", "configmaps", "200"] += bundles
        counts["WATCH", "pods", "200"] += evicted
        return +counts

    def phase(self, pods_count: int, total_seconds: float) -> Phase:
        """Return what is known at the end of the interval."""
        server, etcd, _ = self._meter.used_seconds()
        counts = self.counts()
        return Phase(
            pods_per_s=pods_count / total_seconds,
            totals={
                "apiserver_cpu_s": server,
                "etcd_cpu_s": etcd,
                "apiserver_requests": float(sum(counts.values())),
                "etcd_puts": float(self._puts() - self._writes),
            },
            counts=counts,
        )


def _without_replicas(current: APIObject) -> APIObject:
    new = current.clone()
    assert isinstance(new, Deployment)
    new.replica_count = 0
    return new


def _namespace(index: int) -> str:
    return f"density-{index}"


def _run_condition(cluster: Cluster, condition: Condition, index: int) -> dict[str, Phase]:
    """Scale up, then down, in a namespace of its own."""
    namespace = _namespace(index)
    cluster.set_start_delay(condition.start_delay_seconds)
    count = condition.pods_count
    moments = _Moments(cluster, namespace)
    interval = _Interval(cluster)
    names = [f"density-{index}-{number}" for number in range(condition.deployments_count)]
    for number, name in enumerate(names):
        share = count * (number + 1) // len(names) - count * number // len(names)
        new = Deployment(
            name=name,
            namespace=namespace,
            replica_count=share,
            selector=selector_of(name),
            template=cluster.template(name, namespace),
        )
        cluster.driver.create(new)
    cluster.until(lambda: len(moments.running) == count)
    total_seconds = max(moments.running.values()) - interval.start_seconds
    cluster.wait(_TAIL_SECONDS)
    up = interval.phase(count, total_seconds)
    up.latencies = moments.up()
    interval = _Interval(cluster)
    for name in names:
        cluster.driver.patch("deployments", namespace, name, _without_replicas)
    cluster.until(lambda: len(moments.gone) == count)
    total_seconds = max(moments.gone.values()) - interval.start_seconds
    cluster.wait(_TAIL_SECONDS)
    down = interval.phase(count, total_seconds)
    down.latencies = moments.down()
    for name in names:
        cluster.driver.delete("deployments", namespace, name)
    cluster.wait(_PAUSE_SECONDS)
    cluster.check()
    return {"scale_up": up, "scale_down": down}


_Phases = dict[str, list[Phase]]
_cache: dict[tuple[str, int, Setting], dict[Condition, _Phases]] = {}
"""By the profile's text, the seed and the cluster's setting."""


def _simulate(
    setting: Setting, conditions: Sequence[Condition], profile: Profile, seed: int
) -> dict[Condition, _Phases]:
    """Return every condition's phases, simulating the conditions that are new."""
    known = _cache.setdefault((repr(profile), seed, setting), {})
    missing = [item for item in dict.fromkeys(conditions) if item not in known]
    if missing:
        for item in missing:
            known[item] = {name: [] for name in _UP}
        for replication in range(_REPLICATION_COUNT):
            namespaces = tuple(_namespace(index) for index in range(len(missing)))
            cluster = Cluster(
                setting, profile, seed * _REPLICATION_COUNT + replication, namespaces
            )
            for index, item in enumerate(missing):
                for name, phase in _run_condition(cluster, item, index).items():
                    known[item][name].append(phase)
    return known


def _setting(row: Mapping[str, str]) -> Setting:
    return Setting(
        nodes_count=int(row["nodes"]),
        shared_watch=row["kubelet_watch"] == "shared",
        high_qps=row["qps_profile"] == "high",
    )


def _condition(row: Mapping[str, str]) -> Condition:
    return Condition(
        float(row["kubelet_delay_s"]), int(row["deployments"]), int(row["pods"])
    )


def _phases(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[list[Phase]]:
    """Return the replications of each row's phase, in order."""
    wanted: dict[Setting, list[Condition]] = {}
    for row in rows:
        wanted.setdefault(_setting(row), []).append(_condition(row))
    results = {
        setting: _simulate(setting, conditions, profile, seed)
        for setting, conditions in wanted.items()
    }
    return [
        results[_setting(row)][_condition(row)].get(row["phase_op"], []) for row in rows
    ]


def predict_latency(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[Prediction]:
    """Predict rows of recipe_density_latency.csv."""
    predictions = []
    for row, phases in zip(rows, _phases(rows, profile, seed), strict=True):
        found = [
            phase.latencies[row["metric"]] for phase in phases if row["metric"] in phase.latencies
        ]
        values = {name: median(item[name] for item in found) for name in (found or [{}])[0]}
        if phases:
            values["pods_per_s"] = median(phase.pods_per_s for phase in phases)
        predictions.append(values)
    return predictions


def predict_cpu(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[Prediction]:
    """Predict rows of recipe_density_cpu.csv."""
    return [
        {name: median(phase.totals[name] for phase in phases) for name in phases[0].totals}
        if phases
        else {}
        for phases in _phases(rows, profile, seed)
    ]


def predict_requests(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[dict[str, Any]]:
    """Predict rows of recipe_density_requests.csv, then the kinds that nobody measured.

    A count is the mean of the runs. What one run in two does not make is not called invented: a
    single measurement has or has not what comes now and then.
    """
    per_row = _phases(rows, profile, seed)
    predictions: list[dict[str, Any]] = []
    measured: dict[tuple[Any, ...], set[CountKey]] = {}
    phases_of: dict[tuple[Any, ...], list[Phase]] = {}
    for row, phases in zip(rows, per_row, strict=True):
        key = (row["verb"], row["resource"], row["code"])
        place = (_setting(row), _condition(row), row["phase_op"])
        measured.setdefault(place, set()).add(key)
        phases_of[place] = phases
        predictions.append({"count": mean(phase.counts[key] for phase in phases)} if phases else {})
    for place, phases in phases_of.items():
        kinds = {key for phase in phases for key in phase.counts} - measured[place]
        for key in sorted(kinds):
            if median(phase.counts[key] for phase in phases) >= 1.0:
                count = mean(phase.counts[key] for phase in phases)
                predictions.append({"count": count, "conditions": f"{place} {' '.join(key)}"})
    return predictions


PREDICTORS = {
    "recipe_density_latency.csv": predict_latency,
    "recipe_density_cpu.csv": predict_cpu,
    "recipe_density_requests.csv": predict_requests,
}
"""By file name: one prediction of the scored columns per row."""
