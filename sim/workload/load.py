"""Load generators: API requests of one kind, from closed-loop clients or at a rate.

**Modelled:** clients with connections and limiters of their own, think times, open-loop arrivals
over the clients in turn, list storms, paged lists, clients that hold watches, the objects that
requests work on (created before, by 30 requests in flight).
**Not modelled:** the CPU of the load generators' own machines.
"""

from __future__ import annotations

from collections.abc import Iterator

from sim.base.api_object import APIObject
from sim.base.objects import Generic, Namespace
from sim.components.client import Client, ClientFactory
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.engine.engine import Engine
from sim.workload.operations import DEFAULT_PARALLELISM_COUNT, Load
from sim.workload.submission import Steps, Submission

GROUPS = {
    "admin": ("kubeadm:cluster-admins", "system:authenticated"),
    "masters": ("system:masters", "system:authenticated"),
    "serviceAccount": ("system:serviceaccounts", "system:authenticated"),
}


def sized_object(resource: str, namespace: str, name: str, size_bytes: int) -> APIObject:
    """Return an object without behaviour of a given size."""
    if resource == "namespaces":
        return Namespace(name=name, finalizers=("kubernetes",), size_bytes=size_bytes)
    return Generic(name=name, namespace=namespace, kind_plural=resource, size_bytes=size_bytes)


class LoadGenerator:
    """Runs one `Load` operation."""

    def __init__(self, engine: Engine, clients: ClientFactory, load: Load, name: str) -> None:
        self._engine = engine
        self._load = load
        self._name = name
        self._stream = engine.stream(f"{name}/load")
        self._clients = [
            clients.client(
                load.user if load.clients == 1 else f"{load.user}-{index}",
                purpose=f"{name}/{index}",
                groups=GROUPS[load.user_class],
                qps=load.client_qps,
                burst=load.client_burst or max(1, int(load.client_qps)),
            )
            for index in range(load.clients)
        ]
        self._endpoint = clients.endpoint
        self._created_count = 0
        self._deleted_count = 0
        self._end_seconds = 0.0
        self.request_count = 0
        self.failed_count = 0

    def run(self) -> Steps:
        """Prepare the objects, then send requests until the duration is over."""
        load = self._load
        if load.verb in {"get", "update", "patch", "delete"} or (
            load.verb == "list" and load.resource == "configmaps"
        ):
            submission = Submission(
                self._engine, self._clients[0], self._preparation(), self._noted
            )
            yield from submission.in_parallel(DEFAULT_PARALLELISM_COUNT)
        self._end_seconds = self._engine.now + load.duration_seconds
        if load.verb == "watch":
            for client in self._clients:
                informer: Informer[APIObject] = Informer(
                    self._engine, self._endpoint, client, load.resource, namespace=load.namespace
                )
                informer.start()
        elif load.rate.per_second > 0.0 or load.rate.end_per_second > 0.0:
            yield from self._open_loop()
        else:
            for client in self._clients:
                self._think(client)
        yield self._engine.sleep(max(0.0, self._end_seconds - self._engine.now))

    def _preparation(self) -> Iterator[Request]:
        load = self._load
        for index in range(load.object_count):
            yield self._creation(f"{self._slug}-{index}", load.object_bytes)

    @property
    def _slug(self) -> str:
        return self._name.replace("/", "-")

    def _creation(self, name: str, size_bytes: int) -> Request:
        load = self._load
        new = sized_object(load.resource, load.namespace or "default", name, size_bytes)
        return Request("create", new.resource, new.namespace, new.name, api_object=new)

    def _noted(self, request: Request) -> None:
        self.request_count += 1
        if not request.ok:
            self.failed_count += 1

    # open loop

    def _open_loop(self) -> Steps:
        start_seconds = self._engine.now
        arrivals = self._engine.stream(f"{self._name}/arrivals")
        for index, time_seconds in enumerate(self._load.rate.times(arrivals)):
            due_seconds = start_seconds + time_seconds
            if due_seconds >= self._end_seconds:
                return
            if due_seconds > self._engine.now:
                yield self._engine.sleep(due_seconds - self._engine.now)
            client = self._clients[index % len(self._clients)]
            request = self._request()
            request.then = self._noted
            client.submit(request)

    # closed loop

    def _think(self, client: Client) -> None:
        if self._load.think_seconds > 0.0:
            pause = self._stream.exponential(self._load.think_seconds)
            self._engine.after(pause, self._next, client)
        else:
            self._next(client)

    def _next(self, client: Client) -> None:
        if self._engine.now >= self._end_seconds:
            return
        self._page(client, 0)

    def _page(self, client: Client, page_index: int) -> None:
        request = self._request()

        def answered(response: Request) -> None:
            self._noted(response)
            if page_index + 1 < self._page_count:
                self._page(client, page_index + 1)
            else:
                self._think(client)

        request.then = answered
        client.submit(request)

    @property
    def _page_count(self) -> int:
        load = self._load
        if load.verb != "list" or not load.list_limit:
            return 1
        return -(-load.object_count // load.list_limit)

    def _request(self) -> Request:
        load = self._load
        verb = load.verb
        namespace = load.namespace
        if verb == "list":
            return Request(
                "list", load.resource, namespace,
                list_mode=load.list_mode, limit_count=load.list_limit,
            )  # fmt: skip
        if verb == "create":
            self._created_count += 1
            return self._creation(f"{self._slug}-new-{self._created_count}", load.object_bytes)
        if verb == "delete":
            index = self._deleted_count % load.object_count
            self._deleted_count += 1
        else:
            index = self._stream.integer(load.object_count)
        name = f"{self._slug}-{index}"
        place = namespace or "default"
        if verb in {"update", "patch"}:
            # An update without a resourceVersion, as a client sends it that owns the object.
            return (
                Request(verb, load.resource, place, name, mutate=_touch)
                if verb == "patch"
                else (self._replacement(place, name))
            )
        return Request(verb, load.resource, place, name, list_mode=load.list_mode)

    def _replacement(self, namespace: str, name: str) -> Request:
        new = sized_object(self._load.resource, namespace, name, self._load.object_bytes)
        self._created_count += 1
        new.annotations = {"sim/touched": str(self._created_count)}
        return Request("update", new.resource, namespace, name, api_object=new)


def _touch(current: APIObject) -> APIObject:
    new = current.clone()
    count = int(current.annotations.get("sim/touched", "0")) + 1
    new.annotations = {**current.annotations, "sim/touched": str(count)}
    return new
