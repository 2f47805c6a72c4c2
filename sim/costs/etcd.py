"""What etcd's work costs in CPU, stage by stage.

Every stage is ``wake + entries · per entry + bytes · per byte``: a stage that runs because one
message woke it pays the wake-up alone, a stage that finds twenty messages pays it once. On cores
that would otherwise be idle a wake-up also makes the Go scheduler search for work and the system
monitor run; that burns CPU time but delays nobody (`spin_seconds`, `monitor_ratio`).
**Source:** the structure from `facts/model.md` d; numbers fitted to `groundtruth/etcd_*.csv`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Final


def _fitted(default: float, files: str) -> Any:
    return field(default=default, metadata={"source": f"measured: {files}"})


_PUT: Final = "etcd_put_closed.csv"
_RANGE: Final = "etcd_range_closed.csv"
_WATCH: Final = "etcd_watch_fanout.csv"


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdLawParams:
    """CPU demands of one etcd member, seconds of one core of the measured machine."""

    receive_wake_seconds: float = _fitted(28.4e-6, _PUT)
    """A connection's reader finds requests after having slept."""
    receive_seconds: float = _fitted(17.8e-6, _PUT)
    """Decode one request, hand it to raft."""
    receive_per_byte_seconds: float = _fitted(1.89e-9, _PUT)
    append_wake_seconds: float = _fitted(76e-6, _PUT)
    """One round of the raft loop: Ready, WAL write, return from fdatasync, Advance."""
    append_seconds: float = _fitted(7.15e-6, _PUT)
    """Encode and write one entry."""
    append_per_byte_seconds: float = _fitted(1.97e-9, _PUT)
    apply_wake_seconds: float = _fitted(37.6e-6, _PUT)
    """One round of the apply loop and the answers it wakes."""
    apply_seconds: float = _fitted(32.8e-6, _PUT)
    """Apply one put and send its answer."""
    apply_per_byte_seconds: float = _fitted(0.535e-9, _PUT)
    guard_seconds: float = _fitted(6.64e-6, "etcd_txn_closed.csv")
    """Compare in a transaction, over a plain put."""
    spin_seconds: float = _fitted(31.5e-6, _PUT)
    """CPU burnt per wake-up when a core is idle."""
    monitor_ratio: float = _fitted(0.072, _PUT + " (rows with fsync_delay_ms)")
    """Cores burnt while an fdatasync is in flight."""
    cold_seconds: float = _fitted(412e-6, _PUT + " (rows with fsync_delay_ms), etcd_put_open.csv")
    """Extra CPU of a stage that wakes a process after a long sleep (cold caches, halted virtual
    CPU); reached asymptotically."""
    cold_time_constant_seconds: float = _fitted(6.42e-3, _PUT + " (rows with fsync_delay_ms)")
    """Sleep after which 63 % of ``cold_seconds`` is paid."""
    awake_ratio: float = _fitted(0.287, _PUT + " (tmpfs), " + _RANGE)
    """Share of a wake-up that is paid when the process is awake already."""
    wake_latency_seconds: float = _fitted(11e-6, _PUT + " (members 3, 2-32 clients)")
    """Time a core needs to get a sleeping process going, times the members on the host; charged
    to nobody."""
    collector_ratio: float = _fitted(0.07, _RANGE + " (p99_ms of 500 keys)")
    """Share of long stages that run while the garbage collector marks."""
    collector_factor_ratio: float = _fitted(3.0, _RANGE + " (p99_ms of 500 keys)")
    """How much longer those take; the others are shorter, so that the mean stays."""
    collector_mark_seconds: float = _fitted(2.5e-3, _RANGE + " (p99_ms of 5,000 keys)")
    """Work that one collection slows at most."""
    collector_threshold_seconds: float = field(
        default=0.2e-3, metadata={"source": "assumed: shorter stages fall between collections"}
    )
    awake_window_seconds: float = field(
        default=50e-6,
        metadata={"source": "assumed: how long Go's scheduler looks for work before it sleeps"},
    )
    """A process counts as awake this long after its last work."""
    scatter_sigma_ratio: float = _fitted(0.309, _RANGE + " (p99_ms at 1 client)")
    """Spread of the logarithm of a stage's demand."""
    crowding_ratio: float = _fitted(0.1, _RANGE + " (range_serializable, members 3 against 1)")
    """Growth of all demands per further member on the same host (shared caches)."""
    stall_ratio: float = _fitted(0.02, _RANGE + ", etcd_put_open.csv (p99_ms)")
    """Share of stages, started while all cores are busy, that wait in a run queue first; while
    only some are, times the square of their share: a thread that is woken looks for a free core."""
    stall_seconds: float = _fitted(2.5e-3, _RANGE + " (p99_ms)")
    """Mean of that wait (exponential)."""
    sync_stall_ratio: float = _fitted(0.225, _PUT + " (wal_fsync quantiles)")
    """Share of returns from fdatasync under load that find their processor given away."""
    sync_stall_seconds: float = _fitted(255e-6, _PUT + " (wal_fsync quantiles)")
    """Mean of the wait for another processor (exponential), without a backlog."""
    sync_stall_per_request_seconds: float = _fitted(4.99e-6, _PUT + " (wal_fsync quantiles)")
    """What each request present in etcd adds to that mean."""
    idle_cores: float = _fitted(0.056, _WATCH)
    """Cores burnt by a member that does nothing (ticks, heartbeats, timers): see `tick_seconds`."""
    replicate_seconds: float = _fitted(6.2e-6, _PUT + " (members 3)")
    """Leader: send one entry to one follower."""
    acknowledge_wake_seconds: float = _fitted(64e-6, _PUT + " (members 3)")
    """Leader: take a round's acknowledgement from one follower."""
    acknowledge_seconds: float = _fitted(2.47e-6, _PUT + " (members 3)")
    """Leader: take the acknowledgement of one entry from one follower."""
    follow_wake_seconds: float = _fitted(84e-6, _PUT + " (members 3)")
    """Follower: a round of receiving, writing and acknowledging entries."""
    follow_seconds: float = _fitted(8.8e-6, _PUT + " (members 3)")
    follow_per_byte_seconds: float = _fitted(3.03e-9, _PUT + " (members 3)")
    follow_apply_wake_seconds: float = _fitted(42e-6, _PUT + " (members 3)")
    """Follower: learn of a commit and apply."""
    follow_apply_seconds: float = _fitted(5e-6, _PUT + " (members 3)")
    forward_seconds: float = _fitted(93.7e-6, _PUT + " (target all)")
    """Follower: pass a client's proposal on to the leader and its answer back."""
    commit_put_seconds: float = _fitted(1.55e-6, _PUT + " (backend_commit_mean_ms)")
    """Backend commit: CPU per put in it."""
    commit_per_byte_seconds: float = _fitted(1.24e-9, _PUT + " (backend_commit_mean_ms)")
    commit_page_ratio: float = _fitted(0.748, _PUT + " (backend_commit_mean_ms)")
    """Bytes of dirty pages written per byte put."""
    read_seconds: float = _fitted(2e-6, _RANGE)
    """Execute a range and send its answer, without its keys."""
    read_wake_seconds: float = _fitted(1.04e-6, _RANGE)
    read_key_seconds: float = _fitted(1.92e-6, _RANGE)
    """One key of a range: look up, copy, encode (1 KiB values)."""
    read_index_wake_seconds: float = _fitted(36e-6, _RANGE + " (members 3)")
    """Leader and follower: one round that confirms the leader."""
    watch_wake_seconds: float = _fitted(21e-6, _WATCH)
    """One round of sending to watch streams."""
    watch_event_seconds: float = _fitted(1.2e-6, _WATCH)
    """One event to one watcher, in the streams' own goroutines."""
    watch_notify_seconds: float = _fitted(2.1e-6, _WATCH)
    """One event to one watcher, inside apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdClientParams:
    """CPU of the measured load generator (Go clientv3), seconds of one core per stage."""

    wake_seconds: float = _fitted(58.5e-6, _PUT)
    """A connection's reader finds answers after having slept."""
    call_seconds: float = _fitted(37e-6, _PUT)
    """Encode a call, decode its answer, hand over to the caller."""
    call_per_byte_seconds: float = _fitted(2.05e-9, _PUT)
    key_seconds: float = _fitted(1.08e-6, _RANGE)
    """Decode one key of a range (1 KiB values)."""
    event_seconds: float = _fitted(7.4e-6, _WATCH)
    """Decode one watch response and wake its watcher."""
    timer_seconds: float = _fitted(90e-6, "etcd_put_open.csv (generator_late_mean_ms)")
    """Lateness of an open-loop arrival's timer on an idle machine."""


