"""Messages and protocols between components; with `facts` the only module they share.

The one road: whoever wants to read or change cluster state fills in a `Request` and submits it
through its `Client` (client limiter → network → replica → priority and fairness → CPU → etcd →
commit → watch cache → watch delivery). Whoever wants to know of changes holds an informer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from mypy_extensions import mypyc_attr

from sim.base.api_object import APIObject, Key, WholeKey

TOO_SLOW: Final = "too slow"
"""Reason of a watch's end: its client or its connection did not keep up."""

Mutate = Callable[[APIObject], APIObject | None]
"""Computes the new object from the current one; None refuses the change (409 Conflict).

Returning the very same object means "no change": nothing is written and 200 is answered.
"""


class Caller:
    """Who submits requests and receives the responses; clients of other kinds may do that too."""

    __slots__ = ("fleet_user", "groups", "user")

    def __init__(self, user: str, fleet_user: str, groups: tuple[str, ...]) -> None:
        self.user = user
        """Whom priority and fairness tells apart."""
        self.fleet_user = fleet_user
        """Name in reports; the members of a fleet share one."""
        self.groups = groups

    def receive(self, request: Request) -> None:
        """Take a response off the network."""


@mypyc_attr(free_list_len=1)  # what is over gives its memory to the next one
class Request:
    """One API call, from submission by a client to its response.

    Who fills in what: the caller ``verb … selector, then``; the client the times and user; the
    apiserver ``code, result, …``. Verbs: get list create update patch delete deletecollection.
    """

    __slots__ = (
        "api_object",
        "arrived_seconds",
        "attempt_count",
        "client",
        "code",
        "execution_seconds",
        "flow",
        "grace_seconds",
        "limit_count",
        "limiter_wait_seconds",
        "list_mode",
        "mutate",
        "name",
        "namespace",
        "precondition_uid",
        "priority_level",
        "queue_wait_seconds",
        "replica",
        "resource",
        "response_bytes",
        "result",
        "retry_after_seconds",
        "route",
        "seats",
        "selector",
        "submitted_seconds",
        "subresource",
        "then",
        "ticket",
        "verb",
    )

    def __init__(
        self,
        verb: str,
        resource: str,
        namespace: str = "",
        name: str = "",
        *,
        subresource: str = "",
        api_object: APIObject | None = None,
        mutate: Mutate | None = None,
        then: Callable[[Request], object] | None = None,
        list_mode: str = "consistent",
        limit_count: int = 0,
        selector: Callable[[APIObject], bool] | None = None,
        grace_seconds: float = -1.0,
        precondition_uid: int = 0,
    ) -> None:
        self.verb = verb
        self.resource = resource
        self.namespace = namespace
        self.name = name
        self.subresource = subresource
        self.api_object = api_object
        """Body of create and update. An update whose resource_version is not 0 and not the
        current one is answered 409."""
        self.mutate = mutate
        """Body of patch, and of subresource writes (binding, status) given as functions."""
        self.then = then
        """Called with the request when the response has reached the client."""
        self.list_mode = list_mode
        """GET and LIST: consistent, cache (resourceVersion=0) or exact (from etcd)."""
        self.limit_count = limit_count
        self.selector = selector
        self.grace_seconds = grace_seconds
        """Delete: grace period; -1 asks for the default of the kind."""
        self.precondition_uid = precondition_uid
        self.client: Any = None
        self.code = 0
        self.result: Any = None
        """The object (get, create, update, patch, delete) or list of objects (list)."""
        self.submitted_seconds = 0.0
        self.limiter_wait_seconds = 0.0
        self.arrived_seconds = 0.0
        self.queue_wait_seconds = 0.0
        self.execution_seconds = 0.0
        self.priority_level = ""
        self.flow = ""
        self.seats = 1
        self.response_bytes = 0
        self.retry_after_seconds = 0.0
        self.attempt_count = 0
        self.replica: Any = None
        self.route: Any = None
        """What the replica that handles it knows about requests of its class."""
        self.ticket: Any = None
        """Its ticket of priority and fairness; None where its seat is only counted."""

    @property
    def ok(self) -> bool:
        """Whether the answer was 2xx."""
        return 200 <= self.code < 300


