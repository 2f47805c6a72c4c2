"""Reference pages of the documentation that are made of tables in the code."""

from __future__ import annotations

from sim.base.error_codes import CODES
from sim.base.exit_codes import MEANINGS
from sim.metrics.catalogue import METRICS, SAMPLED
from sim.metrics.thresholds import AGGREGATES

_METRICS_INTRODUCTION = (
    "Components write facts, metrics are derived from them afterwards. Names, labels and bucket"
    " edges are those of Kubernetes v1.36 and etcd 3.6; what they lack is called `sim_…`."
    " Upstream labels that the model has no value for (`group`, `version`, `component`,"
    " `dry_run` …) are left out. Any of these names can stand in `thresholds`, with labels:"
    ' `apiserver_request_sli_duration_seconds{verb="GET"}: ["p(99) < 1s"]`.'
)
_GAUGES_INTRODUCTION = (
    "State that a run samples about itself (fact table `gauges`). Gauges that are not in this"
    " table are published as `sim_<gauge>{instance}`."
)
_ERRORS_INTRODUCTION = (
    "Made by `kubesim list codes --markdown`; a test compares. `kubesim explain CODE` prints"
    " one of them."
)


def metrics_markdown() -> str:
    """Return ``docs/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "Made by `kubesim list metrics --markdown`; a test compares.",
        "",
        _METRICS_INTRODUCTION,
        "",
        "| aggregate in thresholds | for |",
        "|---|---|",
    ]
    for kind, names in AGGREGATES.items():
        lines.append(f"| {', '.join(f'`{name}`' for name in names)} | {kind} |")
    lines += ["", "| metric | kind | unit | labels | meaning | from |", "|---|---|---|---|---|---|"]
    for metric in METRICS:
        source = f"`{metric.table}`" if metric.table else "pod transitions, bindings"
        if metric.value and metric.table:
            source += f".`{metric.value}`"
        labels = ", ".join(f"`{name}`" for name in metric.label_names)
        lines.append(
            f"| `{metric.name}` | {metric.kind} | {metric.unit} | {labels} | {metric.help} |"
            f" {source} |"
        )
    lines += [
        "",
        "## Sampled gauges",
        "",
        _GAUGES_INTRODUCTION,
        "",
        "| gauge | published as | kind | label | meaning |",
        "|---|---|---|---|---|",
    ]
    for gauge, item in SAMPLED.items():
        lines.append(
            f"| `{gauge}` | `{item.name}` | {item.kind} | `{item.label}` | {item.help} |"
        )
    return "\n".join(lines) + "\n"


def errors_markdown() -> str:
    """Return ``docs/errors.md``."""
    lines = [
        "# Errors, warnings and exit codes",
        "",
        _ERRORS_INTRODUCTION,
        "",
        "| exit code | meaning |",
        "|---|---|",
    ]
    lines += [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    for head, prefix in (("Errors", "E"), ("Warnings", "W")):
        lines += ["", f"## {head}"]
        for code, info in CODES.items():
            if code.startswith(prefix):
                lines += ["", f"**{code}: {info.title}.** {info.explanation}"]
    return "\n".join(lines) + "\n"
