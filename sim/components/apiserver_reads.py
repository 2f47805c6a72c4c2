"""The reading verbs of an apiserver replica: GET, LIST, WATCH.

A GET is a linearizable etcd read unless it asks for the cache. A LIST without resourceVersion asks
etcd for its revision, waits until the cache has proved to be as new, and is served from the cache
(facts c.4). A watch does the same and streams the state before the changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from sim.base.api_object import APIObject, Key
from sim.components.ports import Request, WatchEvent
from sim.components.watch_cache import WatchCache, filtered, matches

if TYPE_CHECKING:
    from sim.components.apiserver import APIServer

_LIST_RETRY_SECONDS: Final = 1.0
"""Between attempts to list from an etcd that has no leader (assumed)."""

_TURN_SECONDS: Final = 2e-6
"""CPU of a wake-up that finds the process busy (assumed; what matters is its turn)."""


def _key_of(item: APIObject) -> Key:
    return (item.namespace, item.name)


class Reads:
    """get, list and watch."""

    def __init__(self, server: APIServer) -> None:
        self._server = server
        self._storage = server.storage
        self._leaving: list[Request] = []
        """Reads that wait for the writer of the connection to etcd."""

    def handler(self, verb: str) -> Callable[[Request], None]:
        """Return the method that handles a verb.

        Raises:
            KeyError: for a verb that does not exist.
        """
        return {"get": self._get, "list": self._list, "watch": self._watch}[verb]

    # --------------------------------------------------------------------------------- get

    def _get(self, request: Request) -> None:
        key = (request.namespace, request.name)
        if request.list_mode == "cache":
            cache = self._server.fanout.cache(request.resource)
            if not cache.initialized:
                request.retry_after_seconds = 1.0
                self._server.refuse(request, 429)
                return
            self._answer(request, cache.objects.get(key), 0.0)
        elif request.ticket is None or not self._server.fanout.run_queue.preempted_count:
            self._storage.get(request.resource, key, self._got, request)
        else:
            self._leaving.append(request)
            if len(self._leaving) == 1:
                self._server.run(_TURN_SECONDS, self._write_out)

    def _write_out(self, _: None) -> None:
        """Send reads to etcd: the connection's writer lets everybody run before it sends a few.

        So it waits in the common queue, which takes time only where preempted work fills it.
        **Source:** grpc-go, controlbuf.go :: loopyWriter.run (yields while a batch is small).
        """
        leaving, self._leaving = self._leaving, []
        for request in leaving:
            key = (request.namespace, request.name)
            self._storage.get(request.resource, key, self._got, request)

    def _got(self, answer: Any) -> None:
        if answer[0].ticket is None:
            self._found(answer)
        else:  # the connection's reader wakes the handler: grpc-go, http2_client.go :: reader
            self._server.run(_TURN_SECONDS, self._found, answer)

    def _found(self, answer: Any) -> None:
        request, found, _, error = answer
        call_seconds = self._server.law.storage_call_seconds
        if error:
            request.code = 504 if error == "timeout" else 500
            self._server.finish(request, call_seconds)
        else:
            self._answer(request, found, call_seconds)

    def _answer(self, request: Request, found: APIObject | None, extra_seconds: float) -> None:
        if found is None:
            request.code = 404
        else:
            request.code = 200
            request.result = found
            request.response_bytes = found.size_bytes
        self._server.finish(request, extra_seconds)

    # -------------------------------------------------------------------------------- list

    def _list(self, request: Request) -> None:
        cache = self._server.fanout.cache(request.resource)
        if request.list_mode == "exact":
            self._list_from_etcd(request)
        elif not cache.initialized:
            request.retry_after_seconds = 1.0
            self._server.refuse(request, 429)
        elif request.list_mode == "cache":
            self._list_from_cache((request, cache))
        else:
            self._storage.list_objects(
                request.resource, request.namespace, -1, self._list_revision, (request, cache)
            )

    def _list_revision(self, answer: Any) -> None:
        (request, cache), _, revision, error = answer
        if error:
            request.code = 504 if error == "timeout" else 500
            self._server.finish(request)
            return
        law = self._server.law
        work = law.storage_call_seconds + law.list_consistent_seconds
        self._server.run(work, self._await_cache, (request, cache, revision))

    def _await_cache(self, argument: tuple[Request, WatchCache, int]) -> None:
        request, cache, revision = argument
        self._server.fanout.wait_for(cache, revision, self._list_from_cache, (request, cache))

    def _list_from_cache(self, argument: tuple[Request, WatchCache]) -> None:
        request, cache = argument
        found = cache.select(request.namespace, request.selector)
        if request.limit_count > 0:
            found = found[: request.limit_count]
        self._answer_list(request, found)

    def _list_from_etcd(self, request: Request) -> None:
        self._storage.list_objects(
            request.resource, request.namespace, request.limit_count, self._listed, request
        )

    def _listed(self, answer: Any) -> None:
        request, found, _, error = answer
        if error:
            request.code = 504 if error == "timeout" else 500
            self._server.finish(request)
            return
        if request.selector is not None:
            found = [item for item in found if request.selector(item)]
        self._answer_list(request, found)

    def _answer_list(self, request: Request, found: list[APIObject]) -> None:
        self._server.finish(request, self._fill_in(request, found))

    def _fill_in(self, request: Request, found: list[APIObject]) -> float:
        """Put a list into the answer; return the CPU seconds of encoding it."""
        body = sum(item.size_bytes for item in found)
        request.result = found
        request.code = 200
        request.response_bytes = body
        return self._list_seconds(len(found), body)

    def _list_seconds(self, item_count: int, body_bytes: int) -> float:
        server = self._server
        compress = server.params.api_response_compression
        return server.law.list_seconds(item_count, body_bytes, compress=compress)

    def list_in_one_go(self, request: Request) -> float:
        """Answer a LIST from the cache, in which nothing waits; return the CPU seconds."""
        cache = self._server.fanout.cache(request.resource)
        if not cache.initialized:
            request.retry_after_seconds = 1.0
            request.code = 429
            return 0.0
        found = cache.select(request.namespace, request.selector)
        if request.limit_count > 0:
            found = found[: request.limit_count]
        return self._fill_in(request, found)

    # ------------------------------------------------------------------------------- watch

    def _watch(self, request: Request) -> None:
        cache = self._server.fanout.cache(request.resource)
        if not cache.initialized:
            request.retry_after_seconds = 1.0
            self._server.refuse(request, 429)
            return
        if request.result[0].resume_revision:
            self._register((request, cache))
            return
        self._storage.list_objects(
            request.resource, request.namespace, -1, self._watch_revision, (request, cache)
        )

    def _watch_revision(self, answer: Any) -> None:
        (request, cache), _, revision, error = answer
        if error:
            request.code = 504 if error == "timeout" else 500
            self._server.finish(request)
            return
        self._server.fanout.wait_for(cache, revision, self._register, (request, cache))

    def _register(self, argument: tuple[Request, WatchCache]) -> None:
        request, cache = argument
        watcher, then = request.result
        if watcher.closed:
            request.code = 499
            self._server.finish(request)
            return
        watcher.replica = self._server
        missed = cache.ring.since(watcher.resume_revision) if watcher.resume_revision else None
        cache.add(watcher)
        if missed is not None:
            self._resume(request, missed)
            return
        found = [item for item in cache.objects.values() if matches(watcher, item)]
        if request.resource == "pods":  # the store's tree is ordered by key, not by arrival
            found.sort(key=_key_of)
        body = sum(item.size_bytes for item in found)
        request.result = (watcher, then, found, cache.revision)
        request.code = 200
        request.response_bytes = body
        self._server.finish(request, self._list_seconds(len(found), body))

    def _resume(self, request: Request, missed: list[WatchEvent]) -> None:
        """Answer with the changes since a revision, as the first events of the watch."""
        watcher, then = request.result
        seen = [event for item in missed if (event := filtered(watcher, item)) is not None]
        watcher.state.inbox = seen
        request.result = (watcher, then, None, 0)
        request.code = 200
        request.response_bytes = sum(event.new.size_bytes for event in seen)
        self._server.finish(request, self._list_seconds(len(seen), request.response_bytes))

    # ------------------------------------------------------------------- after a restart

    def initialize_caches(self) -> None:
        """List every known resource from etcd, all at once, and start from that."""
        generation = self._server.fanout.generation
        for resource in self._server.fanout.caches:
            self._storage.list_objects(resource, "", 0, self._initial_list, (resource, generation))

    def _initial_list(self, answer: Any) -> None:
        (resource, generation), found, revision, error = answer
        server = self._server
        if generation != server.fanout.generation:
            return
        if error:
            server.engine.after(_LIST_RETRY_SECONDS, self._list_again, answer[0])
            return
        work = sum(server.fanout.law.fill(item.size_bytes) for item in found)
        server.process.run(work, self._filled, (resource, generation, found, revision))

    def _list_again(self, argument: tuple[str, int]) -> None:
        if argument[1] == self._server.fanout.generation:
            self._storage.list_objects(argument[0], "", 0, self._initial_list, argument)

    def _filled(self, argument: tuple[str, int, list[APIObject], int]) -> None:
        resource, generation, found, revision = argument
        fanout = self._server.fanout
        if generation == fanout.generation:
            fanout.cache(resource).replace(found, revision)
            fanout.filled_revision = max(fanout.filled_revision, revision)
