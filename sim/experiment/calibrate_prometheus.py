"""Fits a profile to metrics dumps taken before and after a load.

What is taken from a pair of dumps: the disk's law from the histogram of WAL syncs (between two
bucket edges nothing is known; the law interpolates), and one factor per component on all its CPU
demands, so that CPU per request comes out as measured at the same request mix.
"""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sim.base.errors import Problem, UserError
from sim.costs.disk import disk_from_buckets
from sim.costs.etcd import EtcdLaw
from sim.costs.profile import Profile
from sim.costs.scheduler import CycleShape, SchedulerLaw
from sim.experiment.calibrate_types import Fitted

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""(metric, labels) to value."""

COMPONENTS = ("etcd", "apiserver", "scheduler")
OBSERVATION_COUNT_MIN = 100
TOLERANCE_RATIO = 0.3
"""Two dumps tell one number and no spread. **Source:** groundtruth/README.md: the same point
repeated differs by 10-30 %."""
_LINE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+\d+)?\s*$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def parse(text: str, file: str = "") -> Samples:
    """Read the Prometheus text format.

    Raises:
        UserError: a line is not of that format.
    """
    samples: Samples = {}
    for index, line in enumerate(text.splitlines()):
        if not line or line.startswith("#"):
            continue
        matched = _LINE.match(line)
        if matched is None:
            raise UserError(
                Problem(
                    code="E035",
                    message="not a line of the Prometheus text format",
                    file=file or None,
                    line=index + 1,
                    text=line[:120],
                )
            )
        labels = tuple(sorted(_LABEL.findall(matched[2] or "")))
        samples[(matched[1], labels)] = float(matched[3])
    return samples


def read_dump(path: Path) -> Samples:
    """Read a dump, compressed or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    return parse(text, str(path))


