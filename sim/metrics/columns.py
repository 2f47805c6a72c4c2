"""Columns that metrics need and fact tables do not hold: derived values, labels and filters.

Every function takes the facts of a run and returns one array aligned with the rows of its table;
label functions return (codes, distinct values). Functions are looked up by (table, name).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt

from sim.metrics.facts_view import (
    Facts,
    FloatArray,
    IntArray,
    label_codes,
    merge_categories,
)

Labels = tuple[IntArray, list[str]]

HTTP_VERBS: Final = {
    "get": "GET",
    "list": "LIST",
    "watch": "WATCH",
    "create": "POST",
    "update": "PUT",
    "patch": "PATCH",
    "delete": "DELETE",
    "deletecollection": "DELETECOLLECTION",
}
"""**Source:** the ``verb`` label of `apiserver_request_total` in the measured v1.36.2 dump."""

_ATTEMPTS_LABEL_MAX: Final = 15
"""**Source:** kubernetes/pkg/scheduler, the label of `scheduler_pod_scheduling_sli_duration_…`."""


def job_of_user(user: str) -> str:
    """Return the scrape job of a client identity: ``system:kube-scheduler`` → kube-scheduler.

    All nodes are one job, as in every Prometheus configuration.
    """
    if user.startswith(("system:node:", "system:nodes")):
        return "kubelet"
    for prefix in ("system:serviceaccount:kube-system:", "system:serviceaccount:", "system:"):
        if user.startswith(prefix):
            return user[len(prefix) :]
    return user


def _column(table: str, name: str) -> Callable[[Facts], FloatArray]:
    return lambda facts: facts[table].column(name).astype(np.float64, copy=False)


def _request_end(facts: Facts) -> FloatArray:
    requests = facts["requests"]
    end: FloatArray = requests.column("time_seconds") + requests.column("total_seconds")
    return end


def _request_sli(facts: Facts) -> FloatArray:
    requests = facts["requests"]
    sli: FloatArray = requests.column("server_seconds") - requests.column("queue_seconds")
    sli[sli < 0.0] = 0.0
    return sli


def _request_after_limiter(facts: Facts) -> FloatArray:
    requests = facts["requests"]
    value: FloatArray = requests.column("total_seconds") - requests.column("limiter_seconds")
    return value


def _request_failed(facts: Facts) -> FloatArray:
    codes = facts["requests"].column("code")
    failed: FloatArray = ((codes >= 500) | (codes == 429) | (codes == 0)).astype(np.float64)
    return failed


def _request_verb(facts: Facts) -> Labels:
    codes, values = label_codes(facts["requests"], "verb")
    return merge_categories(codes, values, [HTTP_VERBS.get(value, value.upper())
                                            for value in values])  # fmt: skip


def _request_job(facts: Facts) -> Labels:
    codes, values = label_codes(facts["requests"], "user")
    return merge_categories(codes, values, [job_of_user(value) for value in values])


def _request_execute(facts: Facts) -> Labels:
    return (facts["requests"].column("code") != 429).astype(np.int32), ["false", "true"]


def _not_watch(facts: Facts) -> npt.NDArray[np.bool_]:
    requests = facts["requests"]
    values = requests.categories("verb")
    is_watch = np.array([value == "watch" for value in values], dtype=np.bool_)
    codes = requests.column("verb")
    return ~is_watch[codes] if len(codes) else np.zeros(0, dtype=np.bool_)


def _rejected(facts: Facts) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = facts["requests"].column("code") == 429
    return mask


def _dispatched(facts: Facts) -> npt.NDArray[np.bool_]:
    return ~_rejected(facts)


def _readonly(facts: Facts) -> npt.NDArray[np.bool_]:
    requests = facts["requests"]
    reads = [value in {"get", "list"} for value in requests.categories("verb")]
    codes = requests.column("verb")
    return np.array(reads, dtype=np.bool_)[codes] if len(codes) else np.zeros(0, dtype=np.bool_)


def _instance(table: str, column: str, prefix: str) -> Callable[[Facts], Labels]:
    def labels(facts: Facts) -> Labels:
        codes, values = label_codes(facts[table], column)
        return codes, [f"{prefix}-{value}" for value in values]

    return labels


def _sum_columns(table: str, *names: str) -> Callable[[Facts], FloatArray]:
    def total(facts: Facts) -> FloatArray:
        result = facts[table].column(names[0]).astype(np.float64)
        for name in names[1:]:
            result = result + facts[table].column(name)
        return result

    return total


def _last_by_uid(uids: IntArray, values: FloatArray, wanted: IntArray) -> FloatArray:
    """Return, per wanted uid, the value of its last row, NaN where there is none."""
    found = np.full(len(wanted), np.nan)
    if not len(uids):
        return found
    order = np.argsort(uids, kind="stable")
    ordered = uids[order]
    at = np.searchsorted(ordered, wanted, side="right") - 1
    valid = (at >= 0) & (ordered[np.maximum(at, 0)] == wanted)
    found[valid] = values[order[at[valid]]]
    return found


def _attempt_seconds(facts: Facts) -> FloatArray:
    """Cycle, plus the binding cycle of an attempt that ended in a placement."""
    attempts = facts["scheduling_attempts"]
    cycle: FloatArray = attempts.column("cycle_seconds")
    bindings = facts["bindings"]
    binding = _last_by_uid(
        bindings.column("pod_uid"), bindings.column("duration_seconds"), attempts.column("pod_uid")
    )
    scheduled = _scheduled(facts)
    return np.where(scheduled & ~np.isnan(binding), cycle + np.nan_to_num(binding), cycle)


def _attempt_end(facts: Facts) -> FloatArray:
    end: FloatArray = facts["scheduling_attempts"].column("time_seconds") + _attempt_seconds(facts)
    return end


def _scheduled(facts: Facts) -> npt.NDArray[np.bool_]:
    attempts = facts["scheduling_attempts"]
    values = attempts.categories("result")
    if "scheduled" not in values:
        return np.zeros(len(attempts), dtype=np.bool_)
    mask: npt.NDArray[np.bool_] = attempts.column("result") == values.index("scheduled")
    return mask


def _rejected_by_plugin(facts: Facts) -> npt.NDArray[np.bool_]:
    return ~_scheduled(facts)


def _bound(facts: Facts) -> npt.NDArray[np.bool_]:
    codes = facts["bindings"].column("code")
    return (codes >= 200) & (codes < 300)


def _binding_attempts(facts: Facts) -> FloatArray:
    attempts = facts["scheduling_attempts"]
    count = _last_by_uid(
        attempts.column("pod_uid"),
        attempts.column("attempt_count").astype(np.float64),
        facts["bindings"].column("pod_uid"),
    )
    return np.nan_to_num(count, nan=1.0)


def _binding_attempts_label(facts: Facts) -> Labels:
    codes = np.minimum(_binding_attempts(facts), _ATTEMPTS_LABEL_MAX).astype(np.int64)
    values = [str(index) for index in range(_ATTEMPTS_LABEL_MAX)] + [f"{_ATTEMPTS_LABEL_MAX}+"]
    return codes, values


def _kind_is(*kinds: str) -> Callable[[Facts], npt.NDArray[np.bool_]]:
    def mask(facts: Facts) -> npt.NDArray[np.bool_]:
        syncs = facts["proxy_syncs"]
        wanted = [value in kinds for value in syncs.categories("kind")]
        codes = syncs.column("kind")
        return np.array(wanted, dtype=np.bool_)[codes] if len(codes) else np.zeros(0, np.bool_)

    return mask


def _not_ok(facts: Facts) -> npt.NDArray[np.bool_]:
    syncs = facts["controller_syncs"]
    bad = [value != "ok" for value in syncs.categories("result")]
    codes = syncs.column("result")
    return np.array(bad, dtype=np.bool_)[codes] if len(codes) else np.zeros(0, np.bool_)


def _fetched(facts: Facts) -> npt.NDArray[np.bool_]:
    pulls = facts["image_pulls"]
    values = pulls.categories("result")
    if "pulled" not in values:
        return np.zeros(len(pulls), dtype=np.bool_)
    mask: npt.NDArray[np.bool_] = pulls.column("result") == values.index("pulled")
    return mask


def _reached(facts: Facts) -> FloatArray:
    looks = facts["reachability"]
    ratio: FloatArray = looks.column("reached_count") / np.maximum(looks.column("asked_count"), 1)
    return ratio


VALUES: Final[dict[tuple[str, str], Callable[[Facts], FloatArray]]] = {
    ("requests", "end_seconds"): _request_end,
    ("requests", "sli_seconds"): _request_sli,
    ("requests", "after_limiter_seconds"): _request_after_limiter,
    ("requests", "failed_ratio"): _request_failed,
    ("etcd_commits", "end_seconds"): _sum_columns("etcd_commits", "time_seconds",
                                                  "commit_seconds", "apply_seconds"),
    ("etcd_commits", "synced_seconds"): _sum_columns("etcd_commits", "time_seconds",
                                                     "fsync_seconds"),
    ("scheduling_attempts", "attempt_seconds"): _attempt_seconds,
    ("scheduling_attempts", "end_seconds"): _attempt_end,
    ("scheduling_attempts", "cycle_end_seconds"): _sum_columns("scheduling_attempts",
                                                               "time_seconds", "cycle_seconds"),
    ("bindings", "end_seconds"): _sum_columns("bindings", "time_seconds", "duration_seconds"),
    ("bindings", "attempts_count"): _binding_attempts,
    ("controller_syncs", "end_seconds"): _sum_columns("controller_syncs", "time_seconds",
                                                      "duration_seconds"),
    ("image_pulls", "end_seconds"): _sum_columns("image_pulls", "time_seconds", "queue_seconds",
                                                 "duration_seconds"),
    ("network_programming", "end_seconds"): _sum_columns("network_programming", "time_seconds",
                                                         "programmed_seconds_max"),
    ("reachability", "reached_ratio"): _reached,
    ("proxy_syncs", "end_seconds"): _sum_columns("proxy_syncs", "time_seconds",
                                                 "sync_seconds_max"),
    ("watch_deliveries", "end_seconds"): _sum_columns("watch_deliveries", "time_seconds",
                                                      "last_seconds"),
}  # fmt: skip
"""Derived numbers by (table, name)."""

LABELS: Final[dict[tuple[str, str], Callable[[Facts], Labels]]] = {
    ("requests", "http_verb"): _request_verb,
    ("requests", "job"): _request_job,
    ("requests", "execute"): _request_execute,
    ("requests", "instance"): _instance("requests", "replica", "kube-apiserver"),
    ("watch_deliveries", "instance"): _instance("watch_deliveries", "replica", "kube-apiserver"),
    ("etcd_commits", "instance"): _instance("etcd_commits", "member", "etcd"),
    ("etcd_backend_commits", "instance"): _instance("etcd_backend_commits", "member", "etcd"),
    ("bindings", "attempts"): _binding_attempts_label,
}
"""Derived labels by (table, name)."""

FILTERS: Final[dict[tuple[str, str], Callable[[Facts], npt.NDArray[np.bool_]]]] = {
    ("requests", "not_watch"): _not_watch,
    ("requests", "rejected"): _rejected,
    ("requests", "dispatched"): _dispatched,
    ("requests", "readonly"): _readonly,
    ("scheduling_attempts", "scheduled"): _scheduled,
    ("scheduling_attempts", "rejected_by_plugin"): _rejected_by_plugin,
    ("bindings", "bound"): _bound,
    ("proxy_syncs", "full"): _kind_is("full", "initial_full"),
    ("proxy_syncs", "partial"): _kind_is("partial"),
    ("controller_syncs", "not_ok"): _not_ok,
    ("image_pulls", "fetched"): _fetched,
}
"""Row filters by (table, name)."""


def value_column(facts: Facts, table: str, name: str) -> FloatArray:
    """Return a stored or derived number per row, as float64."""
    derived = VALUES.get((table, name))
    return derived(facts) if derived is not None else _column(table, name)(facts)


def label_column(facts: Facts, table: str, name: str) -> Labels:
    """Return a stored or derived label per row."""
    derived = LABELS.get((table, name))
    return derived(facts) if derived is not None else label_codes(facts[table], name)