class Balancer:
    """An `APIEndpoint` that compiled code calls without a look-up."""

    def send(self, request: Request) -> None:
        """Carry a request to a replica."""


def answer(request: Request) -> None:
    """Hand a response that has come over the network to its client."""
    client = request.client
    if isinstance(client, Caller):
        client.receive(request)  # a compiled call
    else:
        client.receive(request)


@mypyc_attr(acyclic=True, free_list_len=1)  # nothing for the collector to look at
class WatchEvent:
    """One change of one object, shared by every consumer that receives it."""

    __slots__ = ("commit_seconds", "key", "new", "old", "resource", "revision", "type")

    def __init__(
        self,
        type: str,  # noqa: A002 - Kubernetes' own word
        resource: str,
        key: WholeKey,
        new: APIObject,
        old: APIObject | None,
        revision: int,
        commit_seconds: float,
    ) -> None:
        self.type = type
        """ADDED, MODIFIED or DELETED (then ``new`` is the last state)."""
        self.resource = resource
        self.key: WholeKey = key
        self.new = new
        self.old = old
        self.revision = revision
        self.commit_seconds = commit_seconds


@mypyc_attr(free_list_len=1)
class Write:
    """One guarded etcd transaction: put (or delete) if the key's mod revision is as expected."""

    __slots__ = (
        "actual",
        "error",
        "expected_revision",
        "key",
        "lease",
        "new",
        "proposed_seconds",
        "resource",
        "revision",
        "size_bytes",
        "state",
        "succeeded",
        "then",
    )

    def __init__(
        self,
        resource: str,
        key: WholeKey,
        expected_revision: int,
        new: APIObject | None,
        size_bytes: int,
        then: Callable[[Write], object],
        state: Any = None,
    ) -> None:
        self.resource = resource
        self.key: WholeKey = key
        self.expected_revision = expected_revision
        """0: the key must not exist."""
        self.new = new
        """None deletes the key. The store sets ``new.resource_version`` when it commits."""
        self.size_bytes = size_bytes
        self.then = then
        self.state = state
        self.lease = False
        """Attached to a shared etcd lease (events)."""
        self.succeeded = False
        self.revision = 0
        """Store revision after the transaction."""
        self.actual: APIObject | None = None
        """The current object if the guard failed."""
        self.error = ""
        """Empty, or why there was no transaction: timeout, too many requests, no space."""
        self.proposed_seconds = 0.0


class Storage(Protocol):
    """What the apiserver asks of etcd. All answers come later, by callback."""

    def txn(self, write: Write) -> None:
        """Propose a transaction; ``write.then(write)`` after apply and the way back."""

    def get(
        self,
        resource: str,
        key: Key,
        then: Callable[[Any], object],
        argument: Any,
    ) -> None:
        """Linearizable read of one key: ``then((argument, object or None, revision, error))``."""

    def list_objects(
        self,
        resource: str,
        namespace: str,
        limit_count: int,
        then: Callable[[Any], object],
        argument: Any,
    ) -> None:
        """Linearizable range over a resource: ``then((argument, objects, revision, error))``.

        ``limit_count`` -1 reads only the revision (the small read before a consistent list).
        """

    def watch(self, deliver: Callable[[list[WatchEvent]], None], client_name: str) -> None:
        """Receive every commit, one call per apply batch and watcher, after etcd's own delay."""

    @property
    def revision(self) -> int:
        """Current store revision (for monitors, not for components)."""


