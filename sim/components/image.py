"""Images on nodes, and the pulls that bring them there.

**Modelled:** images as layers shared between images and kept on the node; pull policies; one pull
at a time per node or ``max_parallel_image_pulls``; the pull QPS that fails an attempt instead of
delaying it; registry and node bandwidth shared fairly by all transfers; decompression beside and
after the transfer; a pull of an image that is on its way already waits for it.
**Not modelled:** image garbage collection, digests that change under a tag, mirrors; a layer that
two different images pull at the same time on one node is transferred twice.
**Assumes:** an image that no catalogue describes is present on every node.
**Source:** `facts/model.md` h.4; `facts/defaults.csv`, rows kubelet; law
`sim.costs.container_runtime`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from sim.components.image_network import SharedBandwidth, Transfer
from sim.components.image_params import ImageParams
from sim.costs.container_runtime import ContainerRuntimeParams
from sim.engine.engine import Call, Engine
from sim.engine.tables import Recorder

PRESENT: Final = "present"
PULLED: Final = "pulled"
PULLING: Final = "pulling"
"""Not an end: the pull has been asked for and an event says so."""

Answer = Callable[[Any, str, str], object]
"""``answer(argument, outcome, message)``: outcome is PRESENT, PULLED, PULLING or a reason such as
ErrImagePull, with the message of the event."""


class Layer(NamedTuple):
    """One layer of an image, identified by its digest."""

    digest: str
    size_bytes: int
    """Compressed."""


class _Pull:
    """One attempt of one node to pull one image, and the pods that wait for it."""

    __slots__ = (
        "begin_seconds", "call", "image", "layers", "node", "requested_seconds", "transfer",
        "transfer_seconds", "waiters",
    )  # fmt: skip

    def __init__(self, node: int, image: str, now: float) -> None:
        self.node = node
        self.image = image
        self.requested_seconds = now
        self.begin_seconds = now
        self.transfer_seconds = now
        self.layers: list[Layer] = []
        self.waiters: list[tuple[int, Answer, Any]] = []
        self.transfer: Transfer | None = None
        self.call: Call | None = None


class Images:
    """The image stores and pullers of a fleet, by node index."""

    def __init__(
        self,
        engine: Engine,
        recorder: Recorder,
        params: ImageParams,
        law: ContainerRuntimeParams,
        catalogue: Mapping[str, Iterable[Layer]] | None = None,
    ) -> None:
        self._engine = engine
        self._rows = recorder["image_pulls"].append
        self.params = params
        self._law = law
        self._catalogue = {
            name: tuple(Layer(digest, size) for digest, size in layers.items())
            for name, layers in params.layer_bytes.items()
        }
        for name, layers in (catalogue or {}).items():
            self._catalogue[name] = tuple(layers)
        self.network = SharedBandwidth(
            engine,
            params.node_bandwidth_bytes_per_second,
            params.registry_bandwidth_bytes_per_second,
        )
        self._names: list[str] = []
        self._images: list[set[str]] = []
        self._layers: list[set[str]] = []
        self._waiting: list[deque[_Pull]] = []
        self._active: list[dict[str, _Pull]] = []
        self._tokens: list[float] = []
        self._token_seconds: list[float] = []
        self.pull_count = 0
        self.qps_failure_count = 0
        self.unpack_cpu_seconds: list[float] = []
        """CPU spent on decompression, by node."""

    def add_node(self, name: str) -> None:
        """Give the next node an empty image store."""
        self._names.append(name)
        self._images.append(set())
        self._layers.append(set())
        self._waiting.append(deque())
        self._active.append({})
        self._tokens.append(float(self.params.registry_burst))
        self._token_seconds.append(0.0)
        self.unpack_cpu_seconds.append(0.0)

    def preload(self, node: int, image: str) -> None:
        """An image of the catalogue is on a node already."""
        self._images[node].add(image)
        self._layers[node].update(layer.digest for layer in self._catalogue.get(image, ()))

    def has(self, node: int, image: str) -> bool:
        """Whether an image is on a node."""
        return image not in self._catalogue or image in self._images[node]

    def depth_count(self, node: int) -> int:
        """Pulls that wait for the node's puller."""
        return len(self._waiting[node])

    def ensure(
        self, node: int, uid: int, image: str, policy: str, answer: Answer, argument: object
    ) -> None:
        """Make an image available to a pod; the answer may come at once or later, or twice."""
        if image not in self._catalogue:
            answer(argument, PRESENT, f'Container image "{image}" already present on machine')
            return
        present = image in self._images[node]
        if present and policy != "Always":
            self._rows((self._engine.now, self._names[node], image, 0.0, 0.0, 0, PRESENT))
            answer(argument, PRESENT, f'Container image "{image}" already present on machine')
            return
        if policy == "Never":
            answer(argument, "ErrImageNeverPull", f'Container image "{image}" is not present')
            return
        answer(argument, PULLING, f'Pulling image "{image}"')
        active = self._active[node]
        flying = active.get(image)
        if flying is not None and not self.params.serialize_image_pulls:
            flying.waiters.append((uid, answer, argument))
            return
        pull = _Pull(node, image, self._engine.now)
        pull.waiters.append((uid, answer, argument))
        if self._limit_reached(node):
            self._waiting[node].append(pull)
        else:
            self._begin(pull)

    def _limit_reached(self, node: int) -> bool:
        active_count = len(self._active[node])
        if self.params.serialize_image_pulls:
            return active_count >= 1
        limit = self.params.max_parallel_image_pulls_count
        return limit > 0 and active_count >= limit

    def _take_token(self, node: int) -> bool:
        qps = self.params.registry_pull_qps
        if qps <= 0.0:
            return True
        now = self._engine.now
        tokens = self._tokens[node] + (now - self._token_seconds[node]) * qps
        tokens = min(tokens, float(self.params.registry_burst))
        self._token_seconds[node] = now
        taken = tokens >= 1.0
        self._tokens[node] = tokens - 1.0 if taken else tokens
        return taken

    def _begin(self, pull: _Pull) -> None:
        node = pull.node
        now = self._engine.now
        pull.begin_seconds = now
        if not self._take_token(node):
            self.qps_failure_count += 1
            self._end(pull, 0, "qps_exceeded")
            message = f'Failed to pull image "{pull.image}": pull QPS exceeded'
            self._answer(pull, "ErrImagePull", message)
            return
        self._active[node][pull.image] = pull
        have = self._layers[node]
        pull.layers = [layer for layer in self._catalogue[pull.image] if layer.digest not in have]
        pull.call = self._engine.call_later(self._law.resolve_seconds, self._resolved, pull)

    def _resolved(self, pull: _Pull) -> None:
        pull.call = None
        pull.transfer_seconds = self._engine.now
        size_bytes = sum(layer.size_bytes for layer in pull.layers)
        if size_bytes:
            pull.transfer = self.network.start(
                pull.node, float(size_bytes), self._transferred, pull
            )
        else:
            self._unpacked(pull)

    def _transferred(self, pull: _Pull) -> None:
        """All bytes are there: what is left is the unpacking that could not run beside it."""
        pull.transfer = None
        sizes = [float(layer.size_bytes) for layer in pull.layers]
        elapsed = self._engine.now - pull.transfer_seconds
        law = self._law
        self.unpack_cpu_seconds[pull.node] += float(law.unpack_cpu_seconds(sum(sizes)))
        if elapsed > 0.0:
            whole = law.pull_seconds(sizes, sum(sizes) / elapsed)
            rest = max(0.0, whole - law.resolve_seconds - elapsed)
        else:
            rest = float(law.unpack_seconds(sum(sizes)))
        pull.call = self._engine.call_later(rest, self._unpacked, pull)

    def _unpacked(self, pull: _Pull) -> None:
        pull.call = None
        node = pull.node
        self._layers[node].update(layer.digest for layer in pull.layers)
        self._images[node].add(pull.image)
        size_bytes = sum(layer.size_bytes for layer in pull.layers)
        self.network.transferred_bytes += size_bytes
        self.pull_count += 1
        self._end(pull, size_bytes, PULLED)
        seconds = self._engine.now - pull.begin_seconds
        whole = self._engine.now - pull.requested_seconds
        message = (
            f'Successfully pulled image "{pull.image}" in {seconds:.3f}s'
            f" ({whole:.3f}s including waiting). Image size: {size_bytes} bytes."
        )
        self._answer(pull, PULLED, message)

    def _end(self, pull: _Pull, size_bytes: int, result: str) -> None:
        now = self._engine.now
        queued = pull.begin_seconds - pull.requested_seconds
        self._rows(
            (pull.requested_seconds, self._names[pull.node], pull.image, queued,
             now - pull.begin_seconds, size_bytes, result)
        )  # fmt: skip
        self._active[pull.node].pop(pull.image, None)

    def _answer(self, pull: _Pull, outcome: str, message: str) -> None:
        for _, answer, argument in pull.waiters:
            answer(argument, outcome, message)
        self._next(pull.node)

    def _next(self, node: int) -> None:
        waiting = self._waiting[node]
        while waiting and not self._limit_reached(node):
            pull = waiting.popleft()
            flying = self._active[node].get(pull.image)
            if flying is not None:
                flying.waiters.extend(pull.waiters)
            elif pull.waiters:
                self._begin(pull)

    def cancel(self, node: int, uid: int) -> None:
        """A pod no longer waits; a pull that has begun goes on for the next one."""
        for pull in (*self._active[node].values(), *self._waiting[node]):
            if pull.waiters:
                pull.waiters = [item for item in pull.waiters if item[0] != uid]

    def reset(self, node: int) -> None:
        """The node crashed: its pulls end, its store stays."""
        for pull in self._active[node].values():
            if pull.call is not None:
                pull.call.cancel()
            if pull.transfer is not None:
                self.network.stop(pull.transfer)
        self._active[node].clear()
        self._waiting[node].clear()
