"""The desired rules of kube-proxy, as counts: what one change of a Service or slice means.

All nodes of a fleet hear the same changes, so one state serves them; *when* each node acts on a
change is the fleet's business. **Source:** `facts/model.md` f.1-f.5.

**Modelled:** ClusterIP, NodePort and LoadBalancer Services, ClientIP affinity, Services without
endpoints (reject rules), headless and ExternalName Services (no rules; their slices are not
watched), changes without consequence (no sync).
**Not modelled:** the second IP family, local traffic policies, the fallback to serving endpoints
that are terminating, topology hints.
"""

from __future__ import annotations

from typing import Final

from sim.base.api_object import NEVER, APIObject, Key
from sim.base.objects import Endpoint, EndpointSlice, Service
from sim.components.ports import WatchEvent
from sim.costs.kube_proxy_payload import (
    iptables_extra_payload_count,
    nftables_extra_payload_count,
)

SERVICES: Final = 0
ENDPOINTS: Final = 1
EMITTED_RULES: Final = 2
EMITTED_CHAINS: Final = 3
ALWAYS_RULES: Final = 4
"""Positions in `Counts`."""
Counts = tuple[float, float, float, float, float]
"""Of one Service or of all: service ports with a ready endpoint, their endpoints, extra rules and
extra chains written whenever the Service is emitted, extra rules written on every sync."""
NO_COUNTS: Counts = (0.0, 0.0, 0.0, 0.0, 0.0)
HEADLESS_LABEL: Final = "service.kubernetes.io/headless"


class RuleChange:
    """One change, seen from the rules: which Service, how much of it, who triggered it."""

    __slots__ = ("added_uids", "after", "before", "commit_seconds", "service", "stale_count",
                 "trigger_seconds")  # fmt: skip

    def __init__(
        self,
        service: Key,
        before: Counts,
        after: Counts,
        *,
        stale_count: float = 0.0,
        added_uids: tuple[int, ...] = (),
        trigger_seconds: float = NEVER,
        commit_seconds: float = 0.0,
    ) -> None:
        self.service = service
        self.before = before
        self.after = after
        """What a sync emits for this Service once the change has arrived."""
        self.stale_count = stale_count
        """Chains that nothing refers to any more. A chain that was never installed, or whose
        endpoint comes back before the next clean-up, is counted all the same."""
        self.added_uids = added_uids
        """Pods that the change makes reachable."""
        self.trigger_seconds = trigger_seconds
        """endpoints.kubernetes.io/last-change-trigger-time, NEVER for changes not measured."""
        self.commit_seconds = commit_seconds

    @property
    def is_measured(self) -> bool:
        """Whether it is written down when the nodes have acted on the change."""
        return self.trigger_seconds >= 0.0 or bool(self.added_uids)


class _Rules:
    """What is known of one Service."""

    __slots__ = ("counts", "headless", "port_count", "ready_count", "spec")

    def __init__(self) -> None:
        self.spec: tuple[object, ...] | None = None
        self.headless = False
        self.port_count = 0
        """Ports of the Service; 0 for one that needs no rules or is not known."""
        self.ready_count = 0
        """Ready addresses over all its slices."""
        self.counts = NO_COUNTS


