"""Simulates the measured etcd runs: load generator and members on one two-core host.

One row of `groundtruth/etcd_*.csv` becomes one short run of the very components that clusters are
made of. The load generator is modelled like etcd's own frontend: it takes answers in chunks and
pays a wake-up per chunk (`EtcdClientParams`).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sim.base.objects import Generic
from sim.components.etcd import Etcd, EtcdParams
from sim.components.etcd_process import GoProcess
from sim.components.etcd_reads import Read
from sim.components.etcd_watch import MORE_EVENT_RATIO, Stream
from sim.components.facts import ETCD_BACKEND_COMMITS, ETCD_COMMITS, FAULTS
from sim.components.ports import WatchEvent, Write
from sim.costs.disk import DISKS, DiskParams
from sim.costs.etcd import EtcdClientParams, EtcdLaw, EtcdLawParams
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

Row = Mapping[str, Any]
Prediction = dict[str, float]

CORE_COUNT = 2
"""The measured machine. **Source:** groundtruth/README.md."""
_READER_COUNT_MAX = 1
_CHUNK_COUNT_MAX = 16
_WINDOWS_COUNT = 2
"""How many of the measurement's windows one prediction pools: its own scatter, that of a p99 above
all, should not decide whether a value is met."""
_WATCH_WINDOWS_COUNT = 8
"""As above: watches see a few hundred puts per window."""
_NEVER = -1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EtcdCosts:
    """Everything fitted that a simulated etcd run depends on."""

    law: EtcdLawParams = field(default_factory=EtcdLawParams)
    client: EtcdClientParams = field(default_factory=EtcdClientParams)
    disk: DiskParams = field(default_factory=lambda: DISKS["measured"])


@dataclass(frozen=True, slots=True)
class Duration:
    """How long to simulate: warm-up, then the measured window, in seconds."""

    warm_up_seconds: float = 0.25
    measured_seconds: float = 1.5


class _Call:
    """One caller's call on its way."""

    __slots__ = ("sent_seconds", "size_bytes", "state")

    def __init__(self, size_bytes: int) -> None:
        self.sent_seconds = _NEVER
        self.size_bytes = size_bytes
        self.state = 0
        """0: to be sent; 1: answered."""