class Watcher:
    """One registered watch of one client on one replica's watch cache."""

    __slots__ = (
        "closed",
        "connected_revision",
        "deliver",
        "field_node_name",
        "name",
        "namespace",
        "on_close",
        "process",
        "replica",
        "resource",
        "resume_revision",
        "selector",
        "state",
    )

    def __init__(
        self,
        resource: str,
        deliver: Callable[[list[WatchEvent]], object],
        *,
        namespace: str = "",
        name: str = "",
        field_node_name: str = "",
        selector: Callable[[APIObject], bool] | None = None,
        on_close: Callable[[str], object] | None = None,
    ) -> None:
        self.resource = resource
        self.deliver = deliver
        """Called with the events of one delivery at the time they reach the client."""
        self.namespace = namespace
        self.name = name
        self.field_node_name = field_node_name
        self.selector = selector
        self.on_close = on_close
        """Called with a reason (server gone, too slow, expired) when the server ends the watch."""
        self.closed = False
        self.resume_revision = 0
        """Not 0: the client has everything up to here and wants the changes since, no list."""
        self.connected_revision = 0
        self.process: Any = None
        """HostProcess that decodes the events, None for a client whose CPU is not modelled."""
        self.replica: Any = None
        self.state: Any = None

    def hand_over(self, events: list[WatchEvent]) -> None:
        """Give the client what has reached it; kinds of watchers that know theirs call it so."""
        self.deliver(events)


class FleetWatcher:
    """The watches of n identical agents, held as one.

    mode ``own``: each event concerns one member (pods by spec.nodeName, nodes by name);
    ``deliver_own(member_index, event)`` at delivery time. Events that concern no member are not
    delivered. ``member_of(event)`` names the member, -1 for none. Moves between members deliver
    DELETED to the old and ADDED to the new one.

    mode ``all``: every member receives every event; ``deliver_all(events, times_seconds)`` is
    called once per event batch, at the earliest of the times, with absolute delivery times of
    shape (n_members,) float64 in member order.
    """

    __slots__ = (
        "connected",
        "deliver_all",
        "deliver_own",
        "is_old_news",
        "member_count",
        "member_of",
        "mode",
        "name",
        "replica_index",
        "resource",
        "state",
    )

    def __init__(
        self,
        name: str,
        resource: str,
        mode: str,
        member_count: int,
        *,
        member_of: Callable[[APIObject], int] | None = None,
        deliver_own: Callable[[int, WatchEvent], object] | None = None,
        deliver_all: Callable[[Sequence[WatchEvent], npt.NDArray[np.float64]], object]
        | None = None,
    ) -> None:
        self.name = name
        self.resource = resource
        self.mode = mode
        self.member_count = member_count
        self.member_of = member_of
        self.deliver_own = deliver_own
        self.deliver_all = deliver_all
        self.is_old_news: Callable[[Sequence[WatchEvent]], bool] | None = None
        """Mode ``all``: whether no member has anything to do for these events; then ``deliver_all``
        is not called and nobody works out when each gets them. None: there always may be."""
        self.replica_index: npt.NDArray[np.int8] = np.zeros(member_count, dtype=np.int8)
        """Which replica each member is connected to: (n_members,) int8 (compared for every event
        that all members get); set by the endpoint."""
        self.connected: npt.NDArray[np.bool_] = np.ones(member_count, dtype=np.bool_)
        """Whether each member's watch is up: (n_members,) bool; a crashed node's is not."""
        self.state: Any = None


class APIEndpoint(Protocol):
    """Where clients send requests: a load balancer in front of the apiserver replicas."""

    def send(self, request: Request) -> None:
        """Carry a request to a replica; ``request.client.receive(request)`` on the way back."""

    def watch(
        self,
        client: Any,
        watcher: Watcher,
        then: Callable[[list[APIObject], int], object],
    ) -> None:
        """Establish a watch with initial state (WatchList).

        ``then(objects, revision)`` when the initial state has reached the client; from then on
        ``watcher.deliver``. Nothing between the two is lost.
        """

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        """Register the watches of a fleet; members start from an empty state."""

    def unwatch(self, watcher: Watcher) -> None:
        """The client closes its watch."""
