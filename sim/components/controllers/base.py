"""What all controllers share: informers, indexes, queues, workers, expectations, names.

A controller watches through the process's shared informers, queues keys and lets its workers sync
them one at a time per key. A sync is a generator: it yields CPU and API calls, and says how it
ended: ``OK`` (forget the key's back-off), ``REQUEUE`` (again after back-off) or ``ERROR`` (again
after back-off, at most ``retry_count_max`` times).
**Source:** `facts/model.md` 0 (5), a.1; `facts/defaults.csv` rows of the workqueue.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from json import dumps
from typing import Any, Final, Generic, TypeVar
from zlib import crc32

from sim.base.api_object import NEVER, APIObject, Key, OwnerReference
from sim.base.objects import Pod, Workload
from sim.base.pod_template import PodTemplate
from sim.components.client import Client
from sim.components.events import EventRecorder
from sim.components.informer import Informer
from sim.components.ports import Request
from sim.costs.controllers import ControllerManagerLaw
from sim.engine.engine import Engine
from sim.engine.host import HostProcess
from sim.engine.tables import Recorder
from sim.engine.tasks import Signal, Task, Waitable
from sim.engine.workqueue import Workqueue

OK: Final = "ok"
REQUEUE: Final = "requeued"
ERROR: Final = "error"

Sync = Generator[Waitable, Any, str]
Steps = Generator[Waitable, Any, Any]
K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=APIObject)

EXPECTATIONS_TIMEOUT_SECONDS: Final = 300.0
"""**Source:** `facts/defaults.csv`, expectations timeout."""
_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_COUNT: Final = len(_ALPHABET) ** 5
_MULTIPLIER: Final = 8_675_309
_SERVICE_ACCOUNT_GROUPS: Final = (
    "system:serviceaccounts",
    "system:serviceaccounts:kube-system",
    "system:authenticated",
)


def suffix(index: int) -> str:
    """Return the five characters that follow a generated name; distinct for 14 million indexes.

    Consecutive indexes are spread over the alphabet by a multiplication modulo 27⁵, which is
    one-to-one since the factor and 27 have no common divisor.
    """
    value = (index * _MULTIPLIER + 1_234_567) % _SUFFIX_COUNT
    letters = ""
    for _ in range(5):
        value, digit = divmod(value, len(_ALPHABET))
        letters += _ALPHABET[digit]
    return letters


def safe_hash(text: str) -> str:
    """Return ten characters that identify a text, as the pod-template-hash label does."""
    value = int.from_bytes(sha256(text.encode()).digest()[:8], "big")
    letters = ""
    for _ in range(10):
        value, digit = divmod(value, len(_ALPHABET))
        letters += _ALPHABET[digit]
    return letters


def template_identity(template: PodTemplate) -> str:
    """Return the digest of a template, computed from its content if it has none."""
    if template.digest:
        return template.digest
    text = dumps(template.manifest, sort_keys=True, default=str)
    return sha256(f"{text}{sorted(template.labels.items())}".encode()).hexdigest()


def with_labels(template: PodTemplate, extra: Mapping[str, str]) -> PodTemplate:
    """Return the template with more labels, in its manifest as well."""
    labels = {**template.labels, **extra}
    metadata = dict(template.manifest.get("metadata") or {})
    metadata["labels"] = labels
    return replace(
        template,
        labels=labels,
        manifest={**template.manifest, "metadata": metadata},
        digest=safe_hash(f"{template_identity(template)}{sorted(extra.items())}"),
    )


class SyncQueue(Workqueue[K]):
    """A workqueue that also tells how long the key that was just handed over had waited."""

    def __init__(self, engine: Engine, name: str, *, retry_base_seconds: float) -> None:
        super().__init__(engine, name, retry_base_seconds=retry_base_seconds)
        self.wait_seconds: dict[K, float] = {}

    def _hand_over(self, waiter: Signal) -> None:
        key = self._ready[0]
        self.wait_seconds[key] = self._engine.now - self._added_seconds[key]
        super()._hand_over(waiter)


class OwnerIndex(Generic[T]):
    """The cached objects of one resource by uid of their controlling owner."""

    def __init__(self, informer: Informer[T]) -> None:
        self.children: dict[int, dict[Key, T]] = {}
        informer.add_handler(self._changed, plain_updates=False)

    def _changed(self, kind: str, new: T, old: T | None) -> None:
        owner = new.owner
        if old is not None and old.owner is not None and (owner is None or owner != old.owner):
            self._remove(old)
        if owner is None:
            return
        if kind == "DELETED":
            self._remove(new)
            return
        group = self.children.get(owner.uid)
        if group is None:
            group = self.children[owner.uid] = {}
        group[new.key] = new

    def _remove(self, gone: T) -> None:
        assert gone.owner is not None
        group = self.children.get(gone.owner.uid)
        if group is not None:
            group.pop(gone.key, None)
            if not group:
                del self.children[gone.owner.uid]

    def of(self, uid: int) -> list[T]:
        """Return the children of an owner, in order of arrival in the cache."""
        return list(self.children.get(uid, {}).values())


@dataclass(slots=True)
class ControllerContext:
    """What the controllers of one process share."""

    engine: Engine
    recorder: Recorder
    process: HostProcess
    law: ControllerManagerLaw
    make_client: Callable[[str, str, float, int], Client]
    """(controller, service account, qps or 0 for the default, burst or 0) → its own client."""
    make_informer: Callable[[str], Informer[Any]]
    informers: dict[str, Informer[Any]] = field(default_factory=dict)
    owner_indexes: dict[str, OwnerIndex[Any]] = field(default_factory=dict)
    running: bool = False
    epoch: str = ""
    """Which process's which leadership this is; names generated in two epochs differ."""
    name_counts: dict[int, int] = field(default_factory=dict)

    def next_suffix(self, owner_uid: int) -> str:
        """Return the suffix of the next name generated for an owner's child."""
        index = self.name_counts.get(owner_uid)
        if index is None:
            index = crc32(f"{self.epoch}/{owner_uid}".encode()) % _SUFFIX_COUNT
        self.name_counts[owner_uid] = (index + 1) % _SUFFIX_COUNT
        return suffix(index)

    def informer(self, resource: str) -> Informer[Any]:
        """Return the process's one informer of a resource."""
        found = self.informers.get(resource)
        if found is None:
            found = self.informers[resource] = self.make_informer(resource)
        return found

    def event_count(self) -> int:
        """Return how many events the informers have brought so far."""
        count = 0
        for informer in self.informers.values():
            count += informer.event_count
        return count

    def owner_index(self, resource: str) -> OwnerIndex[Any]:
        """Return the index of a resource by owner."""
        found = self.owner_indexes.get(resource)
        if found is None:
            found = self.owner_indexes[resource] = OwnerIndex(self.informer(resource))
        return found

    def cpu(self, seconds: float) -> Signal:
        """Return a signal that happens when the process has spent CPU."""
        event = Signal(self.engine)
        self.process.run(seconds, event.succeed)
        return event

    def together(self, requests: Iterable[Request], client: Client) -> Signal:
        """Submit requests at once; the signal happens with their list when all are answered."""
        pending = list(requests)
        event = Signal(self.engine)
        left_count = len(pending)
        if not left_count:
            event.succeed(pending)
            return event

        def answered(_: Request) -> None:
            nonlocal left_count
            left_count -= 1
            if left_count == 0:
                event.succeed(pending)

        for request in pending:
            inner = request.then
            request.then = answered if inner is None else _both(inner, answered)
            client.submit(request)
        return event


