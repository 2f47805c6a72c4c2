"""Which part of the cluster holds the others up, with the evidence, in one sentence.

Every resource that can saturate gets a share of the active window (first pod created to last pod
running) during which it was busy; the busiest one above a threshold is the bottleneck. If none is
that busy, the longest phase of pod start-up is named instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from sim.metrics.columns import job_of_user
from sim.metrics.derive import Derivation
from sim.metrics.facts_view import FloatArray, label_codes, merge_categories
from sim.metrics.startup import PHASES

SATURATED_RATIO: Final = 0.7
"""Busy share from which queues grow quickly (M/M/1: 3.3 service times at 0.7; a convention)."""
_SYMPTOMS: Final = frozenset({"workqueue", "event limiter"})
_SEPARATE_EVENT_CLIENTS: Final = frozenset({"kube-scheduler", "kubelet"})
"""**Source:** `facts/model.md` 0.1: their events go through a client of their own."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing that can saturate, and how close it came."""

    kind: str
    """host, limiter, event limiter, priority level, etcd WAL, etcd backend, scheduler, workqueue"""
    name: str
    busy_ratio: float
    """Share of the active window during which it was busy (or kept callers waiting)."""
    evidence: str
    """The numbers behind it, as half a sentence."""
    waiting_seconds: float = 0.0
    """Time that callers spent waiting for it, summed."""


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """The verdict and everything it was chosen from, busiest first."""

    sentence: str
    resource: Resource | None
    resources: tuple[Resource, ...]
    window: tuple[float, float]


def covered_seconds(starts: FloatArray, lengths: FloatArray, window: tuple[float, float]) -> float:
    """Return how much of a window the union of intervals covers.

    ``starts``, ``lengths`` : (n,) float64 seconds.
    """
    low, high = window
    begin = np.clip(starts, low, high)
    end = np.clip(starts + lengths, low, high)
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    if not len(begin):
        return 0.0
    reached = np.maximum.accumulate(end)
    previous = np.concatenate(([low], reached[:-1]))
    return float(np.maximum(reached - np.maximum(begin, previous), 0.0).sum())


def find_bottleneck(derivation: Derivation) -> Bottleneck:
    """Return the bottleneck of a run."""
    window = derivation.startup.active_window()
    if window[1] <= window[0]:
        window = _whole_run(derivation)
    if window[1] <= window[0]:
        return Bottleneck("Nothing happened in this run.", None, (), window)
    resources: list[Resource] = []
    for find in (_hosts, _limiters, _priority_levels, _etcd, _scheduler, _workqueues):
        resources += find(derivation, window)
    # A queue in front of a saturated part is full as well, and nobody waits for events: parts
    # whose saturation holds up pods come first.
    resources.sort(key=lambda item: (
        item.busy_ratio < SATURATED_RATIO, item.kind in _SYMPTOMS, -round(item.busy_ratio, 6),
        item.kind, item.name,
    ))  # fmt: skip
    top = resources[0] if resources else None
    if top is not None and top.busy_ratio >= SATURATED_RATIO:
        return Bottleneck(_saturated_sentence(resources), top, tuple(resources), window)
    return Bottleneck(_idle_sentence(derivation, top), None, tuple(resources), window)


def _percent(ratio: float) -> str:
    return f"{100.0 * ratio:.0f} %"


def _saturated_sentence(resources: list[Resource]) -> str:
    top = resources[0]
    sentence = f"The bottleneck is {describe(top)}: {top.evidence}"
    others = [item for item in resources[1:] if item.kind != top.kind or item.name != top.name]
    if others:
        sentence += f"; next is {describe(others[0])} at {_percent(others[0].busy_ratio)}"
    return sentence + "."


def describe(resource: Resource) -> str:
    """Return a resource as a noun phrase."""
    words = {
        "host": "the CPU of host {}",
        "limiter": "the client rate limit of {}",
        "event limiter": "the rate limit of {}'s event client",
        "priority level": "API priority level {}",
        "etcd WAL": "the WAL disk of {}",
        "etcd backend": "the backend commits of {}",
        "scheduler": "the scheduling loop of {}",
        "workqueue": "the workqueue {}",
    }
    return words.get(resource.kind, resource.kind + " {}").format(resource.name)