class Bench:
    """One machine with etcd and a load generator."""

    def __init__(self, row: Row, costs: EtcdCosts, seed: int) -> None:
        self.engine = Engine(seed)
        self.recorder = Recorder((ETCD_COMMITS, ETCD_BACKEND_COMMITS, FAULTS))
        self.host = Host(self.engine, "machine", CORE_COUNT)
        self.costs = costs
        disk = costs.disk if row["storage"] == "disk" else DISKS["tmpfs"]
        delay_seconds = float(row.get("fsync_delay_ms", 0.0) or 0.0) / 1000.0
        if delay_seconds > 0.0:
            disk = replace(disk, delay_seconds=delay_seconds)
        operation = str(row.get("op", "put"))
        law = costs.law
        if not operation.startswith("txn"):
            law = replace(law, guard_seconds=0.0)
        params = EtcdParams(
            member_count=int(row["members"]),
            quota_backend_bytes=8 * 1024**3,
            heartbeat_interval_seconds=float(row.get("heartbeat_ms", 100)) / 1000.0,
            election_timeout_seconds=float(row.get("election_timeout_ms", 1000)) / 1000.0,
        )
        self.etcd = Etcd(
            self.engine, self.recorder, params, EtcdLaw(law), [self.host], disks=[disk]
        )
        self.etcd.start()
        self.client = GoProcess(self.engine, self.host, "client", EtcdLaw(law))
        self.client.crowd_count = params.member_count
        self.client.crowding_ratio += law.crowding_ratio * (params.member_count - 1)
        self._inbox: list[_Call] = []
        self._busy_count = 0
        self.reader_count_max = _READER_COUNT_MAX
        self.latencies: list[float] = []
        self.measuring = False
        self.measured_from_seconds = 0.0
        self.completed_count = 0
        self.closed = True
        self.send: Callable[[_Call], None] = lambda _: None
        self.call_bytes = 0

    # Client ---------------------------------------------------------------------------------

    def take(self, call: _Call) -> None:
        """Give the generator something to do: an answer, or a call to send."""
        self._inbox.append(call)
        if self._busy_count < self.reader_count_max:
            self._work()

    def _work(self, *, goes_on: bool = False) -> None:
        calls = self._inbox[:_CHUNK_COUNT_MAX]
        del self._inbox[:_CHUNK_COUNT_MAX]
        self._busy_count += 1
        client = self.costs.client
        each = client.call_seconds + client.call_per_byte_seconds * self.call_bytes
        if not self.closed:
            each *= 0.5
        self.client.run(
            client.wake_seconds, len(calls) * each, self._worked, calls, goes_on=goes_on
        )

    def _worked(self, calls: list[_Call]) -> None:
        self._busy_count -= 1
        if self._inbox:
            self._work(goes_on=True)
        now = self.engine.now
        for call in calls:
            if call.state == 1:
                if self.measuring:
                    self.completed_count += 1
                    if call.sent_seconds >= self.measured_from_seconds:
                        self.latencies.append(now - call.sent_seconds)
                if not self.closed:
                    continue
            if self.closed:
                call.sent_seconds = now
            call.state = 1
            self.send(call)

    def answered(self, write: Write) -> None:
        """Take etcd's answer to a write."""
        self.take(write.state)

    # Runs -----------------------------------------------------------------------------------

    def run_closed(self, client_count: int, duration: Duration) -> Prediction:
        """Run ``client_count`` callers that each send the next call when one returns."""
        for _ in range(client_count):
            self.take(_Call(self.call_bytes))
        return self._measure(duration)

    def run_open(self, rate_per_second: float, duration: Duration) -> Prediction:
        """Send calls at Poisson times."""
        self.closed = False
        stream = self.engine.stream("arrivals")
        timer = self.costs.client.timer_seconds

        def arrive(_: None) -> None:
            call = _Call(self.call_bytes)
            call.sent_seconds = self.engine.now
            self.engine.call_later(timer, self.take, call)
            self.engine.call_later(stream.exponential(1.0 / rate_per_second), arrive)

        self.engine.call_later(stream.exponential(1.0 / rate_per_second), arrive)
        return self._measure(duration)

    def _measure(self, duration: Duration) -> Prediction:
        engine = self.engine
        engine.run(duration.warm_up_seconds)
        raft = self.etcd.raft
        cpu = self.etcd.cpu_seconds()
        entries, batches = raft.entry_count, raft.batch_count
        client_cpu = self.client.cpu_seconds()
        self.measuring = True
        self.measured_from_seconds = engine.now
        engine.run(duration.warm_up_seconds + duration.measured_seconds)
        count = max(1, self.completed_count)
        problems = [*self.etcd.check(), *self.host.check()]
        assert not problems, problems
        result = quantiles_ms(self.latencies)
        result["throughput_ops_s"] = self.completed_count / duration.measured_seconds
        result["etcd_cpu_us_per_op"] = (self.etcd.cpu_seconds() - cpu) / count * 1e6
        result["client_cpu_us_per_op"] = (self.client.cpu_seconds() - client_cpu) / count * 1e6
        result["proposals_per_fsync"] = (raft.entry_count - entries) / max(
            1, raft.batch_count - batches
        )
        return result


def quantiles_ms(latencies_seconds: Sequence[float]) -> Prediction:
    """Return mean and quantiles of exact samples, in milliseconds."""
    if not latencies_seconds:
        return dict.fromkeys(("mean_ms", "p50_ms", "p90_ms", "p99_ms"), float("nan"))
    values = np.asarray(latencies_seconds) * 1000.0
    p50, p90, p99 = np.quantile(values, (0.5, 0.9, 0.99))
    return {
        "mean_ms": float(values.mean()),
        "p50_ms": float(p50),
        "p90_ms": float(p90),
        "p99_ms": float(p99),
    }


def _put_sender(bench: Bench, row: Row) -> Callable[[_Call], None]:
    size_bytes = int(row["value_bytes"])
    key_count = int(row.get("key_count", 10_000) or 10_000)
    value = Generic(name="value", namespace="bench", size_bytes=size_bytes)
    keys = [("bench", str(index)) for index in range(key_count)]
    stream = bench.engine.stream("keys")
    etcd = bench.etcd
    operation = str(row.get("op", "put"))
    target = str(row.get("target", "leader"))
    expected = 1 << 60 if operation == "txn_conflict" else -1
    storages: list[Any] = [etcd]
    if target == "follower":
        storages = [etcd.endpoint(1 % len(etcd.members))]
    elif target == "all":
        storages = [etcd.endpoint(index) for index in range(len(etcd.members))]
    turn = [0]

    def send(call: _Call) -> None:
        write = Write(
            "configmaps",
            keys[stream.integer(key_count)],
            expected,
            value,
            size_bytes,
            bench.answered,
            call,
        )
        turn[0] += 1
        storages[turn[0] % len(storages)].txn(write)

    return send


