"""The measured machine for apiserver runs: load clients, apiserver and etcd on one 2-core host.

One row of `groundtruth/apiserver_*.csv` becomes one short run of the very components that clusters
are made of. A load client is a closed or open loop with its own connection; its CPU per call and
its waking up are part of the run, because client, apiserver and etcd shared the two cores.
**Source:** groundtruth/README.md, "Control-plane ground truth".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import exp
from typing import Any

import numpy as np

from sim.base.api_object import APIObject
from sim.components import facts
from sim.components.apiserver import APIServer, APIServerParams
from sim.components.apiserver_runqueue import RunQueue
from sim.components.endpoint import LoadBalancer
from sim.components.etcd import Etcd, EtcdParams
from sim.components.etcd_process import SCATTER_COUNT, scatter_table
from sim.components.ports import Request
from sim.costs.etcd import EtcdLaw
from sim.costs.profile import Profile
from sim.engine.engine import Engine
from sim.engine.host import Host
from sim.engine.tables import Recorder

CORE_COUNT = 2
"""**Source:** groundtruth/README.md, machine."""
_CROWDING_RATIO = 1.0
"""Fitted: apiserver_verbs_closed.csv, etcd_cpu_ms_per_req. What etcd's work costs more than in its
own measurements after long gaps in which apiserver and client have used the same 2 MiB of
second-level cache. The measured CPU per write is one curve of the rate of writes, whatever the
verb, in closed and open loops: 1.2 ms at 120/s, 0.7 at 450/s, 0.4 at 1,000/s, 0.25 at 1,600/s."""
_CROWDING_SECONDS = 0.0015
"""Fitted: as above. Gap between two requests after which 63 % of that extra is paid."""
_CROWDING_BASE_RATIO = 0.38
"""Fitted: as above. What is paid without any gap."""
_GET_SECONDS = 22e-6
"""Fitted: as above, get_pod. What a range costs etcd more over the one connection of an apiserver
than in its own measurements, which use up to eight."""
_CROWDING_PERIOD_SECONDS = 5e-3
"""How often the extra is brought up to date."""
_CROWDING_SMOOTHING_RATIO = 0.1
"""Weight of the last period in the smoothed number of requests."""
_CLIENT_COLD_RATIO = 0.286
"""Fitted: apiserver_verbs_closed.csv. How much a cold client costs, against a cold apiserver."""
_ETCD_IDLE_CORES = 0.0115
"""**Source:** apiserver_verbs_closed.csv, etcd_cores of get_pod_rv0, which etcd sees nothing of."""
Prediction = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadClientLaw:
    """CPU of the measured load generator (client-go, protobuf, TLS), seconds of one core."""

    call_seconds: float = field(
        default=0.000183,
        metadata={"source": "fitted: apiserver_verbs_closed.csv, client_cpu_ms_per_req of gets"},
    )
    write_seconds: float = field(
        default=2.76e-05,
        metadata={"source": "measured: apiserver_verbs_closed.csv, client_cpu_ms_per_req"},
    )
    """Per call with a body, on top."""
    pod_seconds: float = field(
        default=4.2e-05,
        metadata={"source": "measured: apiserver_verbs_closed.csv, client_cpu_ms_per_req"},
    )
    """Per call that sends or returns a pod after writing it, on top."""
    patch_seconds: float = field(
        default=5e-05,
        metadata={"source": "fitted: apiserver_verbs_closed.csv, client_cpu_ms_per_req"},
    )
    """Per PATCH of a pod's status, on top: the patch is computed from two encoded objects."""
    byte_seconds: float = field(
        default=8.0e-9,
        metadata={"source": "measured: apiserver_list.csv, client_cpu_ms_per_list without gzip"},
    )
    """Per byte of a response (decrypt, copy)."""
    gunzip_byte_seconds: float = field(
        default=3.6e-9, metadata={"source": "measured: apiserver_list.csv, rows with gzip"}
    )
    """Per uncompressed byte of a compressed response."""
    stream_ratio: float = field(
        default=0.8,
        metadata={"source": "assumed: share of reading a body that overlaps with its arrival"},
    )
    frame_wake_seconds: float = field(
        default=20e-6,
        metadata={"source": "measured: apiserver_watch_fanout.csv, client_cores per delivery"},
    )
    """Per wake-up of a watch connection's reader."""
    frame_seconds: float = field(
        default=5e-6,
        metadata={"source": "measured: apiserver_watch_fanout.csv, client_cores per delivery"},
    )
    """Per watch event."""
    frame_byte_seconds: float = field(
        default=2e-9, metadata={"source": "measured: apiserver_watch_fanout.csv, object_bytes"}
    )
    timer_seconds: float = field(
        default=1.06e-3,
        metadata={"source": "measured: apiserver_verbs_open.csv, send_lag_p99_ms when idle"},
    )
    """Timers of an otherwise idle process fire up to this late (millisecond epoll)."""
    open_seconds: float = field(
        default=0.000425,
        metadata={"source": "fitted: apiserver_verbs_open.csv, p50_ms below saturation"},
    )
    """From a timer's firing until a call of an open loop has its own goroutine running."""
    open_call_seconds: float = field(
        default=8.5e-05,
        metadata={"source": "fitted: apiserver_verbs_open.csv, client_cores"},
    )
    """CPU per call of an open loop, on top: timer, new goroutine with its stack, hand-over."""
    rejected_call_seconds: float = field(
        default=0.12e-3,
        metadata={"source": "fitted: apiserver_apf.csv, greedy600_get, machine_busy_cores"},
    )
    """Instead of ``call_seconds`` if the answer is 429: nothing to decode."""
    rejected_sleep_seconds: float = field(
        default=0.02, metadata={"source": "groundtruth/README.md: a rejected client waits 20 ms"}
    )


