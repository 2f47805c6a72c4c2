"""The page of a run: what was asked, the verdict, tables first, then the figures."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from sim.base.errors import MissingExtraError
from sim.metrics.bottleneck import SATURATED_RATIO, Bottleneck, describe
from sim.metrics.catalogue import BY_NAME
from sim.metrics.derive import Derivation
from sim.metrics.startup import PHASE_MEANINGS, PHASES
from sim.metrics.summary import SummaryRow, distribution
from sim.report.figure_kit import Drawing
from sim.report.style import number_text, seconds_text

_STATS: Final = ("count", "mean", "p50", "p90", "p99", "max")
_REQUEST_ROWS_MAX: Final = 14
_RESOURCE_ROWS_MAX: Final = 12
_SETTING_ROWS_MAX: Final = 60


def environment() -> Any:
    """Return the template environment. Raises MissingExtraError without Jinja2."""
    try:
        import jinja2
    except ImportError as error:
        raise MissingExtraError("rendering pages", "report") from error
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined,
    )  # fmt: skip


def run_page(
    manifest: dict[str, Any],
    derivation: Derivation,
    bottleneck: Bottleneck,
    rows: Sequence[SummaryRow],
    images: Sequence[tuple[Drawing, str]],
) -> str:
    """Return the page as HTML; ``images`` are drawings with their PNG as base64 text."""
    return str(environment().get_template("run.html").render(
        manifest=manifest,
        verdict=verdict(manifest),
        totals=_totals(manifest),
        thresholds=_thresholds(manifest),
        headline=_headline(rows, derivation),
        resources=_resources(bottleneck),
        window=f"{seconds_text(bottleneck.window[0])} to {seconds_text(bottleneck.window[1])}",
        requests=_requests(rows),
        phases=_phases(derivation),
        settings=_settings(manifest),
        settings_more=max(0, len(manifest["settings_changed"]) - _SETTING_ROWS_MAX),
        workload=[json.dumps(item, ensure_ascii=False) for item in manifest["workload"]],
        faults=_faults(derivation),
        images=images,
        command=reproduce(manifest),
        versions=", ".join(f"{name} {value}" for name, value in manifest["versions"].items()),
        validity=manifest.get("validity", []),
    ))  # fmt: skip


def verdict(manifest: dict[str, Any]) -> tuple[str, str]:
    """Return (class, sentence) of the verdict."""
    if not manifest["valid"]:
        broken = "; ".join(manifest["invariants_broken"])
        return "bad", f"Invalid: a conservation law is broken ({broken}). Do not use these results."
    if not manifest["complete"]:
        return "bad", f"Incomplete: {manifest['detail']}. The results end where the run did."
    counts = {"ok": 0, "crossed": 0, "undecided": 0}
    for item in manifest["thresholds"]:
        counts[item["verdict"]] += 1
    if counts["crossed"]:
        total = sum(counts.values())
        return "bad", f"{counts['crossed']} of {total} thresholds are crossed."
    if counts["undecided"]:
        return "open", f"{counts['undecided']} thresholds are undecided: nothing was observed."
    if counts["ok"]:
        return "good", f"All {counts['ok']} thresholds hold." if counts["ok"] > 1 else (
            "The threshold holds."
        )  # fmt: skip
    return "open", "Finished; no thresholds were set."


def _totals(manifest: dict[str, Any]) -> list[tuple[str, str]]:
    totals = manifest["totals"]
    span = max(totals["simulated_seconds"], 1e-9)
    return [
        ("Simulated time", f"{seconds_text(totals['simulated_seconds'])} ({manifest['reason']})"),
        (
            "Pods running",
            f"{totals['pods_running_count']:,} of {totals['pods_total_count']:,}",
        ),
        (
            "API requests",
            f"{totals['request_count']:,} ({totals['request_count'] / span:,.0f} per second)",
        ),
        (
            "Simulated events",
            f"{totals['event_count']:,} ({totals['events_per_request_ratio']:.1f} per request)",
        ),
    ]


def _thresholds(manifest: dict[str, Any]) -> list[dict[str, str]]:
    shown = []
    for item in manifest["thresholds"]:
        value = item["value"]
        shown.append({
            "metric": item["metric"],
            "expr": item["expr"],
            "value": "nothing observed" if value is None else number_text(value, item["unit"]),
            "verdict": item["verdict"],
            "sign": {"ok": "✓", "crossed": "✗", "undecided": "?"}[item["verdict"]],
        })
    return shown


_HEADLINE: Final = (
    ("sim_pod_startup_duration_seconds", "Pod start-up, created to ready"),
    ("kubelet_pod_start_sli_duration_seconds", "Pod start-up SLI (to running, pulls excluded)"),
    ("scheduler_pod_scheduling_sli_duration_seconds", "Scheduling SLI (queued to bound)"),
    ("scheduler_scheduling_algorithm_duration_seconds", "Scheduling cycle"),
    ("apiserver_request_sli_duration_seconds", "API requests, SLI"),
    ("apiserver_flowcontrol_request_wait_duration_seconds", "Wait in priority and fairness"),
    ("rest_client_rate_limiter_duration_seconds", "Wait for client rate limits"),
    ("etcd_disk_wal_fsync_duration_seconds", "etcd WAL fsync"),
    ("etcd_disk_backend_commit_duration_seconds", "etcd backend commit"),
    ("sim_watch_last_delivery_seconds", "Watch delivery to the last watcher"),
    ("sim_network_programming_half_seconds", "Network programming, half of the nodes"),
    ("kubeproxy_network_programming_duration_seconds", "Network programming, 99 % of the nodes"),
    ("sim_network_programming_all_seconds", "Network programming, every node"),
    ("kubeproxy_sync_proxy_rules_duration_seconds", "kube-proxy rule sync, median node"),
)


def _headline(
    rows: Sequence[SummaryRow], derivation: Derivation
) -> list[tuple[str, str, list[str]]]:
    """Return (what, metric, stats as text) of the distributions people ask about first."""
    known = {row.metric for row in rows}
    table = []
    for name, title in _HEADLINE:
        if name in known:
            values = derivation.observations(BY_NAME[name]).values
            stats = distribution(values)
            cells = [f"{stats['count']:,.0f}", *(seconds_text(stats[s]) for s in _STATS[1:])]
            table.append((title, name, cells))
    rate = [row for row in rows if row.metric == "sim_scheduling_throughput_pods_per_second"]
    if rate:
        stats = {row.stat: row.value for row in rate}
        cells = ["", f"{stats['mean']:.3g} pods/s", "", "", "", f"{stats['max']:.3g} pods/s"]
        table.append(("Scheduling throughput", rate[0].metric, cells))
    return table


def _resources(bottleneck: Bottleneck) -> list[dict[str, Any]]:
    return [
        {
            "name": describe(item),
            "percent": f"{100.0 * item.busy_ratio:.0f}",
            "evidence": item.evidence,
            "saturated": item.busy_ratio >= SATURATED_RATIO,
        }
        for item in bottleneck.resources[:_RESOURCE_ROWS_MAX]
    ]


def _requests(rows: Sequence[SummaryRow]) -> list[tuple[str, list[str]]]:
    """Return the request kinds that took most of the apiserver's time."""
    stats: dict[str, dict[str, float]] = {}
    for row in rows:
        if row.metric == "apiserver_request_sli_duration_seconds":
            stats.setdefault(row.labels, {})[row.stat] = row.value
    ordered = sorted(stats.items(), key=lambda item: (-item[1]["count"] * item[1]["mean"], item[0]))
    table = []
    for labels, found in ordered[:_REQUEST_ROWS_MAX]:
        parts = dict(part.split("=", 1) for part in labels.split(","))
        values = {key: value.strip('"') for key, value in parts.items()}
        name = f"{values['verb']} {values['resource']}"
        if values["subresource"]:
            name += f"/{values['subresource']}"
        if values["verb"] == "LIST":
            name += f" ({values['scope']})"
        cells = [f"{found['count']:,.0f}", *(seconds_text(found[stat]) for stat in _STATS[1:])]
        table.append((name, cells))
    return table


