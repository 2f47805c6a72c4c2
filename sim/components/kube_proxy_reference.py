"""One kube-proxy of one node, event by event: the readable twin of the fleet.

It holds its own Services, slices and runner, and knows nothing of arrays or other nodes. Tests
drive both and compare every sync. Durations are the law's medians (no jitter).
**Source:** `facts/model.md` f.1-f.3, in the order in which kube-proxy does things.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sim.base.api_object import NEVER, Key
from sim.base.objects import EndpointSlice, Service
from sim.components.kube_proxy_params import KubeProxyFleetParams
from sim.components.ports import WatchEvent
from sim.components.proxy_state import HEADLESS_LABEL
from sim.costs.kube_proxy import KubeProxyParams
from sim.costs.kube_proxy_payload import (
    LARGE_CLUSTER_ENDPOINTS_COUNT,
    SyncLoad,
    iptables_extra_payload_count,
    nftables_extra_payload_count,
)
from sim.engine.engine import Call, Engine


@dataclass(frozen=True, slots=True)
class Sync:
    """One finished run of syncProxyRules."""

    start_seconds: float
    completion_seconds: float
    load: SyncLoad
    failed: bool


@dataclass(frozen=True, slots=True)
class Programmed:
    """A change of a Service's endpoints and the end of the sync that wrote it down."""

    revision: int
    trigger_seconds: float
    completion_seconds: float


