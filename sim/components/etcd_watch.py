"""etcd's watch streams: who is told of a commit, when, and what the sending costs.

**Modelled:** a handful of streams (apiservers) are served inside the apply round; many watchers are
served stream by stream by the streams' own goroutines; when a stream's 128 places are full its
watchers become victims and are retried after 10 ms; if they have missed more by then, the catch-up
loop reads it from the store every 100 ms and sends it in one piece. **Not modelled:** the limit of
512 watchers per catch-up round; fragments of large responses.
**Source:** `facts/model.md` d.3.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sim.components.ports import WatchEvent

if TYPE_CHECKING:
    from sim.components.etcd import Etcd

Deliver = Callable[[list[WatchEvent]], None]

INLINE_WATCHER_COUNT_MAX: Final = 8
"""Up to this many watchers their sending is part of the apply round."""
STREAM_PLACE_COUNT: Final = 128
"""Events a stream's channel holds. **Source:** `facts/model.md` d.3."""
VICTIM_RETRY_SECONDS: Final = 0.010
"""Period of the victims' loop. **Source:** `facts/model.md` d.3."""
MORE_EVENT_RATIO: Final = 0.2
"""Cost of each further event of one response, over the first: assumed (same message, more
fields)."""
WINDOW_PLACE_COUNT: Final = 100
"""Responses under way on a flow-controlled stream besides those in the channel: an HTTP/2 window of
64 KiB at about 650 bytes each.

**Source:** etcd_watch_fanout.csv, 1,000 watchers: no catch-up at 50 puts/s, catch-up at 200."""
CATCH_UP_SECONDS: Final = 0.1
"""Period of the catch-up loop. **Source:** `facts/model.md` d.3."""
SENDER_COUNT: Final = 2
"""Streams that send at the same time (GOMAXPROCS of the measured machine)."""


class Stream:
    """The watchers of one client connection."""

    __slots__ = (
        "arrival_seconds",
        "deliver",
        "flow_controlled",
        "missed",
        "missed_rounds",
        "name",
        "place_count",
        "watcher_count",
    )

    def __init__(
        self, deliver: Deliver, name: str, watcher_count: int, flow_controlled: bool
    ) -> None:
        self.deliver = deliver
        self.arrival_seconds = 0.0
        """When the last message arrives that is on its way."""
        self.flow_controlled = flow_controlled
        """Whether places stay taken until the client has called `WatchFanOut.release`."""
        self.name = name
        self.watcher_count = watcher_count
        self.place_count = 0
        """Places taken in the channel."""
        self.missed: list[WatchEvent] = []
        """Events that found the channel full."""
        self.missed_rounds = 0

    @property
    def full(self) -> bool:
        """Whether another round does not fit (an empty stream takes one of any size)."""
        places = STREAM_PLACE_COUNT + (WINDOW_PLACE_COUNT if self.flow_controlled else 0)
        return self.place_count > 0 and self.place_count + self.watcher_count > places


class WatchFanOut:
    """All watch streams of one etcd, on its leader."""

    def __init__(self, etcd: Etcd) -> None:
        self._etcd = etcd
        self.streams: list[Stream] = []
        self.watcher_count = 0
        self._queue: deque[tuple[Stream, list[WatchEvent]]] = deque()
        self._sending_count = 0
        self._catching_up = False
        self.overflow_count = 0
        """Times that a stream's channel was full."""

    def add(
        self, deliver: Deliver, name: str, watcher_count: int, *, flow_controlled: bool = False
    ) -> Stream:
        """Register a stream that stands for ``watcher_count`` watchers."""
        stream = Stream(deliver, name, watcher_count, flow_controlled)
        self.streams.append(stream)
        self.watcher_count += watcher_count
        return stream

    def release(self, stream: Stream) -> None:
        """The client has taken one round of a flow-controlled stream."""
        stream.place_count -= stream.watcher_count

    def remove(self, deliver: Deliver) -> None:
        """Forget the streams that deliver to ``deliver``."""
        for stream in list(self.streams):
            if stream.deliver == deliver:
                self.streams.remove(stream)
                self.watcher_count -= stream.watcher_count

    def apply_seconds(self, event_count: int) -> float:
        """CPU that the watchers add to an apply round of ``event_count`` puts."""
        params = self._etcd.law.params
        if self.watcher_count <= INLINE_WATCHER_COUNT_MAX:
            return event_count * self.watcher_count * params.watch_event_seconds
        return event_count * self.watcher_count * params.watch_notify_seconds

    def notify(self, events: list[WatchEvent]) -> None:
        """Take the events of one apply round."""
        if self.watcher_count <= INLINE_WATCHER_COUNT_MAX:
            for stream in self.streams:
                self._send(stream, events)
            return
        for stream in self.streams:
            if stream.missed or stream.full:
                self.overflow_count += 1
                if not stream.missed:
                    self._etcd.engine.after(VICTIM_RETRY_SECONDS, self._retry, stream)
                stream.missed += events
                stream.missed_rounds += 1
                continue
            self._enqueue(stream, events)
        self._next()

    def _enqueue(self, stream: Stream, events: list[WatchEvent]) -> None:
        stream.place_count += stream.watcher_count
        self._queue.append((stream, events))

    def _retry(self, stream: Stream) -> None:
        """The victims' loop: one missed round goes out now, more are left to the catch-up loop."""
        if stream.full or stream.missed_rounds > 1:
            if not self._catching_up:
                self._catching_up = True
                engine = self._etcd.engine
                engine.after(CATCH_UP_SECONDS - engine.now % CATCH_UP_SECONDS, self._catch_up)
            return
        self._flush(stream)
        self._next()

    def _flush(self, stream: Stream) -> None:
        events = stream.missed
        stream.missed = []
        stream.missed_rounds = 0
        self._enqueue(stream, events)

    def _catch_up(self, _: None) -> None:
        self._catching_up = False
        for stream in self.streams:
            if stream.missed:
                self._flush(stream)
        self._next()

    def _next(self) -> None:
        leader = self._etcd.raft.leader
        while self._queue and self._sending_count < SENDER_COUNT:
            stream, events = self._queue.popleft()
            if leader is None:
                self._send(stream, events)
                continue
            self._sending_count += 1
            leader.run(
                self._etcd.law.params.watch_wake_seconds,
                self._etcd.law.watch_seconds(
                    stream.watcher_count * (1.0 + MORE_EVENT_RATIO * (len(events) - 1))
                ),
                self._sent,
                (stream, events),
            )

    def _sent(self, work: tuple[Stream, list[WatchEvent]]) -> None:
        stream, events = work
        self._sending_count -= 1
        if not stream.flow_controlled:
            stream.place_count -= stream.watcher_count
        self._next()
        self._send(stream, events)

    def _send(self, stream: Stream, events: list[WatchEvent]) -> None:
        etcd = self._etcd
        if etcd.direct:
            stream.deliver(events)
            return
        # a stream is ordered: what is sent later never arrives earlier
        due_seconds = etcd.engine.now + etcd.client_link.sample_seconds()
        stream.arrival_seconds = max(stream.arrival_seconds, due_seconds)
        etcd.engine.at(stream.arrival_seconds, stream.deliver, events)