class Machine:
    """Two cores with etcd, one apiserver and the load generator's process."""

    def __init__(
        self,
        profile: Profile,
        seed: int,
        params: APIServerParams | None = None,
        replication_index: int = 0,
        kept_tables: frozenset[str] = frozenset(),
    ) -> None:
        self.engine = Engine(seed, replication_index)
        names = frozenset(spec.name for spec in facts.ALL)
        self.recorder = Recorder(facts.ALL, names - kept_tables)
        self.host = Host(self.engine, "machine", CORE_COUNT)
        self.etcd = Etcd(
            self.engine,
            self.recorder,
            EtcdParams(quota_backend_bytes=8 * 1024**3),
            EtcdLaw(
                replace(
                    profile.etcd,
                    idle_cores=_ETCD_IDLE_CORES,
                    read_seconds=profile.etcd.read_seconds + _GET_SECONDS,
                )
            ),
            [self.host],
            disks=[profile.disk],
        )
        self._crowding_ratio = self.etcd.members[0].crowding_ratio
        self.etcd.start()
        self.server = APIServer(
            self.engine,
            self.recorder,
            params or APIServerParams(network_seconds=0.0),
            profile.apiserver,
            self.etcd,
            self.host.process("kube-apiserver"),
            watch_law=profile.watch,
        )
        self.endpoint = LoadBalancer(self.engine, [self.server])
        self.server.start()
        self.client_cpu = self.host.process("client")
        self.client_queue = RunQueue(self.client_cpu, self.engine.stream("client/monitor"))
        self.law = profile.apiserver
        self.load_law = LoadClientLaw()
        self.client_spin_seconds = 0.0
        self._client_awake_seconds = 0.0
        self._stalls = self.engine.stream("client/stall")
        self._scatter_draws = self.engine.stream("client/scatter")
        self._scatter = scatter_table(self.law.scatter_sigma_ratio)
        self.measuring = False
        self._crowd((0, 0.0))

    def _crowd(self, state: tuple[int, float]) -> None:
        """Let etcd's demands follow the gaps between requests."""
        before_count, per_period = state
        now_count = self.server.request_count
        share = _CROWDING_SMOOTHING_RATIO
        per_period += share * (now_count - before_count - per_period)
        gap_seconds = _CROWDING_PERIOD_SECONDS / max(per_period, 1e-3)
        extra = _CROWDING_RATIO * (1.0 - exp(-gap_seconds / _CROWDING_SECONDS))
        extra += _CROWDING_BASE_RATIO
        self.etcd.members[0].crowding_ratio = self._crowding_ratio + extra
        again = (now_count, per_period)
        self.engine.call_later(_CROWDING_PERIOD_SECONDS, self._crowd, again)

    def preload(self, objects: Iterable[APIObject]) -> None:
        """Put an initial state into etcd and the watch caches."""
        self.endpoint.preload(list(objects), self.etcd.preload)

    def run_client(
        self, demand_seconds: float, then: Callable[[Any], object], argument: Any
    ) -> None:
        """Spend CPU of the load generator: cold start, spinning and stalls as in the apiserver."""
        host = self.host
        process = self.client_cpu
        now = self.engine.now
        demand_seconds *= self._scatter[int(self._scatter_draws.uniform() * SCATTER_COUNT)]
        if process.running_count == 0:
            slept_seconds = now - self._client_awake_seconds
            if slept_seconds > 0.0:
                cold_seconds = _CLIENT_COLD_RATIO * self.law.cold(slept_seconds)
                demand_seconds += cold_seconds
                process.run(self.law.spin_ratio * cold_seconds, _ignore)
        if host.running_count >= CORE_COUNT and self._stalls.uniform() < self.law.stall_ratio:
            wait_seconds = self._stalls.exponential(self.law.stall_seconds)
            self.engine.call_later(
                wait_seconds,
                lambda late: self.client_queue.submit(demand_seconds, then, late),
                argument,
            )
            return
        self._client_awake_seconds = now + demand_seconds
        self.client_queue.submit(demand_seconds, then, argument)

    def check(self) -> None:
        """Stop if a conservation law is broken."""
        problems = [*self.host.check(), *self.etcd.check()]
        assert not problems, problems