class EtcdLaw:
    """The demands of each stage; all arguments are counts and bytes, all results core-seconds."""

    __slots__ = ("params",)

    def __init__(self, params: EtcdLawParams | None = None) -> None:
        self.params = params if params is not None else EtcdLawParams()

    def receive_seconds(self, count: int, size_bytes: int) -> float:
        """Take ``count`` requests off the network and hand them on."""
        p = self.params
        return count * p.receive_seconds + size_bytes * p.receive_per_byte_seconds

    def append_seconds(self, count: int, size_bytes: int, follower_count: int) -> float:
        """Run one round of the leader's raft loop, its fdatasync excluded."""
        p = self.params
        return (
            count * (p.append_seconds + follower_count * p.replicate_seconds)
            + size_bytes * p.append_per_byte_seconds
        )

    def apply_seconds(self, count: int, size_bytes: int) -> float:
        """Apply ``count`` transactions and send their answers."""
        p = self.params
        return count * (p.apply_seconds + p.guard_seconds) + size_bytes * p.apply_per_byte_seconds

    def cold_seconds(self, slept_seconds: float) -> float:
        """Extra demand of the first stage after a sleep: ``c · (1 - exp(-t/τ))``."""
        p = self.params
        if p.cold_seconds == 0.0:
            return 0.0
        return p.cold_seconds * (1.0 - math.exp(-slept_seconds / p.cold_time_constant_seconds))

    def tick_seconds(self, elapsed_seconds: float, work_seconds: float) -> float:
        """Ticks, heartbeats and timers of one member that has done so much other work.

        They are wake-ups: while the process is at work, they cost what a wake-up of a process
        costs that is awake already (``awake_ratio``).
        **Source:** etcd_put_open.csv, members 3: etcd_cpu_us_per_op near saturation; beside busy
        processes an idle etcd's ticks cost the same (apiserver_verbs_closed.csv, get_pod_rv0).
        """
        p = self.params
        busy_seconds = min(work_seconds, elapsed_seconds)
        return p.idle_cores * (elapsed_seconds - (1.0 - p.awake_ratio) * busy_seconds)

    def acknowledge_seconds(self, count: int) -> float:
        """Leader: take one follower's acknowledgement of ``count`` entries."""
        p = self.params
        return count * p.acknowledge_seconds

    def follow_seconds(self, count: int, size_bytes: int) -> float:
        """Run one round of a follower that appends ``count`` entries."""
        p = self.params
        return count * p.follow_seconds + size_bytes * p.follow_per_byte_seconds

    def follow_apply_seconds(self, count: int) -> float:
        """Follower: apply ``count`` entries whose commit it has learnt of."""
        p = self.params
        return count * (p.follow_apply_seconds + p.guard_seconds)

    def forward_seconds(self, count: int) -> float:
        """Pass ``count`` proposals, or their answers, between a follower and the leader."""
        p = self.params
        return count * p.forward_seconds

    def read_seconds(self, count: int, key_count: int) -> float:
        """Execute ``count`` ranges of ``key_count`` keys in all."""
        p = self.params
        return count * p.read_seconds + key_count * p.read_key_seconds

    def commit_cpu_seconds(self, put_count: int, size_bytes: int) -> float:
        """Run one backend commit, its two fdatasyncs excluded."""
        p = self.params
        return put_count * p.commit_put_seconds + size_bytes * p.commit_per_byte_seconds

    def watch_seconds(self, delivery_count: float) -> float:
        """Send ``delivery_count`` responses (one per watcher) to one watch stream."""
        p = self.params
        return delivery_count * p.watch_event_seconds