def _both(
    first: Callable[[Request], object], second: Callable[[Request], object]
) -> Callable[[Request], None]:
    def then(request: Request) -> None:
        first(request)
        second(request)

    return then


def _done_nothing(_: None) -> None:
    return


class Controller:
    """One controller: its client, its queue of (namespace, name) keys, its workers."""

    name = ""
    service_account = ""
    retry_count_max = 15

    def __init__(
        self,
        context: ControllerContext,
        worker_count: int,
        *,
        qps: float = 0.0,
        burst: int = 0,
        retry_base_seconds: float = 0.005,
    ) -> None:
        self.context = context
        self.engine = context.engine
        self.worker_count = worker_count
        self.client = context.make_client(self.name, self.service_account, qps, burst)
        self.events = EventRecorder(context.engine, self.client, self.service_account)
        self.queue: SyncQueue[Any] = SyncQueue(
            context.engine, self.name, retry_base_seconds=retry_base_seconds
        )
        self._syncs = context.recorder["controller_syncs"]
        self.sync_count = 0
        self.started = False
        self._charged_count = 0
        """Requests (events included) whose answers have been paid for in CPU."""

    def start(self) -> None:
        """Begin to work: called when all informers have synced."""
        self.started = True
        for _ in range(self.worker_count):
            Task(self.engine, self._work())

    def sync(self, key: Any) -> Sync:
        """Bring one key to its desired state."""
        raise AssertionError("every controller has its own sync")

    def object_count(self, key: Any) -> int:
        """Return how many cached objects a sync of the key looks at."""
        return 1

    def _work(self) -> Steps:
        queue = self.queue
        engine = self.engine
        context = self.context
        law = context.law
        append = self._syncs.append
        while True:
            key = yield queue.get()
            if not context.running:
                return
            started_seconds = engine.now
            queue_seconds = queue.wait_seconds.pop(key)
            yield context.cpu(law.sync_seconds(self.object_count(key)))
            result = yield from self.sync(key)
            answered_count = self.client.request_count - self._charged_count
            if answered_count:
                self._charged_count += answered_count
                if answered_count > 1:  # answered in parallel with the one that is waited for
                    context.process.run(
                        (answered_count - 1) * law.answer_cpu_seconds, _done_nothing
                    )
                yield context.cpu(law.answer_cpu_seconds)
            self.sync_count += 1
            append(
                (started_seconds, self.name, queue_seconds, engine.now - started_seconds, result)
            )
            if result == OK:
                queue.forget(key)
            elif result == REQUEUE or queue.retries(key) < self.retry_count_max:
                queue.add_rate_limited(key)
            else:
                queue.forget(key)
            queue.done(key)

    def delete_pods(self, owner: APIObject, pods: list[Pod], expectations: Expectations) -> Steps:
        """Delete an owner's pods in parallel, as expected deletions; return whether one failed."""
        key = owner.key
        expectations.expect_deletions(key, [pod.key for pod in pods])

        def deleted(request: Request) -> None:
            if request.ok:
                self.events.event(
                    owner, "Normal", "SuccessfulDelete", f"Deleted pod: {request.name}"
                )
            else:
                expectations.deletion_observed(key, (request.namespace, request.name))

        requests = yield self.context.together(
            [Request("delete", "pods", pod.namespace, pod.name, then=deleted) for pod in pods],
            self.client,
        )
        return any(not request.ok and request.code != 404 for request in requests)

    def every(self, period_seconds: float, action: Callable[[], object]) -> None:
        """Run an action now and then once per period while the process is running."""
        start_seconds = self.engine.now

        def run(index: int) -> None:
            if self.context.running:
                action()
                self.engine.call_at(start_seconds + (index + 1) * period_seconds, run, index + 1)

        run(0)


