"""Predictions for recipe_request_counts.csv: requests by component in the lives of objects.

The scenarios run one after another on one cluster, as they were measured; rows choose which ones
and their sizes. A scenario's interval ends 4 s after its work is done.
**Source:** groundtruth/README.md, "Files and methods"; the audit log names the components.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, median
from typing import Any, Final

from sim.base.api_object import RESOURCE_TYPES, APIObject
from sim.base.errors import Problem, UserError
from sim.base.objects import Deployment, Job, Namespace, Pod, Service, ServicePort
from sim.components.ports import Request
from sim.costs.profile import Profile
from sim.experiment.accuracy_recipe_bench import (
    Cluster,
    RequestRow,
    Setting,
    namespace_objects,
    selector_of,
)
from sim.experiment.accuracy_recipe_surroundings import GC, SHARED

_REPLICATION_COUNT: Final = 3
_SETTLE_SECONDS: Final = 4.0
_IDLE_SECONDS: Final = 20.0
_START_SECONDS: Final = 11.0
"""Further wait before the first scenario. **Source:** recipe_request_counts.csv: the controllers'
rounds of discovery, 30 s apart, that fell into the scenarios."""
_POLL_SECONDS: Final = 0.2
_JOB_POLL_SECONDS: Final = 0.12
_JOB_RUN_SECONDS: Final = 1.0
"""**Source:** recipe_timings_n50_phases.csv: a Job whose pods are ready after 0.2 s is complete
after 3.3 s, two batches of the job controller later; and 27 polls in that time."""
_NODE_FAIL_SECONDS: Final = 420.0
"""A failed node's pods are replaced after 50 s of silence and 300 s of toleration."""
_GROUPS: Final = {
    "ingresses": "networking.k8s.io",
    "networkpolicies": "networking.k8s.io",
    "rolebindings": "rbac.authorization.k8s.io",
    "roles": "rbac.authorization.k8s.io",
    "resourceclaims": "resource.k8s.io",
    "resourceclaimtemplates": "resource.k8s.io",
    "csistoragecapacities": "storage.k8s.io",
}
"""API groups of the resources that have no type in the model."""
_COMPONENTS: Final = {
    "system:nodes": "kubelet",
    "system:kube-scheduler": "scheduler",
    "system:kube-controller-manager": SHARED,
    "system:apiserver": "apiserver",
    "driver": "driver",
}
_NAMESPACE: Final = "default"
_ADDRESSES: Final = "networking.k8s.io/ipaddresses"
_CONDITIONS: Final = re.compile(r"qps_(high|default)_delay(\d+(?:\.\d+)?)$")
CountKey = tuple[str, str, str, str]
"""(component, verb, resource, code) as the audit log has them."""


def audit_key(row: RequestRow) -> CountKey:
    """Return how the audit log names a request."""
    user = row.user
    component = _COMPONENTS.get(user, "")
    if not component:
        component = f"kcm/{user.rpartition(':')[2]}"
    plural, slash, part = row.resource.partition("/")
    kind = RESOURCE_TYPES.get(plural)
    group = kind.group if kind is not None else _GROUPS.get(plural, "")
    if plural == "events" and component == "scheduler":
        group = "events.k8s.io"
    if plural == "events.k8s.io":
        group, plural = "events.k8s.io", "events"
    name = f"{group}/{plural}" if group else plural
    return component, row.verb, f"{name}{slash}{part}", str(row.code)


