"""How long the watch path takes: filling the cache, sending to watchers, decoding at the client.

**Source:** fitted to `groundtruth/apiserver_watch_fanout.csv` (CPU of the apiserver and of the
client per delivery, by object size and number of watches), see `docs/model/watch-cache.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchLaw:
    """CPU seconds of the watch path, on one core of the profile's machine."""

    fill_seconds: float = field(
        default=60e-6,
        metadata={"source": "fitted: apiserver_watch_fanout.csv, intercept in watches"},
    )
    """Per event: decode from etcd, update the store, append to the ring, dispatch."""
    fill_seconds_per_byte: float = field(
        default=15e-9, metadata={"source": "fitted: apiserver_watch_fanout.csv, object_bytes"}
    )
    deliver_wake_seconds: float = field(
        default=33e-6,
        metadata={"source": "fitted: apiserver_watch_fanout.csv, 1000 watches at 10/s and 50/s"},
    )
    """Per watcher whose goroutine wakes up, however many events it finds: TLS record, write."""
    deliver_seconds: float = field(
        default=2e-6,
        metadata={"source": "fitted: apiserver_watch_fanout.csv, 1000 watches at 10/s and 50/s"},
    )
    """Per event and watcher: filter, frame."""
    deliver_seconds_per_byte: float = field(
        default=6e-9, metadata={"source": "fitted: apiserver_watch_fanout.csv, object_bytes"}
    )
    encode_seconds: float = field(
        default=20e-6, metadata={"source": "fitted: apiserver_watch_fanout.csv"}
    )
    """Per event that anybody watches: serialisation, shared between the watchers."""
    encode_seconds_per_byte: float = field(
        default=10e-9, metadata={"source": "fitted: apiserver_watch_fanout.csv, object_bytes"}
    )
    client_decode_seconds: float = field(
        default=15e-6,
        metadata={"source": "fitted: apiserver_watch_fanout.csv, client_cores per delivery"},
    )
    """Per event at a client whose CPU is modelled."""
    bookmark_seconds: float = field(default=20e-6, metadata={"source": "assumed: as one delivery"})
    """Per watcher and minute."""

    def fill(self, size_bytes: int) -> float:
        """Return the CPU seconds of bringing one event of that size into the cache."""
        return self.fill_seconds + self.fill_seconds_per_byte * size_bytes

    def encode(self, size_bytes: int) -> float:
        """Return the CPU seconds of serialising one event of that size once."""
        return self.encode_seconds + self.encode_seconds_per_byte * size_bytes

    def deliver(self, size_bytes: int) -> float:
        """Return the CPU seconds of sending one event of that size to one sleeping watcher."""
        return (
            self.deliver_wake_seconds
            + self.deliver_seconds
            + self.deliver_seconds_per_byte * size_bytes
        )
