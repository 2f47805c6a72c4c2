"""The writing verbs of an apiserver replica.

Every write is one guarded transaction on the state in the watch cache. When the guard fails, the
transaction brings the current object and the change is computed again on that (facts 0.2). A
PUT whose resourceVersion is not the cached one reads the object from etcd before it is refused, and
so does a change that turns out to change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sim.base.api_object import APIObject, WholeKey
from sim.base.objects import Generic, Namespace, Pod, Service
from sim.components import registry
from sim.components.apiserver_parts import Route
from sim.components.ports import Caller, Request, Write

if TYPE_CHECKING:
    from sim.components.apiserver import APIServer

_ATTEMPT_COUNT_MAX: Final = 64
"""Bound on re-runs of one write (assumed; upstream has none); then 409."""
_ERROR_CODES: Final = {"timeout": 504, "too many requests": 500, "no space": 500}


class Writes:
    """create, update, patch, delete, deletecollection and the subresources that write."""

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._engine = server.engine
        self._storage = server.storage
        self._txn = server.storage.txn
        self._then_put = self._put
        self._then_proposed = self._proposed
        self.conflict_count = 0
        """Transactions whose guard failed."""

    def handler(self, verb: str, subresource: str) -> Callable[[Request], None] | None:
        """Return the method that handles a verb, None for a reading verb."""
        if subresource == "token":
            return self._token
        if subresource == "eviction":
            return self._evict
        if subresource == "binding":
            return self._change
        return {
            "create": self._create,
            "update": self._change,
            "patch": self._change,
            "delete": self._reread,
            "deletecollection": self._delete_collection,
        }.get(verb)

    # ------------------------------------------------------------------------------ create

    def _create(self, request: Request) -> None:
        new = request.api_object
        assert new is not None, "create without an object"
        server = self._server
        if new.namespace:
            home = server.fanout.cache("namespaces").objects.get(("", new.namespace))
            if isinstance(home, Namespace) and home.phase == "Terminating":
                server.refuse(request, 403)
                return
        uid = 0 if new.uid else server.group.next_uid()
        registry.prepare_create(new, uid, self._engine.now)
        if isinstance(new, Service) and not new.headless and new.type != "ExternalName":
            self._allocate_address(request, new)
        else:
            self._propose_create(request)

    def _allocate_address(self, request: Request, new: Service) -> None:
        """Reserve the cluster IP first: an IPAddress object, written through the server itself."""
        if not new.cluster_ip:
            new.cluster_ip = self._server.group.next_cluster_ip()
        name = new.cluster_ip
        address = Generic(name=name, kind_plural="ipaddresses")
        inner = Request("create", "ipaddresses", "", name, api_object=address)
        inner.client = _Inner(lambda _: self._propose_create(request))
        self._server.receive_internal(inner)

    def _release_address(self, item: APIObject | None) -> None:
        """Remove what the registry keeps beside a deleted Service: address and Endpoints.

        **Source:** pkg/registry/core/service/storage/storage.go :: afterDelete.
        """
        if item is not None:
            self._storage.txn(Write("endpoints", item.key, -1, None, 0, _ignore_write))
        if isinstance(item, Service) and item.cluster_ip and not item.headless:
            inner = Request("delete", "ipaddresses", "", item.cluster_ip)
            inner.client = _Inner(_forget)
            self._server.receive_internal(inner)

    def _propose_create(self, request: Request) -> None:
        new = request.api_object
        assert new is not None
        resource = new.resource
        new.stored_key = None  # a clone may have another name now
        write = Write(resource, new.whole_key(), 0, new, new.size_bytes, self._created, request)
        write.lease = resource == "events"
        self._storage.txn(write)

    def _created(self, write: Write) -> None:
        request: Request = write.state
        if write.succeeded:
            request.code = 201
            request.result = write.new
            request.response_bytes = write.size_bytes
        elif write.error:
            request.code = _ERROR_CODES.get(write.error, 500)
        else:
            self.conflict_count += 1
            request.code = 409
        self._server.finish(request)

    # ------------------------------------------------------- update, patch, binding, delete

    def _change(self, request: Request) -> None:
        route: Route = request.route
        body = request.api_object
        key: WholeKey = (request.namespace, request.name) if body is None else body.whole_key()
        current = route.cache.objects.get(key)
        if current is None:  # perhaps the cache is behind: ask etcd
            self._reread(request)
            return
        self._attempt(request, current, fresh=False, count=0)

    def _reread(self, request: Request, count: int = 0) -> None:
        """Read the object from etcd, then compute the change on that.

        A DELETE always begins so. **Source:** registry/store.go :: Delete (a Get without
        resourceVersion); measured: etcd spends more on a DELETE of a ConfigMap than on its POST.
        """
        key = (request.namespace, request.name)
        self._storage.get(request.resource, key, self._reread_done, (request, count))

    def _reread_done(self, answer: Any) -> None:
        (request, count), current, _, error = answer
        call_seconds = self._server.law.storage_call_seconds
        if not error and current is not None:
            argument = (request, current, count + 1)
            self._server.run(call_seconds, self._again, argument)
            return
        if error:
            request.code = _ERROR_CODES.get(error, 500)
            self._server.finish(request)
        else:
            request.code = 404
            self._server.finish(request)

    def _attempt(self, request: Request, current: APIObject, *, fresh: bool, count: int) -> None:
        """Compute the change on ``current`` and propose it."""
        route: Route = request.route
        if route.removes:
            uid = request.precondition_uid
            if uid and uid != current.uid:
                decision, new = registry.CONFLICT, current
            else:
                decision, new = registry.prepare_delete(
                    current, request.grace_seconds, self._engine.now
                )
        else:
            decision, new = self._desired(request, current)
        if decision == registry.PUT and not count:  # most often, and nothing else to remember
            write = Write(
                current.resource,
                current.whole_key(),
                current.resource_version,
                new,
                new.size_bytes,
                self._then_put,
                request,
            )
            self._txn(write)
            return
        if decision == registry.CONFLICT or (
            decision == registry.NO_CHANGE and request.verb != "delete"
        ):
            if not fresh:
                self._reread(request, count)
                return
            request.code = 409 if decision == registry.CONFLICT else 200
            request.result = current if decision == registry.NO_CHANGE else None
            self._server.finish(request)
            return
        if decision == registry.NO_CHANGE:
            request.code, request.result = 200, current
            self._server.finish(request)
            return
        stored = None if decision == registry.REMOVE else new
        size = new.size_bytes if stored is not None else 0
        write = Write(
            current.resource,
            current.whole_key(),
            current.resource_version,
            stored,
            size,
            self._then_proposed,
            (request, decision, new, count),
        )
        self._txn(write)

    def _desired(self, request: Request, current: APIObject) -> tuple[int, APIObject]:
        new: APIObject | None
        if request.mutate is not None:
            if (
                request.subresource == "binding"
                and isinstance(current, Pod)
                and (current.node_name or current.deletion_seconds >= 0.0)
            ):
                return registry.CONFLICT, current
            new = request.mutate(current)
            if new is None:
                return registry.CONFLICT, current
        else:
            new = request.api_object
            assert new is not None, f"{request.verb} without a body"
            version = new.resource_version
            if version and version != current.resource_version:
                return registry.CONFLICT, current
        return registry.prepare_update(new, current, request.subresource), new

    def _put(self, write: Write) -> None:
        """A first attempt to store an object is over."""
        request: Request = write.state
        new = write.new
        assert new is not None
        self._settle(write, request, registry.PUT, new, 0)

    def _proposed(self, write: Write) -> None:
        state: tuple[Request, int, APIObject, int] = write.state
        request, decision, new, count = state
        self._settle(write, request, decision, new, count)

    def _settle(
        self, write: Write, request: Request, decision: int, new: APIObject, count: int
    ) -> None:
        if write.succeeded:
            if decision == registry.PUT_THEN_REMOVE:
                request.result = new
                route: Route = request.route
                cost = route.cost.call_seconds
                self._server.run(cost, self._remove, (request, new, count))
                return
            if write.new is None and write.resource == "services":
                self._release_address(new)
            request.code = 201 if request.subresource == "binding" else 200
            request.result = new
            request.response_bytes = write.size_bytes
            self._server.finish(request)
            return
        if write.error:
            request.code = _ERROR_CODES.get(write.error, 500)
            self._server.finish(request)
            return
        self.conflict_count += 1
        if write.actual is None:
            request.code = 404
            self._server.finish(request)
        elif count >= _ATTEMPT_COUNT_MAX:
            request.code = 409
            self._server.finish(request)
        else:
            argument = (request, write.actual, count + 1)
            route = request.route
            self._server.run(route.cost.call_seconds, self._again, argument)

    def _again(self, argument: tuple[Request, APIObject, int]) -> None:
        request, current, count = argument
        self._attempt(request, current, fresh=True, count=count)

    def _remove(self, argument: tuple[Request, APIObject, int]) -> None:
        """Second part of a DELETE with grace 0: the pod has its deletion time, now go.

        It starts from the watch cache, which has rarely seen the first part yet: then the guard
        fails and the removal is proposed again. Measured: a DELETE of a pod costs etcd as much as
        three transactions and a read.
        """
        request, new, count = argument
        route: Route = request.route
        cached = route.cache.objects.get(new.key, new)
        state = (request, registry.REMOVE, new, count)
        version = cached.resource_version
        write = Write(new.resource, new.key, version, None, 0, self._proposed, state)
        self._storage.txn(write)

    # ----------------------------------------------------------------- token and eviction

    def _token(self, request: Request) -> None:
        """POST serviceaccounts/token: reads the account and, if one is named, the pod."""
        key = (request.namespace, request.name)
        resource = request.resource
        if resource == "serviceaccounts":
            self._storage.get(resource, key, self._token_signed, request)
            return
        self._storage.get("serviceaccounts", (request.namespace, "default"),
                          self._token_pod, request)  # fmt: skip

    def _token_pod(self, answer: Any) -> None:
        request = answer[0]
        key = (request.namespace, request.name)
        self._storage.get(request.resource, key, self._token_signed, request)

    def _token_signed(self, answer: Any) -> None:
        request, _, _, error = answer
        request.code = _ERROR_CODES.get(error, 500) if error else 201
        self._server.finish(request)

    def _evict(self, request: Request) -> None:
        """POST pods/eviction: a delete that a PodDisruptionBudget may refuse with 429."""
        route: Route = request.route
        pod = route.cache.objects.get((request.namespace, request.name))
        if isinstance(pod, Pod) and pod.node_name and pod.is_active:
            budgets = self._server.fanout.cache("poddisruptionbudgets").objects
            for budget in budgets.values():
                selector: Any = budget
                if (
                    budget.namespace == pod.namespace
                    and selector.selector.matches(pod.labels)
                    and selector.disruptions_allowed_count <= 0
                ):
                    request.retry_after_seconds = 10.0
                    self._server.refuse(request, 429)
                    return
        self._change(request)

    # -------------------------------------------------------------------- deletecollection

    def _delete_collection(self, request: Request) -> None:
        """List from the cache, then delete one object after another (one worker)."""
        cache = self._server.fanout.cache(request.resource)
        items = cache.select(request.namespace, request.selector)
        request.result = items
        request.code = 200
        self._delete_next((request, iter(items)))

    def _delete_next(self, argument: tuple[Request, Any]) -> None:
        request, items = argument
        item = next(items, None)
        server = self._server
        if item is None or not server.serving:
            server.finish(request)
            return
        inner = Request("delete", item.resource, item.namespace, item.name)
        inner.client = _Inner(lambda _: self._delete_next(argument))
        inner.grace_seconds = request.grace_seconds
        server.receive_internal(inner)


def _forget(_: Request) -> None:
    return


def _ignore_write(_: Write) -> None:
    return


class _Inner(Caller):
    """Stands where a client stands, for a request that one handler makes of another."""

    __slots__ = ("_then",)

    def __init__(self, then: Callable[[Request], object]) -> None:
        super().__init__("system:apiserver", "system:apiserver", ("system:masters",))
        self._then = then

    def receive(self, request: Request) -> None:
        """Go on with what the inner request was made for."""
        self._then(request)