class ReferenceKubeProxy:
    """kube-proxy on one node."""

    def __init__(
        self,
        engine: Engine,
        params: KubeProxyFleetParams,
        law: KubeProxyParams,
        *,
        rules_installed: bool = True,
        stretch: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Make one; ``stretch`` says how much longer it computes because others do, ≥ 1."""
        self._stretch = stretch
        self._engine = engine
        self._params = params
        self._law = law
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, EndpointSlice] = {}
        self._slices_of: dict[Key, set[Key]] = {}
        self._ready: dict[Key, int] = {}
        """Ready endpoints of each slice."""
        self._changed: set[Key] = set()
        """Services to emit in the next sync."""
        self._stale_count = 0
        self._waiting: list[tuple[int, float]] = []
        """(revision, trigger time) of the changes to measure at the end of the next sync."""
        self._initial = not rules_installed
        self._needs_full = not rules_installed
        self._last_full_seconds = 0.0
        self._last_listing_seconds = -1.0e9
        self._running = False
        self._requested = False
        self._free_seconds = -1.0e9
        self._next: Call | None = None
        self.fails_next = False
        self.syncs: list[Sync] = []
        self.programmed: list[Programmed] = []
        self._timer(self._timer_seconds())
        if not rules_installed:
            self._request()

    # What the API tells.

    def preload(self, service: Service | None, item: EndpointSlice | None) -> None:
        """Take an object whose rules are installed."""
        if service is not None:
            self._services[service.key] = service
        if item is not None:
            self._keep(item)

    def deliver(self, event: WatchEvent) -> None:
        """An event reaches the node."""
        if isinstance(event.new, Service):
            self._service(event, event.new)
        else:
            assert isinstance(event.new, EndpointSlice)
            self._slice(event, event.new)

    def _service(self, event: WatchEvent, new: Service) -> None:
        key = new.key
        was = _rules_of(self._services.get(key))
        before_count = self._chain_count(key)
        if event.type == "DELETED":
            self._services.pop(key, None)
        else:
            self._services[key] = new
        if _rules_of(self._services.get(key)) == was:
            return
        self._stale_count += max(0, before_count - self._chain_count(key))
        self._act(event, key, NEVER)

    def _slice(self, event: WatchEvent, new: EndpointSlice) -> None:
        key = (new.namespace, new.service_name)
        if new.address_type != "IPv4" or HEADLESS_LABEL in new.labels:
            return
        old = self._slices.get(new.key)
        ready_before = self._ready_count(key)
        extra_before = self._extra({key})[1]
        if event.type == "DELETED":
            if self._slices.pop(new.key, None) is None:
                return
            self._slices_of[key].discard(new.key)
            now: set[str] = set()
        else:
            if old is not None and old.endpoints == new.endpoints:
                return
            self._keep(new)
            now = {item.address for item in new.endpoints if item.ready}
        service = self._services.get(key)
        if service is not None and service.headless:
            return
        ports = _port_count(service)
        if old is not None:
            gone = {item.address for item in old.endpoints if item.ready} - now
            self._stale_count += len(gone) * ports
        if ports and ready_before and not self._ready_count(key):
            # The Service's own chains go with its last endpoint.
            self._stale_count += ports + int(extra_before)
        self._act(event, key, new.trigger_seconds if event.type != "DELETED" else NEVER)

    def _keep(self, item: EndpointSlice) -> None:
        self._slices[item.key] = item
        self._slices_of.setdefault((item.namespace, item.service_name), set()).add(item.key)
        self._ready[item.key] = sum(endpoint.ready for endpoint in item.endpoints)

    def _act(self, event: WatchEvent, key: Key, trigger_seconds: float) -> None:
        self._changed.add(key)
        self._waiting.append((event.revision, trigger_seconds))
        self._request()

    # What is wanted.

    def _ready_count(self, key: Key) -> int:
        return sum(self._ready[name] for name in self._slices_of.get(key, ()))

    def _service_ports(self, key: Key) -> int:
        """Ports of a Service that has somewhere to send packets to."""
        return _port_count(self._services.get(key)) if self._ready_count(key) else 0

    def _extra(self, keys: set[Key]) -> tuple[float, float]:
        """Rules and chains beyond plain ClusterIP when these Services are emitted."""
        affinity = external = 0
        for key in sorted(keys):
            ports = self._service_ports(key)
            service = self._services.get(key)
            if service is None or not ports:
                continue
            if service.session_affinity == "ClientIP":
                affinity += ports * self._ready_count(key)
            if service.type in {"NodePort", "LoadBalancer"}:
                external += ports
        if self._params.mode == "ipvs":
            return 0.0, 0.0
        count = (
            nftables_extra_payload_count
            if self._params.mode == "nftables"
            else iptables_extra_payload_count
        )
        rules, chains = count(
            changed_affinity_endpoints_count=float(affinity),
            changed_external_services_count=float(external),
        )
        return float(rules), float(chains)

    def _always(self) -> float:
        """Rules beyond plain ClusterIP that every iptables sync writes."""
        if self._params.mode != "iptables":
            return 0.0
        external = addresses = rejects = 0
        for key, service in self._services.items():
            ports = self._service_ports(key)
            if not ports:
                rejects += _port_count(service)
                continue
            if service.type in {"NodePort", "LoadBalancer"}:
                external += ports
            if service.type == "LoadBalancer":
                addresses += ports
        rules, _ = iptables_extra_payload_count(
            external_services_count=float(external),
            external_addresses_count=float(addresses),
            services_without_endpoints_count=float(rejects),
        )
        return float(rules)

    def _chain_count(self, key: Key) -> int:
        ports = self._service_ports(key)
        return ports * (1 + self._ready_count(key)) + int(self._extra({key})[1])

    # The runner.

    def _timer_seconds(self) -> float:
        params = self._params
        if params.mode == "ipvs":
            return params.sync_period_seconds
        return params.full_sync_period_seconds

    def _timer(self, time_seconds: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next = self._engine.call_at(time_seconds, self._sync)

    def _request(self) -> None:
        """Ask for a sync; several requests before it starts are one."""
        if self._requested:
            return
        self._requested = True
        if not self._running:
            self._timer(max(self._engine.now, self._free_seconds))

    def _load(self) -> SyncLoad:
        params = self._params
        now = self._engine.now
        every = set(self._services)
        services = sum(self._service_ports(key) for key in every)
        endpoints = sum(self._service_ports(key) * self._ready_count(key) for key in every)
        large = params.mode == "iptables" and endpoints > LARGE_CLUSTER_ENDPOINTS_COUNT
        full = self._needs_full or params.mode == "ipvs"
        if not large and now - self._last_full_seconds > params.full_sync_period_seconds:
            full = True
        listing = params.mode == "iptables" and (
            not large or now - self._last_listing_seconds > params.sync_period_seconds
        )
        rules, chains = self._extra(every if full else self._changed)
        changed = every if self._initial else self._changed
        return SyncLoad(
            services_count=float(services),
            endpoints_count=float(endpoints),
            changed_services_count=float(sum(self._service_ports(key) for key in changed)),
            changed_endpoints_count=float(
                sum(self._service_ports(key) * self._ready_count(key) for key in changed)
            ),
            stale_chains_count=float(self._stale_count if listing else 0),
            full=float(full),
            initial=float(self._initial),
            cleanup_listing=float(listing),
            extra_rules_count=self._always() + rules,
            extra_chains_count=chains,
        )

    def _sync(self, _: None) -> None:
        params = self._params
        load = self._load()
        law = self._law
        seconds = float(law.sync_seconds(load, params.mode, params.iptables_backend))
        steps = law.mode(params.mode, params.iptables_backend).components(load)
        compute_seconds = seconds - float(steps.wait) * law.speed_ratio
        seconds += compute_seconds * (self._stretch() - 1.0)
        self._running = True
        self._requested = False
        start = self._engine.now
        failed, self.fails_next = self.fails_next, False
        self.syncs.append(Sync(start, start + seconds, load, failed))
        written, self._waiting = self._waiting, []
        if failed:
            self._needs_full = True
        else:
            self._changed = set()
            self._initial = self._needs_full = False
            if load.full:
                self._last_full_seconds = start
            if load.cleanup_listing:
                self._last_listing_seconds = start
                self._stale_count = 0
        self._engine.call_later(seconds, self._synced, (written, failed))

    def _synced(self, argument: tuple[list[tuple[int, float]], bool]) -> None:
        written, failed = argument
        params = self._params
        now = self._engine.now
        self._running = False
        self._free_seconds = now + (
            0.0 if params.mode == "ipvs" else params.min_sync_period_seconds
        )
        if failed:
            self._waiting = written + self._waiting
        else:
            self.programmed += [Programmed(*change, now) for change in written]
        if self._requested:
            self._timer(self._free_seconds)
        elif failed:
            self._timer(max(now + params.sync_period_seconds, self._free_seconds))
        else:
            self._timer(now + self._timer_seconds())


def _rules_of(service: Service | None) -> tuple[object, ...] | None:
    if service is None or service.headless or service.type == "ExternalName":
        return None
    return (service.ports, service.type, service.session_affinity, service.cluster_ip)


def _port_count(service: Service | None) -> int:
    if service is None or _rules_of(service) is None:
        return 0
    return max(1, len(service.ports))