class Scenarios:
    """One cluster and the scenarios, as methods by the names they have in the file."""

    def __init__(
        self,
        cluster: Cluster,
        sizes: Mapping[str, int],
        durations_seconds: Mapping[str, float] | None = None,
    ) -> None:
        """``sizes`` and ``durations_seconds`` by scenario go before the usual ones."""
        self.cluster = cluster
        self._durations_seconds = durations_seconds or {}
        self.counts: dict[str, Counter[CountKey]] = {}
        self._sizes = sizes
        self._request_index = 0
        self._extra_index = 0
        cluster.pods.add_handler(self._pod_changed)
        cluster.wait(_START_SECONDS)
        self._ready: dict[str, set[str]] = {}
        self._present: dict[str, set[str]] = {}

    # bookkeeping

    def _pod_changed(self, kind: str, new: Pod, _: Pod | None) -> None:
        app = str(new.labels.get("app", ""))
        ready = self._ready.setdefault(app, set())
        present = self._present.setdefault(app, set())
        if kind == "DELETED":
            ready.discard(new.name)
            present.discard(new.name)
            return
        present.add(new.name)
        if new.ready and new.deletion_seconds < 0.0:
            ready.add(new.name)
        else:
            ready.discard(new.name)

    def _size(self, scenario: str, usual: int) -> int:
        return self._sizes.get(scenario, usual)

    def _duration(self, scenario: str, usual_seconds: float) -> float:
        """Return how long a scenario without an end of its own was watched."""
        return self._durations_seconds.get(scenario, 0.0) or usual_seconds

    def _begin(self) -> None:
        self._request_index = len(self.cluster.requests)
        self._extra_index = len(self.cluster.surroundings.extras)

    def _end(self, scenario: str, settle_seconds: float = _SETTLE_SECONDS) -> None:
        """Settle and count; the next scenario begins at once."""
        cluster = self.cluster
        cluster.wait(settle_seconds)
        counts: Counter[CountKey] = Counter()
        for row in cluster.rows(self._request_index):
            key = audit_key(row)
            if key[:2] != ("apiserver", "delete") or key[2] == _ADDRESSES:
                counts[key] += 1  # what a deletecollection deletes is one request in the log
        if any(component == GC for component, *_ in counts):
            cluster.surroundings.garbage_collected()
        for extra in cluster.surroundings.extras[self._extra_index :]:
            counts[extra.component, extra.verb, extra.resource, "200"] += 1
        self.counts[scenario] = counts
        self._begin()

    def _watch_pods(self) -> None:
        """The driver opens a watch of its own for a scenario whose pods it times."""
        cluster = self.cluster
        cluster.call(Request("list", "pods", _NAMESPACE, list_mode="cache"))
        cluster.surroundings.note("driver", "watch", "pods")

    # steps

    def _deployment(self, name: str, count: int) -> None:
        template = self.cluster.template(name, _NAMESPACE)
        new = Deployment(
            name=name,
            namespace=_NAMESPACE,
            replica_count=count,
            selector=selector_of(name),
            template=template,
        )
        self.cluster.driver.create(new)

    def _until_ready(self, name: str, count: int) -> None:
        ready = self._ready.setdefault(name, set())
        present = self._present.setdefault(name, set())
        self.cluster.until(lambda: len(ready) == count == len(present))

    def _scale(self, name: str, count: int) -> None:
        def change(current: APIObject) -> APIObject:
            new = current.clone()
            assert isinstance(new, Deployment)
            new.replica_count = count
            return new

        self.cluster.driver.patch("deployments", _NAMESPACE, name, change)
        self._until_ready(name, count)

    def _set_up(self, name: str, count: int) -> None:
        """A Deployment that is there before a scenario begins; nobody counts its requests."""
        self._deployment(name, count)
        self._until_ready(name, count)
        self.cluster.wait(1.0)
        self._begin()

    def _clear(self, name: str) -> None:
        self.cluster.driver.delete("deployments", _NAMESPACE, name)
        self._until_ready(name, 0)
        self.cluster.wait(1.0)
        self._begin()

    # the scenarios, in the order in which they run

    def idle(self) -> None:
        """Nothing but heartbeats."""
        self._begin()
        self._end("idle_background", self._duration("idle_background", _IDLE_SECONDS))

    def scale_up_down(self) -> None:
        """A Deployment comes and is scaled to nothing."""
        count = self._size("deployment_scale_up", self._size("deployment_scale_down", 100))
        self._begin()
        self.cluster.surroundings.note("driver", "watch", "pods")
        self._deployment("scale", count)
        self._until_ready("scale", count)
        self._end("deployment_scale_up")
        self._scale("scale", 0)
        self._end("deployment_scale_down")

    def rolling_update(self, scenario: str, count: int) -> None:
        """A new template replaces all pods, a quarter at a time."""
        self._set_up("rolling", count)
        template = self.cluster.template("rolling", _NAMESPACE, image_tag="3.11")

        def change(current: APIObject) -> APIObject:
            new = current.clone()
            assert isinstance(new, Deployment)
            new.template = template
            return new

        old = set(self._present["rolling"])
        self.cluster.driver.patch("deployments", _NAMESPACE, "rolling", change)
        self.cluster.until(lambda: not old & self._present["rolling"])
        self._until_ready("rolling", count)
        self._end(scenario)
        self._clear("rolling")

    def service(self, names: Mapping[str, str], sizes: Mapping[str, int]) -> None:
        """A Service gets backends and loses them; ``names`` are the scenarios' full names."""
        backends, change = sizes["create"], sizes["change"]
        self._set_up("service", backends)
        new = Service(
            name="service",
            namespace=_NAMESPACE,
            selector=selector_of("service"),
            ports=(ServicePort("http", 80, "8080"),),
        )
        self.cluster.driver.create(new)
        self._end(names["create"])
        self._scale("service", backends + change)
        self._end(names["up"])
        self._scale("service", backends)
        self._end(names["down"])
        self.cluster.driver.delete("services", _NAMESPACE, "service")
        self._end("service_delete")
        self._clear("service")

    def cascade(self) -> None:
        """The Deployment that was scaled to nothing comes back and is deleted with its pods."""
        count = self._size("deployment_delete_background_gc", 50)
        self.cluster.call(Request("list", "pods", _NAMESPACE, list_mode="cache"))
        self.cluster.surroundings.note("driver", "watch", "pods")
        self._scale("scale", count)
        self._end("deployment_delete_cascade_setup")
        self.cluster.driver.delete("deployments", _NAMESPACE, "scale")
        self._until_ready("scale", 0)
        self._end("deployment_delete_background_gc")

    def job(self, scenario: str, count: int) -> None:
        """A Job runs to completion, all pods side by side, and is deleted."""
        self._begin()
        self.cluster.surroundings.note("driver", "watch", "pods")
        new = Job(
            name="job",
            namespace=_NAMESPACE,
            template=self.cluster.template("job", _NAMESPACE, run_seconds=_JOB_RUN_SECONDS),
            completion_count=count,
            parallelism_count=count,
        )
        self.cluster.driver.create(new)
        while True:
            self.cluster.wait(_JOB_POLL_SECONDS)
            found = self.cluster.call(Request("get", "jobs", _NAMESPACE, "job")).result
            if found is not None and found.condition:
                break
        self._end(scenario)
        self.cluster.driver.delete("jobs", _NAMESPACE, "job")
        self.cluster.until(lambda: not self._present["job"])
        self._end("job_delete")

    def namespace(self) -> None:
        """An empty namespace is deleted."""
        cluster = self.cluster
        for item in namespace_objects("empty"):
            if isinstance(item, Namespace):
                item.finalizers = ("kubernetes",)
            cluster.call(
                Request("create", item.resource, item.namespace, item.name, api_object=item)
            )
        cluster.wait(1.0)
        self._begin()
        cluster.driver.delete("namespaces", "", "empty")
        while cluster.call(Request("get", "namespaces", "", "empty")).code != 404:
            cluster.wait(_POLL_SECONDS)
        cluster.surroundings.discover("kcm/namespace-controller")
        self._end("namespace_delete_empty", 0.0)

    def node_fail(self, scenario: str, count: int) -> None:
        """A node with its share of a Deployment's pods goes silent."""
        self._set_up("fail", count)
        cluster = self.cluster
        victim = cluster.node_objects[0].name
        cluster.kubelets.kill_node(victim)
        self._end(scenario, self._duration(scenario, _NODE_FAIL_SECONDS))