def _idle_sentence(derivation: Derivation, top: Resource | None) -> str:
    phases = derivation.startup.phases[:, : PHASES.index("ready") + 1]
    parts = []
    totals = np.nansum(phases, axis=0) if len(phases) else np.zeros(0)
    if totals.sum() > 0.0:
        longest = int(np.argmax(totals))
        mean = float(totals[longest]) / max(1, int((~np.isnan(phases[:, longest])).sum()))
        parts.append(
            f"the longest phase of pod start-up is “{PHASES[longest]}”"
            f" ({_percent(float(totals[longest] / totals.sum()))} of the time to ready,"
            f" {mean:.3g} s on average)"
        )
    if top is not None:
        parts.append(f"the busiest part is {describe(top)} at {_percent(top.busy_ratio)}")
    return "No part is saturated" + (": " + " and ".join(parts) if parts else "") + "."


def _whole_run(derivation: Derivation) -> tuple[float, float]:
    ends = [
        float(derivation.column(table, "time_seconds").max())
        for table in ("requests", "gauges", "etcd_commits")
        if len(derivation.facts[table])
    ]
    return 0.0, max(ends, default=0.0)


def _hosts(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    observed = derivation.sampled_gauge("host_utilization_ratio")
    found = []
    for index, (name,) in enumerate(observed.labels):
        values, times = observed.group(index)
        inside = values[(times > window[0]) & (times <= window[1] + 1e-9)]
        if not len(inside):
            inside = values
        mean, peak = float(inside.mean()), float(inside.max())
        evidence = f"{_percent(mean)} of its cores were busy on average ({_percent(peak)} at most)"
        found.append(Resource("host", name, mean, evidence))
    return found


def _limiters(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    """Client rate limits, by client; a fleet's buckets are many, so theirs is a mean share."""
    facts = derivation.facts
    requests = facts["requests"]
    waits = derivation.column("requests", "limiter_seconds")
    times = derivation.column("requests", "time_seconds")
    codes, values = label_codes(requests, "user")
    members = [job_of_user(value) for value in values]
    jobs, names = merge_categories(codes, values, members)
    resource = requests.categories("resource")
    events = resource.index("events") if "events" in resource else -1
    is_event = requests.column("resource") == events
    found = []
    span = window[1] - window[0]
    waited = waits > 0.0
    for code, job in enumerate(names):
        # These two send events through a client of their own, with a bucket of its own.
        apart = job in _SEPARATE_EVENT_CLIENTS
        for of_events in (False, True) if apart else (None,):
            mine = jobs == code if of_events is None else (jobs == code) & (is_event == of_events)
            chosen = mine & waited
            count = int(chosen.sum())
            if not count:
                continue
            total = float(waits[chosen].sum())
            fleet_size = members.count(job)
            if fleet_size > 1:
                share = total / (fleet_size * span)
                what = f"the {fleet_size:,} clients were kept waiting {_percent(share)} of the time"
            else:
                share = covered_seconds(times[chosen], waits[chosen], window) / span
                what = (
                    f"its callers were kept waiting during {_percent(share)} of the {span:.4g} s"
                    " in which pods started"
                )
            evidence = (
                f"{what} ({count:,} of {int(mine.sum()):,} requests, {total / count:.3g} s each)"
            )
            kind = "event limiter" if of_events else "limiter"
            found.append(Resource(kind, job, min(share, 1.0), evidence, total))
    return found


def _priority_levels(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    requests = derivation.facts["requests"]
    waits = derivation.column("requests", "queue_seconds")
    arrivals = derivation.column("requests", "time_seconds") + derivation.column(
        "requests", "limiter_seconds"
    )
    levels = requests.column("priority_level")
    seats = _seat_use(derivation, window)
    rejected = derivation.column("requests", "code") == 429
    found = []
    span = window[1] - window[0]
    for code, level in enumerate(requests.categories("priority_level")):
        mine = levels == code
        chosen = mine & (waits > 0.0)
        count, refused = int(chosen.sum()), int((mine & rejected).sum())
        covered = covered_seconds(arrivals[chosen], waits[chosen], window) / span
        use = seats.get(level)
        if not count and use is None:
            continue
        busy = max(covered if count else 0.0, use or 0.0)
        parts = [f"requests queued during {_percent(covered)} of the time"] if count else []
        if use is not None:
            borrowed = ", some of them borrowed," if use > 1.0 else ""
            parts.append(f"{_percent(use)} of its own seats{borrowed} were taken")
        if refused:
            parts.append(f"{refused:,} requests were refused")
        evidence = " and ".join(parts)
        found.append(Resource("priority level", level, busy, evidence, float(waits[chosen].sum())))
    return found


def _seat_use(derivation: Derivation, window: tuple[float, float]) -> dict[str, float]:
    limits = derivation.sampled_gauge("flowcontrol_limit_seats")
    limit_of = {labels[0]: limits.group(i)[0] for i, labels in enumerate(limits.labels)}
    taken = derivation.sampled_gauge("flowcontrol_executing_seats")
    use = {}
    for index, (level,) in enumerate(taken.labels):
        values, times = taken.group(index)
        inside = values[(times >= window[0]) & (times <= window[1])]
        bound = limit_of.get(level)
        if len(inside) and bound is not None and float(bound.mean()) > 0.0:
            use[level] = float(inside.mean()) / float(bound.mean())
    return use


def _busy_share(
    derivation: Derivation, table: str, lengths: str, where: FloatArray, window: tuple[float, float]
) -> tuple[float, float, int]:
    """Return (busy share of the window, mean length, number of rows)."""
    times = derivation.column(table, "time_seconds")[where]
    seconds = derivation.column(table, lengths)[where]
    covered = covered_seconds(times, seconds, window)
    mean = float(seconds.mean()) if len(seconds) else 0.0
    return covered / (window[1] - window[0]), mean, len(seconds)


def _etcd(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    found = []
    for table, column, kind, what in (
        ("etcd_commits", "fsync_seconds", "etcd WAL", "fsync"),
        ("etcd_backend_commits", "duration_seconds", "etcd backend", "backend commit"),
    ):
        members = derivation.column(table, "member")
        for member in np.unique(members).astype(int).tolist():
            busy, mean, count = _busy_share(derivation, table, column, members == member, window)
            evidence = (
                f"{_percent(busy)} of the time went into {count:,} {what}s of"
                f" {1000.0 * mean:.3g} ms on average"
            )
            found.append(Resource(kind, f"etcd-{member}", busy, evidence))
    return found


def _scheduler(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    attempts = derivation.facts["scheduling_attempts"]
    codes = attempts.column("profile")
    found = []
    for code, profile in enumerate(attempts.categories("profile")):
        busy, mean, count = _busy_share(
            derivation, "scheduling_attempts", "cycle_seconds", codes == code, window
        )
        evidence = (
            f"it was busy {_percent(busy)} of the time with {count:,} cycles of"
            f" {1000.0 * mean:.3g} ms on average"
        )
        found.append(Resource("scheduler", profile, busy, evidence))
    return found


def _workqueues(derivation: Derivation, window: tuple[float, float]) -> list[Resource]:
    syncs = derivation.facts["controller_syncs"]
    waits = derivation.column("controller_syncs", "queue_seconds")
    starts = derivation.column("controller_syncs", "time_seconds") - waits
    codes = syncs.column("controller")
    found = []
    span = window[1] - window[0]
    for code, name in enumerate(syncs.categories("controller")):
        mine = codes == code
        total = float(waits[mine].sum())
        covered = covered_seconds(starts[mine], waits[mine], window) / span
        count = int(mine.sum())
        evidence = (
            f"keys waited in it during {_percent(covered)} of the time"
            f" ({count:,} syncs, {total / count:.3g} s in the queue on average)"
        )
        found.append(Resource("workqueue", name, min(covered, 1.0), evidence, total))
    return found