def find_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return the dumps (before, after) of each component in a folder or its ``metrics``."""
    pairs = {}
    for component in COMPONENTS:
        for place in (folder, folder / "metrics"):
            for suffix in (".prom", ".prom.gz", ".txt", ".txt.gz"):
                before = place / f"{component}-before{suffix}"
                after = place / f"{component}-after{suffix}"
                if before.is_file() and after.is_file():
                    pairs[component] = (before, after)
    return pairs


def difference(before: Samples, after: Samples) -> Samples:
    """Return what was counted between two dumps; counters that fell (a restart) count whole."""
    return {
        key: value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value
        for key, value in after.items()
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """Return the sum of a metric over all label sets that have these labels."""
    return sum(value for _, value in _matching(samples, name, labels))


def _matching(
    samples: Samples, name: str, labels: Mapping[str, str]
) -> Iterator[tuple[dict[str, str], float]]:
    for (metric, found), value in samples.items():
        if metric == name:
            own = dict(found)
            if all(own.get(key) == wanted for key, wanted in labels.items()):
                yield own, value


def histogram(samples: Samples, name: str) -> tuple[list[float], list[float]]:
    """Return upper edges without +Inf and cumulative counts, summed over label sets."""
    counts: dict[float, float] = {}
    for labels, value in _matching(samples, f"{name}_bucket", {}):
        edge = float(labels["le"])
        counts[edge] = counts.get(edge, 0.0) + value
    edges = [edge for edge in sorted(counts) if math.isfinite(edge)]
    return edges, [counts[edge] for edge in edges]


def fit_dumps(pairs: Mapping[str, tuple[Path, Path]], profile: Profile) -> list[Fitted]:
    """Fit what the dumps of each component tell."""
    fitted: list[Fitted] = []
    dumps = (*pairs.get("apiserver", ()), *pairs.get("scheduler", ()))
    nodes_count = max((node_count(read_dump(path)) for path in dumps), default=0)
    for component, (before, after) in pairs.items():
        samples = difference(read_dump(before), read_dump(after))
        source = f"{before.name} and {after.name}"
        if component == "etcd":
            fitted += _fit_disk(samples, source) + _fit_etcd_cpu(samples, profile, source)
        elif component == "apiserver":
            fitted += _fit_apiserver_cpu(samples, profile, source)
        else:
            fitted += _fit_scheduler(samples, profile, nodes_count, source)
    return fitted


def _fit_disk(samples: Samples, source: str) -> list[Fitted]:
    name = "etcd_disk_wal_fsync_duration_seconds"
    edges, counts = histogram(samples, name)
    if not counts or counts[-1] < OBSERVATION_COUNT_MIN:
        return []
    params = disk_from_buckets("calibrated", edges, counts)
    observed = total(samples, f"{name}_sum") / max(1.0, total(samples, f"{name}_count"))
    # a power-of-two histogram leaves the place inside a bucket open: the mean settles it
    probabilities, ratios = (np.array(column) for column in zip(*params.shape, strict=True))
    middles = (np.arange(4096) + 0.5) / 4096
    mean = float(np.interp(middles, probabilities, ratios).mean()) * params.sync_median_seconds
    median = params.sync_median_seconds * observed / mean
    quality = (
        f"{counts[-1]:.0f} syncs, mean {observed * 1e3:.3f} ms; uniform inside buckets would be"
        f" {mean / observed:.2f} of it"
    )
    return [
        Fitted(name="disk.name", value="calibrated", source=source, quality=quality,
               tolerance_ratio=TOLERANCE_RATIO),
        Fitted(name="disk.sync_median_seconds", value=median, source=source, quality=quality,
               tolerance_ratio=TOLERANCE_RATIO),
        Fitted(name="disk.shape", value=params.shape, source=source, quality=quality,
               tolerance_ratio=TOLERANCE_RATIO),
        Fitted(name="disk.rest_seconds", value=0.0, source=source, quality="inside the histogram",
               tolerance_ratio=TOLERANCE_RATIO),
    ]


def _scaled(part: Any, prefix: str, factor: float, source: str, quality: str) -> list[Fitted]:
    """Scale every CPU demand of a law: names with seconds, except waits and time constants."""
    kept = ("stall", "constant", "half_life", "window", "latency", "threshold", "mark", "garbage")
    found = []
    for item in fields(part):
        value = getattr(part, item.name)
        if (
            isinstance(value, float)
            and "seconds" in item.name
            and not any(word in item.name for word in kept)
        ):
            found.append(
                Fitted(
                    name=f"{prefix}.{item.name}",
                    value=value * factor,
                    source=source,
                    quality=quality,
                    tolerance_ratio=TOLERANCE_RATIO,
                )
            )
    return found


def _fit_etcd_cpu(samples: Samples, profile: Profile, source: str) -> list[Fitted]:
    """One factor on etcd's demands: CPU measured over CPU that the law says for the same work."""
    law = EtcdLaw(profile.etcd)
    p = profile.etcd
    cpu_seconds = total(samples, "process_cpu_seconds_total")
    proposals = total(samples, "etcd_server_proposals_applied_total")
    syncs = total(samples, "etcd_disk_wal_fsync_duration_seconds_count")
    ranges = max(0.0, total(samples, "etcd_mvcc_range_total") - proposals)
    put_bytes = total(samples, "etcd_debugging_mvcc_total_put_size_in_bytes")
    if proposals < OBSERVATION_COUNT_MIN or cpu_seconds <= 0.0:
        return []
    size = int(put_bytes / proposals) if put_bytes > 0.0 else 1000
    stages = (
        p.receive_wake_seconds + p.spin_seconds,
        p.append_wake_seconds + p.apply_wake_seconds + 2.0 * p.spin_seconds,
    )
    predicted = (
        proposals * (stages[0] + law.receive_seconds(1, size) + law.apply_seconds(1, size))
        + syncs * (stages[1] + law.append_seconds(0, 0, 0))
        + proposals * law.append_seconds(1, size, 0)
        + ranges * (stages[0] + law.receive_seconds(1, 100) + law.read_seconds(1, 1))
        + law.commit_cpu_seconds(int(proposals), int(put_bytes))
    )
    factor = cpu_seconds / predicted
    quality = (
        f"{cpu_seconds:.2f} s CPU for {proposals:.0f} proposals in {syncs:.0f} syncs and"
        f" {ranges:.0f} ranges: {factor:.2f} of the base profile"
    )
    return _scaled(p, "etcd", factor, source, quality)