_PATTERNS: Final = (
    ("rolling", re.compile(r"rolling_update(?:_(\d+))?$")),
    ("service_create", re.compile(r"service_create_(\d+)_backends$")),
    ("service_up", re.compile(r"service_scale_up_by_(\d+)$")),
    ("service_down", re.compile(r"service_scale_down_by_(\d+)$")),
    ("job", re.compile(r"job_(\d+)_completions$")),
    ("node_fail", re.compile(r"node_?fail(?:ure)?(?:_(\d+))?(?:_pods)?$")),
    ("fixed", re.compile(r"(?:idle_background|deployment_scale_(?:up|down)|service_delete"
                         r"|deployment_delete_(?:cascade_setup|background_gc)|job_delete"
                         r"|namespace_delete_empty)$")),
)  # fmt: skip


def scenario_kind(name: str) -> tuple[str, int]:
    """Return (kind, size in its name or 0) of a scenario.

    Raises:
        UserError: there is no such scenario.
    """
    for kind, pattern in _PATTERNS:
        matched = pattern.match(name)
        if matched is not None:
            size = matched[1] if pattern.groups else None
            return kind, int(size or 0)
    raise UserError(
        Problem(
            code="E014",
            message=f"no scenario {name!r} in the recipe",
            hint="known are idle_background, deployment_scale_up, deployment_scale_down,"
            " deployment_delete_background_gc, rolling_update_N, service_create_N_backends,"
            " service_scale_up_by_N, service_scale_down_by_N, service_delete, job_N_completions,"
            " job_delete, namespace_delete_empty, node_fail",
        )
    )