def predict_put_closed(
    row: Row, costs: EtcdCosts, seed: int, duration: Duration | None = None
) -> Prediction:
    """Closed-loop puts or transactions (etcd_put_closed.csv, etcd_txn_closed.csv)."""
    bench = Bench(row, costs, seed)
    bench.call_bytes = int(row["value_bytes"])
    bench.send = _put_sender(bench, row)
    clients = int(row["clients"])
    delay_ms = float(row.get("fsync_delay_ms", 0.0) or 0.0)
    if duration is None:
        duration = Duration(measured_seconds=_WINDOWS_COUNT * (1.5 + 0.4 * delay_ms))
    return bench.run_closed(clients, duration)


def predict_put_open(
    row: Row, costs: EtcdCosts, seed: int, duration: Duration | None = None
) -> Prediction:
    """Poisson puts (etcd_put_open.csv)."""
    bench = Bench(row, costs, seed)
    bench.call_bytes = int(row["value_bytes"])
    bench.send = _put_sender(bench, row)
    rate = float(row["offered_ops_s"])
    if duration is None:
        duration = Duration(measured_seconds=_WINDOWS_COUNT * 5.0)
    return bench.run_open(rate, duration)


def predict_range_closed(
    row: Row, costs: EtcdCosts, seed: int, duration: Duration | None = None
) -> Prediction:
    """Closed-loop ranges (etcd_range_closed.csv)."""
    bench = Bench(row, costs, seed)
    etcd = bench.etcd
    key_count = int(row["range_keys"])
    serializable = str(row["op"]) == "range_serializable"
    follower = str(row.get("target", "leader")) == "follower"
    frontend = etcd.frontends[1 % len(etcd.members)] if follower else None
    decode_seconds = costs.client.key_seconds * key_count

    waiting: list[_Call] = []
    decoding = [0]
    order = bench.engine.stream("client/run-queue")

    def decode_next() -> None:
        while waiting and decoding[0] < CORE_COUNT:
            decoding[0] += 1
            index = order.integer(len(waiting)) if len(waiting) > 1 else 0
            bench.client.run(0.0, decode_seconds, decoded, waiting.pop(index))

    def decoded(call: _Call) -> None:
        decoding[0] -= 1
        bench.take(call)
        decode_next()

    def answered(answer: tuple[_Call, Any, int, str]) -> None:
        if key_count > 1:
            waiting.append(answer[0])
            decode_next()
        else:
            bench.take(answer[0])

    def send(call: _Call) -> None:
        read = Read(
            "configmaps",
            ("bench", "0"),
            "",
            1,
            answered,
            call,
            serializable=serializable,
            key_count=key_count,
        )
        etcd.submit_read(read, frontend)

    bench.send = send
    if duration is None:
        duration = Duration(measured_seconds=_WINDOWS_COUNT * (1.0 + 0.0004 * key_count))
    return bench.run_closed(int(row["clients"]), duration)