class Expectations:
    """Creations and deletions that a controller asked for and has not yet seen in its informer."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._creations: dict[Key, int] = {}
        self._deletions: dict[Key, dict[Key, None]] = {}
        self._set_seconds: dict[Key, float] = {}

    def satisfied(self, key: Key) -> bool:
        """Whether everything expected of a key has been seen, or 5 minutes have passed."""
        if self._creations.get(key, 0) <= 0 and not self._deletions.get(key):
            return True
        since_seconds = self._engine.now - self._set_seconds.get(key, NEVER)
        return since_seconds > EXPECTATIONS_TIMEOUT_SECONDS

    def expect_creations(self, key: Key, count: int) -> None:
        """Expect ``count`` more ADDED events, and nothing of what was expected before."""
        self._creations[key] = count
        self._deletions.pop(key, None)
        self._set_seconds[key] = self._engine.now

    def expect_deletions(self, key: Key, children: Iterable[Key]) -> None:
        """Expect the deletion of these children, and nothing of what was expected before."""
        self._creations[key] = 0
        self._deletions[key] = dict.fromkeys(children)
        self._set_seconds[key] = self._engine.now

    def creation_observed(self, key: Key, count: int = 1) -> None:
        """A child of the key has appeared (or will never)."""
        left = self._creations.get(key)
        if left is not None and left > 0:
            self._creations[key] = left - count

    def deletion_observed(self, key: Key, child: Key) -> None:
        """A child of the key is being deleted, or is gone."""
        expected = self._deletions.get(key)
        if expected is not None:
            expected.pop(child, None)

    def forget(self, key: Key) -> None:
        """The key is gone."""
        self._creations.pop(key, None)
        self._deletions.pop(key, None)
        self._set_seconds.pop(key, None)


class WrittenRevisions:
    """Revisions of a controller's own writes, to tell whether its informers have caught up.

    **Source:** `facts/model.md` a.1 step 2 (5): the StaleControllerConsistency gates of v1.36.
    """

    def __init__(self, context: ControllerContext) -> None:
        self._context = context
        self._written: dict[Key, dict[str, int]] = {}

    def wrote(self, key: Key, request: Request) -> None:
        """Note the answer to a write made on behalf of a key."""
        if request.ok and isinstance(request.result, APIObject):
            resources = self._written.setdefault(key, {})
            revision = request.result.resource_version
            if revision > resources.get(request.resource, 0):
                resources[request.resource] = revision

    def caught_up(self, key: Key) -> bool:
        """Whether the informers have delivered everything written for the key."""
        written = self._written.get(key)
        if written is None:
            return True
        informers = self._context.informers
        if any(informers[resource].revision < seen for resource, seen in written.items()):
            return False
        del self._written[key]
        return True

    def forget(self, key: Key) -> None:
        """The key is gone."""
        self._written.pop(key, None)


def slow_start(
    context: ControllerContext,
    client: Client,
    count: int,
    make: Callable[[], Request],
) -> Generator[Waitable, Any, tuple[int, bool]]:
    """Send ``count`` creations in batches of 1, 2, 4, … each after the former has succeeded.

    Returns how many succeeded and whether any failed (then the rest is not sent).
    **Source:** `facts/model.md` a.1 step 2 (2).
    """
    done_count = 0
    batch_count = min(1, count)
    left_count = count
    while batch_count > 0:
        requests = yield context.together([make() for _ in range(batch_count)], client)
        good_count = sum(1 for request in requests if request.ok)
        done_count += good_count
        if good_count < batch_count:
            return done_count, True
        left_count -= batch_count
        batch_count = min(2 * batch_count, left_count)
    return done_count, False


_TERMINATING: Final = "status/terminatingReplicas"


def terminating_count(workload: Workload) -> int:
    """Return status.terminatingReplicas of a ReplicaSet or Deployment, kept as an annotation.

    **Source:** gate DeploymentReplicaSetTerminatingReplicas (beta, on since v1.35).
    """
    return int(workload.annotations.get(_TERMINATING, "0"))


def set_terminating(workload: Workload, count: int) -> None:
    """Set status.terminatingReplicas of a clone that is about to be written."""
    if count != terminating_count(workload):
        workload.annotations = {**workload.annotations, _TERMINATING: str(count)}


def owned_pod(owner: APIObject, kind: str, name: str, template: PodTemplate) -> Pod:
    """Return a new pod of a workload, to be created."""
    return Pod(
        name=name,
        namespace=owner.namespace,
        labels=template.labels,
        owner=OwnerReference(kind, owner.name, owner.uid),
        template=template,
        node_name=template.node_name,
        size_bytes=template.size_bytes,
    )


def identity(service_account: str) -> tuple[str, tuple[str, ...]]:
    """Return user and groups of a controller (kubeadm runs with service account credentials)."""
    return f"system:serviceaccount:kube-system:{service_account}", _SERVICE_ACCOUNT_GROUPS