def _phases(derivation: Derivation) -> list[dict[str, str]]:
    startup = derivation.startup
    rows = []
    ready = PHASES.index("ready")
    total = float(np.nansum(startup.phases[:, : ready + 1])) if len(startup) else 0.0
    for index, name in enumerate(PHASES):
        values = startup.phases[:, index]
        values = values[~np.isnan(values)]
        if not len(values):
            continue
        stats = distribution(values)
        share = f"{100.0 * float(values.sum()) / total:.1f} %" if index <= ready and total else ""
        rows.append({
            "name": name, "meaning": PHASE_MEANINGS[index], "count": f"{len(values):,}",
            "share": share, **{stat: seconds_text(stats[stat]) for stat in _STATS[1:]},
        })  # fmt: skip
    return rows


def _settings(manifest: dict[str, Any]) -> list[tuple[str, str, str]]:
    def shown(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= 120 else text[:117] + "…"

    return [
        (item["setting"], shown(item["default"]), shown(item["value"]))
        for item in manifest["settings_changed"][:_SETTING_ROWS_MAX]
    ]


def _faults(derivation: Derivation) -> list[tuple[str, str, int]]:
    """Return (component, what, how often) of faults and limits reached."""
    table = derivation.facts["faults"]
    counts: dict[tuple[str, str], int] = {}
    components, kinds = table.categories("component"), table.categories("what")
    pairs = zip(table.column("component").tolist(), table.column("what").tolist(), strict=True)
    for component, what in pairs:
        key = (components[component], kinds[what])
        counts[key] = counts.get(key, 0) + 1
    return [(*key, count) for key, count in sorted(counts.items())][:30]


def reproduce(manifest: dict[str, Any]) -> str:
    """Return the command that repeats a run."""
    parts = ["kubesim", "run", manifest["file"]]
    for override in manifest["overrides"]:
        parts += ["--set", override]
    for path, value in manifest["point"].items():
        parts += ["--set", f"{path}={json.dumps(value)}"]
    if not any(item.startswith("spec.run.seed=") for item in manifest["overrides"]):
        parts += ["--seed", str(manifest["seed"])]
    return shlex.join(parts)