class LoadClient:
    """One client of the load generator: asks for requests, measures them."""

    def __init__(
        self,
        machine: Machine,
        user: str,
        groups: tuple[str, ...],
        demand_seconds: float,
        make: Callable[[LoadClient], Request | None],
    ) -> None:
        self.machine = machine
        self.user = self.fleet_user = user
        self.groups = groups
        self.demand_seconds = demand_seconds
        self.make = make
        """Returns the next request, None when the pool is used up."""
        self.latencies: list[float] = []
        self.rejected_count = 0
        self.error_count = 0
        self.closed = True
        self.byte_seconds = 0.0
        self._started_seconds = 0.0

    def begin(self, _: object = None) -> None:
        """Make a call as soon as the CPU allows; the loop then keeps itself going."""
        self._started_seconds = self.machine.engine.now
        self._send(None)

    def _send(self, _: object) -> None:
        request = self.make(self)
        if request is None:
            return
        request.client = self
        request.submitted_seconds = self._started_seconds
        self.machine.endpoint.send(request)

    def open_call(self, intended_seconds: float) -> None:
        """Make one call of an open loop."""
        machine = self.machine
        request = self.make(self)
        assert request is not None
        request.client = self
        request.submitted_seconds = intended_seconds
        demand = 0.5 * self.demand_seconds + machine.load_law.open_call_seconds
        machine.run_client(demand, machine.endpoint.send, request)

    def receive(self, request: Request) -> None:
        """Decode the response; a closed loop encodes its next call in the same go."""
        machine = self.machine
        demand = self.demand_seconds if self.closed else 0.5 * self.demand_seconds
        if request.code == 429:
            demand = machine.load_law.rejected_call_seconds
        if self.byte_seconds > 0.0:
            # Most of a body is read while it still arrives: that costs CPU but no time here.
            body = self.byte_seconds * request.response_bytes
            streamed = machine.load_law.stream_ratio * body
            machine.client_queue.submit(streamed, _ignore, None)
            demand += body - streamed
        machine.run_client(demand, self._received, request)

    def _received(self, request: Request) -> None:
        machine = self.machine
        now = machine.engine.now
        rejected = request.code == 429
        if machine.measuring:
            if request.ok:
                self.latencies.append(now - request.submitted_seconds)
            elif rejected:
                self.rejected_count += 1
            else:
                self.error_count += 1
        if not self.closed:
            return
        if rejected:
            machine.engine.call_later(self.machine.load_law.rejected_sleep_seconds, self.begin)
            return
        self._started_seconds = now
        self._send(None)


def _ignore(_: object) -> None:
    return


def quantiles_ms(latencies_seconds: Sequence[float]) -> Prediction:
    """Return mean and quantiles of exact samples, in milliseconds."""
    names = ("mean_ms", "p50_ms", "p90_ms", "p99_ms")
    if not latencies_seconds:
        return dict.fromkeys(names, float("nan"))
    values = np.asarray(latencies_seconds) * 1000.0
    quantiles = np.quantile(values, (0.5, 0.9, 0.99))
    return dict(zip(names, (float(values.mean()), *map(float, quantiles)), strict=True))


class CpuMeter:
    """CPU used by the three processes since the meter was made."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._start = self._read()
        self._start_seconds = machine.engine.now

    def _read(self) -> tuple[float, float, float]:
        machine = self._machine
        client = machine.client_cpu.cpu_seconds + machine.client_spin_seconds
        etcd = machine.etcd.cpu_seconds()
        return machine.server.cpu_seconds(), etcd, client

    def used_seconds(self) -> tuple[float, float, float]:
        """Return (apiserver, etcd, client) CPU seconds."""
        now = self._read()
        a, b, c = (after - before for after, before in zip(now, self._start, strict=True))
        return a, b, c

    def elapsed_seconds(self) -> float:
        """Return the simulated time since the meter was made."""
        return self._machine.engine.now - self._start_seconds
