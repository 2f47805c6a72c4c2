"""CoreDNS: the cluster's name service, its records and its load.

**Modelled:** every replica's own watches (Services, EndpointSlices, Namespaces), hence when a name
answers on all of them; the queries that the running pods ask, with the resolver's search list; CPU
per query, the queue in front of the cores, saturation with a backlog up to the resolver's timeout;
the cache of external names; memory.
**Not modelled:** the queries as single events (they are a rate per interval), conntrack races,
NodeLocal DNSCache, CPU of queries on the replica's machine.
**Source:** `facts/model.md` (i), laws in `sim.costs.dns`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Annotated

from annotated_types import Ge, Gt, Le

from sim.base.api_object import NEVER, Key
from sim.base.objects import EndpointSlice, Namespace, Service
from sim.components.client import ClientFactory
from sim.components.informer import Informer
from sim.costs.dns import CoreDnsParams, lookups_count
from sim.engine.engine import Engine
from sim.engine.tables import Recorder

_USER = "system:serviceaccount:kube-system:coredns"
_GROUPS = (
    "system:serviceaccounts",
    "system:serviceaccounts:kube-system",
    "system:authenticated",
)
RESOLVER_TIMEOUT_SECONDS = 5.0
"""How long a resolver waits for an answer. **Source:** resolv.conf(5), option timeout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreDNSParams:
    """CoreDNS's Deployment, and how much the pods ask it."""

    replica_count: Annotated[int, Ge(1), Le(100)] = field(
        default=2, metadata={"source": "defaults.csv: CoreDNS (kubeadm) replicas"}
    )
    cores_per_replica: Annotated[int, Ge(1), Le(64)] = field(
        default=2, metadata={"source": "assumed: no CPU limit is set; as published for dns-int"}
    )
    """Cores that a replica may use."""
    names_per_pod_per_second: Annotated[float, Ge(0)] = field(
        default=0.5, metadata={"source": "assumed: a connection to another name every two seconds"}
    )
    """Names that each running pod looks up."""
    external_ratio: Annotated[float, Ge(0), Le(1)] = field(
        default=0.2, metadata={"source": "assumed: one name in five lies outside the cluster"}
    )
    """Share of names outside the cluster."""
    other_namespace_ratio: Annotated[float, Ge(0), Le(1)] = field(
        default=0.3, metadata={"source": "assumed"}
    )
    """Share of the cluster's own names asked for as name.namespace, not by name alone."""
    external_name_count: Annotated[int, Ge(1)] = field(
        default=200, metadata={"source": "assumed: different external names in use"}
    )
    """Different external names in use; few names are nearly always in the cache."""
    ndots: Annotated[int, Ge(0), Le(15)] = field(
        default=5, metadata={"source": "defaults.csv: kubelet cluster DNS options injected"}
    )
    host_search_domain_count: Annotated[int, Ge(0), Le(29)] = field(
        default=1, metadata={"source": "assumed: one domain of the machine, as most clouds set"}
    )
    """Search domains that a pod inherits from its node, after the cluster's three."""
    record_types_count: Annotated[int, Ge(1), Le(2)] = field(
        default=2, metadata={"source": "facts/model.md i: A and AAAA are asked for together"}
    )
    autopath: bool = field(
        default=False, metadata={"source": "defaults.csv: CoreDNS (kubeadm) autopath not enabled"}
    )
    """Whether the server follows the search list for the pod: one query per external name."""
    interval_seconds: Annotated[float, Gt(0)] = field(
        default=10.0, metadata={"source": "assumed: one row of results per interval"}
    )