def predict_watch_fanout(
    row: Row, costs: EtcdCosts, seed: int, duration: Duration | None = None
) -> Prediction:
    """Watchers on one prefix, Poisson puts (etcd_watch_fanout.csv)."""
    bench = Bench(row, costs, seed)
    bench.call_bytes = int(row["value_bytes"])
    watchers, conns = int(row["watchers"]), int(row["conns"])
    seen: list[float] = []
    weights: list[int] = []
    sent_seconds: dict[int, float] = {}
    engine = bench.engine
    rate = float(row["put_rate_s"])
    event_seconds = costs.client.event_seconds
    wake_seconds = costs.client.wake_seconds
    own = Generic(name="value", namespace="bench", size_bytes=bench.call_bytes)
    delivered = [0]

    decoding = [0]
    queue: deque[tuple[Stream, list[WatchEvent]]] = deque()
    watches = bench.etcd.watches

    def decode_next() -> None:
        while queue and decoding[0] < CORE_COUNT:
            stream, events = queue.popleft()
            decoding[0] += 1
            messages = stream.watcher_count * (1.0 + MORE_EVENT_RATIO * (len(events) - 1))
            bench.client.run(wake_seconds, event_seconds * messages, decoded, (stream, events))

    def decoded(work: tuple[Stream, list[WatchEvent]]) -> None:
        stream, events = work
        decoding[0] -= 1
        watches.release(stream)
        decode_next()
        if bench.measuring:
            delivered[0] += stream.watcher_count * len(events)
            seen.extend(engine.now - sent_seconds[event.revision] for event in events)
            weights.extend([stream.watcher_count] * len(events))

    def watch_group(group_count: int) -> None:
        def deliver(events: list[WatchEvent]) -> None:
            queue.append((stream, events))
            decode_next()

        stream = watches.add(deliver, "watcher", group_count, flow_controlled=True)

    for index in range(conns):
        watch_group(watchers // conns + (1 if index < watchers % conns else 0))

    def send(call: _Call) -> None:
        write = Write("configmaps", ("bench", "0"), -1, own, own.size_bytes, bench.answered, call)
        bench.etcd.txn(write)

    def note(call: _Call) -> None:
        # puts commit in the order in which they are sent, one revision each
        sent_seconds[len(sent_seconds) + 2] = call.sent_seconds
        send(call)

    bench.send = note
    if duration is None:
        duration = Duration(measured_seconds=_WATCH_WINDOWS_COUNT * max(6.0, 500.0 / rate))
    result = bench.run_open(rate, duration)
    puts = quantiles_ms(bench.latencies)
    result["put_p50_ms"] = puts["p50_ms"]
    values = np.repeat(np.asarray(seen), np.asarray(weights, dtype=np.int64))
    result.update(quantiles_ms(values.tolist()))
    result["etcd_cpu_us_per_event"] = (
        result["etcd_cpu_us_per_op"] * bench.completed_count / max(1, delivered[0])
    )
    return result


def predict_kill_member(row: Row, costs: EtcdCosts, seed: int) -> Prediction:
    """A member dies under load (etcd_kill_member.csv): median over independent repetitions."""
    runs = [_kill_once(row, costs, seed + index) for index in range(9)]
    return {
        "new_leader_after_ms": float(np.median([run["new_leader_after_ms"] for run in runs])),
        "max_ack_gap_ms": float(np.median([run["max_ack_gap_ms"] for run in runs])),
        "lost_acknowledged": float(sum(run["lost_acknowledged"] for run in runs)),
    }


def _kill_once(row: Row, costs: EtcdCosts, seed: int) -> Prediction:
    bench = Bench(row, costs, seed)
    bench.closed = False
    etcd, engine = bench.etcd, bench.engine
    size_bytes = int(row["value_bytes"])
    stream = engine.stream("arrivals")
    rate = float(row["put_rate_s"])
    acknowledged: dict[str, int] = {}
    ack_seconds: list[float] = []
    count = [0]

    def answered(write: Write) -> None:
        if not write.error:
            acknowledged[write.key[1]] = write.revision
            ack_seconds.append(engine.now)

    def arrive(_: None) -> None:
        count[0] += 1
        name = str(count[0])
        value = Generic(name=name, namespace="bench", size_bytes=size_bytes)
        write = Write("configmaps", ("bench", name), 0, value, size_bytes, answered)
        bench.client.run(costs.client.wake_seconds, 0.0, etcd.txn, write)
        engine.call_later(stream.exponential(1.0 / rate), arrive)

    engine.call_later(0.0, arrive)
    victim = 0 if row["victim"] == "leader" else 1
    action = etcd.faults.terminate if row["signal"] == "TERM" else etcd.faults.kill
    engine.call_later(3.0, action, victim)
    engine.run(11.0)
    gaps = np.diff(np.asarray(ack_seconds))
    table = etcd.objects("configmaps")
    lost = sum(
        ("bench", name) not in table or table[("bench", name)].resource_version != revision
        for name, revision in acknowledged.items()
    )
    problems = etcd.check()
    assert not problems, problems
    after = etcd.faults.new_leader_after_seconds
    return {
        "new_leader_after_ms": math.ceil(max(0.0, after) * 500.0) * 2.0,  # polled every 2 ms
        "max_ack_gap_ms": float(gaps.max()) * 1000.0,
        "lost_acknowledged": float(lost),
    }