def _run(
    cluster: Cluster,
    names: Mapping[str, tuple[str, int]],
    units: Mapping[str, int],
    durations_seconds: Mapping[str, float],
) -> dict[str, Counter[CountKey]]:
    """Run all scenarios on one cluster; the names and sizes in the rows go before the usual."""
    by_kind: dict[str, list[tuple[str, int]]] = {}
    for name, (kind, size) in names.items():
        by_kind.setdefault(kind, []).append((name, size))
    scenarios = Scenarios(cluster, units, durations_seconds)
    scenarios.idle()
    scenarios.scale_up_down()
    scenarios.cascade()
    create, create_size = by_kind.get("service_create", [("service_create_40_backends", 40)])[0]
    up, up_size = by_kind.get("service_up", [("service_scale_up_by_20", 20)])[0]
    down = by_kind.get("service_down", [(f"service_scale_down_by_{up_size}", up_size)])[0][0]
    scenarios.service(
        {"create": create, "up": up, "down": down}, {"create": create_size, "change": up_size}
    )
    for name, size in by_kind.get("job", [("job_20_completions", 20)]):
        scenarios.job(name, size)
    for name, size in by_kind.get("rolling", [("rolling_update_20", 20)]):
        scenarios.rolling_update(name, size or units.get(name) or 20)
    scenarios.namespace()
    for name, size in by_kind.get("node_fail", []):
        scenarios.node_fail(name, size or 2 * cluster.setting.nodes_count)
    cluster.check()
    return scenarios.counts


def _conditions(row: Mapping[str, str]) -> tuple[Setting, float]:
    """Return the cluster's setting and the start delay of a row's conditions.

    Raises:
        UserError: the conditions cannot be read.
    """
    matched = _CONDITIONS.match(row["conditions"])
    if matched is None:
        raise UserError(
            Problem(
                code="E014",
                message=f"cannot read the conditions {row['conditions']!r}",
                hint="they look like qps_high_delay0 or qps_default_delay2",
            )
        )
    setting = Setting(nodes_count=int(row["nodes"]), high_qps=matched[1] == "high")
    return setting, float(matched[2])


Place = tuple[Setting, float]
_cache: dict[tuple[Any, ...], list[dict[str, Counter[CountKey]]]] = {}


def _simulate(
    place: Place,
    names: Mapping[str, tuple[str, int]],
    units: Mapping[str, int],
    durations_seconds: Mapping[str, float],
    profile: Profile,
    seed: int,
) -> list[dict[str, Counter[CountKey]]]:
    sizes = (tuple(names.items()), tuple(units.items()), tuple(durations_seconds.items()))
    key = (repr(profile), seed, place, *sizes)
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = []
        for index in range(_REPLICATION_COUNT):
            cluster = Cluster(place[0], profile, seed * _REPLICATION_COUNT + index)
            cluster.set_start_delay(place[1])
            found.append(_run(cluster, names, units, durations_seconds))
    return found


def predict(
    rows: Sequence[Mapping[str, str]], profile: Profile, seed: int
) -> list[dict[str, Any]]:
    """Predict the rows, then the kinds of requests that nobody measured.

    Counts are means over a few runs; a kind that most runs do not make is not called invented. A
    row whose scenario or conditions are unknown gets an ``error`` that says so.
    """
    places: dict[Place, dict[str, tuple[str, int]]] = {}
    units: dict[Place, dict[str, int]] = {}
    durations: dict[Place, dict[str, float]] = {}
    place_of: list[Place | str] = []
    for row in rows:
        try:
            place = _conditions(row)
            kind = scenario_kind(row["scenario"])
        except UserError as error:
            place_of.append(error.problems[0].message)
            continue
        place_of.append(place)
        places.setdefault(place, {})[row["scenario"]] = kind
        units.setdefault(place, {})[row["scenario"]] = int(float(row.get("units") or 0))
        duration_seconds = float(row.get("segment_s") or 0.0)
        durations.setdefault(place, {})[row["scenario"]] = duration_seconds
    runs = {
        place: _simulate(place, names, units[place], durations[place], profile, seed)
        for place, names in places.items()
    }
    measured: dict[tuple[Place, str], set[CountKey]] = {}
    predictions: list[dict[str, Any]] = []
    for row, found in zip(rows, place_of, strict=True):
        if isinstance(found, str):
            predictions.append({"error": found})
            continue
        key = (row["component"], row["verb"], row["resource"], row["code"])
        scenario = row["scenario"]
        measured.setdefault((found, scenario), set()).add(key)
        predictions.append({"count": mean(run[scenario][key] for run in runs[found])})
    for (place, scenario), kinds in measured.items():
        counters = [run[scenario] for run in runs[place]]
        for key in sorted({key for counter in counters for key in counter} - kinds):
            if median(counter[key] for counter in counters) >= 1.0:
                count = mean(counter[key] for counter in counters)
                predictions.append({"count": count, "conditions": f"{scenario} {' '.join(key)}"})
    return predictions


PREDICTORS = {"recipe_request_counts.csv": predict}
"""By file name: one prediction of the scored columns per row."""