class _Replica:
    """One CoreDNS process: its index of the cluster's names, fed by its own watches."""

    def __init__(self, engine: Engine, clients: ClientFactory, index: int) -> None:
        self._engine = engine
        client = clients.client(_USER, purpose=f"{index}", groups=_GROUPS)
        endpoint = clients.endpoint
        self.services = Informer[Service](engine, endpoint, client, "services")
        self.slices = Informer[EndpointSlice](engine, endpoint, client, "endpointslices")
        self.namespaces = Informer[Namespace](engine, endpoint, client, "namespaces")
        self.services.add_handler(self._service)
        self.slices.add_handler(self._slice)
        self.visible: dict[Key, float] = {}
        """Name → time since which this replica answers it."""
        self._headless: set[Key] = set()
        self._addresses: dict[Key, int] = {}
        """Ready addresses over all slices of a service."""

    def start(self) -> None:
        self.namespaces.start()
        self.services.start()
        self.slices.start()

    def _service(self, kind: str, new: Service, old: Service | None) -> None:
        key = new.key
        if kind == "DELETED":
            self._headless.discard(key)
            self.visible.pop(key, None)
        elif new.headless:
            self._headless.add(key)
            self._refresh(key)
        else:
            self._headless.discard(key)
            self.visible.setdefault(key, self._engine.now)

    def _slice(self, kind: str, new: EndpointSlice, old: EndpointSlice | None) -> None:
        key = (new.namespace, new.service_name)
        was = _ready_count(old) if kind != "ADDED" else 0
        now = _ready_count(new) if kind != "DELETED" else 0
        count = self._addresses.get(key, 0) + now - was
        self._addresses[key] = count
        if count <= 0:
            del self._addresses[key]
        if key in self._headless:
            self._refresh(key)

    def _refresh(self, key: Key) -> None:
        """A headless Service answers while it has ready endpoints."""
        if self._addresses.get(key, 0) > 0:
            self.visible.setdefault(key, self._engine.now)
        else:
            self.visible.pop(key, None)

    def problems(self) -> list[str]:
        known = self.services.objects
        return [
            f"coredns: answers for Service {key[0]}/{key[1]} that it does not know"
            for key in self.visible
            if key not in known
        ]


def _ready_count(item: EndpointSlice | None) -> int:
    return sum(endpoint.ready for endpoint in item.endpoints) if item is not None else 0


