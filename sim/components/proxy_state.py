"""The desired rules of kube-proxy, as counts: what one change of a Service or slice means.

All nodes of a fleet hear the same changes in the same order, so one state serves them; *when* each
node acts on a change is the fleet's business. **Source:** `facts/model.md` f.2-f.5.
"""

from __future__ import annotations

from sim.base.objects import NEVER, APIObject, EndpointSlice, Key, Service


class SliceChange:
    """One change, seen from the rules: which service, how much of it, who triggered it."""

    __slots__ = (
        "added_uids",
        "commit_seconds",
        "endpoint_count",
        "endpoints_delta",
        "port_count",
        "ports_delta",
        "removed_count",
        "service",
        "trigger_seconds",
    )

    def __init__(
        self,
        service: Key,
        *,
        port_count: int,
        endpoint_count: int,
        removed_count: int = 0,
        added_uids: tuple[int, ...] = (),
        trigger_seconds: float = NEVER,
        commit_seconds: float = 0.0,
        ports_delta: int = 0,
        endpoints_delta: int = 0,
    ) -> None:
        self.service = service
        self.port_count = port_count
        """Service ports whose rules change."""
        self.endpoint_count = endpoint_count
        """Endpoints of these ports after the change, all of which are emitted again."""
        self.removed_count = removed_count
        """Endpoint chains that become stale."""
        self.added_uids = added_uids
        self.trigger_seconds = trigger_seconds
        self.commit_seconds = commit_seconds
        self.ports_delta = ports_delta
        self.endpoints_delta = endpoints_delta


class _ServiceRules:
    __slots__ = ("endpoint_count", "port_count")

    def __init__(self) -> None:
        self.port_count = 0
        """Ports of the Service; 0 for a headless or unknown one."""
        self.endpoint_count = 0
        """Ready addresses over all its slices."""


class ProxyState:
    """Services, their ports and ready endpoints."""

    def __init__(self) -> None:
        self._rules: dict[Key, _ServiceRules] = {}
        self.service_ports_count = 0
        """Service ports with at least one ready endpoint."""
        self.endpoints_count = 0
        """Endpoints of all of them (addresses × ports)."""

    def service_changed(self, new: APIObject | None, old: APIObject | None) -> SliceChange | None:
        """Return the change of rules that a Service event asks for, None for none."""
        service = new or old
        assert isinstance(service, Service)
        rules = self._rules.setdefault(service.key, _ServiceRules())
        before_count = rules.port_count
        rules.port_count = (
            0
            if new is None or service.headless or service.type == "ExternalName"
            else max(1, len(service.ports))
        )
        if rules.port_count == before_count or not rules.endpoint_count:
            return None
        delta = rules.port_count - before_count
        return SliceChange(
            service.key,
            port_count=max(before_count, rules.port_count),
            endpoint_count=rules.endpoint_count * rules.port_count,
            removed_count=max(0, -delta) * rules.endpoint_count,
            trigger_seconds=service.creation_seconds if old is None else NEVER,
            commit_seconds=service.creation_seconds,
            ports_delta=delta,
            endpoints_delta=delta * rules.endpoint_count,
        )

    def slice_changed(
        self, new: APIObject | None, old: APIObject | None, commit_seconds: float
    ) -> SliceChange | None:
        """Return the change of rules that a slice event asks for, None for none.

        A change is *applied* to the counts only by `commit`.
        """
        item = new or old
        assert isinstance(item, EndpointSlice)
        key = (item.namespace, item.service_name)
        rules = self._rules.setdefault(key, _ServiceRules())
        was = _ready(old) if isinstance(old, EndpointSlice) else {}
        now = _ready(new) if isinstance(new, EndpointSlice) else {}
        if was.keys() == now.keys():
            return None
        added = tuple(uid for address, uid in now.items() if address not in was and uid)
        removed_count = sum(address not in now for address in was)
        before_count = rules.endpoint_count
        rules.endpoint_count += len(now) - len(was)
        ports = rules.port_count
        if not ports:
            return None
        ports_delta = ports * (bool(rules.endpoint_count) - bool(before_count))
        return SliceChange(
            key,
            port_count=ports,
            endpoint_count=ports * rules.endpoint_count,
            removed_count=ports * removed_count,
            added_uids=added,
            trigger_seconds=item.trigger_seconds if new is not None else NEVER,
            commit_seconds=commit_seconds,
            ports_delta=ports_delta,
            endpoints_delta=ports * (len(now) - len(was)),
        )

    def commit(self, change: SliceChange) -> None:
        """Count a change as part of the desired rules."""
        self.service_ports_count += change.ports_delta
        self.endpoints_count += change.endpoints_delta


def _ready(item: EndpointSlice) -> dict[str, int]:
    return {endpoint.address: endpoint.pod_uid for endpoint in item.endpoints if endpoint.ready}
