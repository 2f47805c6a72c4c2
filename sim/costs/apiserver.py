"""How much CPU the apiserver spends on a request, by what the request makes it do.

A request's demand is a sum of mechanisms, not a table of verbs:

    demand = base (TLS, HTTP/2, authentication, authorisation, routing, metrics)
           + storage calls × (gRPC to etcd and back)
           + writes × (admission, defaulting, validation, field management, encoding, commit)
           + the resource's own part (pods are the largest built-in type)
           + patches × (decode, merge, convert twice)
           + bytes × (decode, encode)

A job that wakes the sleeping process costs more the longer it slept, and makes other threads of the
process search for work: they use a core that others may want. Demands scatter. The garbage
collector adds ``garbage_ratio`` of what is spent, in bursts on all cores.
**Source:** fitted to `groundtruth/apiserver_verbs_closed.csv`, its repetitions and
`apiserver_verbs_open.csv`; residuals in `docs/model/apiserver.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import exp
from typing import Final, NamedTuple

_VERBS: Final = "fitted: apiserver_verbs_closed.csv"
GZIP_THRESHOLD_BYTES: Final = 131_072
"""**Source:** responsewriters/writers.go :: defaultGzipThresholdBytes."""
_LIST: Final = "fitted: apiserver_list.csv"
SCATTERED_SECONDS: Final = 1e-3
"""Piece of a job whose CPU scatters as a whole (assumed; a LIST is many such pieces)."""


class RequestCost(NamedTuple):
    """CPU seconds of one request class, apart from what its size adds."""

    authentication_seconds: float
    """Spent before priority and fairness sees the request."""
    before_seconds: float
    """From priority and fairness to the first storage call (whole handler if there is none)."""
    call_seconds: float
    """Per further transaction of the same request."""
    after_seconds: float
    """From the storage's answer to the end of the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class APIServerLaw:
    """CPU seconds of request handling, on one core of the profile's machine."""

    base_seconds: float = field(default=0.00035, metadata={"source": _VERBS + ", get_pod_rv0"})
    authorization_seconds: float = field(
        default=7e-05,
        metadata={"source": "fitted: apiserver_apf.csv, modest_alone_get against get_pod"},
    )
    """RBAC or Node authorizer, for users outside system:masters."""
    storage_call_seconds: float = field(default=0.000151, metadata={"source": _VERBS + ", get_pod"})
    write_seconds: float = field(
        default=7e-05, metadata={"source": _VERBS + ", create_configmap, create_event"}
    )
    update_seconds_per_byte: float = field(
        default=4.7e-07,
        metadata={
            "source": "fitted: apiserver_watch_fanout.csv, object_bytes;"
            " apiserver_verbs_closed.csv, update_lease and patch_pod_status"
        },
    )
    """PUT and PATCH: decode old and new, compare, track the managed fields of every field."""
    patch_seconds: float = field(
        default=0.00088, metadata={"source": _VERBS + ", patch_pod_status"}
    )
    """PATCH on top of an update."""
    bind_seconds: float = field(default=0.00033, metadata={"source": _VERBS + ", bind_pod"})
    """POST pods/binding on top of a write."""
    pod_seconds: float = field(default=0.000516, metadata={"source": _VERBS + ", create_pod"})
    """Per write of a pod, on top of what any object costs."""
    create_seconds_per_byte: float = field(
        default=20e-9, metadata={"source": "assumed: 50 MB/s protobuf decode and copy"}
    )
    list_fixed_seconds: float = field(
        default=0.0008, metadata={"source": _LIST + ", 100 items against 500"}
    )
    """Per LIST: snapshot, response writer, compressor."""
    list_consistent_seconds: float = field(
        default=500e-6, metadata={"source": _LIST + ", consistent against rv0"}
    )
    """Per LIST that has to prove its freshness, besides the storage call."""
    list_item_seconds: float = field(default=2e-06, metadata={"source": _LIST + ", per item"})
    list_byte_seconds: float = field(
        default=5.6e-09, metadata={"source": _LIST + ", body bytes of both encodings"}
    )
    """Marshal one byte of a response body, protobuf or JSON."""
    wire_byte_seconds: float = field(
        default=7.5e-09, metadata={"source": _LIST + ", rows without gzip"}
    )
    """Encrypt and send one byte."""
    gzip_byte_seconds: float = field(
        default=3.2e-9, metadata={"source": _LIST + ", rows with gzip"}
    )
    """Compress one byte of a body of at least 128 KiB."""
    gzip_ratio: float = field(
        default=0.03, metadata={"source": "assumed: the measured payload is very repetitive"}
    )
    """Compressed size over size."""
    token_seconds: float = field(
        default=900e-6, metadata={"source": "assumed: one RSA-2048 signature"}
    )
    authentication_share_ratio: float = field(
        default=0.5, metadata={"source": "fitted: apiserver_apf.csv, overload by 600 clients"}
    )
    """Share of ``base_seconds`` spent before priority and fairness."""
    after_share_ratio: float = field(
        default=0.4, metadata={"source": "assumed: encode and write against decode and admission"}
    )
    wake_seconds: float = field(
        default=0.00028,
        metadata={"source": "fitted: apiserver_apf_server_metrics.csv, modest_alone_get"},
    )
    """From a goroutine's wake-up by another until it runs, while a core is idle."""
    spin_ratio: float = field(
        default=1.6,
        metadata={"source": _VERBS + "; apiserver_verbs_open.csv, apiserver_cores"},
    )
    """CPU that the process' other threads burn in search for work, per CPU of a cold start."""
    cold_seconds: float = field(
        default=0.00075, metadata={"source": _VERBS + "; apiserver_verbs_open.csv, p50_ms"}
    )
    """Extra CPU of a job that wakes the process after a long sleep, reached asymptotically."""
    cold_time_constant_seconds: float = field(
        default=0.0045, metadata={"source": _VERBS + "; apiserver_verbs_open.csv, p50_ms"}
    )
    """Sleep after which 63 % of ``cold_seconds`` is paid."""
    scatter_sigma_ratio: float = field(
        default=0.55, metadata={"source": _VERBS + ", p90_ms against p50_ms at clients=1"}
    )
    """Spread of the logarithm of a job's demand."""
    stall_ratio: float = field(default=0.012, metadata={"source": _VERBS + ", p99_ms"})
    """Share of jobs, started while all cores are busy, that first wait in a run queue."""
    stall_seconds: float = field(default=0.003, metadata={"source": _VERBS + ", p99_ms"})
    """Mean of that wait (exponential)."""
    crowd_saving_ratio: float = field(
        default=0.25,
        metadata={"source": "assumed: by hand, for recipe_density_cpu.csv at raised client QPS"},
    )
    """Share of the CPU of a piece of work that is saved while endlessly many goroutines wait to run
    and requests share their connections: frames and records are read and written in batches. Six
    hundred clients with connections of their own save nothing (apiserver_apf.csv)."""
    crowd_saving_half_count: float = field(
        default=60.0,
        metadata={"source": "assumed: beyond what apiserver_verbs_closed.csv reaches"},
    )
    """Waiting goroutines at which half of it is saved."""
    rejection_seconds: float = field(
        default=3e-05, metadata={"source": "fitted: apiserver_apf.csv, greedy600_get"}
    )
    """Writing a 429."""
    housekeeping_ratio: float = field(
        default=0.0175, metadata={"source": "fitted: idle_heartbeats.csv, intercept in nodes"}
    )
    """Cores that an idle apiserver uses."""
    garbage_ratio: float = field(default=0.26, metadata={"source": _VERBS + ", p99_ms"})
    """Collector work per request work."""
    garbage_assist_ratio: float = field(default=1.7, metadata={"source": _VERBS + ", p99_ms"})
    """While the collector runs: marking that a request does per unit of its own work."""
    garbage_assist_limit_seconds: float = field(
        default=14e-3, metadata={"source": "fitted: apiserver_list.csv, p99_ms"}
    )
    """Most that one job marks: long jobs allocate large buffers, which need no marking."""
    garbage_turn_seconds: float = field(
        default=1e-3, metadata={"source": "assumed: a mark worker yields after about this long"}
    )
    garbage_cycle_seconds: float = field(
        default=1.0, metadata={"source": "fitted: apiserver_verbs_closed.csv, p99_ms"}
    )
    """CPU seconds of request work between two collections."""

    def request_cost(self, verb: str, resource: str, subresource: str) -> RequestCost:
        """Return the CPU seconds of one request class."""
        head = self.base_seconds * self.authentication_share_ratio
        rest = self.base_seconds - head
        write = self.storage_call_seconds + self.write_seconds
        if subresource == "token":
            work = self.token_seconds
        elif subresource == "binding":
            work = write + self.bind_seconds
        elif subresource == "eviction":
            work = self.bind_seconds
        elif verb in {"create", "update", "patch"}:
            work = write + self._write_extra(verb, resource)
        elif verb == "delete":
            work = self.storage_call_seconds  # no body to decode, no fields to manage
            if resource == "pods":  # a DELETE updates the pod before it removes it
                work += self.pod_seconds
        else:
            work = 0.0
        work += rest
        after = work * self.after_share_ratio
        return RequestCost(head, work - after, write, after)

    def _write_extra(self, verb: str, resource: str) -> float:
        extra = self.pod_seconds if resource == "pods" else 0.0
        if verb == "patch":
            extra += self.patch_seconds
        return extra

    def cold(self, slept_seconds: float) -> float:
        """Return the extra demand of the first job after a sleep: ``c · (1 - exp(-t/τ))``."""
        return self.cold_seconds * (1.0 - exp(-slept_seconds / self.cold_time_constant_seconds))

    def list_seconds(self, item_count: int, body_bytes: int, *, compress: bool) -> float:
        """Return the CPU seconds of filtering, encoding and sending a list."""
        each = self.list_byte_seconds + self.wire_byte_seconds
        if compress and body_bytes >= GZIP_THRESHOLD_BYTES:
            each = self.list_byte_seconds + self.gzip_byte_seconds
            each += self.gzip_ratio * self.wire_byte_seconds
        return self.list_fixed_seconds + self.list_item_seconds * item_count + each * body_bytes

    def write_byte_seconds(self, verb: str, subresource: str) -> float:
        """Return what a write costs per byte of its object."""
        if verb == "create":
            return self.create_seconds_per_byte
        if verb in {"update", "patch"} and subresource != "binding":
            return self.update_seconds_per_byte
        return 0.0
