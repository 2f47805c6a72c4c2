"""The load balancer in front of the apiserver replicas: what clients call the API endpoint.

Connections are long-lived (HTTP/2): a client stays with the replica that its first request was
balanced to until that replica goes away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from sim.base.api_object import APIObject, Key
from sim.components import registry
from sim.components.apiserver import APIServer
from sim.components.ports import Balancer, Caller, FleetWatcher, Request, Watcher, answer
from sim.engine.engine import Engine

_CONNECTION_REFUSED_CODE: Final = 503
_NOWHERE: Final = -1
_RECONNECT_SECONDS: Final = 1.2
"""Mean of client-go's first back-off, 0.8 s with full jitter, for all members at once."""


class LoadBalancer(Balancer):
    """Implements `ports.APIEndpoint` over one or more replicas."""

    def __init__(self, engine: Engine, replicas: list[APIServer]) -> None:
        assert replicas, "a cluster without an apiserver"
        self._engine = engine
        self.replicas = replicas
        self._homes: dict[int, int] = {}
        self._next = 0
        self._fleets: list[FleetWatcher] = []
        group = replicas[0].group
        self._lost: list[tuple[FleetWatcher, npt.NDArray[np.bool_], dict[Key, APIObject]]] = []
        for replica in replicas:
            replica.join(group)
            replica.on_down = self._replica_down
            replica.on_up = self._reconnect

    def preload(self, objects: list[APIObject], store: Callable[[list[APIObject]], object]) -> None:
        """Take an initial state into etcd and every replica's caches, spending no time.

        Args:
            objects: without uid and revision; both are assigned here.
            store: etcd's own preload, which assigns revisions.
        """
        group = self.replicas[0].group
        for item in objects:
            registry.prepare_create(item, 0 if item.uid else group.next_uid(), self._engine.now)
        store(objects)
        group.facts.preloaded(objects, self._engine.now)
        for replica in self.replicas:
            replica.preload(objects)

    def _replica_of(self, client: Any) -> APIServer | None:
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0] if replicas[0].serving else None
        home = self._homes.get(id(client), -1)
        if home >= 0 and replicas[home].serving:
            return replicas[home]
        for _ in range(len(replicas)):
            candidate = self._next
            self._next = (candidate + 1) % len(replicas)
            if replicas[candidate].serving:
                self._homes[id(client)] = candidate
                return replicas[candidate]
        return None

    def send(self, request: Request) -> None:
        """Carry a request to the client's replica."""
        replica = self._replica_of(request.client)
        if replica is None:
            self._refuse(request)
            return
        replica.send(request)

    def _refuse(self, request: Request) -> None:
        request.code = _CONNECTION_REFUSED_CODE
        request.result = None
        network = self.replicas[0].params.network_seconds
        self._engine.after(2.0 * network, answer, request)

    def watch(
        self,
        client: Any,
        watcher: Watcher,
        then: Callable[[list[APIObject], int], object],
    ) -> None:
        """Establish a watch with initial state."""
        request = Request("watch", watcher.resource, watcher.namespace, watcher.name)
        watcher.closed = False
        request.submitted_seconds = self._engine.now
        request.client = _WatchCaller(client, watcher)
        replica = self._replica_of(client)
        if replica is None:
            self._refuse(request)
            return
        request.result = (watcher, then)
        network = replica.params.network_seconds
        self._engine.after(network, replica.receive, request)

    def watch_fleet(self, watcher: FleetWatcher) -> None:
        """Register the watches of a fleet, its members spread over the replicas."""
        count = len(self.replicas)
        homes = np.arange(watcher.member_count, dtype=np.int64) % count
        watcher.replica_index = homes.astype(np.int8)
        self._fleets.append(watcher)
        for replica in self.replicas:
            replica.watch_fleet(watcher)

    def _replica_down(self, replica: APIServer) -> None:
        """Fleets' members of a dead replica look for another one after client-go's back-off."""
        for fleet in self._fleets:
            members = fleet.replica_index == replica.index
            if members.any():
                known = replica.fanout.cache(fleet.resource).as_delivered()
                fleet.replica_index[members] = _NOWHERE
                self._lost.append((fleet, members, known))
        self._engine.after(_RECONNECT_SECONDS, self._reconnect)

    def _reconnect(self, _: object) -> None:
        serving = [replica for replica in self.replicas if replica.serving]
        if not serving:
            return  # the first replica that comes up takes everybody
        lost, self._lost = self._lost, []
        for fleet, members, known in lost:
            homes = np.flatnonzero(members) % len(serving)
            for turn, replica in enumerate(serving):
                share = np.zeros(fleet.member_count, dtype=np.bool_)
                share[np.flatnonzero(members)[homes == turn]] = True
                if share.any():
                    fleet.replica_index[share] = replica.index
                    replica.adopt(fleet, share, known)

    def unwatch(self, watcher: Watcher) -> None:
        """The client closes its watch."""
        watcher.closed = True
        if watcher.replica is not None:
            watcher.replica.unwatch(watcher)


class _WatchCaller(Caller):
    """Takes the answer to a watch request where a client takes the answer to others."""

    __slots__ = ("client", "watcher")

    def __init__(self, client: Any, watcher: Watcher) -> None:
        super().__init__(client.user, client.fleet_user, client.groups)
        self.client = client
        self.watcher = watcher

    def receive(self, request: Request) -> None:
        """Hand over the initial state, or say that the watch has failed."""
        watcher = self.watcher
        if request.code == 200:
            _, then, found, revision = request.result
            if found is not None:  # a watch that goes on begins with the changes it has missed
                then(found, revision)
            watcher.replica.fanout.joined(watcher)
        elif watcher.on_close is not None and not watcher.closed:
            watcher.closed = True
            watcher.on_close("server gone" if request.code == 503 else f"status {request.code}")