def _fit_apiserver_cpu(samples: Samples, profile: Profile, source: str) -> list[Fitted]:
    """One factor on the apiserver's demands, from CPU per request of the same mix."""
    law = profile.apiserver
    cpu_seconds = total(samples, "process_cpu_seconds_total")
    if cpu_seconds <= 0.0:
        return []
    predicted = 0.0
    request_count = 0.0
    for labels, count in _matching(samples, "apiserver_request_total", {}):
        verb, resource = labels.get("verb", ""), labels.get("resource", "")
        if count <= 0.0 or verb in {"WATCH", "WATCHLIST", "CONNECT"}:
            continue
        request_count += count
        cost = law.base_seconds + law.authorization_seconds
        if verb in {"POST", "PUT", "PATCH", "DELETE"}:
            cost += law.storage_call_seconds
            if verb != "DELETE":
                cost += law.write_seconds
            if verb == "PATCH":
                cost += law.patch_seconds
            if resource == "pods":
                cost += law.pod_seconds
            if labels.get("subresource") == "binding":
                cost += law.bind_seconds
            elif labels.get("subresource") == "token":
                cost += law.token_seconds
        elif verb in {"GET", "LIST"}:
            cost += law.storage_call_seconds
        predicted += count * cost
    if request_count < OBSERVATION_COUNT_MIN:
        return []
    predicted *= 1.0 + law.garbage_ratio
    sent = total(samples, "apiserver_watch_events_total")
    predicted += sent * (profile.watch.deliver_wake_seconds + profile.watch.deliver_seconds)
    factor = cpu_seconds / predicted
    quality = (
        f"{cpu_seconds:.2f} s CPU for {request_count:.0f} requests and {sent:.0f} watch events:"
        f" {factor:.2f} of the base profile"
    )
    return _scaled(law, "apiserver", factor, source, quality)


def node_count(samples: Samples) -> int:
    """Return how many nodes a component knew (a gauge: of the dump after the load), 0 if unsaid."""
    known = total(samples, "scheduler_cache_size", type="nodes")
    for name in ("apiserver_resource_objects", "apiserver_storage_objects"):
        for labels, value in _matching(samples, name, {}):
            if labels.get("resource") == "nodes":
                known = max(known, value)
    return int(known)


def _fit_scheduler(
    samples: Samples, profile: Profile, nodes_count: int, source: str
) -> list[Fitted]:
    """One factor on the scheduler's demands, from its CPU per scheduled pod.

    Elapsed times of the algorithm would not do: on busy cores they hold the work of others. The
    number of nodes is the scheduler's own or the apiserver's; all nodes are taken as examined and
    feasible, which holds up to 100 nodes and in a cluster with room.
    """
    count = total(samples, "scheduler_scheduling_algorithm_duration_seconds_count")
    cpu_seconds = total(samples, "process_cpu_seconds_total")
    if count < OBSERVATION_COUNT_MIN or nodes_count == 0 or cpu_seconds <= 0.0:
        return []
    p = profile.scheduler
    examined = min(nodes_count, max(100, round(nodes_count * max(0.05, 0.5 - nodes_count / 12500))))
    cycle = SchedulerLaw(p).cycle_seconds(CycleShape(), nodes_count, examined, examined)
    handled = total(samples, "scheduler_event_handling_duration_seconds_count")
    predicted = count * (cycle + p.bind_request_seconds + p.event_request_seconds)
    predicted += max(handled, 2.0 * count) * p.watch_event_seconds
    factor = cpu_seconds / predicted
    quality = (
        f"{cpu_seconds:.2f} s CPU for {count:.0f} pods and {handled:.0f} events with {nodes_count}"
        f" nodes: {factor:.2f} of the base profile"
    )
    return _scaled(p, "scheduler", factor, source, quality)