class CoreDNS:
    """All replicas of CoreDNS and the load that the pods put on them."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        params: CoreDNSParams,
        law: CoreDnsParams,
        running_pod_count: Callable[[], int] = lambda: 0,
    ) -> None:
        self._engine = engine
        self._rows = recorder["dns_queries"]
        self._gauges = recorder["gauges"]
        self._faults = recorder["faults"]
        self.params = params
        self._running_pod_count = running_pod_count
        self._replicas = [_Replica(engine, clients, index) for index in range(params.replica_count)]
        internal, external = queries_per_name(params)
        self.queries_per_name = (
            1.0 - params.external_ratio
        ) * internal + params.external_ratio * external
        """Mean queries per name asked for, search list included."""
        self._external_query_ratio = params.external_ratio * external / self.queries_per_name
        """Share of queries that belong to external names."""
        self._forward_ratio = (
            params.external_ratio * params.record_types_count / self.queries_per_name
        )
        """Share of queries for the external name itself: answered from the cache or forwarded."""
        cpu = law.query_cpu_seconds
        if params.autopath:
            cpu += self._external_query_ratio * (law.autopath_query_cpu_seconds - cpu)
        self._law = replace(law, query_cpu_seconds=cpu)
        self.capacity_per_second = params.replica_count * float(
            self._law.saturation_queries_per_second(float(params.cores_per_replica))
        )
        """Queries per second that all replicas together can answer."""
        self.offered_count = 0.0
        self.answered_count = 0.0
        self.timed_out_count = 0.0
        """Queries whose resolver gave up."""
        self.pending_count = 0.0
        """Queries waiting at the end of the last interval."""
        self.cpu_seconds = 0.0
        self._reported_count = 0
        self._saturated = False

    def start(self) -> None:
        """List and watch; begin to answer."""
        for replica in self._replicas:
            replica.start()
        self._engine.after(self.params.interval_seconds, self._interval)

    # Records.

    def visible_seconds(self, namespace: str, name: str) -> float:
        """Return since when every replica answers for a Service, NEVER if one does not."""
        times = [replica.visible.get((namespace, name)) for replica in self._replicas]
        known = [time for time in times if time is not None]
        return max(known) if len(known) == len(times) else NEVER

    def propagation_seconds(self, namespace: str, name: str) -> float:
        """Return the time from a Service's creation until every replica answers for it.

        NEVER while one does not. Services that existed before a replica count from its start.
        """
        visible = self.visible_seconds(namespace, name)
        service = self._replicas[0].services.get(namespace, name)
        if visible == NEVER or service is None:
            return NEVER
        return max(0.0, visible - max(0.0, service.creation_seconds))

    # Load.

    def _interval(self, _: None) -> None:
        params = self.params
        seconds = params.interval_seconds
        names = self._running_pod_count() * params.names_per_pod_per_second
        self._answer(names * self.queries_per_name, seconds)
        self._engine.after(seconds, self._interval)

    def _answer(self, rate_per_second: float, seconds: float) -> None:
        """Serve one interval as a fluid queue on top of the steady state's waiting time."""
        capacity = self.capacity_per_second
        utilization = rate_per_second / capacity
        before = self.pending_count
        work = before + rate_per_second * seconds
        answered = min(work, capacity * seconds)
        pending = work - answered
        kept = min(pending, capacity * RESOLVER_TIMEOUT_SECONDS)
        self.offered_count += rate_per_second * seconds
        self.answered_count += answered
        self.timed_out_count += pending - kept
        self.pending_count = kept
        self.cpu_seconds += answered * self._law.query_cpu_seconds
        latency = self._latency_seconds(rate_per_second, 0.5 * (before + kept) / capacity)
        whole = int(self.answered_count)
        now = self._engine.now
        self._rows.append((now, whole - self._reported_count, latency, utilization))
        self._reported_count = whole
        self._report(now, utilization, rate_per_second)

    def _latency_seconds(self, rate_per_second: float, backlog_seconds: float) -> float:
        params, law = self.params, self._law
        steady = law.open_loop_seconds(
            rate_per_second / params.replica_count, params.cores_per_replica
        )
        if math.isinf(steady):
            steady = law.network_round_trip_seconds + law.query_cpu_seconds
        latency = min(steady + backlog_seconds, RESOLVER_TIMEOUT_SECONDS)
        return latency + self.forwarded_ratio(rate_per_second) * law.forward_seconds

    def forwarded_ratio(self, rate_per_second: float) -> float:
        """Return the share of queries that are forwarded because the cache has no answer.

        Poisson queries of one name at rate r find a cache of lifetime T filled with probability
        r·T / (1 + r·T). **Source:** renewal argument; lifetimes of the Corefile.
        """
        params = self.params
        different = params.replica_count * params.external_name_count * params.record_types_count
        each = rate_per_second * self._forward_ratio / different
        return self._forward_ratio / (1.0 + each * self._law.external_cache_seconds)

    def _report(self, now: float, utilization: float, rate_per_second: float) -> None:
        services = len(self._replicas[0].services.objects)
        memory = float(self._law.memory_bytes(float(self._running_pod_count()), float(services)))
        self._gauges.append((now, "coredns_memory_bytes", "coredns", memory))
        self._gauges.append(
            (now, "coredns_capacity_per_second", "coredns", self.capacity_per_second)
        )
        saturated = utilization >= 1.0
        if saturated != self._saturated:
            self._saturated = saturated
            what = "saturated" if saturated else "no longer saturated"
            detail = f"{rate_per_second:.0f} of {self.capacity_per_second:.0f} queries per second"
            self._faults.append((now, "coredns", what, detail))

    def check(self) -> list[str]:
        """Return broken invariants: queries are conserved, answers only for known Services."""
        problems = [problem for replica in self._replicas for problem in replica.problems()]
        accounted = self.answered_count + self.timed_out_count + self.pending_count
        if abs(self.offered_count - accounted) > 1e-6 * max(1.0, self.offered_count):
            problems.append(
                f"coredns: {self.offered_count:.3f} queries asked, {accounted:.3f} accounted for"
            )
        return problems


def queries_per_name(params: CoreDNSParams) -> tuple[float, float]:
    """Return the mean queries per (cluster's own, external) name, by the search list's rules.

    **Source:** `sim.costs.dns.lookups_count`; with autopath the first query gets the answer.
    """
    domains = ("ns.svc.cluster.local", "svc.cluster.local", "cluster.local")
    hosts = tuple(f"host{index}.example" for index in range(params.host_search_domain_count))

    def count(name: str, domain: str | None) -> float:
        return lookups_count(
            name,
            search_domains=domains + hosts,
            answering_domain=domain,
            ndots=params.ndots,
            record_types_count=params.record_types_count,
        )

    other = params.other_namespace_ratio
    internal = (1.0 - other) * count("name", domains[0]) + other * count("name.ns", domains[1])
    external = count("www.example.com", None)
    if params.autopath:
        external = float(params.record_types_count)
    return internal, external
