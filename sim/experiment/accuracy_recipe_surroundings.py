"""What happens around the modelled components in the recipe runs, as far as requests go.

Discovery of the controllers, the apiserver's own requests and the tokens of the controllers'
service accounts: none of it decides anything, but all of it is in the counts.
**Source:** groundtruth/idle_requests.csv and recipe_request_counts.csv; upstream
pkg/controllermanager GC and quota resync (30 s), plugin/pkg/admission/limitranger (live look-up,
30 s), pkg/controlplane (identity lease, 10 s), kube-aggregator's OpenAPI v3 poll (5 s).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from sim.base.api_object import APIObject
from sim.base.objects import Generic, Lease, Pod
from sim.components.client import Client
from sim.components.endpoint import LoadBalancer
from sim.components.ports import FleetWatcher, Request, Watcher
from sim.experiment.accuracy_apiserver_bench import Machine

GC: Final = "kcm/generic-garbage-collector"
QUOTA: Final = "kcm/resourcequota-controller"
SHARED: Final = "kcm/shared-informers"
_ACCOUNT_PREFIX: Final = "system:serviceaccount:kube-system:"
_RESYNC_SECONDS: Final = 30.0
_OPENAPI_SECONDS: Final = 5.0
_IDENTITY_SECONDS: Final = 10.0
_LIVE_LOOKUP_SECONDS: Final = 30.0
_IDENTITY: Final = "apiserver-identity"
_USED_AT_START: Final = frozenset(
    {
        "generic-garbage-collector",
        "namespace-controller",
        "node-controller",
        "pod-garbage-collector",
        "root-ca-cert-publisher",
        "service-account-controller",
        "ttl-controller",
    }
)
"""Accounts whose controllers talk to the API before the driver does. **Source:**
recipe_request_counts.csv: the scenarios in which no token is asked for."""
LATER_ACCOUNTS: Final = (
    "cronjob-controller",
    "daemon-set-controller",
    "deployment-controller",
    "endpoint-controller",
    "endpointslice-controller",
    "job-controller",
    "replicaset-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
    "horizontal-pod-autoscaler",
)


@dataclass(slots=True)
class Extra:
    """A request that no modelled component made."""

    seconds: float
    component: str
    verb: str
    resource: str


class TokenEndpoint:
    """Stands before the balancer: a controller's first request waits for its account's token."""

    def __init__(self, inner: LoadBalancer) -> None:
        self._inner = inner
        self._held: dict[str, list[Request]] = {}
        self._granted: set[str] = set(_USED_AT_START)
        self.issuer: Client | None = None
        """The manager's own client, which asks for the tokens."""

    def send(self, request: Request) -> None:
        """Carry a request, after the token has come."""
        user: str = request.client.user
        account = user.removeprefix(_ACCOUNT_PREFIX)
        if account == user or account in self._granted:
            self._inner.send(request)
        elif account in self._held:
            self._held[account].append(request)
        else:
            self._held[account] = [request]
            assert self.issuer is not None
            self.issuer.get("serviceaccounts", "kube-system", account, self._found)

    def _found(self, answer: Request) -> None:
        assert self.issuer is not None
        self.issuer.submit(
            Request(
                "create",
                "serviceaccounts",
                "kube-system",
                answer.name,
                subresource="token",
                then=self._grant,
            )
        )

    def _grant(self, answer: Request) -> None:
        self._granted.add(answer.name)
        for request in self._held.pop(answer.name):
            self._inner.send(request)

    def watch(
        self, client: Any, watcher: Watcher, then: Callable[[list[APIObject], int], object]
    ) -> None:
        """Establish a watch."""
        self._inner.watch(client, watcher, then)

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        """Register the watches of a fleet."""
        self._inner.watch_fleet(watcher)

    def unwatch(self, watcher: Watcher) -> None:
        """Close a watch."""
        self._inner.unwatch(watcher)


@dataclass(slots=True)
class Surroundings:
    """Makes those requests and remembers them."""

    machine: Machine
    extras: list[Extra] = field(default_factory=list)
    _looked_up_seconds: dict[str, float] = field(default_factory=dict)
    _mapped: bool = True

    def objects(self) -> list[APIObject]:
        """Return what has to exist beforehand."""
        accounts = [
            Generic(name=name, namespace="kube-system", kind_plural="serviceaccounts")
            for name in LATER_ACCOUNTS
        ]
        return [Lease(name=_IDENTITY, namespace="kube-system"), *accounts]

    def start(self) -> None:
        """Begin, each with its own phase."""
        engine = self.machine.engine
        phase = engine.stream("recipe/phases")
        engine.call_later(phase.uniform() * _OPENAPI_SECONDS, self._openapi)
        engine.call_later(phase.uniform() * _IDENTITY_SECONDS, self._identify)
        engine.call_later(_RESYNC_SECONDS, self._resync)

    def note(self, component: str, verb: str, resource: str) -> None:
        """Spend an apiserver's smallest request and remember it."""
        law = self.machine.law
        self.machine.server.run(law.base_seconds, _ignore)
        self.extras.append(Extra(self.machine.engine.now, component, verb, resource))

    def discover(self, component: str) -> None:
        """GET /api and /apis."""
        self.note(component, "get", "/api")
        self.note(component, "get", "/apis")

    def _openapi(self, _: object) -> None:
        self.note("apiserver", "get", "/openapi/v3")
        self.machine.engine.call_later(_OPENAPI_SECONDS, self._openapi)

    def _resync(self, _: object) -> None:
        self.discover(GC)
        self.discover(QUOTA)
        self._mapped = False
        self.machine.engine.call_later(_RESYNC_SECONDS, self._resync)

    def _identify(self, _: object) -> None:
        server = self.machine.server
        current = server.fanout.cache("leases").objects["kube-system", _IDENTITY]
        new = current.clone()
        assert isinstance(new, Lease)
        new.renew_seconds = self.machine.engine.now
        request = Request("update", "leases", "kube-system", _IDENTITY, api_object=new)
        request.client = _Itself()
        server.receive_internal(request)
        self.machine.engine.call_later(_IDENTITY_SECONDS, self._identify)

    def pod_changed(self, kind: str, new: Pod, _old: Pod | None) -> None:
        """Admission looks for limit ranges when a namespace has none in the cache."""
        if kind != "ADDED":
            return
        now = self.machine.engine.now
        before = self._looked_up_seconds.get(new.namespace, -_LIVE_LOOKUP_SECONDS)
        if now - before >= _LIVE_LOOKUP_SECONDS:
            self._looked_up_seconds[new.namespace] = now
            self.note("apiserver", "list", "limitranges")

    def garbage_collected(self) -> None:
        """The garbage collector maps kinds to resources, anew after each resync."""
        if not self._mapped:
            self._mapped = True
            self.discover(SHARED)


class _Itself:
    """Stands where a client stands, for the server's own requests."""

    user = fleet_user = "system:apiserver"
    groups = ("system:masters",)

    def receive(self, request: Request) -> None:
        """Take the answer."""


def _ignore(_: object) -> None:
    return
