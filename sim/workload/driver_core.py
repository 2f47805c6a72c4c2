"""What the operations of a workload share: clients, names, what was created, waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from sim.base.api_object import APIObject
from sim.base.objects import Job, Namespace, Pod, Workload
from sim.components.client import ClientFactory
from sim.components.ports import Request
from sim.engine.engine import Engine
from sim.engine.tables import Recorder
from sim.workload.faults import ClusterActions
from sim.workload.load import GROUPS
from sim.workload.object_reader import ObjectReader
from sim.workload.operations import Submitting
from sim.workload.pod_tracker import SYSTEM_NAMESPACES, PodTracker
from sim.workload.rollout_tracker import RolloutTracker
from sim.workload.shaping import namespace_manifest
from sim.workload.submission import Retries, Steps, Submission

USER: Final = "kubernetes-admin"
Key = tuple[str, str]


class DriverCore:
    """State of one workload under way."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        clients: ClientFactory,
        reader: ObjectReader,
        actions: ClusterActions,
        inputs: Mapping[int, Any],
    ) -> None:
        self.engine = engine
        self.clients = clients
        self.reader = reader
        self.actions = actions
        self.inputs = inputs
        """Index of an operation → what was read from its files."""
        self.client = clients.client(USER, groups=GROUPS["admin"])
        self._retries = Retries(engine, self.client)
        self.tracker = PodTracker(engine, clients.endpoint, self.client)
        self.rollouts = RolloutTracker(
            engine, clients.endpoint, self.client, self.tracker.notify
        )
        self.created: dict[str, list[Key]] = {}
        """Resource → keys of what this workload has created, pods left out."""
        self.main_done = False
        """Whether all operations in the foreground have ended."""
        self.windows: dict[str, list[float]] = {}
        """Measured part → its start and, once it has ended, its end."""
        self.request_count = 0
        self._facts = recorder["faults"]
        self.reachability = recorder["reachability"]
        self._namespaces = dict.fromkeys(["default", *sorted(SYSTEM_NAMESPACES)])
        self._name_counts: dict[Key, int] = {}
        self._wanted: dict[tuple[str, Key], tuple[Mapping[str, str], int]] = {}
        self._refused: dict[tuple[str, str, int], int] = {}

    # facts

    def note(self, what: str, detail: str) -> None:
        """Write a row about the workload itself."""
        self._facts.append((self.engine.now, "workload", what, detail))

    def begin(self, name: str) -> None:
        """Start a measured part."""
        self.windows[name] = [self.engine.now]
        self.note("measurement starts", name)

    def note_refusals(self) -> None:
        """Write a row per kind of request that was refused since the last call."""
        for (verb, resource, code), count in self._refused.items():
            self.note("requests refused", f"{count} x {verb} {resource}: {code}")
        self._refused.clear()

    # sending

    def submit(self, index: int, operation: Submitting, requests: Iterator[Request]) -> Steps:
        """Send requests as the operation says; end when all are answered."""
        submission = Submission(self.engine, self.client, requests, self.answered)
        rate = operation.rate
        if rate.per_second > 0.0 or rate.end_per_second > 0.0:
            yield from submission.at_rate(rate, self.engine.stream(f"workload/{index}/arrivals"))
        else:
            yield from submission.in_parallel(operation.parallelism)

    def answered(self, request: Request) -> None:
        """Count an answer."""
        self.request_count += 1
        self.rollouts.answered(request)
        if not request.ok:
            key = (request.verb, request.resource, request.code)
            self._refused[key] = self._refused.get(key, 0) + 1

    def fire(self, request: Request) -> None:
        """Send one request without waiting for its answer."""
        request.then = self._fired
        self.client.submit(request)

    def _fired(self, request: Request) -> None:
        if not self._retries.again(request):
            self.answered(request)

    def call(self, request: Request) -> Steps:
        """Send one request and wait for its answer."""
        response = yield self.client.call(request)
        self.answered(response)
        return response

    # what exists and what is wanted

    def creation(self, new: APIObject) -> Request:
        """Return the POST of an object; note what it will mean for barriers and later steps."""
        if isinstance(new, Namespace):
            new.finalizers = new.finalizers or ("kubernetes",)
            self._namespaces[new.name] = None
        elif isinstance(new, Pod):
            self.tracker.expect(new.namespace, new.labels, 1)
        elif isinstance(new, Job):
            self.tracker.expect(new.namespace, new.template.labels, new.completion_count)
        elif isinstance(new, Workload) and new.resource != "daemonsets":
            self._wanted[new.resource, new.key] = (new.template.labels, 0)
            self.want(new.resource, new.key, new.replica_count)
        if not isinstance(new, Pod):
            self.created.setdefault(new.resource, []).append(new.key)
        return Request("create", new.resource, new.namespace, new.name, api_object=new)

    def want(self, resource: str, key: Key, replica_count: int) -> None:
        """Note that a workload of ours shall have so many pods from now on."""
        known = self._wanted.get((resource, key))
        if known is not None:
            labels, former_count = known
            self.tracker.expect(key[0], labels, replica_count - former_count)
            self._wanted[resource, key] = (labels, replica_count)

    def ensure_namespaces(self, names: Sequence[str]) -> Steps:
        """Create namespaces that objects need and nobody has created."""
        for name in dict.fromkeys(names):
            if name and name not in self._namespaces:
                (new,) = self.reader.read([namespace_manifest(name)])
                yield from self.call(self.creation(new))

    def next_name(self, namespace: str, prefix: str) -> str:
        """Return the prefix, a dash and the next free number."""
        key = (namespace, prefix)
        number = self._name_counts.get(key, 0)
        self._name_counts[key] = number + 1
        return f"{prefix}-{number}"

    def chosen(self, resource: str, namespace: str, names: tuple[str, ...]) -> list[Key]:
        """Return the keys of the named objects, or of all that this workload has created."""
        if names:
            return [(namespace, name) for name in names]
        return [key for key in self.created.get(resource, []) if key[0] == namespace]

    def forget(self, resource: str, keys: list[Key]) -> None:
        """Objects are being deleted: neither they nor their pods are expected any more."""
        gone = dict.fromkeys(keys)
        self.created[resource] = [key for key in self.created.get(resource, []) if key not in gone]
        for key in keys:
            self.want(resource, key, 0)

    # waiting

    def until(self, reached: Callable[[], bool], timeout_seconds: float = -1.0) -> Steps:
        """Wait until a condition on the tracked pods holds; return whether it does."""
        if reached():
            return True
        event = self.engine.event()

        def look() -> None:
            if not event.triggered and reached():
                event.succeed()

        def give_up(_: None) -> None:
            if not event.triggered:
                event.succeed()

        self.tracker.listeners.append(look)
        timer = None
        if timeout_seconds >= 0.0:
            timer = self.engine.call_later(timeout_seconds, give_up)
        yield event
        if timer is not None:
            timer.cancel()
        self.tracker.listeners.remove(look)
        return reached()
