"""How much CPU the apiserver spends on a request, by what the request makes it do.

A request's demand is a sum of mechanisms, not a table of verbs:

    demand = base (TLS, HTTP/2, authentication, authorisation, routing, metrics)
           + storage calls × (gRPC to etcd and back)
           + writes × (admission, defaulting, validation, field management, encoding, commit)
           + the resource's own part (pods are the largest built-in type)
           + patches × (decode, merge, convert twice)
           + bytes × (decode, encode)

and each time the process is woken out of idleness it spends ``wake_seconds`` more. Go's garbage
collector takes ``garbage_share_ratio`` of what is spent, in bursts.
**Source:** fitted to `groundtruth/apiserver_verbs_closed.csv`; residuals in
`docs/model/apiserver.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

_VERBS = "fitted: apiserver_verbs_closed.csv"
_LIST = "fitted: apiserver_list.csv"


class RequestCost(NamedTuple):
    """CPU seconds of one request class, apart from what its size adds."""

    authentication_seconds: float
    """Spent before priority and fairness sees the request."""
    before_seconds: float
    """From priority and fairness to the first storage call (whole handler if there is none)."""
    call_seconds: float
    """Per further storage call."""
    after_seconds: float
    """From the storage's answer to the end of the response."""


@dataclass(frozen=True, slots=True, kw_only=True)
class APIServerLaw:
    """CPU seconds of request handling, on one core of the profile's machine."""

    base_seconds: float = field(default=220e-6, metadata={"source": _VERBS + ", get_pod_rv0"})
    storage_call_seconds: float = field(default=110e-6, metadata={"source": _VERBS + ", get_pod"})
    write_seconds: float = field(
        default=260e-6, metadata={"source": _VERBS + ", create_configmap, create_event"}
    )
    update_seconds: float = field(default=350e-6, metadata={"source": _VERBS + ", update_lease"})
    """PUT and PATCH on top of a write: decode the old state, field management, compare."""
    patch_seconds: float = field(
        default=1200e-6, metadata={"source": _VERBS + ", patch_pod_status"}
    )
    delete_seconds: float = field(
        default=200e-6, metadata={"source": _VERBS + ", delete_configmap"}
    )
    pod_seconds: float = field(default=450e-6, metadata={"source": _VERBS + ", create_pod"})
    """Per write of a pod, on top of what any object costs."""
    decode_seconds_per_byte: float = field(
        default=20e-9, metadata={"source": "assumed: 50 MB/s protobuf decode and copy"}
    )
    list_item_seconds: float = field(default=4e-6, metadata={"source": _LIST + ", per item"})
    list_byte_seconds: float = field(default=6e-9, metadata={"source": _LIST + ", per byte"})
    gzip_byte_seconds: float = field(default=1e-9, metadata={"source": _LIST + ", gzip"})
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
        default=160e-6, metadata={"source": _VERBS + ", clients=1 against more"}
    )
    """Each time the process is found idle: park, unpark, spin, cold caches."""
    rejection_seconds: float = field(
        default=40e-6, metadata={"source": "fitted: apiserver_apf.csv, greedy600_get"}
    )
    """Writing a 429."""
    housekeeping_ratio: float = field(
        default=0.015, metadata={"source": "fitted: idle_heartbeats.csv, intercept in nodes"}
    )
    """Cores that an idle apiserver uses."""
    garbage_share_ratio: float = field(
        default=0.2, metadata={"source": "assumed: Go at GOGC=100 with a small heap"}
    )
    garbage_cycle_seconds: float = field(
        default=0.2, metadata={"source": "fitted: apiserver_verbs_closed.csv, p99_ms"}
    )
    """CPU seconds of request work between two collections."""

    def request_cost(self, verb: str, resource: str, subresource: str) -> RequestCost:
        """Return the CPU seconds of one request class."""
        head = self.base_seconds * self.authentication_share_ratio
        rest = self.base_seconds - head
        call = self.storage_call_seconds
        work = 0.0
        if subresource == "token":
            work = call + self.token_seconds
        elif verb == "get":
            work = call
        elif verb in {"create", "update", "patch", "delete"}:
            work = call + self.write_seconds + self._write_extra(verb, resource)
        work += rest
        after = work * self.after_share_ratio
        return RequestCost(head, work - after, call + self.write_seconds, after)

    def _write_extra(self, verb: str, resource: str) -> float:
        extra = self.pod_seconds if resource == "pods" else 0.0
        if verb == "update":
            extra += self.update_seconds
        elif verb == "patch":
            extra += self.update_seconds + self.patch_seconds
        elif verb == "delete":
            extra += self.delete_seconds
        return extra

    def list_seconds(self, item_count: int, body_bytes: int) -> float:
        """Return the CPU seconds of filtering, encoding and compressing a list."""
        return (
            self.list_item_seconds * item_count
            + (self.list_byte_seconds + self.gzip_byte_seconds) * body_bytes
        )