class ProxyState:
    """Services, their ports and ready endpoints."""

    def __init__(self, mode: str = "iptables") -> None:
        self.mode = mode
        self._rules: dict[Key, _Rules] = {}
        self._slices: dict[Key, tuple[Key, tuple[Endpoint, ...], dict[str, int]]] = {}
        self.totals: list[float] = list(NO_COUNTS)
        """Sum over all Services, see `Counts`."""

    @property
    def service_ports_count(self) -> int:
        """Service ports with at least one ready endpoint."""
        return int(self.totals[SERVICES])

    @property
    def endpoints_count(self) -> int:
        """Endpoints of all of them (addresses × ports)."""
        return int(self.totals[ENDPOINTS])

    def has_endpoints(self, service: Key) -> bool:
        """Whether a Service has rules that lead to an endpoint."""
        rules = self._rules.get(service)
        return rules is not None and rules.counts[SERVICES] > 0.0

    def change_of(self, event: WatchEvent) -> RuleChange | None:
        """Take an event into account; return what it asks of the rules, None for nothing."""
        new = None if event.type == "DELETED" else event.new
        return self.object_changed(event.new, new, event.commit_seconds)

    def object_changed(
        self, subject: APIObject, new: APIObject | None, commit_seconds: float = 0.0
    ) -> RuleChange | None:
        """Take a new state of ``subject`` into account; ``new`` is None when it is deleted."""
        if isinstance(subject, Service):
            assert new is None or isinstance(new, Service)
            return self._service_changed(subject.key, new, commit_seconds)
        assert isinstance(subject, EndpointSlice)
        assert new is None or isinstance(new, EndpointSlice)
        return self._slice_changed(subject, new, commit_seconds)

    def _service_changed(
        self, key: Key, new: Service | None, commit_seconds: float
    ) -> RuleChange | None:
        rules = self._rules.setdefault(key, _Rules())
        spec = None
        rules.headless = new is not None and new.headless
        if new is not None and not new.headless and new.type != "ExternalName":
            spec = (new.ports, new.type, new.session_affinity, new.cluster_ip)
        if spec == rules.spec:
            return None
        rules.spec = spec
        rules.port_count = max(1, len(new.ports)) if new is not None and spec is not None else 0
        before, after = self._recount(rules)
        stale = _chains(before) - _chains(after)
        return RuleChange(
            key, before, after, stale_count=max(0.0, stale), commit_seconds=commit_seconds
        )

    def _slice_changed(
        self, subject: EndpointSlice, new: EndpointSlice | None, commit_seconds: float
    ) -> RuleChange | None:
        key = (subject.namespace, subject.service_name)
        if subject.address_type != "IPv4" or HEADLESS_LABEL in subject.labels:
            return None
        known = self._slices.get(subject.key)
        was: dict[str, int] = known[2] if known is not None else {}
        now: dict[str, int] = {}
        if new is None:
            if known is None:
                return None
            del self._slices[subject.key]
        else:
            if known is not None and known[1] == new.endpoints:
                return None
            now = {item.address: item.pod_uid for item in new.endpoints if item.ready}
            self._slices[subject.key] = (key, new.endpoints, now)
        rules = self._rules.setdefault(key, _Rules())
        rules.ready_count += len(now) - len(was)
        before, after = self._recount(rules)
        if rules.headless:
            return None
        gone = sum(address not in now for address in was) * rules.port_count
        if before[SERVICES] > 0.0 and after[SERVICES] == 0.0:
            gone += rules.port_count + int(before[EMITTED_CHAINS])
        return RuleChange(
            key,
            before,
            after,
            stale_count=float(gone),
            added_uids=tuple(uid for address, uid in now.items() if uid and address not in was),
            trigger_seconds=new.trigger_seconds if new is not None else NEVER,
            commit_seconds=commit_seconds,
        )

    def _recount(self, rules: _Rules) -> tuple[Counts, Counts]:
        before = rules.counts
        after = rules.counts = self._counts(rules)
        if after != before:
            totals = self.totals
            for index in range(len(totals)):
                totals[index] += after[index] - before[index]
        return before, after

    def _counts(self, rules: _Rules) -> Counts:
        if rules.spec is None:
            return NO_COUNTS
        ports = float(rules.port_count)
        endpoints = ports * rules.ready_count
        _, kind, affinity, _ = rules.spec
        return service_counts(
            self.mode, ports, endpoints, kind=str(kind), client_ip=affinity == "ClientIP"
        )


def _chains(counts: Counts) -> float:
    return counts[SERVICES] + counts[ENDPOINTS] + counts[EMITTED_CHAINS]


def service_counts(
    mode: str, ports: float, endpoints: float, *, kind: str, client_ip: bool
) -> Counts:
    """Return the counts of one Service.

    Args:
        mode: iptables, nftables or ipvs (whose law has no payload, hence no extras).
        ports: ports of the Service.
        endpoints: ready addresses × ports.
        kind: type of the Service.
        client_ip: whether its session affinity is ClientIP.

    **Source:** `iptables_extra_payload_count`, `nftables_extra_payload_count`; one address per
    load balancer is assumed.
    """
    if endpoints == 0.0:
        rejects = ports if mode == "iptables" else 0.0
        return (0.0, 0.0, 0.0, 0.0, rejects)
    external = ports if kind in {"NodePort", "LoadBalancer"} else 0.0
    affinity = endpoints if client_ip else 0.0
    if (external == 0.0 and affinity == 0.0) or mode == "ipvs":
        return (ports, endpoints, 0.0, 0.0, 0.0)
    if mode == "nftables":
        rules, chains = nftables_extra_payload_count(
            changed_affinity_endpoints_count=affinity, changed_external_services_count=external
        )
        return (ports, endpoints, float(rules), float(chains), 0.0)
    rules, chains = iptables_extra_payload_count(
        changed_affinity_endpoints_count=affinity, changed_external_services_count=external
    )
    always, _ = iptables_extra_payload_count(
        external_services_count=external,
        external_addresses_count=ports if kind == "LoadBalancer" else 0.0,
    )
    return (ports, endpoints, float(rules), float(chains), float(always))
